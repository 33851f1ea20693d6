import CEnvoyAPI
import EnvoyAPI
import Patterns
import Protobuf

/// A path with variables: `*` or `{name}` is one segment, `**` or `{name=**}` the rest or any number of segments,
/// `{name=a/*}` a part of its own. Source: Envoy, `extensions.path.match.uri_template.v3`.
public struct PathTemplate: Sendable {
    /// The most segments and variables. Source: Envoy, `kPatternMatchingMaxVariablesPerUrl` is 5.
    static let mostVariables = 5
    public let text: String
    private let pattern: Pattern

    public init(_ text: String) throws(ConfigurationError) {
        self.text = text
        let expression = try Self.expression(of: text)
        do {
            pattern = try Pattern(expression)
        } catch {
            throw .invalid(path: "", message: "\(error)")
        }
    }

    public init(_ any: ProtobufAny, in arena: Arena) throws(ConfigurationError) {
        let message = try FieldAudit.decode(UriTemplateMatchConfig.self, any, in: arena, Self.fields)
        let text = message.pointee.path_template.string
        self = try at("path_template") { () throws(ConfigurationError) in try PathTemplate(text) }
    }

    static let fields = SupportedFields([
        "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig": "path_template"
    ])

    /// - Parameter path: without its query.
    public func matches(_ path: UnsafeRawBufferPointer) -> Bool { pattern.matchesWhole(path) }

    /// What may stand in a segment: characters of a path, without `*`. Source: RFC 3986, section 3.3.
    private static let segment = "[a-zA-Z0-9\\-._~%!$&'()+,;:@=]"

    private static func expression(of text: String) throws(ConfigurationError) -> String {
        func problem(_ reason: String) -> ConfigurationError {
            .invalid(path: "", message: "`\(text)` is no path template: \(reason)")
        }
        guard text.utf8.first == UInt8(ascii: "/"), text.utf8.count <= 1024 else { throw problem("it begins with /") }
        var result = ""
        var names: Set<Substring> = []
        var variables = 0
        var hasRest = false
        func operation(_ word: Substring) throws(ConfigurationError) -> String? {
            switch word {
            case "*":
                if hasRest { throw problem("nothing with a star follows **") }
                return segment + "+"
            case "**":
                if hasRest { throw problem("** is there twice") }
                hasRest = true
                return "[" + segment.dropFirst().dropLast() + "/]*"
            default: return nil
            }
        }
        func literal(_ word: Substring) throws(ConfigurationError) -> String {
            guard !word.isEmpty else { throw problem("a part of it is empty") }
            guard word.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && !"*{}/#?\"<>\\^`|".utf8.contains($0) }) else {
                throw problem("`\(word)` is no literal")
            }
            return word.reduce(into: "") { text, character in
                if !character.isLetter, !character.isNumber { text.append("\\") }
                text.append(character)
            }
        }
        func part(_ word: Substring) throws(ConfigurationError) -> String {
            if let known = try operation(word) { return known }
            return try literal(word)
        }
        var rest = text.dropFirst()
        result += "/"
        if rest.isEmpty { return result }
        while true {
            if rest.first == "{" {
                guard let end = rest.firstIndex(of: "}") else { throw problem("a { without its }") }
                let inside = rest[rest.index(after: rest.startIndex)..<end]
                let name = inside.prefix { $0 != "=" }
                let body = inside.contains("=") ? inside[inside.index(after: name.endIndex)...] : "*"
                guard let first = name.first, first.isASCII, first.isLetter, name.utf8.count <= 16,
                    name.allSatisfy({ $0 == "_" || $0.isASCII && ($0.isLetter || $0.isNumber) })
                else { throw problem("`\(name)` is no name of a variable") }
                guard names.insert(name).inserted else { throw problem("`\(name)` is there twice") }
                variables += 1
                var parts: [String] = []
                for word in body.split(separator: "/", omittingEmptySubsequences: false) {
                    parts.append(try part(word))
                }
                result += parts.joined(separator: "/")
                rest = rest[rest.index(after: end)...]
            } else {
                let word = rest.prefix { $0 != "/" && $0 != "{" }
                // `{name}.txt`: what follows a variable in its segment.
                result += try part(word)
                rest = rest[word.endIndex...]
            }
            guard variables <= mostVariables else { throw problem("more than \(mostVariables) variables") }
            guard let next = rest.first else { return result }
            if next == "/" {
                result += "/"
                rest.removeFirst()
                if rest.isEmpty { return result }
            } else if next == "{", result.last != "/" {
                throw problem("a variable begins a segment")
            }
        }
    }
}
