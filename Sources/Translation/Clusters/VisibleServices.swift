import Mesh

extension Translator {
    /// Everything that proxies of a scope may call, sorted by host, one for each host: a Service before a
    /// ServiceEntry, the scope's own namespace before others, the older before the newer. A Sidecar with egress hosts
    /// narrows it to these and to where VirtualServices for these lead.
    public func visibleServices(for scope: OutboundScope) -> [MeshService] {
        var winners: [String: MeshService] = [:]
        for service in mesh.services(matching: "*", from: scope.namespace) where isOpen(service, to: scope) {
            offer(service, to: &winners, scope)
        }
        if let hosts = egressHosts(of: scope) {
            let all = winners
            winners = winners.filter { service in hosts.contains { allows($0, service.value, scope) } }
            for host in winners.keys.sorted() {
                for destination in destinations(of: host, scope) where winners[destination] == nil {
                    winners[destination] = all[destination]
                }
            }
        }
        return winners.values.sorted { $0.host < $1.host }
    }

    /// What is called under a host, which may be short, as an object of a namespace writes it; a wildcard where no
    /// service has the host itself.
    public func service(_ host: String, in namespace: String, for scope: OutboundScope) -> MeshService? {
        var winners: [String: MeshService] = [:]
        let full = mesh.fullHost(host, in: namespace)
        for service in mesh.services(matching: full, from: scope.namespace) where isOpen(service, to: scope) {
            offer(service, to: &winners, scope)
        }
        return winners.values.min { $0.host < $1.host }
    }

    private func offer(_ service: MeshService, to winners: inout [String: MeshService], _ scope: OutboundScope) {
        guard let other = winners[service.host] else {
            winners[service.host] = service
            return
        }
        if precedes(service, other, scope) { winners[service.host] = service }
    }

    func precedes(_ one: MeshService, _ other: MeshService, _ scope: OutboundScope) -> Bool {
        if one.key.kind != other.key.kind { return one.key.kind == .service }
        if (one.namespace == scope.namespace) != (other.namespace == scope.namespace) {
            return one.namespace == scope.namespace
        }
        guard let first = mesh.object(one.key), let second = mesh.object(other.key) else { return one.key < other.key }
        return first.isOlder(than: second)
    }

    /// Whether a Sidecar with egress hosts, if the scope has one, takes a service in by its own name.
    func isSeen(_ service: MeshService, by scope: OutboundScope) -> Bool {
        egressHosts(of: scope).map { $0.contains { allows($0, service, scope) } } ?? true
    }

    /// nil: all hosts.
    private func egressHosts(of scope: OutboundScope) -> [Istio.ScopedHost]? {
        guard let key = scope.sidecar, case .sidecar(let sidecar) = mesh.object(key)?.body, !sidecar.egress.isEmpty
        else { return nil }
        return sidecar.egress.flatMap(\.hosts)
    }

    /// Whether a host pattern of a Sidecar takes a service in. Source: Istio, Sidecar, IstioEgressListener.hosts.
    func allows(_ pattern: Istio.ScopedHost, _ service: MeshService, _ scope: OutboundScope) -> Bool {
        switch pattern.namespace {
        case "*": break
        case "~": return false
        case ".": guard service.namespace == scope.namespace else { return false }
        default: guard service.namespace == pattern.namespace else { return false }
        }
        if pattern.host == "*" { return true }
        if pattern.host.hasPrefix("*") { return service.host.hasSuffix(pattern.host.dropFirst().lowercased()) }
        return mesh.fullHost(pattern.host, in: service.namespace) == service.host
    }

    /// Hosts that the VirtualServices for a host lead to.
    private func destinations(of host: String, _ scope: OutboundScope) -> [String] {
        mesh.virtualServices(for: host, gateway: Istio.VirtualService.meshGateway, from: scope.namespace)
            .flatMap { object -> [String] in
                guard case .virtualService(let service) = object.body else { return [] }
                return destinations(of: service).map { mesh.fullHost($0.host, in: object.key.namespace) }
            }
    }

    private func destinations(of service: Istio.VirtualService) -> [Istio.Destination] {
        let http = service.http.flatMap { route -> [Istio.Destination] in
            guard case .route(let shares) = route.action else { return [] }
            return shares.map(\.destination) + route.mirrors.map(\.destination)
        }
        let streams = service.tls.flatMap(\.route) + service.tcp.flatMap(\.route)
        return http + streams.map(\.destination)
    }

    /// The Sidecar that is for a proxy: the oldest that selects it, else its namespace's, else the mesh's.
    public func sidecar(for proxy: ProxyClass) -> MeshObject? {
        guard proxy.kind != .gateway else { return nil }
        let found = mesh.policies(.sidecar, selecting: proxy.labels, in: proxy.namespace)
        let narrow = found.filter { $0.policyScope?.isWide == false }
        if let chosen = narrow.min(by: { $0.isOlder(than: $1) }) { return chosen }
        let own = found.filter { $0.key.namespace == proxy.namespace }
        return (own.isEmpty ? found : own).min { $0.isOlder(than: $1) }
    }
}
