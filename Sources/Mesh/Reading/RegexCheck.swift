import Patterns

/// What is wrong with a regular expression, in RE2's own words: the library that every proxy judges it by.
///
/// One that compiles to more instructions than our own proxy takes passes: Envoy takes it.
/// - Returns: nil if nothing is.
func regexFault(_ text: String) -> String? {
    guard text.utf8.count <= ObjectLimits.regex else { return "a regular expression of \(text.utf8.count) bytes" }
    do throws(PatternError) {
        _ = try Pattern(text)
        return nil
    } catch .malformed(_, let problem) {
        return problem
    } catch {
        return nil
    }
}
