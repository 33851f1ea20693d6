extension GatewayAPI {
    public enum TextMatch: Hashable, Sendable {
        case exact(String)
        /// RE2, the whole text.
        case regex(String)
    }

    public enum PathMatch: Hashable, Sendable {
        case exact(String)
        /// Whole parts of the path: `/a` matches `/a` and `/a/b`, not `/ab`.
        case prefix(String)
        case regex(String)
    }

    public enum Method: String, NamedValue {
        case get = "GET"
        case head = "HEAD"
        case post = "POST"
        case put = "PUT"
        case delete = "DELETE"
        case connect = "CONNECT"
        case options = "OPTIONS"
        case trace = "TRACE"
        case patch = "PATCH"
    }

    public struct NamedMatch: Hashable, Sendable {
        public var name: String
        public var match: TextMatch
    }

    public struct HTTPMatch: Hashable, Sendable {
        public var path: PathMatch
        /// Names in lower case.
        public var headers: [NamedMatch]
        public var queryParameters: [NamedMatch]
        public var method: Method?

        public static let everything = HTTPMatch(path: .prefix("/"), headers: [], queryParameters: [])
    }

    public struct GRPCMatch: Hashable, Sendable {
        public var service: TextMatch?
        public var method: TextMatch?
        public var headers: [NamedMatch]

        public static let everything = GRPCMatch(headers: [])
    }
}

private enum MatchKind: String, NamedValue {
    case exact = "Exact"
    case prefix = "PathPrefix"
    case regex = "RegularExpression"
}

private enum TextMatchKind: String, NamedValue {
    case exact = "Exact"
    case regex = "RegularExpression"
}

private struct PathPart: ObjectPart {
    var match: GatewayAPI.PathMatch

    init(_ fields: inout ObjectFields) {
        let kind: MatchKind = fields.value("type", default: .prefix)
        let value = fields.text("value", kind == .regex ? .regex : Self.plain) ?? "/"
        switch kind {
        case .exact: match = .exact(value)
        case .prefix: match = .prefix(value)
        case .regex: match = .regex(value)
        }
    }

    private static let plain = TextRule(mend: "begin it with /, without // or /./ or /../ or %2f or #") { text in
        let bad = ["//", "/./", "/../", "%2f", "%2F", "#"]
        guard text.hasPrefix("/") else { return "`\(text.prefix(60))` is no path" }
        if let part = bad.first(where: { text.contains($0) }) { return "`\(text.prefix(60))` has \(part) in it" }
        return text.hasSuffix("/..") || text.hasSuffix("/.") ? "`\(text.prefix(60))` ends in dots" : nil
    }
}

private struct Named: ObjectPart {
    var match: GatewayAPI.NamedMatch

    init(_ fields: inout ObjectFields) {
        let kind: TextMatchKind = fields.value("type", default: .exact)
        let name = fields.requiredText("name", .headerName)
        let value = fields.requiredText("value", kind == .regex ? .regex : .notEmpty)
        match = GatewayAPI.NamedMatch(name: name, match: kind == .exact ? .exact(value) : .regex(value))
    }
}

extension ObjectFields {
    /// The first of several with one name counts, as the Gateway API says.
    fileprivate mutating func named(_ field: String, lowercased: Bool) -> [GatewayAPI.NamedMatch] {
        let parts: [Named] = list(field)
        if parts.count > 16 {
            fail(.tooMuch, field, "\(parts.count) elements, 16 are allowed", mend: "split the match")
        }
        var names: Set<String> = []
        var matches: [GatewayAPI.NamedMatch] = []
        for part in parts {
            var match = part.match
            if lowercased { match.name = match.name.lowercased() }
            if names.insert(match.name).inserted { matches.append(match) }
        }
        return matches
    }
}

extension GatewayAPI.HTTPMatch: ObjectPart {
    init(_ fields: inout ObjectFields) {
        let path: PathPart? = fields.optional("path")
        self.path = path?.match ?? .prefix("/")
        headers = fields.named("headers", lowercased: true)
        queryParameters = fields.named("queryParams", lowercased: false)
        method = fields.optional("method")
    }
}

extension GatewayAPI.GRPCMatch: ObjectPart {
    private struct Method: ObjectPart {
        var service: GatewayAPI.TextMatch?
        var method: GatewayAPI.TextMatch?

        init(_ fields: inout ObjectFields) {
            let kind: TextMatchKind = fields.value("type", default: .exact)
            let service = fields.text("service", kind == .regex ? .regex : .notEmpty)
            let method = fields.text("method", kind == .regex ? .regex : .notEmpty)
            if !fields.has("service"), !fields.has("method") { fields.failMissing("service") }
            self.service = service.map { kind == .exact ? .exact($0) : .regex($0) }
            self.method = method.map { kind == .exact ? .exact($0) : .regex($0) }
        }
    }

    init(_ fields: inout ObjectFields) {
        let method: Method? = fields.optional("method")
        service = method?.service
        self.method = method?.method
        headers = fields.named("headers", lowercased: true)
    }
}
