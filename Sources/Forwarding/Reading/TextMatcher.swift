import CEnvoyAPI
import EnvoyAPI
import HTTP
import Patterns

/// A condition on a text, compiled to bytes. Source: Envoy, `type.matcher.v3.StringMatcher`.
public struct TextMatcher: Sendable {
    public enum Kind: Sendable {
        case exact, prefix, suffix, contains
        /// The whole text.
        case pattern(Pattern)
    }

    public let kind: Kind
    /// What is compared; lower case where case does not count. Empty for a pattern.
    public let text: [UInt8]
    /// Of ASCII letters.
    public let ignoresCase: Bool

    public init(_ kind: Kind, _ text: String, ignoresCase: Bool = false) {
        self.kind = kind
        self.ignoresCase = ignoresCase
        self.text = ignoresCase ? text.utf8.map(\.lowerCased) : Array(text.utf8)
    }

    public init(_ pattern: Pattern) { self.init(.pattern(pattern), "") }

    public init(_ message: StringMatcher) throws(ConfigurationError) {
        let ignoresCase = message.ignore_case != 0
        switch message.match_pattern {
        case .exact(let text): self.init(.exact, text, ignoresCase: ignoresCase)
        case .prefix(let text): self.init(.prefix, text, ignoresCase: ignoresCase)
        case .suffix(let text): self.init(.suffix, text, ignoresCase: ignoresCase)
        case .contains(let text): self.init(.contains, text, ignoresCase: ignoresCase)
        case .safe_regex(let regex):
            if ignoresCase { throw .invalid(path: "ignore_case", message: "has no effect on a safe_regex") }
            self.init(try at("safe_regex") { () throws(ConfigurationError) in try Pattern(regex.pointee) })
        case .custom: throw .unsupported(path: "custom", message: "extensions of string matchers are not supported")
        case nil: throw .invalid(path: "", message: "nothing to compare with is given")
        }
    }

    public func matches(_ bytes: UnsafeRawBufferPointer) -> Bool {
        switch kind {
        case .exact: bytes.count == text.count && equal(bytes, at: 0)
        case .prefix: bytes.count >= text.count && equal(bytes, at: 0)
        case .suffix: bytes.count >= text.count && equal(bytes, at: bytes.count - text.count)
        case .contains:
            bytes.count >= text.count && (0...bytes.count - text.count).contains { equal(bytes, at: $0) }
        case .pattern(let pattern): pattern.matchesWhole(bytes)
        }
    }

    public func matches(_ text: String) -> Bool {
        var text = text
        return text.withUTF8 { matches(UnsafeRawBufferPointer($0)) }
    }

    private func equal(_ bytes: UnsafeRawBufferPointer, at start: Int) -> Bool {
        let part = UnsafeRawBufferPointer(rebasing: bytes[start..<start + text.count])
        return ignoresCase ? part.equalsIgnoringCase(text) : part.equals(text)
    }
}

extension Pattern {
    public convenience init(_ message: RegexMatcher) throws(ConfigurationError) {
        do {
            try self.init(message.regex.string)
        } catch {
            throw .invalid(path: "regex", message: "\(error)")
        }
    }
}

/// A pattern and what stands in place of what it matches. Source: Envoy, `type.matcher.v3.RegexMatchAndSubstitute`.
public struct TextRewrite: Sendable {
    public let pattern: Pattern
    public let substitution: String

    public init(_ message: RegexMatchAndSubstitute) throws(ConfigurationError) {
        let regex = try message.pattern.required("pattern")
        pattern = try at("pattern") { () throws(ConfigurationError) in try Pattern(regex) }
        substitution = message.substitution.string
        try FieldText.value(substitution, "substitution")
        let works = UnsafeRawBufferPointer(start: nil, count: 0)
        guard pattern.replacingMatches(in: works, with: substitution) != nil,
            Self.groups(substitution) <= pattern.groups
        else { throw .invalid(path: "substitution", message: "`\(substitution)` asks for a group that is not there") }
    }

    /// The largest group that a substitution names.
    private static func groups(_ substitution: String) -> Int {
        var largest = 0
        var isEscaped = false
        for byte in substitution.utf8 {
            if isEscaped, (48...57).contains(byte) { largest = max(largest, Int(byte) - 48) }
            isEscaped = !isEscaped && byte == UInt8(ascii: "\\")
        }
        return largest
    }

    public func callAsFunction(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
        pattern.replacingMatches(in: bytes, with: substitution) ?? Array(bytes)
    }
}

extension UnsafeRawBufferPointer {
    func equals(_ other: [UInt8]) -> Bool {
        count == other.count && other.withUnsafeBytes { equals($0) }
    }

    /// - Parameter other: in lower case.
    func equalsIgnoringCase(_ other: [UInt8]) -> Bool {
        guard count == other.count else { return false }
        for index in 0..<count where self[index].lowerCased != other[index] { return false }
        return true
    }

    func hasPrefix(_ other: [UInt8]) -> Bool {
        count >= other.count && UnsafeRawBufferPointer(rebasing: self[..<other.count]).equals(other)
    }

    func hasPrefixIgnoringCase(_ other: [UInt8]) -> Bool {
        count >= other.count && UnsafeRawBufferPointer(rebasing: self[..<other.count]).equalsIgnoringCase(other)
    }

    /// A request target without its query and fragment.
    var path: UnsafeRawBufferPointer {
        let end = firstIndex { $0 == UInt8(ascii: "?") || $0 == UInt8(ascii: "#") } ?? count
        return UnsafeRawBufferPointer(rebasing: self[..<end])
    }

    var text: String { String(decoding: self, as: UTF8.self) }
}
