import Patterns

/// A request as far as routes ask about it.
public struct RoutedRequest: Hashable, Sendable {
    /// `reviews:9080`, as the client wrote it.
    public var authority: String
    public var method: String
    /// With its query.
    public var path: String
    public var scheme: String
    /// Names in lower case; several values of one header joined with commas.
    public var headers: [String: String]

    public init(
        authority: String, method: String = "GET", path: String = "/", scheme: String = "http",
        headers: [String: String] = [:]
    ) {
        self.authority = authority
        self.method = method
        self.path = path
        self.scheme = scheme
        self.headers = Dictionary(headers.map { ($0.key.lowercased(), $0.value) }, uniquingKeysWith: { $0 + "," + $1 })
    }

    /// What a header matcher sees, pseudo-headers too; nil if there is none.
    func header(_ name: String) -> String? {
        switch name {
        case ":method": method
        case ":path": path
        case ":scheme": scheme
        case ":authority", "host": authority
        default: headers[name]
        }
    }

    /// Without query and fragment.
    var bare: Substring { path.prefix { $0 != "?" && $0 != "#" } }

    /// The first value of a query parameter, as it is written.
    func parameter(_ name: String) -> String? {
        guard let start = path.firstIndex(of: "?") else { return nil }
        let query = path[path.index(after: start)...].prefix { $0 != "#" }
        for pair in query.split(separator: "&") {
            let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            if parts[0] == name { return parts.count == 2 ? String(parts[1]) : "" }
        }
        return nil
    }
}

/// A condition on a text that may be missing.
public enum TextCondition: Hashable, Sendable {
    case exact(String)
    case prefix(String)
    /// RE2, the whole text.
    case regex(String)
    /// There, whatever it says.
    case present

    /// - Parameter text: nil where there is none.
    public func holds(for text: String?) -> Bool {
        guard let text else { return false }
        switch self {
        case .exact(let wanted): return text == wanted
        case .prefix(let wanted): return text.utf8.starts(with: wanted.utf8)
        case .regex(let pattern): return matchesWholly(text[...], pattern)
        case .present: return true
        }
    }
}

/// What a request must be like for a route to take it: all of it. It asks what Envoy's `RouteMatch` asks, and answers
/// as Envoy does.
public struct RequestMatch: Hashable, Sendable {
    public enum Path: Hashable, Sendable {
        case exact(String)
        case prefix(String)
        /// Whole parts of the path, written without a slash at the end: `/a` takes `/a` and `/a/b`, not `/ab`.
        case separatedPrefix(String)
        /// RE2, the whole path without its query.
        case regex(String)
    }

    public struct Header: Hashable, Sendable {
        /// In lower case; may be a pseudo-header.
        public var name: String
        public var condition: TextCondition
        /// Takes what the condition does not hold for; a missing header counts as an empty one.
        public var isInverted: Bool

        public init(_ name: String, _ condition: TextCondition, isInverted: Bool = false) {
            self.name = name
            self.condition = condition
            self.isInverted = isInverted
        }
    }

    public struct Parameter: Hashable, Sendable {
        public var name: String
        public var condition: TextCondition
    }

    public var path: Path
    /// Of the path; regular expressions say it themselves.
    public var ignoresCase: Bool
    public var headers: [Header]
    public var parameters: [Parameter]

    public static let everything = RequestMatch()

    public init(
        path: Path = .prefix("/"), ignoresCase: Bool = false, headers: [Header] = [], parameters: [Parameter] = []
    ) {
        self.path = path
        self.ignoresCase = ignoresCase
        self.headers = headers
        self.parameters = parameters
    }

    /// Whether no request gets past it.
    public var takesEverything: Bool {
        guard headers.isEmpty, parameters.isEmpty else { return false }
        return switch path {
        case .prefix("/"), .prefix(""), .regex(".*"), .regex("/.*"): true
        case .exact, .prefix, .separatedPrefix, .regex: false
        }
    }

    public func matches(_ request: RoutedRequest) -> Bool {
        matchesPath(request.bare) && headers.allSatisfy { matches(request, $0) }
            && parameters.allSatisfy { $0.condition.holds(for: request.parameter($0.name)) }
    }

    private func matches(_ request: RoutedRequest, _ header: Header) -> Bool {
        let value = request.header(header.name)
        guard header.isInverted else { return header.condition.holds(for: value) }
        if header.condition == .present { return value == nil }
        return !header.condition.holds(for: value ?? "")
    }

    private func matchesPath(_ path: Substring) -> Bool {
        func folded(_ text: some StringProtocol) -> String { ignoresCase ? text.lowercased() : String(text) }
        switch self.path {
        case .exact(let wanted): return folded(path) == folded(wanted)
        case .prefix(let wanted): return folded(path).utf8.starts(with: folded(wanted).utf8)
        case .separatedPrefix(let wanted):
            let (have, want) = (Array(folded(path).utf8), Array(folded(wanted).utf8))
            return have.starts(with: want) && (have.count == want.count || have[want.count] == UInt8(ascii: "/"))
        case .regex(let pattern): return matchesWholly(path, pattern)
        }
    }
}

/// A pattern that RE2 refuses is no valid object's, and matches nothing.
private func matchesWholly(_ text: Substring, _ pattern: String) -> Bool {
    (try? Pattern(pattern))?.matchesWhole(String(text)) ?? false
}
