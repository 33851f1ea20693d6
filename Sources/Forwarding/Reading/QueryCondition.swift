import CEnvoyAPI
import EnvoyAPI

/// A condition on a parameter of the query, taken as it is written (not decoded), the first of its name only.
/// Source: Envoy, `config.route.v3.QueryParameterMatcher`, `ConfigUtility::QueryParameterMatcher::matches`.
public struct QueryCondition: Sendable {
    enum Kind: Sendable {
        case text(TextMatcher)
        case present(Bool)
    }

    let name: [UInt8]
    let kind: Kind

    public init(_ message: EnvoyAPI.QueryParameterMatcher) throws(ConfigurationError) {
        name = Array(message.name.string.utf8)
        if name.isEmpty { throw .invalid(path: "name", message: "missing") }
        switch message.query_parameter_match_specifier {
        case .string_match(let match):
            kind = .text(try at("string_match") { () throws(ConfigurationError) in try TextMatcher(match.pointee) })
        case .present_match(let isPresent): kind = .present(isPresent)
        case nil: kind = .present(true)
        }
    }

    /// - Parameter target: the request's `:path`, query and all.
    public func matches(_ target: UnsafeRawBufferPointer) -> Bool {
        let value = QueryParameters(target).first(name)
        switch kind {
        case .present(let isPresent): return (value != nil) == isPresent
        case .text(let text): return value.map(text.matches) ?? false
        }
    }
}

/// The parameters of a request target, as they are written.
struct QueryParameters {
    /// After the question mark, before a fragment.
    private let query: UnsafeRawBufferPointer

    /// - Parameter target: valid as long as this value is used.
    init(_ target: UnsafeRawBufferPointer) {
        guard let mark = target.firstIndex(of: UInt8(ascii: "?")) else {
            query = UnsafeRawBufferPointer(start: nil, count: 0)
            return
        }
        let end = target[mark...].firstIndex(of: UInt8(ascii: "#")) ?? target.endIndex
        query = UnsafeRawBufferPointer(rebasing: target[(mark + 1)..<end])
    }

    /// The first value of that name; empty for a name without `=`.
    func first(_ name: [UInt8]) -> UnsafeRawBufferPointer? {
        var start = 0
        while start < query.count {
            let end = query[start...].firstIndex(of: UInt8(ascii: "&")) ?? query.count
            let part = UnsafeRawBufferPointer(rebasing: query[start..<end])
            let sign = part.firstIndex(of: UInt8(ascii: "=")) ?? part.count
            if UnsafeRawBufferPointer(rebasing: part[..<sign]).equals(name) {
                return UnsafeRawBufferPointer(rebasing: part[min(sign + 1, part.count)...])
            }
            start = end + 1
        }
        return nil
    }
}
