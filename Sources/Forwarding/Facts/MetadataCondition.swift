import CEnvoyAPI
import EnvoyAPI

/// A condition on a structured value. Source: Envoy, `type.matcher.v3.ValueMatcher`.
public indirect enum ValueCondition: Sendable {
    case null
    /// Start ..< end.
    case range(Range<Double>)
    case number(Double)
    case text(TextMatcher)
    case flag(Bool)
    /// False: never, as Envoy has it.
    case present(Bool)
    /// A list with such a value.
    case listHas(ValueCondition)
    case any([ValueCondition])

    /// - Parameter message: of a decoded resource, whose depth the decoder has bounded.
    public init(_ message: ValueMatcher) throws(ConfigurationError) {
        switch message.match_pattern {
        case .null_match: self = .null
        case .double_match(let number):
            switch number.pointee.match_pattern {
            case .range(let range):
                guard range.pointee.start <= range.pointee.end else {
                    throw .invalid(path: "double_match.range", message: "the end is before the start")
                }
                self = .range(range.pointee.start..<range.pointee.end)
            case .exact(let value): self = .number(value)
            case nil: throw .invalid(path: "double_match", message: "nothing to compare with is given")
            }
        case .string_match(let text):
            self = .text(try at("string_match") { () throws(ConfigurationError) in try TextMatcher(text.pointee) })
        case .bool_match(let flag): self = .flag(flag)
        case .present_match(let flag): self = .present(flag)
        case .list_match(let list):
            guard case .one_of(let value) = list.pointee.match_pattern else {
                throw .invalid(path: "list_match", message: "nothing to compare with is given")
            }
            self = .listHas(
                try at("list_match.one_of") { () throws(ConfigurationError) in try ValueCondition(value.pointee) })
        case .or_match(let list):
            self = .any(
                try list.pointee.value_matchers_list.read("or_match.value_matchers") {
                    (value) throws(ConfigurationError) in try ValueCondition(value.pointee)
                })
        case nil: throw .invalid(path: "", message: "nothing to compare with is given")
        }
    }

    /// - Parameter value: nil: there is none.
    public func matches(_ value: StructureValue?) -> Bool {
        switch self {
        case .null: return value == .some(.null)
        case .range(let range):
            if case .number(let number) = value { return range.contains(number) } else { return false }
        case .number(let wanted):
            if case .number(let number) = value { return number == wanted } else { return false }
        case .text(let text):
            if case .string(let string) = value { return text.matches(string) } else { return false }
        case .flag(let wanted):
            if case .bool(let flag) = value { return flag == wanted } else { return false }
        case .present(let isWanted): return isWanted && value != nil
        case .listHas(let condition):
            if case .list(let values) = value { return values.contains { condition.matches($0) } } else { return false }
        case .any(let conditions): return conditions.contains { $0.matches(value) }
        }
    }
}

/// A condition on what a filter left, or on what stands in a resource. Source: Envoy, `type.matcher.v3.MetadataMatcher`.
public struct MetadataCondition: Sendable {
    public let filter: String
    public let path: [String]
    public let value: ValueCondition
    public let isInverted: Bool

    public init(_ message: MetadataMatcher) throws(ConfigurationError) {
        filter = message.filter.string
        path = try message.path_list.read("path") { (segment) throws(ConfigurationError) in
            guard case .key(let key) = segment.pointee.segment else { throw .invalid(path: "key", message: "missing") }
            return key
        }
        guard !filter.isEmpty else { throw .invalid(path: "filter", message: "missing") }
        guard !path.isEmpty else { throw .invalid(path: "path", message: "missing") }
        let matcher = try message.value.required("value")
        value = try at("value") { () throws(ConfigurationError) in try ValueCondition(matcher) }
        isInverted = message.invert != 0
    }

    public func matches(_ metadata: FilterMetadata) -> Bool {
        value.matches(metadata.value(filter, at: path)) != isInverted
    }
}
