import EnvoyAPI
import Protobuf

/// A text of a policy: `a`, `a*`, `*a`, or `*` for anything that is there.
enum TextPattern: Hashable {
    case exact(String)
    case prefix(String)
    case suffix(String)
    case present

    init(_ text: String) {
        if text == "*" {
            self = .present
        } else if text.hasSuffix("*") {
            self = .prefix(String(text.dropLast()))
        } else if text.hasPrefix("*") {
            self = .suffix(String(text.dropFirst()))
        } else {
            self = .exact(text)
        }
    }

    func matches(_ text: String, ignoringCase: Bool = false) -> Bool {
        func folded(_ text: String) -> String { ignoringCase ? text.lowercased() : text }
        return switch self {
        case .exact(let whole): folded(text) == folded(whole)
        case .prefix(let start): folded(text).hasPrefix(folded(start))
        case .suffix(let end): folded(text).hasSuffix(folded(end))
        case .present: !text.isEmpty
        }
    }
}

extension Translator {
    func stringMatcher(_ pattern: TextPattern, ignoringCase: Bool = false) -> UnsafeMutablePointer<StringMatcher> {
        arena.make {
            switch pattern {
            case .exact(let text): $0.set(exact: arena(text))
            case .prefix(let text): $0.set(prefix: arena(text))
            case .suffix(let text): $0.set(suffix: arena(text))
            case .present: $0.set(safe_regex: regexMatcher(".+"))
            }
            // A regular expression has its own way to say it.
            if pattern != .present, ignoringCase { $0.set(ignore_case: true) }
        }
    }

    /// RE2, of the whole text.
    func regexMatcher(_ expression: String) -> UnsafeMutablePointer<RegexMatcher> {
        arena.make { $0.regex = arena(expression) }
    }

    func headerMatcher(
        _ name: String, _ pattern: TextPattern, ignoringCase: Bool = false
    ) -> UnsafeMutablePointer<HeaderMatcher> {
        arena.make {
            $0.name = arena(name)
            if pattern == .present {
                $0.set(present_match: true)
            } else {
                $0.set(string_match: stringMatcher(pattern, ignoringCase: ignoringCase))
            }
        }
    }
}

/// The text with everything that means something in RE2 made literal.
func quotedForRegex(_ text: String) -> String {
    var result = ""
    for character in text {
        if #"\.+*?()|[]{}^$"#.contains(character) { result.append("\\") }
        result.append(character)
    }
    return result
}
