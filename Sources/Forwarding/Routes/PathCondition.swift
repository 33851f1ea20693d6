import CEnvoyAPI
import EnvoyAPI
import HTTP
import Patterns
import Protobuf

/// What a route wants of a request's path. Query and fragment never count.
/// Source: Envoy, `config.route.v3.RouteMatch`.
public enum PathCondition: Sendable {
    case prefix([UInt8], ignoresCase: Bool)
    case exact([UInt8], ignoresCase: Bool)
    /// The whole path, or up to a slash.
    case separatedPrefix([UInt8], ignoresCase: Bool)
    /// The whole path.
    case pattern(Pattern)
    case template(PathTemplate)
    /// A CONNECT request.
    case connect

    init(_ message: RouteMatch, in arena: Arena) throws(ConfigurationError) {
        let ignoresCase = message.case_sensitive.flag == false
        func bytes(_ text: String) -> [UInt8] { ignoresCase ? text.utf8.map(\.lowerCased) : Array(text.utf8) }
        switch message.path_specifier {
        case .prefix(let text): self = .prefix(bytes(text), ignoresCase: ignoresCase)
        case .path(let text): self = .exact(bytes(text), ignoresCase: ignoresCase)
        case .path_separated_prefix(let text):
            guard !text.isEmpty, text.hasPrefix("/"), !text.hasSuffix("/"), !text.contains("?"), !text.contains("#")
            else {
                throw .invalid(
                    path: "path_separated_prefix",
                    message: "`\(text)` has to start with a slash, not to end with one, and to have no ? or #")
            }
            self = .separatedPrefix(bytes(text), ignoresCase: ignoresCase)
        case .safe_regex(let regex):
            if ignoresCase { throw .invalid(path: "case_sensitive", message: "has no effect on a safe_regex") }
            self = .pattern(try at("safe_regex") { () throws(ConfigurationError) in try Pattern(regex.pointee) })
        case .connect_matcher: self = .connect
        case .path_match_policy(let policy):
            self = .template(
                try at("path_match_policy") { () throws(ConfigurationError) in
                    try PathTemplate(policy.pointee, in: arena)
                })
        case nil: throw .invalid(path: "", message: "no path is asked for: write `prefix: /` for all")
        }
    }

    /// - Parameters:
    ///   - path: without query; nil for a request without a path.
    ///   - whole: with the parameters that the others leave out; nil: they are not left out.
    @inline(__always)
    func matches(
        _ path: UnsafeRawBufferPointer?, whole: UnsafeRawBufferPointer? = nil, isConnect: Bool
    ) -> Bool {
        if case .connect = self { return isConnect }
        guard let path else { return false }
        switch self {
        case .prefix(let text, let ignoresCase):
            return ignoresCase ? path.hasPrefixIgnoringCase(text) : path.hasPrefix(text)
        case .exact(let text, let ignoresCase):
            return ignoresCase ? path.equalsIgnoringCase(text) : path.equals(text)
        case .separatedPrefix(let text, let ignoresCase):
            guard path.count == text.count || (path.count > text.count && path[text.count] == UInt8(ascii: "/")) else {
                return false
            }
            return ignoresCase ? path.hasPrefixIgnoringCase(text) : path.hasPrefix(text)
        case .pattern(let pattern): return pattern.matchesWhole(path)
        case .template(let template): return template.pattern.matchesWhole(whole ?? path)
        case .connect: return isConnect
        }
    }

    /// How much of a path that matches a `prefix_rewrite` replaces; nil: nothing, since it only matches without the
    /// parameters that it has.
    func matchedCount(of path: UnsafeRawBufferPointer) -> Int? {
        switch self {
        case .prefix(let text, let ignoresCase), .exact(let text, let ignoresCase),
            .separatedPrefix(let text, let ignoresCase):
            (ignoresCase ? path.hasPrefixIgnoringCase(text) : path.hasPrefix(text)) ? text.count : nil
        case .pattern, .template, .connect: path.count
        }
    }

    /// What every path that matches starts with, for the index; nil: nothing that it could be found by.
    var literalStart: (text: [UInt8], ignoresCase: Bool)? {
        switch self {
        case .prefix(let text, let ignoresCase), .exact(let text, let ignoresCase),
            .separatedPrefix(let text, let ignoresCase):
            (text, ignoresCase)
        case .pattern(let pattern): (Self.literalStart(of: pattern.expression), false)
        case .template(let template): (Self.literalStart(of: template.pattern.expression), false)
        case .connect: nil
        }
    }

    /// The literal text that everything an expression matches as a whole starts with; empty where that is not plain.
    static func literalStart(of expression: String) -> [UInt8] {
        let bytes = Array(expression.utf8)
        guard !hasAlternatives(bytes) else { return [] }
        var literal: [UInt8] = []
        var index = bytes.first == UInt8(ascii: "^") ? 1 : 0
        while index < bytes.count {
            var byte = bytes[index]
            var next = index + 1
            if byte == UInt8(ascii: "\\") {
                guard next < bytes.count, isPunctuation(bytes[next]) else { break }
                byte = bytes[next]
                next += 1
            } else if ".[]()*+?{}|^$".utf8.contains(byte) {
                break
            }
            // A sign after it may take the byte away again; a byte of UTF-8 stands for a part of a letter only.
            if byte >= 0x80 || (next < bytes.count && "*?{".utf8.contains(bytes[next])) { break }
            literal.append(byte)
            index = next
        }
        return literal
    }

    /// Whether there is a bar outside of all groups. Wrongly true for one in a class, which does no harm.
    private static func hasAlternatives(_ bytes: [UInt8]) -> Bool {
        var depth = 0
        var isEscaped = false
        for byte in bytes {
            defer { isEscaped = !isEscaped && byte == UInt8(ascii: "\\") }
            if isEscaped {
                // In \Q…\E nothing means what it seems to.
                if byte == UInt8(ascii: "Q") { return true }
                continue
            }
            switch byte {
            case UInt8(ascii: "("): depth += 1
            case UInt8(ascii: ")"): depth -= 1
            // A parenthesis in a class would be counted wrongly.
            case UInt8(ascii: "["): if bytes.contains(UInt8(ascii: "|")) { return true }
            case UInt8(ascii: "|") where depth <= 0: return true
            default: break
            }
        }
        return false
    }

    private static func isPunctuation(_ byte: UInt8) -> Bool {
        (33...47).contains(byte) || (58...64).contains(byte) || (91...96).contains(byte) || (123...126).contains(byte)
    }
}

/// A path with variables in braces: `/shops/{shop}/books/*`. Source: Envoy, `path.match.uri_template.v3`.
public struct PathTemplate: Sendable {
    let pattern: Pattern
    /// In the order of the groups of the pattern.
    let variables: [String]

    init(_ message: TypedExtensionConfig, in arena: Arena) throws(ConfigurationError) {
        let any = try message.typed_config.required("typed_config")
        let config = try at("typed_config") { () throws(ConfigurationError) in
            try FieldAudit.decode(UriTemplateMatchConfig.self, any, in: arena, .routes)
        }
        let text = config.pointee.path_template.string
        guard let compiled = Self.compile(text) else {
            throw .invalid(path: "typed_config.path_template", message: "`\(text)` is no path template")
        }
        self = compiled
    }

    private init(pattern: Pattern, variables: [String]) {
        (self.pattern, self.variables) = (pattern, variables)
    }

    private static let letters = "[a-zA-Z0-9-._~%!$&'+;:@=]"

    static func compile(_ template: String) -> PathTemplate? {
        guard template.hasPrefix("/"), template.utf8.count <= 1_024, !template.contains("//") else { return nil }
        var expression = ""
        var variables: [String] = []
        var sawText = false
        // A variable's own pattern may have slashes in it, so segments end at slashes outside of braces.
        for segment in segments(template.dropFirst()) {
            // After the glob of any length there may be literals, and no second glob.
            if sawText, segment.contains(where: { $0 == "*" || $0 == "{" }) { return nil }
            expression += "/"
            var rest = segment
            while !rest.isEmpty {
                guard let open = rest.firstIndex(where: { $0 == "{" || $0 == "*" }) else {
                    expression += quoted(rest)
                    break
                }
                expression += quoted(rest[..<open])
                rest = rest[open...]
                if rest.hasPrefix("**") {
                    guard segment == "**" else { return nil }
                    (expression, sawText, rest) = (expression + "\(letters.dropLast())/]*", true, "")
                } else if rest.hasPrefix("*") {
                    guard segment == "*" else { return nil }
                    (expression, rest) = (expression + "\(letters)+", "")
                } else {
                    guard let close = rest.firstIndex(of: "}") else { return nil }
                    let parts = rest[rest.index(after: rest.startIndex)..<close].split(separator: "=", maxSplits: 1)
                    guard let name = parts.first, !variables.contains(String(name)) else { return nil }
                    variables.append(String(name))
                    let inner = parts.count == 2 ? String(parts[1]) : "*"
                    let pieces = inner.split(separator: "/", omittingEmptySubsequences: false).map { piece in
                        switch piece {
                        case "**": "\(letters.dropLast())/]*"
                        case "*": "\(letters)+"
                        default: quoted(piece)
                        }
                    }
                    expression += "(" + pieces.joined(separator: "/") + ")"
                    if inner.hasSuffix("**") { sawText = true }
                    rest = rest[rest.index(after: close)...]
                }
            }
        }
        guard let pattern = try? Pattern(expression) else { return nil }
        return PathTemplate(pattern: pattern, variables: variables)
    }

    private static func segments(_ text: Substring) -> [Substring] {
        var segments: [Substring] = []
        var (start, depth) = (text.startIndex, 0)
        for index in text.indices {
            switch text[index] {
            case "{": depth += 1
            case "}": depth -= 1
            case "/" where depth == 0:
                segments.append(text[start..<index])
                start = text.index(after: index)
            default: break
            }
        }
        return segments + [text[start...]]
    }

    private static func quoted(_ text: Substring) -> String {
        text.map { #".+*?()|[]{}^$\"#.contains($0) ? "\\\($0)" : String($0) }.joined()
    }
}
