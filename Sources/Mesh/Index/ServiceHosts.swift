import Addresses
import HashTreeCollections

/// A Service or a ServiceEntry under one of its hosts.
public struct ServiceHost: Hashable, Sendable {
    public struct Port: Hashable, Sendable {
        public var number: Int
        public var name: String
        /// Nil leaves it to be detected.
        public var statedProtocol: PortProtocol?
    }

    /// The object that has it.
    public var key: ObjectKey
    /// In full; a wildcard where the object has one.
    public var host: String
    public var ports: [Port]

    public var namespace: String { key.namespace }
}

extension MeshIndex {
    /// `reviews` in `default` is `reviews.default.svc.cluster.local`; what has a dot is full already, except the short
    /// forms of a Service (`reviews.default`, `reviews.default.svc`). Lower case, without a dot at the end.
    public func fullHost(_ host: String, in namespace: String) -> String {
        var name = host.lowercased()
        if name.hasSuffix(".") { name.removeLast() }
        if name.hasPrefix("*") || IPAddress(name) != nil { return name }
        let parts = name.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
        if parts.count == 1 { return Self.fullHost(name, namespace) }
        if parts.count == 2 || (parts.count == 3 && parts[2] == "svc"),
            objects[ObjectKey(.service, parts[1], parts[0])] != nil
        {
            return Self.fullHost(parts[0], parts[1])
        }
        return name
    }

    /// Without a look at which Services are there.
    static func fullHost(_ name: String, _ namespace: String) -> String { "\(name).\(namespace).\(clusterDomain)" }

    /// `reviews.default.svc.cluster.local` of the Service `reviews` in `default`.
    public static func fullHost(of service: ObjectKey) -> String { fullHost(service.name, service.namespace) }

    /// A host as it is written in an object: only names without a dot belong to the object's namespace.
    static func statedHost(_ host: String, in namespace: String) -> String {
        var name = host.lowercased()
        if name.hasSuffix(".") { name.removeLast() }
        if name.hasPrefix("*") || name.contains(".") || name.contains(":") { return name }
        return fullHost(name, namespace)
    }

    static func servedHosts(_ object: MeshObject) -> [String] {
        switch object.body {
        case .service: [fullHost(object.key.name, object.key.namespace)]
        case .serviceEntry(let entry): entry.hosts.map { $0.lowercased() }
        default: []
        }
    }

    /// The hosts that a VirtualService or a DestinationRule is about, in full as far as its text alone says it.
    public static func claimedHosts(_ object: MeshObject) -> [String] {
        switch object.body {
        case .virtualService(let service): service.hosts.map { statedHost($0, in: object.key.namespace) }
        case .destinationRule(let rule): [statedHost(rule.host, in: object.key.namespace)]
        default: []
        }
    }

    /// The Services and ServiceEntries that have a host and are exported to a namespace: by the host itself, else by the
    /// longest wildcard. A wildcard asks for all hosts below it.
    public func services(matching host: String, from namespace: String) -> [ServiceHost] {
        let full = fullHost(host, in: namespace)
        if full.hasPrefix("*") { return services(below: String(full.dropFirst()), from: namespace) }
        if let exact = hosts[full] {
            let found = visible(exact, to: namespace).flatMap { serviceHosts($0) }.filter { $0.host == full }
            if !found.isEmpty { return found }
        }
        for suffix in Self.suffixes(of: full) {
            guard let keys = wildcardHosts[suffix] else { continue }
            let found = visible(keys, to: namespace).flatMap { serviceHosts($0) }.filter { $0.host == "*" + suffix }
            if !found.isEmpty { return found }
        }
        return []
    }

    private func services(below suffix: String, from namespace: String) -> [ServiceHost] {
        var keys = TreeSet<ObjectKey>()
        for (host, more) in hosts where host.hasSuffix(suffix) { keys.formUnion(more) }
        for (host, more) in wildcardHosts where host.hasSuffix(suffix) { keys.formUnion(more) }
        return visible(keys, to: namespace).flatMap { serviceHosts($0) }.filter { $0.host.hasSuffix(suffix) }
    }

    /// `.b.c`, `.c` and nothing of `a.b.c`: what a wildcard may stand before, the longest first.
    public static func suffixes(of host: String) -> [String] {
        host.indices.filter { host[$0] == "." }.map { String(host[$0...]) } + [""]
    }

    private func visible(_ keys: TreeSet<ObjectKey>, to namespace: String) -> [MeshObject] {
        objects(keys).filter { isExported($0, to: namespace) }
    }

    /// Every host of a Service or ServiceEntry, with its ports.
    public func serviceHosts(_ object: MeshObject) -> [ServiceHost] {
        switch object.body {
        case .service(let service):
            let ports = service.ports.map {
                ServiceHost.Port(number: $0.port, name: $0.name, statedProtocol: $0.statedProtocol)
            }
            return [
                ServiceHost(
                    key: object.key, host: Self.fullHost(object.key.name, object.key.namespace), ports: ports)
            ]
        case .serviceEntry(let entry):
            let ports = entry.ports.map {
                ServiceHost.Port(number: $0.number, name: $0.name, statedProtocol: $0.transport)
            }
            return entry.hosts.map { ServiceHost(key: object.key, host: $0.lowercased(), ports: ports) }
        default: return []
        }
    }

    /// Whether an object is exported to a namespace. Services say it by an annotation, the others by `exportTo`.
    public func isExported(_ object: MeshObject, to namespace: String) -> Bool {
        let targets: [String]
        switch object.body {
        case .virtualService(let service): targets = service.exportTo
        case .destinationRule(let rule): targets = rule.exportTo
        case .serviceEntry(let entry): targets = entry.exportTo
        case .service:
            targets =
                object.metadata.annotations["networking.istio.io/exportTo"]?.split(separator: ",")
                .map { String($0.filter { $0 != " " }) } ?? []
        default: targets = []
        }
        if targets.isEmpty || targets.contains("*") || targets.contains(namespace) { return true }
        return targets.contains(".") && object.key.namespace == namespace
    }

    /// The VirtualServices that are about a host on a gateway (`mesh` for sidecars) and visible from a namespace: those
    /// of the host itself first, then of wildcards, the longest first; older ones before newer.
    public func virtualServices(for host: String, gateway: String, from namespace: String) -> [MeshObject] {
        claimants(of: host, .virtualService, from: namespace).filter { object in
            guard case .virtualService(let service) = object.body else { return false }
            return service.gateways.contains { fullGateway($0, in: object.key.namespace) == gateway }
        }
    }

    /// The DestinationRules for a host as a client in a namespace sees them: those of its own namespace, else those of
    /// the service's, else those of the root namespace; the most specific host first.
    public func destinationRules(for host: String, from namespace: String) -> [MeshObject] {
        let all = claimants(of: host, .destinationRule, from: namespace)
        let serviceNamespace = services(matching: host, from: namespace).first?.namespace
        for candidate in [namespace, serviceNamespace, config.rootNamespace].compactMap({ $0 }) {
            let found = all.filter { $0.key.namespace == candidate }
            if !found.isEmpty { return found }
        }
        return []
    }

    private func claimants(of host: String, _ kind: ObjectKind, from namespace: String) -> [MeshObject] {
        let full = fullHost(host, in: namespace)
        let patterns = full.hasPrefix("*") ? [full] : [full] + Self.suffixes(of: full).map { "*" + $0 }
        var found: [MeshObject] = []
        for pattern in patterns {
            found += objects(claims[pattern]).filter { $0.key.kind == kind && isExported($0, to: namespace) }
                .sorted { $0.isOlder(than: $1) }
        }
        return found
    }

    /// `mesh`, or `NAMESPACE/NAME`.
    public func fullGateway(_ name: String, in namespace: String) -> String {
        name == Istio.VirtualService.meshGateway || name.contains("/") ? name : namespace + "/" + name
    }

    public func gateway(named name: String, from namespace: String) -> MeshObject? {
        let parts = fullGateway(name, in: namespace).split(separator: "/").map(String.init)
        guard parts.count == 2 else { return nil }
        return objects[ObjectKey(.gateway, parts[0], parts[1])]
    }
}

extension MeshObject {
    /// By creation time, then by name: who came first has what both claim. Objects without a time come after those with.
    public func isOlder(than other: MeshObject) -> Bool {
        switch (metadata.creationTimestamp, other.metadata.creationTimestamp) {
        case (let one?, let another?) where one != another: one < another
        case (.some, nil): true
        case (nil, .some): false
        default: key < other.key
        }
    }
}
