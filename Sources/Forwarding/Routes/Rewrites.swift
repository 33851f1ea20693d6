import CEnvoyAPI
import EnvoyAPI
import HTTP
import Protobuf

/// How a route changes the path. The query stays.
/// Source: Envoy, `RouteAction.prefix_rewrite`, `regex_rewrite`, `path_rewrite_policy`.
enum PathRewrite: Sendable {
    /// In place of the part that matched.
    case matched([UInt8])
    case pattern(TextRewrite)
    case template([TemplatePart])

    enum TemplatePart: Sendable {
        case text([UInt8])
        /// Of the variables of the template that matched.
        case variable(Int)
    }

    /// The whole target, query and all; nil: it stays as it is, also where nothing would be left of it.
    func target(_ target: UnsafeRawBufferPointer, _ condition: PathCondition) -> [UInt8]? {
        let new = rewritten(target, condition)
        return new?.isEmpty == true ? nil : new
    }

    private func rewritten(_ target: UnsafeRawBufferPointer, _ condition: PathCondition) -> [UInt8]? {
        let path = target.path
        switch self {
        case .matched(let text):
            guard let count = condition.matchedCount(of: path) else { return nil }
            return text + Array(target[count...])
        case .pattern(let rewrite): return rewrite(path) + Array(target[path.count...])
        case .template(let parts):
            guard case .template(let template) = condition, let groups = template.pattern.firstMatch(in: path) else {
                return Array(target)
            }
            var result: [UInt8] = []
            for part in parts {
                switch part {
                case .text(let text): result += text
                case .variable(let number):
                    if let range = groups[number + 1] { result += path[range] }
                }
            }
            return result + Array(target[path.count...])
        }
    }

    static func template(
        _ message: TypedExtensionConfig, _ condition: PathCondition, in arena: Arena
    ) throws(ConfigurationError) -> PathRewrite {
        let any = try message.typed_config.required("typed_config")
        let config = try at("typed_config") { () throws(ConfigurationError) in
            try FieldAudit.decode(UriTemplateRewriteConfig.self, any, in: arena, .routes)
        }
        guard case .template(let template) = condition else {
            throw .invalid(path: "", message: "a template rewrites paths only that a template has matched")
        }
        let text = config.pointee.path_template_rewrite.string
        func refuse(_ problem: String) -> ConfigurationError {
            .invalid(path: "typed_config.path_template_rewrite", message: "`\(text)` \(problem)")
        }
        guard text.hasPrefix("/") else { throw refuse("does not start with a slash") }
        try FieldText.value(text, "typed_config.path_template_rewrite")
        var parts: [TemplatePart] = []
        var rest = text[...]
        while let open = rest.firstIndex(of: "{") {
            guard let close = rest[open...].firstIndex(of: "}") else { throw refuse("has a brace without an end") }
            if open > rest.startIndex { parts.append(.text(Array(rest[..<open].utf8))) }
            let name = String(rest[rest.index(after: open)..<close])
            guard let number = template.variables.firstIndex(of: name) else {
                throw refuse("names {\(name)}, which is not matched")
            }
            parts.append(.variable(number))
            rest = rest[rest.index(after: close)...]
        }
        if !rest.isEmpty { parts.append(.text(Array(rest.utf8))) }
        return .template(parts)
    }
}

/// How a route changes the authority. Source: Envoy, `RouteAction.host_rewrite_specifier`.
public enum HostRewrite: Sendable {
    case literal([UInt8])
    /// The first value of this header.
    case header([UInt8])
    /// What becomes of the path.
    case path(TextRewrite)
    /// The name of the endpoint that is chosen: the core writes it once it knows.
    case endpoint

    /// The new authority; nil: it stays (or is the endpoint's name).
    func authority(_ head: HeaderList) -> [UInt8]? {
        switch self {
        case .literal(let text): return text
        case .header(let name):
            let value = name.withUnsafeBytes { head.withValue(ofBytes: $0) { Array($0) } }
            return value.flatMap { $0.isEmpty ? nil : $0 }
        case .path(let rewrite):
            let value = head.withValue(of: ":path") { rewrite($0.path) }
            return value.flatMap { $0.isEmpty ? nil : $0 }
        case .endpoint: return nil
        }
    }
}

extension HeaderList {
    /// Gives a request another authority, as Envoy notes it.
    /// - Parameters:
    ///   - appends: the old one is added to `x-forwarded-host`, unless it stands there last.
    ///   - keeps: the old one goes to `x-envoy-original-host`.
    public mutating func rewriteAuthority(
        to authority: [UInt8], appendsForwardedHost appends: Bool, keepsOriginal keeps: Bool
    ) {
        let old = withValue(of: ":authority") { Array($0) } ?? []
        if appends, !old.isEmpty {
            var forwarded = joinedValue(ofBytes: ("x-forwarded-host" as StaticString).bytes) ?? []
            let last = forwarded.split(separator: UInt8(ascii: ",")).last.map(Array.init) ?? []
            if last != old {
                if !forwarded.isEmpty { forwarded.append(UInt8(ascii: ",")) }
                forwarded += old
                forwarded.withUnsafeBytes { set("x-forwarded-host", value: $0) }
            }
        }
        if keeps { old.withUnsafeBytes { set("x-envoy-original-host", value: $0) } }
        authority.withUnsafeBytes { set(":authority", value: $0) }
    }
}
