import CRE2

/// A compiled regular expression in RE2's syntax, which is what Envoy, Istio and the Gateway API mean by one: its time
/// is linear in the text, whatever the expression. May be used from any thread.
///
/// Source: RE2, "Syntax"; Envoy, `type.matcher.v3.RegexMatcher`.
public final class Pattern: @unchecked Sendable {
    /// The most instructions of a compiled expression. Source: Envoy, `re2.max_program_size.error_level` is of this kind.
    public static let largestProgram = 1000
    /// What the compiled forms of one expression may take, in bytes.
    static let memory: Int64 = 1 << 20

    /// The expression, as it was written.
    public let expression: String
    /// RE2's pattern objects are safe to share: matching does not change them.
    private let compiled: OpaquePointer

    /// - Throws: what is wrong with the expression.
    public init(_ expression: String) throws(PatternError) {
        var text = expression
        compiled = text.withUTF8 { cre2_compile($0.baseAddress, $0.count, Self.memory) }
        self.expression = expression
        if let problem = cre2_error(compiled) {
            throw .malformed(expression, problem: String(cString: problem))
        }
        let size = Int(cre2_program_size(compiled))
        if size > Self.largestProgram { throw .tooLarge(expression, size: size) }
    }

    deinit { cre2_delete(compiled) }

    /// How many groups the expression has, besides the whole.
    public var groups: Int { Int(cre2_groups(compiled)) }

    /// Whether the expression matches all of the text.
    public func matchesWhole(_ text: UnsafeRawBufferPointer) -> Bool {
        cre2_matches_whole(compiled, text.baseAddress, text.count) != 0
    }

    /// Whether the expression matches somewhere in the text.
    public func matchesPart(_ text: UnsafeRawBufferPointer) -> Bool {
        cre2_matches_part(compiled, text.baseAddress, text.count) != 0
    }

    /// ``matchesWhole(_:)-(UnsafeRawBufferPointer)`` for text.
    public func matchesWhole(_ text: String) -> Bool {
        var text = text
        return text.withUTF8 { matchesWhole(UnsafeRawBufferPointer($0)) }
    }

    /// ``matchesPart(_:)-(UnsafeRawBufferPointer)`` for text.
    public func matchesPart(_ text: String) -> Bool {
        var text = text
        return text.withUTF8 { matchesPart(UnsafeRawBufferPointer($0)) }
    }

    /// The first match in the text: the range of the whole, then of each group; nil for a group that took no part.
    /// - Returns: nil where nothing matches.
    public func firstMatch(in text: UnsafeRawBufferPointer) -> [Range<Int>?]? {
        var places = [Int64](repeating: 0, count: 2 * (groups + 1))
        let found = cre2_find(compiled, text.baseAddress, text.count, &places, Int32(groups + 1))
        guard found != 0 else { return nil }
        return (0...groups).map { group in
            let start = Int(places[2 * group])
            return start < 0 ? nil : start..<start + Int(places[2 * group + 1])
        }
    }

    /// The text with every match replaced.
    /// - Parameter rewrite: `\1` stands for a group, `\0` for the whole match, `\\` for a backslash.
    /// - Returns: nil where `rewrite` asks for a group that the expression has not.
    public func replacingMatches(in text: UnsafeRawBufferPointer, with rewrite: String) -> [UInt8]? {
        var rewrite = rewrite
        return rewrite.withUTF8 { rewrite in
            var result: UnsafeMutablePointer<CChar>?
            var length = 0
            let count = cre2_replace_all(
                compiled, text.baseAddress, text.count, rewrite.baseAddress, rewrite.count, &result, &length)
            guard count >= 0, let result else { return nil }
            defer { cre2_free(result) }
            return [UInt8](UnsafeRawBufferPointer(start: result, count: length))
        }
    }
}

/// Why an expression is refused.
public enum PatternError: Error, Equatable, CustomStringConvertible {
    case malformed(String, problem: String)
    case tooLarge(String, size: Int)

    public var description: String {
        switch self {
        case .malformed(let expression, let problem): "`\(expression)` is no regular expression (RE2): \(problem)"
        case .tooLarge(let expression, let size):
            "`\(expression)` compiles to \(size) instructions, at most \(Pattern.largestProgram) are taken"
        }
    }
}
