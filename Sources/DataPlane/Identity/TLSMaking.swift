import Certificates
import Forwarding
import TLS

/// Makes TLS settings of what resources say and what secrets hold.
enum TLSMaking {
    /// Why there are no settings.
    struct Problem: Error, CustomStringConvertible {
        var description: String
    }

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

    /// - Parameter http: of the cluster: where server names come from.
    static func check(_ transport: TransportRules, _ http: UpstreamProtocol) throws(ConfigurationError) {
        switch transport {
        case .plain: break
        case .tls(let tls):
            try check(tls.rules)
            let sendsName = !tls.serverName.isEmpty || tls.sendsEndpointName || http.takesServerName
            if tls.checksSentName, !sendsName {
                throw .invalid(path: "auto_sni_san_validation", message: "no server name is sent that could be checked")
            }
        case .proxyHeader:
            throw .unsupported(path: "transport_socket", message: "no PROXY header is sent to hosts")
        }
    }

    private static func check(_ rules: TLSRules) throws(ConfigurationError) {
        func refuse(_ isSet: Bool, _ field: String, _ message: String) throws(ConfigurationError) {
            if isSet { throw .unsupported(path: "common_tls_context." + field, message: message) }
        }
        let validation = rules.validation
        do throws(ConfigurationError) {
            try validation.check()
        } catch {
            throw error.under("common_tls_context.validation_context")
        }
        let isVouchedFor = validation.namesAuthorities || validation.secret != nil || validation.acceptsUntrusted
        guard isVouchedFor || validation.names.isEmpty else {
            throw .invalid(
                path: "common_tls_context.validation_context.match_typed_subject_alt_names",
                message: "nobody vouches for names without trusted_ca")
        }
        guard isVouchedFor || validation.revocations == nil else {
            throw .invalid(
                path: "common_tls_context.validation_context.crl", message: "nobody has issued what it takes back")
        }
        try refuse(
            !rules.ciphers.allSatisfy(TLSConfiguration.offeredCipherSuites.contains), "tls_params.cipher_suites",
            "ECDHE with AES-GCM or ChaCha20 are offered, no others")
        try refuse(
            !rules.curves.allSatisfy(TLSConfiguration.offeredGroups.contains), "tls_params.ecdh_curves",
            "X25519, P-256 and P-384 are offered, no others")
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
            try trust(validation, secrets) { (pem) throws(TLSError) in try TrustAnchors(pem: pem) }
                .apply(to: &configuration)
        }
        if let lifetime = tls.sessionLifetime { configuration.sessionLifetime = lifetime }
        configuration.prefersClientCiphers = tls.prefersClientCiphers
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

    /// - Parameter kept: what clusters have in common.
    static func client(_ tls: UpstreamTLS, _ kept: inout SharedTLS, _ secrets: Secrets) throws -> TLSSettings {
        var configuration = TLSConfiguration.client(
            trusting: try TrustAnchors([]), serverName: tls.serverName.isEmpty ? nil : tls.serverName,
            accepting: .anyTrusted, identity: try identity(tls.rules, secrets),
            applicationProtocols: tls.rules.applicationProtocols)
        if tls.rules.validation.checksAnything || tls.rules.validation.acceptsUntrusted {
            try trust(tls.rules.validation, secrets) { (pem) throws(TLSError) in try kept.anchors(pem) }
                .apply(to: &configuration)
        } else {
            // As in Envoy: without anybody to believe, everybody is.
            configuration.acceptedPeers = .anybody
        }
        if configuration.acceptedPeers == .anybody { configuration.trustAnchors = nil }
        setVersions(tls.rules, in: &configuration)
        configuration.storedSessions = Int(tls.keptSessions)
        return try kept.family.settings(configuration)
    }

    /// For the way to a control plane, which is believed by its name where nothing else is said.
    static func controlPlane(_ tls: UpstreamTLS, host: String) throws -> TLSSettings {
        var shared = SharedTLS()
        var configuration = try client(tls, &shared) { _ in nil }.configuration
        configuration.serverName = tls.serverName.isEmpty ? host : tls.serverName
        if configuration.acceptedPeers == .anyTrusted { configuration.acceptedPeers = .serverName }
        configuration.applicationProtocols = ["h2"]
        return try TLSSettings(configuration)
    }

    private static func setVersions(_ rules: TLSRules, in configuration: inout TLSConfiguration) {
        configuration.minimumVersion = rules.versions.lowerBound == .tls13 ? .tls13 : .tls12
        configuration.maximumVersion = rules.versions.upperBound == .tls12 ? .tls12 : .tls13
        (configuration.cipherSuites, configuration.groups) = (rules.ciphers, rules.curves)
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

    /// Whom to believe, and who is welcome: what the resource says, and the secret that it names.
    private static func trust(
        _ validation: TLSValidation, _ secrets: Secrets, roots: ([UInt8]) throws(TLSError) -> TrustAnchors
    ) throws -> TrustMaterial {
        let own = try TrustMaterial(validation, roots: roots)
        guard let name = validation.secret else { return own }
        guard case .trust(let told)? = secrets(name) else { throw missing(name) }
        return own.merged(with: told)
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

/// What clients of many clusters have in common, and is kept once: for as long as somebody uses it.
struct SharedTLS {
    private struct Kept { weak var anchors: TrustAnchors? }

    var family = TLSClientFamily()
    /// By the digest of their PEM.
    private var kept: [[UInt8]: Kept] = [:]

    /// The anchors of a PEM file; those of the machine are a hundred and more.
    mutating func anchors(_ pem: [UInt8]) throws(TLSError) -> TrustAnchors {
        let digest = Digest.sha256(of: pem)
        if let anchors = kept[digest]?.anchors { return anchors }
        kept = kept.filter { $0.value.anchors != nil }
        let made = try TrustAnchors(pem: pem)
        kept[digest] = Kept(anchors: made)
        return made
    }
}
