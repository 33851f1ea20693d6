import CEnvoyAPI
import EnvoyAPI
import HTTP
import Protobuf

/// Which redirects of an upstream are followed here, without the client. Source: Envoy, `InternalRedirectPolicy`.
public struct InternalRedirects: Sendable {
    enum Condition: Sendable {
        /// The route that the redirect leads to has one of these names.
        case namedRoutes(Set<String>)
        /// No redirect of this route has led to it in this request.
        case unseenRoutes
        /// Not from TLS to plaintext turned round: to `https` only from `https`.
        case safeScheme
    }

    let statuses: [Int]
    let most: UInt32
    let changesScheme: Bool
    let conditions: [Condition]
    /// Of the response that redirects, in lower case: they take the place of the request's.
    let copied: [[UInt8]]

    init(_ message: InternalRedirectPolicy) throws(ConfigurationError) {
        let given = message.redirect_response_codes_list.map { Int($0) }
        for (index, status) in given.enumerated() where ![301, 302, 303, 307, 308].contains(status) {
            throw .invalid(path: "redirect_response_codes[\(index)]", message: "\(status) is no redirect")
        }
        statuses = given.isEmpty ? [302] : given
        most = message.max_internal_redirects.number ?? 1
        changesScheme = message.allow_cross_scheme_redirect != 0
        copied = message.response_headers_to_copy_list.map { $0.utf8.map(\.lowerCased) }
        for (index, name) in copied.enumerated() where name.first == UInt8(ascii: ":") || name == Array("host".utf8) {
            throw .invalid(path: "response_headers_to_copy[\(index)]", message: "where a request goes is not copied")
        }
        conditions = try message.predicates_list.read("predicates") { (predicate) throws(ConfigurationError) in
            guard let any = predicate.pointee.typed_config?.pointee else {
                throw .invalid(path: "typed_config", message: "missing")
            }
            return try at("typed_config") { () throws(ConfigurationError) in try Self.condition(any) }
        }
    }

    /// Messages with a list of names, field 1, or nothing at all.
    private static func condition(_ any: ProtobufAny) throws(ConfigurationError) -> Condition {
        let package = "envoy.extensions.internal_redirect."
        let name = FieldAudit.typeName(any)
        var rest = Array(any.value_bytes)[...]
        switch name {
        case package + "allow_listed_routes.v3.AllowListedRoutesConfig":
            var names: Set<String> = []
            while !rest.isEmpty {
                guard rest.takeVarint() == 0x0A, let count = rest.takeVarint(), count <= UInt64(rest.count) else {
                    throw .unsupported(path: "", message: "only allowed_route_names is supported")
                }
                names.insert(String(decoding: rest.prefix(Int(count)), as: UTF8.self))
                rest = rest.dropFirst(Int(count))
            }
            return .namedRoutes(names)
        case package + "previous_routes.v3.PreviousRoutesConfig",
            package + "safe_cross_scheme.v3.SafeCrossSchemeConfig":
            guard rest.isEmpty else { throw .unsupported(path: "", message: "a field of \(name) is not supported") }
            return name.hasSuffix("PreviousRoutesConfig") ? .unseenRoutes : .safeScheme
        default: throw .unsupported(path: "", message: "`\(name)` is no condition that is known")
        }
    }

    public func follows(_ status: Int) -> Bool { statuses.contains(status) }

    /// The request that a redirect asks for; its route is still to be accepted.
    /// - Parameters:
    ///   - request: as it was sent.
    ///   - response: with `location`, which has to be a whole URL.
    /// - Returns: nil: the redirect is the client's to follow.
    public func request(
        after request: HeaderList, _ response: HeaderList, _ trail: RedirectTrail
    ) -> HeaderList? {
        guard trail.count < most, let path = request.withValue(of: ":path", { Array($0) }),
            let host = request.withValue(of: ":authority", { Array($0) }),
            let target = response.withValue(of: "location", { RedirectTarget($0) }) ?? nil
        else { return nil }
        let isSecure = request.value(of: ":scheme", equals: "https")
        guard changesScheme || isSecure == target.isSecure else { return nil }
        var next = request
        for name in copied {
            name.withUnsafeBytes { name in
                next.remove(bytes: name)
                response.forEachValue(ofBytes: name) { next.append(name: name, value: $0) }
            }
        }
        next.set(":scheme", target.isSecure ? "https" : "http")
        target.authority.withUnsafeBytes { next.set(":authority", value: $0) }
        target.path.withUnsafeBytes { next.set(":path", value: $0) }
        let original = Array((isSecure ? "https://" : "http://").utf8) + host + path
        original.withUnsafeBytes { next.set("x-envoy-original-url", value: $0) }
        let method = request[":method"]
        if response.value(of: ":status", equals: "303"), method != "GET", method != "HEAD" {
            // Source: RFC 9110, section 15.4.4.
            next.set(":method", "GET")
            next.remove("content-length")
        }
        return next
    }

    /// Whether a redirect may lead from one route to another; if so, it is noted.
    /// - Parameter isSecure: the scheme of the request before, and after.
    public func accepts(
        from route: String, to target: String, isSecure: (before: Bool, after: Bool), _ trail: inout RedirectTrail
    ) -> Bool {
        var next = trail
        for condition in conditions {
            switch condition {
            case .namedRoutes(let names): guard names.contains(target) else { return false }
            case .unseenRoutes: guard next.seen.insert([route, target]).inserted else { return false }
            case .safeScheme: guard isSecure.before || !isSecure.after else { return false }
            }
        }
        next.count += 1
        trail = next
        return true
    }
}

/// The redirects that one request has gone through.
public struct RedirectTrail: Sendable {
    var count: UInt32 = 0
    /// From route to route.
    var seen: Set<[String]> = []

    public init() {}
}

/// A whole URL of `http` or `https`, without its fragment.
struct RedirectTarget: Equatable {
    var isSecure: Bool
    var authority: [UInt8]
    var path: [UInt8]

    init?(_ url: UnsafeRawBufferPointer) {
        guard url.allSatisfy({ $0 > 0x20 && $0 < 0x7F }), let colon = url.firstIndex(of: UInt8(ascii: ":")) else {
            return nil
        }
        let scheme = UnsafeRawBufferPointer(rebasing: url[..<colon])
        isSecure = scheme.equalsIgnoringCase("https")
        guard isSecure || scheme.equalsIgnoringCase("http"), url[colon...].starts(with: Array("://".utf8)) else {
            return nil
        }
        let rest = url[(colon + 3)...]
        let host = rest.prefix { !Array("/?#\\".utf8).contains($0) }
        guard !host.isEmpty, !host.contains(UInt8(ascii: "@")), host.first != UInt8(ascii: ":") else { return nil }
        authority = Array(host)
        path = Array(rest[host.endIndex...].prefix { $0 != UInt8(ascii: "#") })
        if path.first == UInt8(ascii: "\\") { return nil }
        if path.first != UInt8(ascii: "/") { path.insert(UInt8(ascii: "/"), at: 0) }
    }
}
