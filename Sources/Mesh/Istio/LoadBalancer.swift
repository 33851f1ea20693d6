extension Istio {
    public struct LoadBalancer: Hashable, Sendable {
        public enum Simple: String, NamedValue {
            case unspecified = "UNSPECIFIED"
            case leastConnections = "LEAST_CONN"
            case random = "RANDOM"
            case passthrough = "PASSTHROUGH"
            case roundRobin = "ROUND_ROBIN"
            case leastRequest = "LEAST_REQUEST"
        }

        public enum Policy: Hashable, Sendable {
            case simple(Simple)
            case consistentHash(ConsistentHash)
        }

        public struct Warmup: Hashable, Sendable {
            public var duration: Duration
            /// Of the full weight, to begin with; nil is 10.
            public var minimumPercent: Double?
            public var aggression: Double?
        }

        /// Nil is the mesh's standard, least request.
        public var policy: Policy?
        public var locality: Locality?
        public var warmup: Warmup?
    }

    public struct ConsistentHash: Hashable, Sendable {
        public enum Key: Hashable, Sendable {
            case header(String)
            case cookie(Cookie)
            case sourceAddress
            case queryParameter(String)
        }

        public struct Cookie: Hashable, Sendable {
            public struct Attribute: Hashable, Sendable {
                public var name: String
                public var value: String?
            }

            public var name: String
            public var path: String?
            /// Nil leaves it to the client to set one; zero makes a session cookie.
            public var ttl: Duration?
            public var attributes: [Attribute]
        }

        public enum Algorithm: Hashable, Sendable {
            case ringHash(minimumSize: Int?)
            case maglev(tableSize: Int?)
        }

        public var key: Key
        public var algorithm: Algorithm
    }

    public struct Locality: Hashable, Sendable {
        public struct Distribution: Hashable, Sendable {
            /// `region/zone/sub-zone`, the later parts may be `*`.
            public var from: String
            /// Percent by locality; they sum to 100.
            public var to: [String: Int]
        }

        public struct Failover: Hashable, Sendable {
            public var from: String
            public var to: String
        }

        public var isEnabled: Bool?
        public var distribute: [Distribution]
        public var failover: [Failover]
        /// Labels: endpoints that share the first of them with the client come first.
        public var failoverPriority: [String]
        /// Zone-aware routing rather than by locality alone, from so many endpoints on.
        public var isZoneAware: Bool
        public var minClusterSize: Int?
    }
}

extension Istio.LoadBalancer: ObjectPart {
    init(_ fields: inout ObjectFields) {
        let simple: Simple? = fields.optional("simple")
        let hash: Istio.ConsistentHash? = fields.optional("consistentHash")
        fields.atMostOne("simple", "consistentHash")
        policy = hash.map { .consistentHash($0) } ?? simple.map { .simple($0) }
        let byLocality: Istio.Locality? = fields.optional("localityLbSetting")
        let byZone: ZoneAware? = fields.optional("zoneAwareLbSetting")
        fields.atMostOne("localityLbSetting", "zoneAwareLbSetting")
        locality = byZone?.locality ?? byLocality
        let old = fields.duration("warmupDurationSecs", least: .seconds(1))
        warmup = fields.optional("warmup") ?? old.map { Warmup(duration: $0) }
        fields.atMostOne("warmupDurationSecs", "warmup")
        if warmup != nil, case .consistentHash = policy {
            fields.contradict(
                fields.has("warmup") ? "warmup" : "warmupDurationSecs", "a consistent hash has no warm-up",
                mend: "remove it, or write `simple`")
        }
    }
}

extension Istio.LoadBalancer.Warmup: ObjectPart {
    init(_ fields: inout ObjectFields) {
        duration = fields.duration("duration", least: .seconds(1)) ?? .zero
        if !fields.has("duration") { fields.failMissing("duration") }
        minimumPercent = fields.number("minimumPercent", 0...100)
        aggression = fields.number("aggression", 1...1000)
    }
}

extension Istio.ConsistentHash: ObjectPart {
    private struct Size: ObjectPart {
        var ring: Int?
        var table: Int?

        init(_ fields: inout ObjectFields) {
            ring = fields.int("minimumRingSize", 0...8_388_608)
            table = fields.int("tableSize", 2...5_000_011)
        }
    }

    init(_ fields: inout ObjectFields) {
        let header = fields.text("httpHeaderName", .headerOrPseudo)
        let cookie: Cookie? = fields.optional("httpCookie")
        let usesSource: Bool? = fields.optional("useSourceIp")
        let parameter = fields.text("httpQueryParameterName", .notEmpty)
        fields.exactlyOne("httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName")
        fields.check(usesSource != false, "useSourceIp", "false says nothing", mend: "write true, or another key")
        key =
            header.map { .header($0) } ?? cookie.map { .cookie($0) } ?? parameter.map { .queryParameter($0) }
            ?? .sourceAddress
        let ring: Size? = fields.optional("ringHash")
        let maglev: Size? = fields.optional("maglev")
        let old = fields.int("minimumRingSize", 0...8_388_608)
        fields.atMostOne("ringHash", "maglev")
        fields.atMostOne("ringHash", "minimumRingSize")
        if ring?.table != nil {
            fields.fail(.unknownField, "ringHash", "a ring has no `tableSize`", mend: "write `maglev`")
        }
        if maglev?.ring != nil {
            fields.fail(.unknownField, "maglev", "Maglev has no `minimumRingSize`", mend: "write `tableSize`")
        }
        algorithm = maglev.map { .maglev(tableSize: $0.table) } ?? .ringHash(minimumSize: ring?.ring ?? old)
    }
}

extension Istio.ConsistentHash.Cookie: ObjectPart {
    init(_ fields: inout ObjectFields) {
        name = fields.requiredText("name", .headerName)
        path = fields.text("path", .path)
        ttl = fields.duration("ttl")
        attributes = fields.list("attributes")
    }
}

extension Istio.ConsistentHash.Cookie.Attribute: ObjectPart {
    init(_ fields: inout ObjectFields) {
        name = fields.requiredText("name", .headerName)
        value = fields.optional("value")
    }
}

private struct ZoneAware: ObjectPart {
    var locality: Istio.Locality

    init(_ fields: inout ObjectFields) {
        locality = Istio.Locality(
            isEnabled: fields.optional("enabled"), distribute: [], failover: fields.list("failover"),
            failoverPriority: fields.list("failoverPriority"), isZoneAware: true,
            minClusterSize: fields.int("minClusterSize", 0...Int.max))
    }
}

extension Istio.Locality: ObjectPart {
    init(_ fields: inout ObjectFields) {
        isEnabled = fields.optional("enabled")
        distribute = fields.list("distribute")
        failover = fields.list("failover")
        failoverPriority = fields.texts("failoverPriority", .notEmpty)
        (isZoneAware, minClusterSize) = (false, nil)
        fields.atMostOne("distribute", "failover")
        fields.atMostOne("distribute", "failoverPriority")
    }
}

extension Istio.Locality.Distribution: ObjectPart {
    init(_ fields: inout ObjectFields) {
        from = fields.requiredText("from")
        to = fields.required("to", [:])
        let sum = to.values.reduce(0) { $0.addingReportingOverflow($1).partialValue }
        fields.check(
            to.values.allSatisfy { (1...100).contains($0) } && sum == 100, "to", "the shares sum to \(sum)",
            mend: "write shares from 1 that sum to 100")
    }
}

extension Istio.Locality.Failover: ObjectPart {
    init(_ fields: inout ObjectFields) {
        from = fields.requiredText("from")
        to = fields.requiredText("to")
        if fields.has("from"), fields.has("to") {
            fields.check(from != to, "to", "it is where the traffic comes from", mend: "write another locality")
        }
    }
}
