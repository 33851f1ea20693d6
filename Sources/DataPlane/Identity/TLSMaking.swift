import Certificates
import Forwarding
import TLS

/// Makes TLS settings of what resources say and what secrets hold.
enum TLSMaking {
    /// Why there are no settings.
    struct Problem: Error, CustomStringConvertible {
        var description: String
    }

    /// Roots of the machine, where a context asks for them. Source: Debian, ca-certificates.
    static let systemRoots = "/etc/ssl/certs/ca-certificates.crt"

    // MARK: What cannot be done

    /// Refuses what the TLS of this proxy cannot do, when the resource comes.
    static func check(_ tls: DownstreamTLS) throws(ConfigurationError) {
        try check(tls.rules)
        let count = tls.rules.certificates.count + tls.rules.certificateSecrets.count
        guard count <= 1 else {
            throw .unsupported(path: "common_tls_context", message: "one certificate for a filter chain")
        }
        if tls.requiresServerName { throw .unsupported(path: "require_sni", message: "clients may leave it out") }
        if tls.requiresCertificate, !tls.rules.validation.checksAnything, !tls.rules.validation.acceptsUntrusted {
            throw .invalid(path: "require_client_certificate", message: "nothing says whom to believe")
        }
    }

    static func check(_ transport: TransportRules) throws(ConfigurationError) {
        switch transport {
        case .plain: break
        case .tls(let tls): try check(tls.rules)
        case .proxyHeader:
            throw .unsupported(path: "transport_socket", message: "no PROXY header is sent to hosts")
        }
    }

    private static func check(_ rules: TLSRules) throws(ConfigurationError) {
        func refuse(_ isSet: Bool, _ field: String, _ message: String) throws(ConfigurationError) {
            if isSet { throw .unsupported(path: "common_tls_context." + field, message: message) }
        }
        let validation = rules.validation
        try refuse(validation.revocations != nil, "validation_context.crl", "revocation lists are not read")
        try refuse(
            !validation.hashes.isEmpty, "validation_context.verify_certificate_hash", "name the identity instead")
        try refuse(
            !validation.keyHashes.isEmpty, "validation_context.verify_certificate_spki", "name the identity instead")
        try refuse(validation.allowsExpired, "validation_context.allow_expired_certificate", "expired ones are refused")
        try refuse(
            !rules.ciphers.isEmpty, "tls_params.cipher_suites", "ECDHE with AES-GCM or ChaCha20 are offered, no others")
        try refuse(!rules.curves.isEmpty, "tls_params.ecdh_curves", "X25519, P-256 and P-384 are offered, no others")
        try refuse(!rules.signatures.isEmpty, "tls_params.signature_algorithms", "the library's are offered")
    }

    // MARK: Settings

    typealias Secrets = (String) -> SecretMaterial?

    static func server(_ tls: DownstreamTLS, ticketKeys: TLSTicketKeys?, _ secrets: Secrets) throws -> TLSSettings {
        guard let identity = try identity(tls.rules, secrets) else {
            throw Problem(description: "a server needs a certificate")
        }
        var configuration = TLSConfiguration.server(identity, applicationProtocols: tls.rules.applicationProtocols)
        let validation = tls.rules.validation
        if validation.checksAnything || validation.acceptsUntrusted || tls.requiresCertificate {
            configuration.clientAuthentication = tls.requiresCertificate ? .required : .optional
            try believe(validation, in: &configuration, secrets)
        }
        setVersions(tls.rules, in: &configuration)
        switch tls.ticketKeys {
        case .none: break
        case .own: configuration.ticketKeys = ticketKeys
        case .given(let given):
            var keys: [[UInt8]] = []
            for key in given { keys.append(try read(key)) }
            configuration.ticketKeys = try TLSTicketKeys(secrets: keys)
        case .secret(let name):
            guard case .ticketKeys(let keys)? = secrets(name) else { throw missing(name) }
            configuration.ticketKeys = keys
        }
        return try TLSSettings(configuration)
    }

    static func client(_ tls: UpstreamTLS, _ secrets: Secrets) throws -> TLSSettings {
        var configuration = TLSConfiguration.client(
            trusting: try TrustAnchors([]), serverName: tls.serverName.isEmpty ? nil : tls.serverName,
            accepting: .anyTrusted, identity: try identity(tls.rules, secrets),
            applicationProtocols: tls.rules.applicationProtocols)
        if tls.rules.validation.checksAnything {
            try believe(tls.rules.validation, in: &configuration, secrets)
        } else {
            // As in Envoy: without anybody to believe, everybody is.
            configuration.acceptedPeers = .anybody
        }
        if tls.checksSentName, configuration.acceptedPeers == .anyTrusted, configuration.serverName != nil {
            configuration.acceptedPeers = .serverName
        }
        setVersions(tls.rules, in: &configuration)
        configuration.storedSessions = Int(tls.keptSessions)
        return try TLSSettings(configuration)
    }

    /// For the way to a control plane, which is believed by its name where nothing else is said.
    static func controlPlane(_ tls: UpstreamTLS, host: String) throws -> TLSSettings {
        var configuration = try client(tls) { _ in nil }.configuration
        configuration.serverName = tls.serverName.isEmpty ? host : tls.serverName
        if configuration.acceptedPeers == .anyTrusted { configuration.acceptedPeers = .serverName }
        configuration.applicationProtocols = ["h2"]
        return try TLSSettings(configuration)
    }

    private static func setVersions(_ rules: TLSRules, in configuration: inout TLSConfiguration) {
        configuration.minimumVersion = rules.versions.lowerBound == .tls13 ? .tls13 : .tls12
        configuration.maximumVersion = rules.versions.upperBound == .tls12 ? .tls12 : .tls13
    }

    private static func missing(_ name: String) -> Problem {
        Problem(description: "the secret `\(name)` is not there, or is of another kind")
    }

    private static func identity(_ rules: TLSRules, _ secrets: Secrets) throws -> TLSIdentity? {
        if let given = rules.certificates.first {
            return try TLSIdentity(chainPEM: try read(given.chain), keyPEM: try read(given.key))
        }
        guard let name = rules.certificateSecrets.first else { return nil }
        guard case .identity(let identity)? = secrets(name) else { throw missing(name) }
        return identity
    }

    /// Whom to believe, and who is welcome.
    private static func believe(
        _ validation: TLSValidation, in configuration: inout TLSConfiguration, _ secrets: Secrets
    ) throws {
        if validation.acceptsUntrusted {
            configuration.acceptedPeers = .anybody
            return
        }
        var anchors: TrustAnchors?
        var names = validation.names
        if let name = validation.secret {
            guard case .trust(let trust)? = secrets(name) else { throw missing(name) }
            anchors = trust.anchors
            names += trust.validation.names
        }
        if let roots = validation.roots { anchors = try TrustAnchors(pem: try read(roots)) }
        if validation.usesSystemRoots, anchors == nil { anchors = try TrustAnchors(file: systemRoots) }
        guard let anchors else { throw Problem(description: "nothing says whom to believe") }
        configuration.trustAnchors = anchors
        configuration.acceptedPeers = names.isEmpty ? .anyTrusted : .named(names.map(peerName))
    }

    /// SPIFFE IDs and trust domains are known by their own rules: a certificate with two of them is nobody's.
    static func peerName(_ name: TLSValidation.Name) -> PeerName {
        let text = String(decoding: name.matcher.text, as: UTF8.self)
        if name.kind == .uri, !name.matcher.ignoresCase, text.hasPrefix("spiffe://") {
            switch name.matcher.kind {
            case .exact: return .uri(text)
            case .prefix where text.hasSuffix("/") && text.dropFirst(9).dropLast().allSatisfy({ $0 != "/" }):
                return .trustDomain(String(text.dropFirst(9).dropLast()))
            default: break
            }
        }
        return .passing(
            PeerTest("\(name.kind) \(words(name.matcher))") { names in
                switch name.kind {
                case .uri: names.uris.contains(where: name.matches)
                case .dns: names.dnsNames.contains(where: name.matches)
                case .address: names.ipAddresses.contains(where: name.matches)
                case .mail: false
                }
            })
    }

    private static func words(_ matcher: TextMatcher) -> String {
        let text = String(decoding: matcher.text, as: UTF8.self) + (matcher.ignoresCase ? " (any case)" : "")
        return switch matcher.kind {
        case .exact: "\(text)"
        case .prefix: "\(text)*"
        case .suffix: "*\(text)"
        case .contains: "*\(text)*"
        case .pattern(let pattern): "~\(pattern.expression)"
        }
    }

    private static func read(_ given: GivenBytes) throws -> [UInt8] { try GivenFiles.read(given) }
}
