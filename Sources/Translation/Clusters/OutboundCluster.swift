import EnvoyAPI
import Mesh
import XDS

/// One port of a service, or one subset there, as a client's cluster, before it is a message.
struct OutboundCluster {
    /// How its endpoints are found.
    enum Discovery: Hashable {
        /// The control plane tells them.
        case told
        /// The proxy looks up names that the control plane tells.
        case names
        /// The proxy looks up one name.
        case host(String, port: Int)
        case originalDestination
        /// The proxy looks up what each request names.
        case forwardProxy
    }

    var name: String
    /// What is called.
    var host: String
    var number: Int
    /// Who serves it: another than is called where a Service is a name for another.
    var service: MeshService
    var port: MeshService.Port
    var subset: Istio.Subset?
    var policy: ClientPolicy
    var discovery: Discovery
    /// One endpoint stands for all that its name means.
    var isSingle = false
    var backends: ServiceBackends
    var scope: OutboundScope

    /// Of the whole port, subsets not yet told apart.
    func endpoints(_ translator: Translator) -> [MeshEndpoint] { translator.endpoints(of: backends, port: port) }

    var isHTTP: Bool { port.statedProtocol?.isHTTP ?? true }

    /// As Istio names a service among servers of TLS: `outbound_.9080_.v1_.reviews.default.svc.cluster.local`.
    var serverName: String { "outbound_.\(number)_.\(subset?.name ?? "")_.\(host)" }
}

extension Translator {
    /// All clusters of a service: each port, and each subset there.
    func outbound(_ service: MeshService, for scope: OutboundScope) -> [OutboundCluster] {
        let rule = clientRule(for: service.host, scope)
        var gathered: [String: ServiceBackends] = [:]
        return service.ports.filter { $0.statedProtocol != .udp }.flatMap { stated -> [OutboundCluster] in
            let (server, port) = server(of: service, port: stated, for: scope)
            let backends = gathered[server.host] ?? backends(of: server)
            gathered[server.host] = backends
            return ([nil] + rule.subsets.map { Optional($0) }).compactMap { subset in
                let policy = clientPolicy(rule, subset: subset, port: stated.number, of: server)
                guard let discovery = discovery(of: server, port, policy, backends, scope) else { return nil }
                return OutboundCluster(
                    name: ResourceNames.outbound(stated.number, subset: subset?.name ?? "", service.host),
                    host: service.host, number: stated.number, service: server, port: port, subset: subset,
                    policy: policy, discovery: discovery,
                    isSingle: server.resolution == .dns(isRoundRobin: true) || scope.kind == .proxyless,
                    backends: backends, scope: scope)
            }
        }
    }

    /// Who serves a port: the service itself, or what its name stands for as far as the mesh knows it.
    private func server(
        of service: MeshService, port: MeshService.Port, for scope: OutboundScope
    ) -> (MeshService, MeshService.Port) {
        var found = (service, port)
        // Names for names end somewhere; those that go round in circles here.
        for _ in 0..<8 {
            guard case .alias(let name) = found.0.resolution,
                let next = self.service(name, in: found.0.namespace, for: scope), !next.host.hasPrefix("*"),
                let nextPort = next.port(port.number)
            else { break }
            found = (next, nextPort)
        }
        return found
    }

    /// nil: nothing can be called there.
    private func discovery(
        of service: MeshService, _ port: MeshService.Port, _ policy: ClientPolicy, _ backends: ServiceBackends,
        _ scope: OutboundScope
    ) -> OutboundCluster.Discovery? {
        let target: Int = if case .number(let number) = port.target { number } else { port.number }
        let isPattern = service.host.hasPrefix("*")
        switch service.resolution {
        case .endpoints:
            let isPassed = policy.balancing == .simple(.passthrough) || service.isHeadless
            return isPassed && scope.followsDestination ? .originalDestination : .told
        case .dns:
            if !backends.entries.isEmpty || !backends.workloads.isEmpty { return .names }
            return isPattern ? nil : .host(service.host, port: target)
        case .alias(let name): return .host(name, port: target)
        case .originalDestination:
            if scope.followsDestination { return .originalDestination }
            return isPattern ? nil : .host(service.host, port: target)
        case .dynamicDNS:
            return isPattern || port.statedProtocol?.isHTTP ?? false ? .forwardProxy : .host(service.host, port: target)
        }
    }
}
