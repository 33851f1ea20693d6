extension Istio {
    /// How a client treats a host: versions, load balancing, limits, TLS.
    public struct DestinationRule: Hashable, Sendable {
        public var host: String
        public var trafficPolicy: TrafficPolicy?
        public var subsets: [Subset]
        public var exportTo: [String]
        /// The clients that it is for; nil means all.
        public var workloadSelector: WorkloadSelector?
    }

    public struct Subset: Hashable, Sendable {
        public var name: String
        public var labels: [String: String]
        /// Each part of it takes the place of the rule's.
        public var trafficPolicy: TrafficPolicy?
    }

    public struct TrafficPolicy: Hashable, Sendable {
        public struct ForPort: Hashable, Sendable {
            public var port: Int
            public var loadBalancer: LoadBalancer?
            public var connectionPool: ConnectionPool?
            public var outlierDetection: OutlierDetection?
            public var tls: ClientTLS?
        }

        public struct RetryBudget: Hashable, Sendable {
            /// Of the requests under way; nil is 20.
            public var percent: Double?
            public var minRetryConcurrency: Int?
            public var interval: Duration?
        }

        public enum ProxyProtocol: String, NamedValue {
            case v1 = "V1"
            case v2 = "V2"
        }

        public var loadBalancer: LoadBalancer?
        public var connectionPool: ConnectionPool?
        public var outlierDetection: OutlierDetection?
        public var tls: ClientTLS?
        public var ports: [ForPort]
        public var proxyProtocol: ProxyProtocol?
        public var retryBudget: RetryBudget?
    }

    public struct ClientTLS: Hashable, Sendable {
        public enum Mode: String, NamedValue {
            case disable = "DISABLE"
            case simple = "SIMPLE"
            case mutual = "MUTUAL"
            /// With the certificates of the mesh.
            case istioMutual = "ISTIO_MUTUAL"
        }

        public var mode: Mode
        /// Paths on the proxy's machine.
        public var clientCertificate: String?
        public var privateKey: String?
        public var caCertificates: String?
        public var crl: String?
        /// A Secret; for gateways, and for sidecars with a selector.
        public var credentialName: String?
        public var subjectAltNames: [String]
        public var sni: String?
        public var skipsVerification: Bool
    }

    public struct OutlierDetection: Hashable, Sendable {
        /// 0 switches it off; nil is 5 for 5xx where nothing else is written.
        public var consecutive5xx: Int?
        public var consecutiveGatewayErrors: Int?
        public var consecutiveLocalOriginFailures: Int?
        public var splitsLocalOriginErrors: Bool
        /// Status codes that count as errors; empty is Envoy's own.
        public var errorCodes: [Int]
        public var interval: Duration?
        public var baseEjectionTime: Duration?
        public var maxEjectionPercent: Int?
        public var minHealthPercent: Int?
    }

    public struct ConnectionPool: Hashable, Sendable {
        public struct Keepalive: Hashable, Sendable {
            public var probes: Int?
            public var time: Duration?
            public var interval: Duration?
        }

        public enum Upgrade: String, NamedValue {
            case standard = "DEFAULT"
            case never = "DO_NOT_UPGRADE"
            case always = "UPGRADE"
        }

        public struct TCP: Hashable, Sendable {
            public var maxConnections: Int?
            public var connectTimeout: Duration?
            public var keepalive: Keepalive?
            public var maxConnectionDuration: Duration?
            public var idleTimeout: Duration?
        }

        public struct HTTP: Hashable, Sendable {
            public var maxPendingRequests: Int?
            public var maxRequests: Int?
            public var maxRequestsPerConnection: Int?
            public var maxRetries: Int?
            public var idleTimeout: Duration?
            public var upgrade: Upgrade
            public var usesClientProtocol: Bool
            public var maxConcurrentStreams: Int?
            public var keepaliveInterval: Duration?
            public var keepaliveTimeout: Duration?
        }

        public var tcp: TCP?
        public var http: HTTP?
    }
}

extension Istio.DestinationRule: ObjectPart {
    init(_ fields: inout ObjectFields) {
        host = fields.requiredText("host", .hostPattern)
        trafficPolicy = fields.optional("trafficPolicy")
        subsets = fields.list("subsets")
        exportTo = fields.texts("exportTo", .exportTarget)
        workloadSelector = fields.optional("workloadSelector")
        for (index, subset) in subsets.enumerated() where subsets[..<index].contains(where: { $0.name == subset.name })
        {
            fields.place.field("subsets").index(index).field("name").fail(
                .duplicateName, at: fields.position(of: "subsets", index, "name"),
                "there is another subset `\(subset.name)`",
                mend: "give each its own name")
        }
    }
}

extension Istio.Subset: ObjectPart {
    init(_ fields: inout ObjectFields) {
        name = fields.requiredText("name", .label)
        labels = fields.map("labels", keys: .labelKey, values: .labelValue)
        trafficPolicy = fields.optional("trafficPolicy")
    }
}

/// Read so that a misspelt field is found; no tunnel is made.
private struct Tunnel: ObjectPart {
    init(_ fields: inout ObjectFields) {
        let _: String? = fields.optional("protocol")
        _ = fields.requiredText("targetHost", .host)
        _ = fields.requiredPort("targetPort")
    }
}

extension Istio.TrafficPolicy: ObjectPart {
    private struct Version: ObjectPart {
        var version: ProxyProtocol

        init(_ fields: inout ObjectFields) { version = fields.value("version", default: .v1) }
    }

    init(_ fields: inout ObjectFields) {
        loadBalancer = fields.optional("loadBalancer")
        connectionPool = fields.optional("connectionPool")
        outlierDetection = fields.optional("outlierDetection")
        tls = fields.optional("tls")
        ports = fields.list("portLevelSettings")
        let _: Tunnel? = fields.optional("tunnel")
        let version: Version? = fields.optional("proxyProtocol")
        proxyProtocol = version?.version
        retryBudget = fields.optional("retryBudget")
        for (index, settings) in ports.enumerated() where ports[..<index].contains(where: { $0.port == settings.port })
        {
            fields.place.field("portLevelSettings").index(index).fail(
                .contradiction, at: fields.position(of: "portLevelSettings", index),
                "there are other settings for port \(settings.port)", mend: "keep one of them")
        }
    }
}

extension Istio.TrafficPolicy.ForPort: ObjectPart {
    init(_ fields: inout ObjectFields) {
        let selector: PortSelector? = fields.optional("port")
        if !fields.has("port") { fields.failMissing("port") }
        port = selector?.number ?? 0
        loadBalancer = fields.optional("loadBalancer")
        connectionPool = fields.optional("connectionPool")
        outlierDetection = fields.optional("outlierDetection")
        tls = fields.optional("tls")
    }
}

extension Istio.TrafficPolicy.RetryBudget: ObjectPart {
    init(_ fields: inout ObjectFields) {
        percent = fields.number("percent", 0...100)
        minRetryConcurrency = fields.int("minRetryConcurrency", 0...Int(UInt32.max))
        interval = fields.duration("budgetInterval")
    }
}

extension Istio.ClientTLS: ObjectPart {
    init(_ fields: inout ObjectFields) {
        mode = fields.value("mode", default: .disable)
        clientCertificate = fields.text("clientCertificate", .notEmpty)
        privateKey = fields.text("privateKey", .notEmpty)
        caCertificates = fields.text("caCertificates", .notEmpty)
        crl = fields.text("caCrl", .notEmpty)
        credentialName = fields.text("credentialName", .notEmpty)
        subjectAltNames = fields.texts("subjectAltNames", .notEmpty)
        sni = fields.text("sni", .notEmpty)
        skipsVerification = fields.value("insecureSkipVerify", default: false)
        let own = ["clientCertificate", "privateKey", "caCertificates", "credentialName", "caCrl"]
        switch mode {
        case .istioMutual:
            for name in own where fields.has(name) {
                fields.contradict(name, "ISTIO_MUTUAL uses the mesh's certificates", mend: "remove it, or write MUTUAL")
            }
        case .mutual:
            if fields.has("credentialName") {
                for name in own.prefix(3) where fields.has(name) {
                    fields.contradict(name, "`credentialName` says where they are", mend: "keep one of the two")
                }
            } else {
                for name in own.prefix(2) where !fields.has(name) { fields.failMissing(name) }
            }
        case .simple:
            for name in own.prefix(2) where fields.has(name) {
                fields.contradict(name, "SIMPLE presents no certificate", mend: "remove it, or write MUTUAL")
            }
        case .disable: break
        }
    }
}

extension Istio.OutlierDetection: ObjectPart {
    init(_ fields: inout ObjectFields) {
        let limit = 0...Int(UInt32.max)
        let old = fields.int("consecutiveErrors", 0...Int(Int32.max))
        consecutive5xx = fields.int("consecutive5xxErrors", limit)
        consecutiveGatewayErrors = fields.int("consecutiveGatewayErrors", limit) ?? old
        consecutiveLocalOriginFailures = fields.int("consecutiveLocalOriginFailures", limit)
        splitsLocalOriginErrors = fields.value("splitExternalLocalOriginErrors", default: false)
        errorCodes = fields.list("outlierDetectionHttpErrorCodes")
        fields.check(
            errorCodes.allSatisfy { (100...599).contains($0) }, "outlierDetectionHttpErrorCodes",
            "a code that is no status of HTTP", mend: "write 100 to 599")
        interval = fields.duration("interval", least: .milliseconds(1))
        baseEjectionTime = fields.duration("baseEjectionTime", least: .milliseconds(1))
        maxEjectionPercent = fields.int("maxEjectionPercent", 0...100)
        minHealthPercent = fields.int("minHealthPercent", 0...100)
    }
}

extension Istio.ConnectionPool: ObjectPart {
    init(_ fields: inout ObjectFields) {
        tcp = fields.optional("tcp")
        http = fields.optional("http")
    }
}

extension Istio.ConnectionPool.TCP: ObjectPart {
    init(_ fields: inout ObjectFields) {
        maxConnections = fields.int("maxConnections", 0...Int(Int32.max))
        connectTimeout = fields.duration("connectTimeout", least: .milliseconds(1))
        keepalive = fields.optional("tcpKeepalive")
        maxConnectionDuration = fields.duration("maxConnectionDuration", least: .milliseconds(1))
        idleTimeout = fields.duration("idleTimeout")
    }
}

extension Istio.ConnectionPool.Keepalive: ObjectPart {
    init(_ fields: inout ObjectFields) {
        probes = fields.int("probes", 0...Int(UInt32.max))
        time = fields.duration("time", least: .seconds(1))
        interval = fields.duration("interval", least: .seconds(1))
    }
}

extension Istio.ConnectionPool.HTTP: ObjectPart {
    private struct Keepalive: ObjectPart {
        var interval: Duration?
        var timeout: Duration?

        init(_ fields: inout ObjectFields) {
            interval = fields.duration("interval", least: .milliseconds(1))
            timeout = fields.duration("timeout", least: .milliseconds(1))
        }
    }

    init(_ fields: inout ObjectFields) {
        let limit = 0...Int(Int32.max)
        maxPendingRequests = fields.int("http1MaxPendingRequests", limit)
        maxRequests = fields.int("http2MaxRequests", limit)
        maxRequestsPerConnection = fields.int("maxRequestsPerConnection", limit)
        maxRetries = fields.int("maxRetries", limit)
        idleTimeout = fields.duration("idleTimeout")
        upgrade = fields.value("h2UpgradePolicy", default: .standard)
        usesClientProtocol = fields.value("useClientProtocol", default: false)
        maxConcurrentStreams = fields.int("maxConcurrentStreams", limit)
        let keepalive: Keepalive? = fields.optional("http2KeepAlive")
        (keepaliveInterval, keepaliveTimeout) = (keepalive?.interval, keepalive?.timeout)
        if usesClientProtocol, upgrade == .always {
            fields.contradict("useClientProtocol", "`h2UpgradePolicy` is UPGRADE", mend: "keep one of the two")
        }
    }
}
