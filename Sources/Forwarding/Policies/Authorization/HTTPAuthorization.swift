import CEnvoyAPI
import EnvoyAPI
import HTTP

/// A server that is asked over HTTP: with the request's own head, its status is the answer.
/// Source: Envoy, `ext_authz.v3.HttpService`, `ext_authz_http_impl.cc`.
struct HTTPAuthorizationService: Sendable {
    let cluster: String
    let timeout: Duration
    let scheme: String
    let pathPrefix: [UInt8]
    let additions: [(name: [UInt8], value: [UInt8])]
    private let toUpstream: [TextMatcher]
    private let toUpstreamBesides: [TextMatcher]
    /// Empty: all but `host`.
    private let toClient: [TextMatcher]
    private let toClientOnSuccess: [TextMatcher]
    private let toMetadata: [TextMatcher]

    init(_ message: ExtAuthzHttpService) throws(ConfigurationError) {
        let place = try message.server_uri.required("server_uri")
        guard case .cluster(let cluster) = place.http_upstream_type, !cluster.isEmpty else {
            throw .invalid(path: "server_uri.cluster", message: "missing")
        }
        self.cluster = cluster
        timeout = try place.timeout.duration("server_uri.timeout") ?? .milliseconds(200)
        scheme = place.uri.string.hasPrefix("https://") ? "https" : "http"
        let prefix = message.path_prefix.string
        guard prefix.isEmpty || prefix.hasPrefix("/"), prefix.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            throw .invalid(path: "path_prefix", message: "`\(prefix)` does not begin with a slash")
        }
        pathPrefix = Array(prefix.utf8)
        let request = message.authorization_request?.pointee
        var additions: [(name: [UInt8], value: [UInt8])] = []
        for (index, field) in (request?.headers_to_add_list).map(Array.init)?.enumerated() ?? [].enumerated() {
            let pair = (field.pointee.key.string.utf8.map(\.lowerCased), Array(field.pointee.value.string.utf8))
            guard isSafeField(pair.0, pair.1), pair.0.first != UInt8(ascii: ":") else {
                throw .invalid(
                    path: "authorization_request.headers_to_add[\(index)]",
                    message: "`\(field.pointee.key.string)` cannot be added")
            }
            additions.append(pair)
        }
        self.additions = additions
        let response = message.authorization_response?.pointee
        func matchers(
            _ list: UnsafeMutablePointer<ListStringMatcher>??, _ field: String
        ) throws(ConfigurationError) -> [TextMatcher] {
            try QuestionContent.matchers(list ?? nil, "authorization_response.\(field)")
        }
        toUpstream = try matchers(response?.allowed_upstream_headers, "allowed_upstream_headers")
        toUpstreamBesides = try matchers(
            response?.allowed_upstream_headers_to_append, "allowed_upstream_headers_to_append")
        toClient = try matchers(response?.allowed_client_headers, "allowed_client_headers")
        toClientOnSuccess = try matchers(
            response?.allowed_client_headers_on_success, "allowed_client_headers_on_success")
        toMetadata = try matchers(response?.dynamic_metadata_from_headers, "dynamic_metadata_from_headers")
    }

    /// - Parameter fields: those that are told.
    func question(_ fields: [(name: [UInt8], value: [UInt8])], body: [UInt8]) -> AuthorizationQuestion {
        var head = HeaderList()
        func append(_ name: [UInt8], _ value: [UInt8]) {
            name.withUnsafeBytes { name in value.withUnsafeBytes { head.append(name: name, value: $0) } }
        }
        // Pseudo-header fields come first.
        for (name, value) in fields where name.first == UInt8(ascii: ":") && name != Array(":scheme".utf8) {
            append(name, name == Array(":path".utf8) ? pathPrefix + value : value)
        }
        append(Array(":scheme".utf8), Array(scheme.utf8))
        // The body is another, and what is about the connection to the client is not about this one.
        let own = ["content-length", "transfer-encoding", "connection", "upgrade", "te", "expect", "keep-alive"]
            .map { Array($0.utf8) }
        for (name, value) in fields where name.first != UInt8(ascii: ":") && !own.contains(name) { append(name, value) }
        append(Array("content-length".utf8), Array("\(body.count)".utf8))
        for (name, value) in additions {
            name.withUnsafeBytes { name in value.withUnsafeBytes { head.set(name: name, value: $0) } }
        }
        return AuthorizationQuestion(cluster: cluster, head: head, body: body, isGRPC: false, timeout: timeout)
    }

    /// - Returns: nil if the server failed.
    func read(_ head: HeaderList, _ body: [UInt8]) -> AuthorizationVerdict? {
        guard let status = head.number(":status"), (200...499).contains(status) else { return nil }
        guard status == 200 else {
            var denial = AuthorizationDenial(status: UInt16(status), isError: false, body: body)
            head.forEachField { name, value in
                guard name.first != UInt8(ascii: ":"), isToldToClient(name) else { return }
                denial.headers.append(name: name, value: value)
            }
            return .denied(denial)
        }
        var changes = AuthorizationChanges()
        head.forEachField { name, value in
            if name.equals(Array("x-envoy-auth-headers-to-remove".utf8)) {
                changes.removals += value.split(separator: UInt8(ascii: ",")).map { part in
                    part.drop { $0 == 0x20 }.map(\.lowerCased).filter { $0 != 0x20 }
                }
                return
            }
            guard name.first != UInt8(ascii: ":") else { return }
            let field = (name: Array(name), value: Array(value))
            if toUpstream.contains(where: { $0.matches(name) }) { changes.sets.append(field) }
            if toUpstreamBesides.contains(where: { $0.matches(name) }) { changes.appends.append(field) }
            if toClientOnSuccess.contains(where: { $0.matches(name) }) {
                changes.response.append(.init(name: field.name, value: field.value, action: .add))
            }
            if toMetadata.contains(where: { $0.matches(name) }) {
                changes.metadata.append(
                    .init(String(decoding: name, as: UTF8.self), .string(String(decoding: value, as: UTF8.self))))
            }
        }
        return .allowed(changes)
    }

    private func isToldToClient(_ name: UnsafeRawBufferPointer) -> Bool {
        // The answer's own framing is not the server's.
        for other in ["content-length", "transfer-encoding", "connection", "host"] where name.equals(Array(other.utf8))
        {
            return false
        }
        if toClient.isEmpty { return true }
        return toClient.contains { $0.matches(name) } || name.equals(Array("www-authenticate".utf8))
            || name.equals(Array("location".utf8))
    }
}
