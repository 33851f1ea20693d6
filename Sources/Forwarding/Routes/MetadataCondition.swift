import CEnvoyAPI
import EnvoyAPI

/// A condition on a value that a filter left. Source: Envoy, `type.matcher.v3.MetadataMatcher`.
public struct MetadataCondition: Sendable {
    let filter: String
    let path: [String]
    let value: ValueCondition
    let isInverted: Bool

    public init(_ message: MetadataMatcher) throws(ConfigurationError) {
        filter = message.filter.string
        path = message.path_list.map { $0.pointee.key.string }
        let stated = try message.value.required("value")
        value = try at("value") { () throws(ConfigurationError) in try ValueCondition(stated) }
        isInverted = message.invert != 0
    }

    public func matches(_ metadata: FilterMetadata) -> Bool {
        value.matches(metadata.value(filter, at: path)) != isInverted
    }
}

/// A condition on a structured value. Source: Envoy, `type.matcher.v3.ValueMatcher`.
indirect enum ValueCondition: Sendable {
    case null
    case number(Range<Double>)
    case exactNumber(Double)
    case text(TextMatcher)
    case flag(Bool)
    case present(Bool)
    case oneOf(ValueCondition)
    case any([ValueCondition])

    init(_ message: ValueMatcher) throws(ConfigurationError) {
        switch message.match_pattern {
        case .null_match: self = .null
        case .bool_match(let flag): self = .flag(flag)
        case .present_match(let isPresent): self = .present(isPresent)
        case .string_match(let text):
            self = .text(try at("string_match") { () throws(ConfigurationError) in try TextMatcher(text.pointee) })
        case .double_match(let number):
            switch number.pointee.match_pattern {
            case .exact(let value): self = .exactNumber(value)
            case .range(let range):
                guard range.pointee.start <= range.pointee.end else {
                    throw .invalid(path: "double_match.range", message: "the end is before the start")
                }
                self = .number(range.pointee.start..<range.pointee.end)
            case nil: throw .invalid(path: "double_match", message: "nothing to compare with is given")
            }
        case .list_match(let list):
            guard case .one_of(let element) = list.pointee.match_pattern else {
                throw .invalid(path: "list_match", message: "one_of is missing")
            }
            self = .oneOf(
                try at("list_match.one_of") { () throws(ConfigurationError) in try ValueCondition(element.pointee) })
        case .or_match(let any):
            self = .any(
                try any.pointee.value_matchers_list.read("or_match.value_matchers") {
                    (value) throws(ConfigurationError) in try ValueCondition(value.pointee)
                })
        case nil: throw .invalid(path: "", message: "nothing to compare with is given")
        }
    }

    func matches(_ value: StructureValue?) -> Bool {
        switch (self, value) {
        // A null is there, too: comparing with nil would take it for nothing.
        case (.present(let isPresent), .none): !isPresent
        case (.present(let isPresent), .some): isPresent
        case (.any(let conditions), let value): conditions.contains { $0.matches(value) }
        case (.null, .null?): true
        case (.number(let range), .number(let number)?): range.contains(number)
        case (.exactNumber(let wanted), .number(let number)?): wanted == number
        case (.text(let text), .string(let value)?): text.matches(value)
        case (.flag(let wanted), .bool(let flag)?): wanted == flag
        case (.oneOf(let condition), .list(let items)?): items.contains { condition.matches($0) }
        default: false
        }
    }
}
