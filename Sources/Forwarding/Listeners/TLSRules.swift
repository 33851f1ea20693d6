import CEnvoyAPI
import EnvoyAPI
import Protobuf

/// What both sides of a TLS connection are configured with. Source: Envoy, `CommonTlsContext`.
public struct TLSRules: Sendable, Equatable {
    public enum Version: Int, Sendable, Comparable {
        case tls12 = 12
        case tls13 = 13
        public static func < (left: Version, right: Version) -> Bool { left.rawValue < right.rawValue }
    }

    /// A certificate with its intermediates, and its key; PEM.
    public struct GivenCertificate: Sendable, Equatable {
        public let chain: GivenBytes
        public let key: GivenBytes
    }

    /// What the resource holds itself.
    public let certificates: [GivenCertificate]
    /// Names of secrets that hold more.
    public let certificateSecrets: [String]
    public let validation: TLSValidation
    /// In the order of preference.
    public let applicationProtocols: [String]
    public let versions: ClosedRange<Version>
    /// Of TLS 1.2, as OpenSSL names them; empty: the library's choice.
    public let ciphers: [String]
    public let curves: [String]
    public let signatures: [String]

    /// Every secret that has to be there before a handshake.
    public var secrets: [String] {
        certificateSecrets + (validation.secret.map { [$0] } ?? [])
    }

    init(_ message: CommonTlsContext, in arena: Arena) throws(ConfigurationError) {
        certificates = try message.tls_certificates_list.read("tls_certificates") {
            (certificate) throws(ConfigurationError) in try GivenCertificate(certificate.pointee)
        }
        certificateSecrets = message.tls_certificate_sds_secret_configs_list.map { $0.pointee.name.string }
        validation = try TLSValidation(message, in: arena)
        applicationProtocols = Array(message.alpn_protocols_list)
        if let index = applicationProtocols.firstIndex(where: { $0.isEmpty || $0.utf8.count > 255 }) {
            throw .invalid(path: "alpn_protocols[\(index)]", message: "a protocol's name has 1 to 255 bytes")
        }
        let parameters = message.tls_params?.pointee
        let least = parameters.flatMap { Self.version($0.tls_minimum_protocol_version) } ?? .tls12
        let most = parameters.flatMap { Self.version($0.tls_maximum_protocol_version) } ?? .tls13
        guard least <= most else {
            throw .invalid(path: "tls_params", message: "the least version is above the greatest")
        }
        versions = least...most
        // Several in brackets are as good as each other: the first is taken for the better one.
        ciphers = (parameters.map { Array($0.cipher_suites_list) } ?? []).flatMap { entry in
            entry.split(whereSeparator: { "[|]".contains($0) }).map(String.init)
        }
        curves = parameters.map { Array($0.ecdh_curves_list) } ?? []
        signatures = parameters.map { Array($0.signature_algorithms_list) } ?? []
    }

    /// Nil: the default. The audit has let no other in.
    private static func version(_ version: TlsParametersTlsProtocol) -> Version? {
        switch version {
        case .TLSv1_2: .tls12
        case .TLSv1_3: .tls13
        default: nil
        }
    }
}

extension TLSRules.GivenCertificate {
    init(_ message: TlsCertificate) throws(ConfigurationError) {
        let (chain, key) = (
            try message.certificate_chain.required("certificate_chain"), try message.private_key.required("private_key")
        )
        self.chain = try at("certificate_chain") { () throws(ConfigurationError) in try GivenBytes(chain) }
        self.key = try at("private_key") { () throws(ConfigurationError) in try GivenBytes(key) }
    }
}

/// Whether the other side is believed. Source: Envoy, `CertificateValidationContext`.
public struct TLSValidation: Sendable {
    public struct Name: Sendable {
        public enum Kind: Sendable { case mail, dns, uri, address }
        public let kind: Kind
        public let matcher: TextMatcher
    }

    /// Roots; nil: of the secret, or none.
    public private(set) var roots: GivenBytes?
    /// A validation context that is fetched; what stands here is added to it.
    public private(set) var secret: String?
    public private(set) var usesSystemRoots: Bool
    /// One of them has to be among the certificate's; empty: any will do.
    public private(set) var names: [Name]
    public private(set) var revocations: GivenBytes?
    public private(set) var checksLeafRevocationOnly: Bool
    /// SHA-256 of the certificate, lower-case hexadecimal; one has to be it.
    public private(set) var hashes: [String]
    /// SHA-256 of the key, Base64; one has to be it.
    public private(set) var keyHashes: [String]
    public private(set) var allowsExpired: Bool
    /// A certificate that no root vouches for is taken too.
    public private(set) var acceptsUntrusted: Bool
    /// By trust domain: the roots for SPIFFE IDs of it; nil: not validated so.
    public private(set) var trustDomains: [(name: String, bundle: GivenBytes)]?
    public private(set) var deepest: UInt32?

    /// Whether there is somebody to believe, whose signature is asked for.
    public var namesAuthorities: Bool { roots != nil || usesSystemRoots || trustDomains != nil }

    /// This one where the other, which a secret brings, says nothing. Source: Envoy, `CombinedCertificateValidationContext`,
    /// which merges the secret into the default as `MergeFrom` does.
    public func merged(with told: TLSValidation) -> TLSValidation {
        var merged = self
        merged.roots = told.roots ?? roots
        merged.usesSystemRoots = usesSystemRoots || told.usesSystemRoots
        merged.names += told.names
        merged.revocations = told.revocations ?? revocations
        merged.checksLeafRevocationOnly = checksLeafRevocationOnly || told.checksLeafRevocationOnly
        merged.hashes += told.hashes
        merged.keyHashes += told.keyHashes
        merged.allowsExpired = allowsExpired || told.allowsExpired
        merged.acceptsUntrusted = acceptsUntrusted || told.acceptsUntrusted
        merged.trustDomains = told.trustDomains ?? trustDomains
        merged.deepest = told.deepest ?? deepest
        return merged
    }

    /// Whether a certificate of the other side is checked at all.
    public var checksAnything: Bool {
        roots != nil || secret != nil || usesSystemRoots || !hashes.isEmpty || !keyHashes.isEmpty || trustDomains != nil
    }

    init(_ message: CommonTlsContext, in arena: Arena) throws(ConfigurationError) {
        switch message.validation_context_type {
        case .validation_context(let context):
            self = try at("validation_context") { () throws(ConfigurationError) in
                try TLSValidation(context.pointee, secret: nil, in: arena)
            }
        case .validation_context_sds_secret_config(let config):
            try self.init(nil, secret: config.pointee.name.string, in: arena)
        case .combined_validation_context(let combined):
            self = try at("combined_validation_context") { () throws(ConfigurationError) in
                guard let config = combined.pointee.validation_context_sds_secret_config else {
                    throw .invalid(path: "validation_context_sds_secret_config", message: "missing")
                }
                return try TLSValidation(
                    combined.pointee.default_validation_context?.pointee, secret: config.pointee.name.string, in: arena)
            }
        case .validation_context_certificate_provider, .validation_context_certificate_provider_instance:
            throw .unsupported(path: "validation_context_type", message: "certificate providers are not supported")
        case nil: try self.init(nil, secret: nil, in: arena)
        }
    }

    /// A validation context alone, as a secret brings it.
    public init(_ bytes: [UInt8]) throws(ConfigurationError) {
        let arena = Arena()
        let message = try FieldAudit.decode(CertificateValidationContext.self, bytes, in: arena, .tls)
        try self.init(message.pointee, secret: nil, in: arena)
    }

    private init(
        _ message: CertificateValidationContext?, secret: String?, in arena: Arena
    ) throws(ConfigurationError) {
        self.secret = secret
        roots = try message?.trusted_ca.read("trusted_ca") { (source) throws(ConfigurationError) in
            try GivenBytes(source)
        }
        usesSystemRoots = message?.system_root_certs != nil
        var names =
            try message?.match_typed_subject_alt_names_list.read("match_typed_subject_alt_names") {
                (name) throws(ConfigurationError) in try Name(name.pointee)
            } ?? []
        // The older form does not say of what kind a name is: any may match.
        let older = try message?.match_subject_alt_names_list.read("match_subject_alt_names") {
            (name) throws(ConfigurationError) in try TextMatcher(name.pointee)
        }
        for matcher in older ?? [] {
            for kind in [Name.Kind.dns, .uri, .mail, .address] { names.append(Name(kind: kind, matcher: matcher)) }
        }
        self.names = names
        revocations = try message?.crl.read("crl") { (source) throws(ConfigurationError) in try GivenBytes(source) }
        checksLeafRevocationOnly = message.map { $0.only_verify_leaf_cert_crl != 0 } ?? false
        hashes = message.map { $0.verify_certificate_hash_list.map { $0.lowercased().filter { $0 != ":" } } } ?? []
        keyHashes = message.map { Array($0.verify_certificate_spki_list) } ?? []
        allowsExpired = message.map { $0.allow_expired_certificate != 0 } ?? false
        acceptsUntrusted = message.map { $0.trust_chain_verification == .ACCEPT_UNTRUSTED } ?? false
        trustDomains = try message?.custom_validator_config.read("custom_validator_config") {
            (custom) throws(ConfigurationError) in
            let any = try custom.typed_config.required("typed_config")
            let config = try at("typed_config") { () throws(ConfigurationError) in
                try FieldAudit.decode(SPIFFECertValidatorConfig.self, any, in: arena, .tls)
            }
            return try config.pointee.trust_domains_list.read("typed_config.trust_domains") {
                (domain) throws(ConfigurationError) in
                let bundle = try domain.pointee.trust_bundle.required("trust_bundle")
                return (domain.pointee.name.string, try GivenBytes(bundle))
            }
        }
        deepest = message?.max_verify_depth.number
    }
}

extension TLSValidation.Name: Equatable {
    public static func == (left: Self, right: Self) -> Bool {
        left.kind == right.kind && left.matcher == right.matcher
    }

    init(_ message: SubjectAltNameMatcher) throws(ConfigurationError) {
        switch message.san_type {
        case .EMAIL: kind = .mail
        case .DNS: kind = .dns
        case .URI: kind = .uri
        case .IP_ADDRESS: kind = .address
        default: throw .unsupported(path: "san_type", message: "only EMAIL, DNS, URI and IP_ADDRESS")
        }
        let matcher = try message.matcher.required("matcher")
        self.matcher = try at("matcher") { () throws(ConfigurationError) in try TextMatcher(matcher) }
    }

    /// Whether a name of a certificate of that kind is this one. A DNS name of the certificate may be a wildcard,
    /// which stands for one label. Source: Envoy, `DnsExactStringSanMatcher`.
    public func matches(_ name: String) -> Bool {
        if kind == .dns, case .exact = matcher.kind, name.hasPrefix("*.") {
            let wanted = String(decoding: matcher.text, as: UTF8.self).lowercased()
            guard let dot = wanted.firstIndex(of: "."), dot > wanted.startIndex else { return false }
            return wanted[dot...] == name.lowercased().dropFirst()
        }
        if kind == .dns, case .exact = matcher.kind {
            return name.lowercased() == String(decoding: matcher.text, as: UTF8.self).lowercased()
        }
        return matcher.matches(name)
    }
}

extension TLSValidation: Equatable {
    public static func == (left: Self, right: Self) -> Bool {
        left.roots == right.roots && left.secret == right.secret && left.usesSystemRoots == right.usesSystemRoots
            && left.names == right.names && left.revocations == right.revocations
            && left.checksLeafRevocationOnly == right.checksLeafRevocationOnly && left.hashes == right.hashes
            && left.keyHashes == right.keyHashes && left.allowsExpired == right.allowsExpired
            && left.acceptsUntrusted == right.acceptsUntrusted && left.deepest == right.deepest
            && (left.trustDomains == nil) == (right.trustDomains == nil)
            && (left.trustDomains ?? []).elementsEqual(right.trustDomains ?? []) { $0 == $1 }
    }
}

/// A server's side of TLS. Source: Envoy, `DownstreamTlsContext`.
public struct DownstreamTLS: Sendable, Equatable {
    public enum TicketKeys: Sendable, Equatable {
        /// The library makes its own.
        case own
        /// No tickets.
        case none
        /// 80 bytes each, the first is used for new tickets.
        case given([GivenBytes])
        case secret(String)
    }

    public let rules: TLSRules
    public let requiresCertificate: Bool
    /// A client that names no server is refused.
    public let requiresServerName: Bool
    public let ticketKeys: TicketKeys
    public let sessionLifetime: Duration?
    public let prefersClientCiphers: Bool

    public init(_ any: ProtobufAny) throws(ConfigurationError) {
        let arena = Arena()
        let message = try FieldAudit.decode(DownstreamTlsContext.self, any, in: arena, .tls).pointee
        let common = try message.common_tls_context.required("common_tls_context")
        rules = try at("common_tls_context") { () throws(ConfigurationError) in try TLSRules(common, in: arena) }
        guard !rules.certificates.isEmpty || !rules.certificateSecrets.isEmpty else {
            throw .invalid(path: "common_tls_context", message: "a server needs a certificate")
        }
        requiresCertificate = message.require_client_certificate.flag ?? false
        requiresServerName = message.require_sni.flag ?? false
        switch message.session_ticket_keys_type {
        case .session_ticket_keys(let keys):
            ticketKeys = .given(
                try keys.pointee.keys_list.read("session_ticket_keys.keys") { (key) throws(ConfigurationError) in
                    try GivenBytes(key.pointee)
                })
        case .session_ticket_keys_sds_secret_config(let config): ticketKeys = .secret(config.pointee.name.string)
        case .disable_stateless_session_resumption(let isOff): ticketKeys = isOff ? .none : .own
        case nil: ticketKeys = .own
        }
        sessionLifetime = try message.session_timeout.duration("session_timeout")
        prefersClientCiphers = message.prefer_client_ciphers != 0
    }

    public var secrets: [String] {
        if case .secret(let name) = ticketKeys { rules.secrets + [name] } else { rules.secrets }
    }
}

/// A client's side of TLS. Source: Envoy, `UpstreamTlsContext`.
public struct UpstreamTLS: Sendable, Equatable {
    public let rules: TLSRules
    /// Empty: none is sent, unless one of the endpoint or of the request is.
    public let serverName: String
    /// The endpoint's host name is sent.
    public let sendsEndpointName: Bool
    /// The certificate has to have the name that is sent.
    public let checksSentName: Bool
    /// Sessions that are kept for resumption; 0: none.
    public let keptSessions: UInt32

    public init(_ any: ProtobufAny) throws(ConfigurationError) {
        let arena = Arena()
        let message = try FieldAudit.decode(UpstreamTlsContext.self, any, in: arena, .tls).pointee
        let common = try message.common_tls_context.required("common_tls_context")
        rules = try at("common_tls_context") { () throws(ConfigurationError) in try TLSRules(common, in: arena) }
        guard rules.certificates.count + rules.certificateSecrets.count <= 1 else {
            throw .invalid(path: "common_tls_context", message: "a client has at most one certificate")
        }
        serverName = message.sni.string
        sendsEndpointName = message.auto_host_sni != 0
        checksSentName = message.auto_sni_san_validation != 0
        keptSessions = message.max_session_keys.number ?? 1
    }
}

/// What stands between a connection's bytes and the socket.
public enum TransportRules: Sendable, Equatable {
    case plain
    case tls(UpstreamTLS)
    /// A PROXY header goes first.
    indirect case proxyHeader(version: Int, TransportRules)

    /// - Parameter any: nil: a transport without settings of its own.
    public init(upstream name: String, _ any: ProtobufAny?) throws(ConfigurationError) {
        guard let any else {
            guard name == "envoy.transport_sockets.raw_buffer" || name.isEmpty else {
                throw .unsupported(path: "", message: "the transport `\(name)` is not supported")
            }
            self = .plain
            return
        }
        switch FieldAudit.typeName(any) {
        case "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer": self = .plain
        case UpstreamTlsContext.descriptor.fullName: self = .tls(try UpstreamTLS(any))
        case ProxyProtocolUpstreamTransport.descriptor.fullName:
            let arena = Arena()
            let message = try FieldAudit.decode(ProxyProtocolUpstreamTransport.self, any, in: arena, Self.fields)
            let inner = try message.pointee.transport_socket.required("transport_socket")
            let version = message.pointee.config.map { $0.pointee.version == .V2 ? 2 : 1 } ?? 1
            self = .proxyHeader(
                version: version,
                try at("transport_socket") { () throws(ConfigurationError) in
                    try TransportRules(upstream: inner.name.string, inner.typed_config?.pointee)
                })
        case let other: throw .unsupported(path: "", message: "the transport `\(other)` is not supported")
        }
    }

    private static let fields =
        SupportedFields.tls
        + SupportedFields([
            "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport":
                "config transport_socket",
            "envoy.config.core.v3.ProxyProtocolConfig": "version",
        ])

    /// Every secret that has to be there before a connection.
    public var secrets: [String] {
        switch self {
        case .plain: []
        case .tls(let tls): tls.rules.secrets
        case .proxyHeader(_, let inner): inner.secrets
        }
    }
}

extension TextMatcher: Equatable {
    public static func == (left: Self, right: Self) -> Bool {
        guard left.text == right.text, left.ignoresCase == right.ignoresCase else { return false }
        switch (left.kind, right.kind) {
        case (.exact, .exact), (.prefix, .prefix), (.suffix, .suffix), (.contains, .contains): return true
        case (.pattern(let one), .pattern(let other)): return one.expression == other.expression
        default: return false
        }
    }
}
