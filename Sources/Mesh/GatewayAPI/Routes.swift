extension GatewayAPI {
    public struct HTTPRoute: Hashable, Sendable {
        public var parents: [ParentReference]
        /// Empty: all that the parents take.
        public var hostnames: [String]
        public var rules: [HTTPRule]
    }

    public struct HTTPRule: Hashable, Sendable {
        public var name: String?
        /// Any of them; a rule without matches has one for every path.
        public var matches: [HTTPMatch]
        public var filters: [RouteFilter]
        public var backends: [BackendReference]
        public var timeout: Duration?
        public var backendTimeout: Duration?
        public var retry: Retry?
        public var persistence: SessionPersistence?
    }

    public struct Retry: Hashable, Sendable {
        public var codes: [Int]
        public var attempts: Int?
        public var backoff: Duration?
    }

    public struct GRPCRoute: Hashable, Sendable {
        public var parents: [ParentReference]
        public var hostnames: [String]
        public var rules: [GRPCRule]
    }

    public struct GRPCRule: Hashable, Sendable {
        public var name: String?
        public var matches: [GRPCMatch]
        public var filters: [RouteFilter]
        public var backends: [BackendReference]
        public var persistence: SessionPersistence?
    }

    /// A TLSRoute or a TCPRoute: connections, not requests.
    public struct StreamRoute: Hashable, Sendable {
        public var parents: [ParentReference]
        /// Server names; a TCPRoute has none.
        public var hostnames: [String]
        public var rules: [StreamRule]
    }

    public struct StreamRule: Hashable, Sendable {
        public var name: String?
        public var backends: [BackendReference]
    }
}

extension ObjectFields {
    fileprivate mutating func parents() -> [GatewayAPI.ParentReference] {
        let parents: [GatewayAPI.ParentReference] = list("parentRefs")
        limit("parentRefs", parents.count, 32)
        for (index, parent) in parents.enumerated() where parents[..<index].contains(parent) {
            place.field("parentRefs").index(index).fail(
                .contradiction, at: position(of: "parentRefs", index), "this parent is there twice",
                mend: "keep one of them")
        }
        let _: String? = optional("useDefaultGateways")
        return parents
    }

    fileprivate mutating func hostnames() -> [String] {
        let names = texts("hostnames", .gatewayHostname)
        limit("hostnames", names.count, 16)
        return names.map { $0.lowercased() }
    }

    /// Source: the limits of the Gateway API's own schema.
    fileprivate func limit(_ name: String, _ count: Int, _ limit: Int) {
        if count > limit {
            fail(.tooMuch, name, "\(count) elements, \(limit) are allowed", mend: "split the route into several")
        }
    }

    /// Rules of a list, each with a name of its own if it has one.
    fileprivate mutating func rules<R: ObjectPart>(_ name: (R) -> String?) -> [R] {
        let rules: [R] = list("rules")
        limit("rules", rules.count, 16)
        let names = rules.map(name)
        for (index, name) in names.enumerated() where name != nil && names[..<index].contains(name) {
            place.field("rules").index(index).field("name").fail(
                .duplicateName, at: position(of: "rules", index, "name"), "there is another rule `\(name ?? "")`",
                mend: "give each its own name")
        }
        return rules
    }

    fileprivate mutating func backends() -> [GatewayAPI.BackendReference] {
        let backends: [GatewayAPI.BackendReference] = list("backendRefs")
        limit("backendRefs", backends.count, 16)
        return backends
    }
}

extension GatewayAPI.HTTPRoute: ObjectPart {
    init(_ fields: inout ObjectFields) {
        parents = fields.parents()
        hostnames = fields.hostnames()
        rules = fields.rules(\GatewayAPI.HTTPRule.name)
        if rules.isEmpty, !fields.has("rules") { rules = [GatewayAPI.HTTPRule.everything] }
    }
}

extension GatewayAPI.HTTPRule: ObjectPart {
    private struct Timeouts: ObjectPart {
        var request: Duration?
        var backend: Duration?
        init(_ fields: inout ObjectFields) {
            request = fields.duration("request", .gatewayAPI)
            backend = fields.duration("backendRequest", .gatewayAPI)
            if let request, let backend, request != .zero, backend > request {
                fields.contradict("backendRequest", "it is longer than `request`", mend: "shorten it")
            }
        }
    }

    static let everything = GatewayAPI.HTTPRule(matches: [.everything], filters: [], backends: [])

    init(_ fields: inout ObjectFields) {
        name = fields.text("name", .subdomain)
        matches = fields.list("matches")
        fields.limit("matches", matches.count, 64)
        if matches.isEmpty { matches = [.everything] }
        filters = fields.list("filters")
        GatewayAPI.checkFilters(filters, matches, fields)
        backends = fields.backends()
        let timeouts: Timeouts? = fields.optional("timeouts")
        (timeout, backendTimeout) = (timeouts?.request, timeouts?.backend)
        retry = fields.optional("retry")
        persistence = fields.optional("sessionPersistence")
        if !backends.isEmpty, filters.contains(where: \.isRedirect) {
            fields.contradict("backendRefs", "the rule redirects", mend: "remove them, or the redirect")
        }
    }
}

extension GatewayAPI.Retry: ObjectPart {
    init(_ fields: inout ObjectFields) {
        codes = fields.list("codes")
        fields.check(
            codes.allSatisfy { (400...599).contains($0) }, "codes", "a code that is no error", mend: "write 400 to 599")
        attempts = fields.int("attempts", 0...1000)
        backoff = fields.duration("backoff", .gatewayAPI)
    }
}

extension GatewayAPI.GRPCRoute: ObjectPart {
    init(_ fields: inout ObjectFields) {
        parents = fields.parents()
        hostnames = fields.hostnames()
        rules = fields.rules(\GatewayAPI.GRPCRule.name)
    }
}

extension GatewayAPI.GRPCRule: ObjectPart {
    init(_ fields: inout ObjectFields) {
        name = fields.text("name", .subdomain)
        matches = fields.list("matches")
        fields.limit("matches", matches.count, 64)
        if matches.isEmpty { matches = [.everything] }
        filters = fields.list("filters")
        GatewayAPI.checkFilters(filters, nil, fields)
        backends = fields.backends()
        persistence = fields.optional("sessionPersistence")
    }
}

extension GatewayAPI.StreamRoute: ObjectPart {
    init(_ fields: inout ObjectFields) {
        parents = fields.parents()
        // That a TCPRoute has none is checked where its kind is known.
        hostnames = fields.hostnames()
        rules = fields.rules(\GatewayAPI.StreamRule.name)
        if rules.isEmpty, !fields.has("rules") { fields.failMissing("rules") }
        if fields.place.log.object?.kind == .tcpRoute, fields.has("hostnames") {
            fields.fail(.unknownField, "hostnames", "a TCPRoute sees no names", mend: "write a TLSRoute")
        }
    }
}

extension GatewayAPI.StreamRule: ObjectPart {
    init(_ fields: inout ObjectFields) {
        name = fields.text("name", .subdomain)
        backends = fields.backends()
        if backends.isEmpty, !fields.has("backendRefs") { fields.failMissing("backendRefs") }
        for (index, backend) in backends.enumerated() where !backend.filters.isEmpty {
            fields.place.field("backendRefs").index(index).field("filters").fail(
                .unknownField, at: fields.position(of: "backendRefs", index, "filters"), "connections have no filters",
                mend: "remove it")
        }
    }
}
