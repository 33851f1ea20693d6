import CEnvoyAPI
import EnvoyAPI
import HTTP

/// Where a client is sent instead. Source: Envoy, `config.route.v3.RedirectAction`, `Http::Utility::newUri`.
public struct Redirection: Sendable {
    enum Path: Sendable {
        /// Whole, with or without a query of its own.
        case whole([UInt8], hasQuery: Bool)
        case rewritten(PathRewrite)
    }

    public let status: UInt16
    let scheme: [UInt8]?
    let host: [UInt8]?
    let port: UInt16?
    let path: Path?
    let stripsQuery: Bool

    init(_ message: RedirectAction, of condition: PathCondition) throws(ConfigurationError) {
        switch message.scheme_rewrite_specifier {
        case .https_redirect(let isHTTPS): scheme = isHTTPS ? Array("https".utf8) : nil
        case .scheme_redirect(let text): scheme = text.isEmpty ? nil : try FieldText.value(text, "scheme_redirect")
        case nil: scheme = nil
        }
        let host = message.host_redirect.string
        self.host = host.isEmpty ? nil : try FieldText.value(host, "host_redirect")
        guard let port = UInt16(exactly: message.port_redirect) else {
            throw .invalid(path: "port_redirect", message: "\(message.port_redirect) is no port")
        }
        self.port = port == 0 ? nil : port
        switch message.path_rewrite_specifier {
        case .path_redirect(let text):
            path =
                text.isEmpty
                ? nil : .whole(try FieldText.value(text, "path_redirect"), hasQuery: text.contains("?"))
        case .prefix_rewrite(let text):
            if case .template = condition {
                throw .invalid(path: "prefix_rewrite", message: "no rewrite for paths that a template matches")
            }
            path = text.isEmpty ? nil : .rewritten(.matched(try FieldText.value(text, "prefix_rewrite")))
        case .regex_rewrite(let rewrite):
            path = .rewritten(
                .pattern(
                    try at("regex_rewrite") { () throws(ConfigurationError) in try TextRewrite(rewrite.pointee) }))
        case nil: path = nil
        }
        switch message.response_code {
        case .MOVED_PERMANENTLY: status = 301
        case .FOUND: status = 302
        case .SEE_OTHER: status = 303
        case .TEMPORARY_REDIRECT: status = 307
        case .PERMANENT_REDIRECT: status = 308
        default: throw .invalid(path: "response_code", message: "unknown value")
        }
        stripsQuery = message.strip_query != 0
    }

    /// To where the request went already.
    static let unchanged = Redirection()

    private init() {
        (status, scheme, host, port, path, stripsQuery) = (302, nil, nil, nil, nil, false)
    }

    /// The value of `location`.
    func location(_ head: HeaderList, _ condition: PathCondition) -> [UInt8] {
        let original = head.withValue(of: ":path") { Array($0) } ?? []
        let oldScheme = head.withValue(of: ":scheme") { Array($0) } ?? Array("http".utf8)
        let newScheme = scheme ?? oldScheme
        var target: [UInt8]
        var keepsQuery = false
        switch path {
        case .whole(let text, let hasQuery):
            keepsQuery = hasQuery
            target = text
            if !hasQuery, let mark = original.firstIndex(of: UInt8(ascii: "?")) { target += original[mark...] }
        case .rewritten(let rewrite):
            target = original.withUnsafeBytes { rewrite.target($0, condition) } ?? original
        case nil: target = original
        }
        if stripsQuery, !keepsQuery, let mark = target.firstIndex(of: UInt8(ascii: "?")) {
            target.removeSubrange(mark...)
        }
        let authority = host ?? oldAuthority(head, newScheme)
        let portText = port.map { Array(":\($0)".utf8) } ?? []
        return newScheme + Array("://".utf8) + authority + portText + target
    }

    /// The request's authority; its port goes where another one is asked for, or where it was the old scheme's own.
    private func oldAuthority(_ head: HeaderList, _ newScheme: [UInt8]) -> [UInt8] {
        let authority = head.withValue(of: ":authority") { Array($0) } ?? []
        let start: Int? =
            authority.first == UInt8(ascii: "[")
            ? authority.lastIndex(of: UInt8(ascii: "]")).flatMap {
                $0 + 1 < authority.count && authority[$0 + 1] == UInt8(ascii: ":") ? $0 + 1 : nil
            }
            : authority.lastIndex(of: UInt8(ascii: ":"))
        guard let start else { return authority }
        var drops = port != nil
        let old = head.withValue(of: "x-forwarded-proto") { Array($0) } ?? []
        if newScheme != old {
            let text = authority[start...]
            drops = drops || (old == Array("https".utf8) && text.elementsEqual(":443".utf8))
            drops = drops || (old == Array("http".utf8) && text.elementsEqual(":80".utf8))
        }
        return drops ? Array(authority[..<start]) : authority
    }
}
