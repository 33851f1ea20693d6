import Addresses

extension Istio {
    /// Ports that gateway workloads open.
    public struct Gateway: Hashable, Sendable {
        public var servers: [Server]
        /// Labels of the gateway's workloads.
        public var selector: [String: String]
    }

    public struct Server: Hashable, Sendable {
        public enum Transport: String, NamedValue {
            case http = "HTTP"
            case https = "HTTPS"
            case http2 = "HTTP2"
            case grpc = "GRPC"
            case grpcWeb = "GRPC-WEB"
            case mongo = "MONGO"
            case tcp = "TCP"
            case tls = "TLS"

            public var isHTTP: Bool {
                switch self {
                case .http, .http2, .grpc, .grpcWeb: true
                case .https, .mongo, .tcp, .tls: false
                }
            }
        }

        public struct Port: Hashable, Sendable {
            public var number: Int
            public var transport: Transport
            public var name: String
        }

        public var name: String
        public var port: Port
        /// An address or `unix://` path; nil is all addresses.
        public var bind: String?
        public var hosts: [ScopedHost]
        public var tls: ServerTLS?
    }

    /// A host, and whose objects may claim it.
    public struct ScopedHost: Hashable, Sendable {
        /// `*`, `.` (the object's own), `~` (none) or a name.
        public var namespace: String
        public var host: String

        public init(namespace: String, host: String) {
            self.namespace = namespace
            self.host = host
        }
    }

    public struct ServerTLS: Hashable, Sendable {
        public enum Mode: String, NamedValue {
            case passthrough = "PASSTHROUGH"
            case simple = "SIMPLE"
            case mutual = "MUTUAL"
            case autoPassthrough = "AUTO_PASSTHROUGH"
            case istioMutual = "ISTIO_MUTUAL"
            case optionalMutual = "OPTIONAL_MUTUAL"

            /// Whether the gateway ends the client's TLS.
            public var terminates: Bool { self != .passthrough && self != .autoPassthrough }
        }

        public enum Version: String, NamedValue {
            case auto = "TLS_AUTO"
            case tls10 = "TLSV1_0"
            case tls11 = "TLSV1_1"
            case tls12 = "TLSV1_2"
            case tls13 = "TLSV1_3"
        }

        /// Paths on the proxy's machine.
        public struct Files: Hashable, Sendable {
            public var certificate: String
            public var privateKey: String
            public var caCertificates: String?
        }

        public var redirectsToHTTPS: Bool
        public var mode: Mode
        public var files: [Files]
        public var caCertificates: String?
        public var crl: String?
        /// Secrets in the gateway workload's namespace.
        public var credentialNames: [String]
        public var caCredentialName: String?
        public var subjectAltNames: [String]
        public var minVersion: Version
        public var maxVersion: Version
        public var cipherSuites: [String]
        public var skipsVerification: Bool
    }
}

extension Istio.Gateway: ObjectPart {
    init(_ fields: inout ObjectFields) {
        servers = fields.list("servers", atLeastOne: true)
        selector = fields.map("selector", keys: .labelKey, values: .labelValue)
        for (index, server) in servers.enumerated() where !server.name.isEmpty {
            guard servers[..<index].contains(where: { $0.name == server.name }) else { continue }
            fields.place.field("servers").index(index).field("name").fail(
                .duplicateName, at: fields.position(of: "servers", index, "name"),
                "there is another server `\(server.name)`",
                mend: "give each its own name")
        }
        for (index, server) in servers.enumerated() {
            let port = server.port
            guard
                let other = servers[..<index].first(where: { $0.port.number == port.number && $0.bind == server.bind }),
                other.port.transport.isHTTP != port.transport.isHTTP
            else { continue }
            fields.place.field("servers").index(index).field("port").fail(
                .contradiction, at: fields.position(of: "servers", index, "port"),
                "port \(port.number) is \(other.port.transport.rawValue) above and \(port.transport.rawValue) here",
                mend: "give one of them another port")
        }
    }
}

extension Istio.Server: ObjectPart {
    init(_ fields: inout ObjectFields) {
        name = fields.value("name", default: "")
        port = fields.required("port", Port(number: 1, transport: .http, name: ""))
        bind = fields.text("bind", Self.bindAddress)
        hosts = fields.scopedHosts("hosts")
        tls = fields.optional("tls")
        let _: String? = fields.optional("defaultEndpoint")
        guard fields.has("port"), fields.place.log.hasRoom else { return }
        switch port.transport {
        case .https, .tls:
            if !fields.has("tls") { fields.failMissing("tls") }
            if tls?.redirectsToHTTPS == true {
                fields.contradict(
                    "tls", "`httpsRedirect` is for HTTP servers", mend: "move it to the server of port 80")
            }
        case .http, .http2, .grpc, .grpcWeb:
            if let tls, !tls.redirectsToHTTPS, fields.has("tls") {
                fields.contradict(
                    "tls", "a server of \(port.transport.rawValue) has no TLS", mend: "write protocol: HTTPS")
            }
        case .tcp, .mongo: break
        }
    }

    static let bindAddress = TextRule(mend: "write an address, or unix:// and a path") {
        IPAddress($0) != nil || $0.hasPrefix("unix://") ? nil : "`\($0.prefix(60))` is no address"
    }
}

extension ObjectFields {
    /// `NAMESPACE/HOST` or `HOST`, at least one.
    mutating func scopedHosts(_ name: String) -> [Istio.ScopedHost] {
        texts(name, .scopedHostPattern, atLeastOne: true).map { text in
            let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            return Istio.ScopedHost(namespace: parts.count == 2 ? parts[0] : "*", host: parts.last ?? "")
        }
    }
}

extension Istio.Server.Port: ObjectPart {
    init(_ fields: inout ObjectFields) {
        number = fields.requiredPort("number")
        transport = fields.required("protocol", .http)
        name = fields.value("name", default: "")
        _ = fields.port("targetPort")
    }
}

extension Istio.ServerTLS.Files: ObjectPart {
    init(_ fields: inout ObjectFields) {
        certificate = fields.requiredText("serverCertificate")
        privateKey = fields.requiredText("privateKey")
        caCertificates = fields.text("caCertificates", .notEmpty)
    }
}

extension Istio.ServerTLS: ObjectPart {
    init(_ fields: inout ObjectFields) {
        redirectsToHTTPS = fields.value("httpsRedirect", default: false)
        mode = fields.value("mode", default: .passthrough)
        let certificate = fields.text("serverCertificate", .notEmpty)
        let key = fields.text("privateKey", .notEmpty)
        caCertificates = fields.text("caCertificates", .notEmpty)
        crl = fields.text("caCrl", .notEmpty)
        let credential = fields.text("credentialName", .notEmpty)
        credentialNames = fields.texts("credentialNames", .notEmpty) + [credential].compactMap { $0 }
        caCredentialName = fields.text("caCertCredentialName", .notEmpty)
        files = fields.list("tlsCertificates")
        if let certificate, let key { files.insert(Files(certificate: certificate, privateKey: key), at: 0) }
        subjectAltNames = fields.texts("subjectAltNames", .notEmpty)
        _ = fields.texts("verifyCertificateSpki", .notEmpty)
        _ = fields.texts("verifyCertificateHash", .notEmpty)
        minVersion = fields.value("minProtocolVersion", default: .auto)
        maxVersion = fields.value("maxProtocolVersion", default: .auto)
        cipherSuites = fields.texts("cipherSuites", .notEmpty)
        skipsVerification = fields.value("insecureSkipVerify", default: false)
        checkCertificates(fields, certificate, key)
        let order = Version.allCases
        if minVersion != .auto, maxVersion != .auto, let least = order.firstIndex(of: minVersion),
            let most = order.firstIndex(of: maxVersion), least > most
        {
            fields.contradict("maxProtocolVersion", "it is below minProtocolVersion", mend: "raise it")
        }
    }

    private func checkCertificates(_ fields: ObjectFields, _ certificate: String?, _ key: String?) {
        fields.atMostOne("credentialName", "credentialNames")
        let ways = ["serverCertificate", "credentialName", "credentialNames", "tlsCertificates"]
        switch mode {
        case .simple, .mutual, .optionalMutual:
            if (certificate == nil) != (key == nil) {
                fields.failMissing(certificate == nil ? "serverCertificate" : "privateKey")
            }
            if !ways.contains(where: fields.has), key == nil {
                fields.place.fail(
                    .missingField, at: fields.position, "\(mode.rawValue) has no certificate",
                    mend: "add `credentialName`, the name of a Secret")
            }
            if mode == .mutual, credentialNames.isEmpty, caCertificates == nil, caCredentialName == nil,
                !files.contains(where: { $0.caCertificates != nil })
            {
                fields.failMissing("caCertificates")
            }
        case .passthrough, .autoPassthrough, .istioMutual:
            for name in ways where fields.has(name) {
                fields.contradict(
                    name,
                    mode == .istioMutual
                        ? "ISTIO_MUTUAL uses the mesh's certificates" : "\(mode.rawValue) leaves TLS to the workload",
                    mend: "remove it, or write SIMPLE")
            }
        }
    }
}
