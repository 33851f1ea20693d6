import CEnvoyAPI
import EnvoyAPI
import HTTP
import Patterns

/// A condition on a field of a head. Of several fields of one name one has to fulfil it; inverted, none may.
/// Source: Envoy, `config.route.v3.HeaderMatcher`, `HeaderUtility`.
public struct HeaderCondition: Sendable {
    enum Kind: Sendable {
        case text(TextMatcher)
        /// Start ..< end.
        case range(Range<Int64>)
        case present(Bool)
    }

    /// In lower case.
    public let name: [UInt8]
    let kind: Kind
    let isInverted: Bool
    let takesMissingAsEmpty: Bool

    public init(_ message: EnvoyAPI.HeaderMatcher) throws(ConfigurationError) {
        name = message.name.string.utf8.map(\.lowerCased)
        if name.isEmpty { throw .invalid(path: "name", message: "missing") }
        isInverted = message.invert_match != 0
        takesMissingAsEmpty = message.treat_missing_header_as_empty != 0
        switch message.header_match_specifier {
        // The older form takes any value for an empty one.
        case .exact_match(let text): kind = .text(TextMatcher(text.isEmpty ? .prefix : .exact, text))
        case .prefix_match(let text): kind = .text(TextMatcher(.prefix, text))
        case .suffix_match(let text): kind = .text(TextMatcher(.suffix, text))
        case .contains_match(let text): kind = .text(TextMatcher(.contains, text))
        case .safe_regex_match(let regex):
            kind = .text(
                TextMatcher(try at("safe_regex_match") { () throws(ConfigurationError) in try Pattern(regex.pointee) }))
        case .string_match(let match):
            kind = .text(try at("string_match") { () throws(ConfigurationError) in try TextMatcher(match.pointee) })
        case .range_match(let range):
            guard range.pointee.start <= range.pointee.end else {
                throw .invalid(path: "range_match", message: "the end is before the start")
            }
            kind = .range(range.pointee.start..<range.pointee.end)
        case .present_match(let isPresent): kind = .present(isPresent)
        case nil: kind = .present(true)
        }
    }

    public func matches(_ head: HeaderList) -> Bool {
        var (isThere, isFulfilled) = (false, false)
        name.withUnsafeBytes { name in
            head.forEachValue(ofBytes: name) { value in
                isThere = true
                if !isFulfilled { isFulfilled = fulfils(value) }
            }
        }
        if isThere { return isFulfilled != isInverted }
        switch kind {
        case .present(let isPresent): return (takesMissingAsEmpty ? isPresent : !isPresent) != isInverted
        case .text(let text):
            return takesMissingAsEmpty && text.matches(UnsafeRawBufferPointer(start: nil, count: 0)) != isInverted
        // An empty text is no number.
        case .range: return takesMissingAsEmpty && isInverted
        }
    }

    private func fulfils(_ value: UnsafeRawBufferPointer) -> Bool {
        switch kind {
        case .text(let text): text.matches(value)
        case .range(let range): value.integer.map(range.contains) ?? false
        case .present(let isPresent): isPresent
        }
    }
}

extension UnsafeRawBufferPointer {
    /// A decimal number, maybe with a sign, and nothing else.
    var integer: Int64? {
        guard !isEmpty, count <= 20 else { return nil }
        return Int64(String(decoding: self, as: UTF8.self))
    }
}

extension HeaderList {
    /// Calls `body` with the value of a field, or with all values of that name joined by commas.
    /// - Parameter name: in lower case.
    /// - Returns: nil without such a field.
    func withJoinedValue<Result>(ofBytes name: [UInt8], _ body: (UnsafeRawBufferPointer) -> Result) -> Result? {
        var only: UnsafeRawBufferPointer?
        var joined: [UInt8]?
        return withFields { candidate, value in
            guard candidate.equals(name) else { return }
            if let first = only {
                joined = (joined ?? Array(first)) + [UInt8(ascii: ",")] + Array(value)
            } else {
                only = value
            }
        } then: {
            if let joined { return joined.withUnsafeBytes(body) }
            return only.map(body)
        }
    }
}
