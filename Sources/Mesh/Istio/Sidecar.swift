extension Istio {
    /// What the sidecars of some workloads see and listen on.
    public struct Sidecar: Hashable, Sendable {
        public enum Capture: String, NamedValue {
            case standard = "DEFAULT"
            /// Traffic is redirected to the sidecar.
            case redirect = "IPTABLES"
            /// The application calls the listener itself.
            case none = "NONE"
        }

        public struct Port: Hashable, Sendable {
            public var number: Int
            public var transport: PortProtocol?
            public var name: String
        }

        public struct Ingress: Hashable, Sendable {
            public var port: Port
            public var bind: String?
            public var capture: Capture
            /// `127.0.0.1:80`, `0.0.0.0:80` or `unix:///path`; nil is the same port of the workload.
            public var endpoint: String?
            public var tls: ServerTLS?
            public var connectionPool: ConnectionPool?
        }

        public struct Egress: Hashable, Sendable {
            public var port: Port?
            public var bind: String?
            public var capture: Capture
            /// The services that it leads to.
            public var hosts: [ScopedHost]
        }

        /// Nil: the standard of its namespace, or of the mesh in the root namespace.
        public var workloadSelector: WorkloadSelector?
        /// Empty: as the workload's services say.
        public var ingress: [Ingress]
        /// Empty: everything that is exported to the namespace.
        public var egress: [Egress]
        public var inboundConnectionPool: ConnectionPool?
        /// Nil is the mesh's.
        public var outbound: MeshConfig.Outbound?
        public var egressProxy: Destination?
    }

    /// A change to what is made for proxies, in Envoy's own words. For experts: nothing about it can be checked.
    public struct EnvoyFilter: Hashable, Sendable {
        public var workloadSelector: WorkloadSelector?
        public var targets: [TargetReference]
        public var patches: [Patch]
        /// Lower ones come first.
        public var priority: Int
    }
}

extension Istio.Sidecar: ObjectPart {
    private struct OutboundPolicy: ObjectPart {
        var mode: MeshConfig.Outbound
        var proxy: Istio.Destination?

        init(_ fields: inout ObjectFields) {
            mode = fields.value("mode", default: .registryOnly)
            proxy = fields.optional("egressProxy")
        }
    }

    init(_ fields: inout ObjectFields) {
        workloadSelector = fields.networkingSelector("workloadSelector")
        ingress = fields.list("ingress")
        egress = fields.list("egress")
        inboundConnectionPool = fields.optional("inboundConnectionPool")
        let policy: OutboundPolicy? = fields.optional("outboundTrafficPolicy")
        (outbound, egressProxy) = (policy?.mode, policy?.proxy)
        if workloadSelector == nil, fields.has("ingress") {
            fields.contradict(
                "ingress", "listeners of its own need a `workloadSelector`", mend: "add one, or remove `ingress`")
        }
        for (index, listener) in ingress.enumerated() {
            guard ingress[..<index].contains(where: { $0.port.number == listener.port.number }) else { continue }
            fields.place.field("ingress").index(index).field("port").fail(
                .contradiction, at: fields.position(of: "ingress", index, "port"),
                "there is another listener on port \(listener.port.number)", mend: "keep one of them")
        }
        let catchAll = egress.indices.filter { egress[$0].port == nil }
        if let last = catchAll.dropFirst().first {
            fields.place.field("egress").index(last).fail(
                .contradiction, at: fields.position(of: "egress", last), "there is another listener without a port",
                mend: "merge their hosts")
        } else if let only = catchAll.first, only != egress.count - 1 {
            fields.place.field("egress").index(only).fail(
                .contradiction, at: fields.position(of: "egress", only), "a listener without a port comes last",
                mend: "move it to the end")
        }
    }
}

extension Istio.Sidecar.Port: ObjectPart {
    init(_ fields: inout ObjectFields) {
        number = fields.int("number", 0...65_535) ?? 0
        let word: String? = fields.optional("protocol")
        transport = word.flatMap { PortProtocol(word: $0) }
        fields.check(
            word == nil || transport != nil, "protocol",
            "`\((word ?? "").prefix(40))` is no protocol that a mesh knows",
            mend: "write HTTP, HTTPS, GRPC, HTTP2, MONGO, TCP or TLS")
        name = fields.value("name", default: "")
        _ = fields.port("targetPort")
    }
}

extension Istio.Sidecar.Ingress: ObjectPart {
    init(_ fields: inout ObjectFields) {
        port = fields.required("port", Istio.Sidecar.Port(number: 0, name: ""))
        if fields.has("port") { fields.check(port.number > 0, "port", "it has no number", mend: "add `number:`") }
        bind = fields.text("bind", Istio.Server.bindAddress)
        capture = fields.value("captureMode", default: .standard)
        endpoint = fields.text("defaultEndpoint", Self.endpointRule)
        tls = fields.optional("tls")
        connectionPool = fields.optional("connectionPool")
    }

    private static let endpointRule = TextRule(mend: "write 127.0.0.1:PORT, 0.0.0.0:PORT or unix:///PATH") { text in
        if text.hasPrefix("unix://") { return text.utf8.count > 7 ? nil : "a path is missing" }
        let host = text.prefix { $0 != ":" && $0 != "[" }
        guard let colon = text.lastIndex(of: ":"), let port = Int(text[text.index(after: colon)...]),
            (1...65_535).contains(port)
        else { return "`\(text.prefix(60))` has no port" }
        let isLoopback = host.hasPrefix("127.") || ["[::1]", "[::]"].contains(text[..<colon]) || host == "0.0.0.0"
        return isLoopback ? nil : "`\(text.prefix(60))` is not on the workload itself"
    }
}

extension Istio.Sidecar.Egress: ObjectPart {
    init(_ fields: inout ObjectFields) {
        port = fields.optional("port")
        bind = fields.text("bind", Istio.Server.bindAddress)
        capture = fields.value("captureMode", default: .standard)
        hosts = fields.texts("hosts", Self.hostRule, atLeastOne: true).map { text in
            let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            return Istio.ScopedHost(namespace: parts.first ?? "*", host: parts.last ?? "*")
        }
        if bind != nil, port == nil {
            fields.contradict("bind", "an address needs a port", mend: "add `port:`")
        }
    }

    private static let hostRule = TextRule(mend: "write NAMESPACE/HOST; NAMESPACE may be *, . or ~, HOST may be *") {
        $0.contains("/") ? TextRule.scopedHostPattern.fault($0) : "`\($0.prefix(60))` names no namespace"
    }
}
