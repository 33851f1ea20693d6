import CEnvoyAPI
import EnvoyAPI
import HTTP
import Protobuf

/// A route configuration, compiled: finds the route of a request in a time that hardly grows with their number.
/// Source: Envoy, `config.route.v3.RouteConfiguration`, `RouteMatcher`.
public final class RouteTable: Sendable {
    final class Host: Sendable {
        enum Requirement: Sendable { case none, external, all }
        let requirement: Requirement
        let routes: [Route]
        let index: RouteIndex

        init(requirement: Requirement, routes: [Route], index: RouteIndex) {
            (self.requirement, self.routes, self.index) = (requirement, routes, index)
        }
    }

    public let name: String
    /// Every cluster that a route names, each once, sorted.
    public let clusters: [String]
    public let metadata: FilterMetadata
    /// Headers that only requests from inside may bring, in lower case. See ``RequestOverrides``.
    public let internalOnlyHeaders: [[UInt8]]
    private let domains: DomainTable
    private let hosts: [Host]
    private let ignoresPathParameters: Bool

    /// - Parameters:
    ///   - bytes: a `RouteConfiguration`.
    ///   - files: reads what the configuration only points to.
    /// - Throws: the first thing that is wrong or not supported, with its path.
    public convenience init(
        _ bytes: [UInt8], files: (GivenBytes) throws(ConfigurationError) -> [UInt8] = GivenBytes.refuse
    ) throws(ConfigurationError) {
        let arena = Arena()
        let message = try FieldAudit.decode(RouteConfiguration.self, bytes, in: arena, .routes)
        try self.init(audited: message.pointee, in: arena, files: files)
    }

    /// - Parameter message: inside of a listener, say.
    public convenience init(
        _ message: UnsafeMutablePointer<RouteConfiguration>,
        files: (GivenBytes) throws(ConfigurationError) -> [UInt8] = GivenBytes.refuse
    ) throws(ConfigurationError) {
        try FieldAudit.check(DynamicMessage(message), .routes)
        try self.init(audited: message.pointee, in: Arena(), files: files)
    }

    private init(
        audited message: RouteConfiguration, in arena: Arena,
        files: (GivenBytes) throws(ConfigurationError) -> [UInt8]
    ) throws(ConfigurationError) {
        name = message.name.string
        metadata = message.metadata.map { FilterMetadata($0.pointee) } ?? FilterMetadata()
        internalOnlyHeaders = message.internal_only_headers_list.map { $0.utf8.map(\.lowerCased) }
        if message.validate_clusters.flag == true {
            throw .unsupported(
                path: "validate_clusters", message: "clusters may come after the routes that name them: set it to false"
            )
        }
        ignoresPathParameters = message.ignore_path_parameters_in_path_matching != 0
        var reader = try RouteReader(message, in: arena)
        var domains = DomainTable(ignoresPort: message.ignore_port_in_host_matching != 0)
        var hosts: [Host] = []
        for (index, host) in message.virtual_hosts_list.enumerated() {
            do {
                hosts.append(try reader.host(host.pointee, files))
                for (place, domain) in host.pointee.domains_list.enumerated() {
                    try at("domains[\(place)]") { () throws(ConfigurationError) in try domains.insert(domain, index) }
                }
            } catch {
                throw error.under("virtual_hosts[\(index)]")
            }
        }
        (self.domains, self.hosts, clusters) = (domains, hosts, reader.clusterNames)
    }

    /// Every route, in order.
    public var routes: [Route] { hosts.flatMap(\.routes) }

    /// What becomes of a request.
    /// - Parameters:
    ///   - head: with `x-forwarded-proto`, which says whether the client speaks TLS; without one, `:scheme` says it.
    ///   - metadata: what filters before left.
    ///   - random: one number per request: the same one where a request is routed again.
    public func route(
        _ head: HeaderList, _ connection: ConnectionFacts, remote: NetworkAddress? = nil,
        metadata: FilterMetadata = FilterMetadata(), random: UInt64
    ) -> Routing {
        guard let number = domains.host(of: head) else { return .none }
        let host = hosts[number]
        if host.requirement != .none, redirectsToTLS(head, host.requirement) {
            let authority = head.withValue(of: ":authority") { Array($0) } ?? []
            let path = head.withValue(of: ":path") { Array($0) } ?? []
            return .redirect(nil, status: 301, location: Array("https://".utf8) + authority + path)
        }
        guard let route = route(in: host, head, connection, metadata, random) else { return .none }
        switch route.action {
        case .forward(let forwarded):
            let forward = forwarded.choose(head, random: random) {
                forwarded.hash.hash(head, source: remote ?? connection.source, connection: connection).hash
            }
            return .forward(route, forward)
        case .redirect(let redirection):
            return .redirect(
                route, status: redirection.status, location: redirection.location(head, route.condition.path))
        case .respond(let status, let body): return .direct(route, status: status, body: body)
        case .nothing: return .nothing(route)
        }
    }

    private func redirectsToTLS(_ head: HeaderList, _ requirement: Host.Requirement) -> Bool {
        let proto: StaticString = head.contains("x-forwarded-proto") ? "x-forwarded-proto" : ":scheme"
        if head.value(of: proto, equals: "https") { return false }
        return requirement == .all || !head.value(of: "x-envoy-internal", equals: "true")
    }

    private func route(
        in host: Host, _ head: HeaderList, _ connection: ConnectionFacts, _ metadata: FilterMetadata, _ random: UInt64
    ) -> Route? {
        let isConnect = head.value(of: ":method", equals: "CONNECT")
        let found: Int?? = head.withValue(of: ":path") { target in
            first(in: host, target, isConnect, head, connection, metadata, random)
        }
        return (found ?? first(in: host, nil, isConnect, head, connection, metadata, random)).map { host.routes[$0] }
    }

    @inline(__always)
    private func first(
        in host: Host, _ target: UnsafeRawBufferPointer?, _ isConnect: Bool, _ head: HeaderList,
        _ connection: ConnectionFacts, _ metadata: FilterMetadata, _ random: UInt64
    ) -> Int? {
        let whole = target?.path
        if let whole, ignoresPathParameters, whole.contains(UInt8(ascii: ";")) {
            return whole.withoutParameters.withUnsafeBytes {
                first(in: host, target, path: $0, whole, isConnect, head, connection, metadata, random)
            }
        }
        return first(in: host, target, path: whole, whole, isConnect, head, connection, metadata, random)
    }

    @inline(__always)
    private func first(
        in host: Host, _ target: UnsafeRawBufferPointer?, path: UnsafeRawBufferPointer?,
        _ whole: UnsafeRawBufferPointer?, _ isConnect: Bool, _ head: HeaderList, _ connection: ConnectionFacts,
        _ metadata: FilterMetadata, _ random: UInt64
    ) -> Int? {
        host.index.first(path) { number in
            let route = host.routes[number]
            return route.condition.path.matches(path, whole: whole, isConnect: isConnect)
                && (route.isPathOnly || route.condition.matches(head, target, connection, metadata, random))
        }
    }
}

extension UnsafeRawBufferPointer {
    /// A path whose segments have lost what stands behind a semicolon. Source: RFC 3986, 3.3; Envoy,
    /// `ignore_path_parameters_in_path_matching`.
    fileprivate var withoutParameters: [UInt8] {
        var isParameter = false
        return filter { byte in
            if byte == UInt8(ascii: ";") { isParameter = true }
            if byte == UInt8(ascii: "/") { isParameter = false }
            return !isParameter
        }
    }
}

extension DomainTable {
    fileprivate func host(of head: HeaderList) -> Int? {
        let found: Int?? = head.withValue(of: ":authority") { host($0) }
        return found ?? host(nil)
    }
}

extension RouteCondition {
    /// Whether all but the path fits.
    func matches(
        _ head: HeaderList, _ target: UnsafeRawBufferPointer?, _ connection: ConnectionFacts,
        _ metadata: FilterMetadata, _ random: UInt64
    ) -> Bool {
        if let share, !share.holds(random) { return false }
        if isGRPC, !head.isGRPC { return false }
        for header in headers where !header.matches(head) { return false }
        if !parameters.isEmpty {
            let target = target ?? UnsafeRawBufferPointer(start: nil, count: 0)
            for parameter in parameters where !parameter.matches(target) { return false }
        }
        if let presentsCertificate, presentsCertificate != (connection.peer != nil) { return false }
        if let verifiesCertificate, verifiesCertificate != (connection.peer?.isVerified == true) { return false }
        return self.metadata.allSatisfy { $0.matches(metadata) }
    }
}

extension GivenBytes {
    /// Takes nothing but what is written in the message itself.
    public static func refuse(_ given: GivenBytes) throws(ConfigurationError) -> [UInt8] {
        switch given {
        case .inline(let bytes): return bytes
        case .file(let path):
            throw .unsupported(path: "filename", message: "`\(path)` is not read here: write its bytes inline")
        case .environment(let name):
            throw .unsupported(path: "environment_variable", message: "`\(name)` is not read here: write it inline")
        }
    }
}
