import EnvoyAPI
import Mesh
import Protobuf
import XDS

extension Translator {
    /// Where the kernel redirects what a workload calls, and what it is called by. Source: Istio's ports.
    static let outboundCapturePort = 15_001
    static let inboundCapturePort = 15_006

    /// The listeners for what proxies of a class call, sorted by name.
    public func outboundListeners(
        for proxy: ProxyClass, scope: OutboundScope, services: [MeshService]
    ) -> [XDS.Resource] {
        guard proxy.kind == .sidecar else { return [] }
        var listeners = outboundPlan(for: proxy, scope: scope, services: services).map { plan in
            listener(parts(of: plan, proxy, scope), of: proxy)
        }
        switch proxy.interception {
        case .redirect, .transparent: listeners.append(virtualOutbound(for: proxy, scope))
        case .explicit: break
        }
        return listeners.sorted { $0.name < $1.name }
    }

    /// Takes everything that is redirected, and hands it to the listener of where it was meant to go.
    private func virtualOutbound(for proxy: ProxyClass, _ scope: OutboundScope) -> Resource {
        var parts = ListenerParts(
            name: ResourceNames.virtualOutbound, address: Self.anyAddress, port: Self.outboundCapturePort,
            side: .outbound)
        parts.handsOver = true
        parts.isTransparent = proxy.interception == .transparent
        parts.chains = [
            // A connection to this port itself would come back for ever.
            filterChain(
                "virtualOutbound-trafficloop", ChainMatch(port: Self.outboundCapturePort),
                [streamProxy([StreamTarget(cluster: ResourceNames.blackHole)], side: .outbound, of: proxy)])
        ]
        parts.standardChain = filterChain(
            "virtualOutbound-catchall-tcp",
            [streamProxy([StreamTarget(cluster: standardCluster(for: scope))], side: .outbound, of: proxy)])
        return listener(parts, of: proxy)
    }

    private func parts(
        of plan: OutboundListener, _ proxy: ProxyClass, _ scope: OutboundScope
    ) -> ListenerParts {
        var parts = ListenerParts(
            name: plan.name, address: plan.address, port: plan.port, side: .outbound, bindsToPort: plan.bindsToPort)
        if let routes = plan.routeName {
            let chain = HTTPChain(
                side: .outbound, statPrefix: "outbound_\(plan.name);", routes: .named(routes),
                translatesGRPCWeb: plan.translatesGRPCWeb)
            var match = ChainMatch()
            if plan.detectsHTTP {
                match.transport = ChainMatch.plain
                match.applicationProtocols = ChainMatch.http
                parts.inspectsHTTP = true
                parts.inspectsTLS = true
            }
            parts.chains.append(filterChain(plan.name, match, [httpConnectionManager(chain, of: proxy)]))
        }
        for stream in plan.streams {
            let proxy = outboundStream(stream, of: proxy, scope)
            if stream.takesEverything {
                parts.standardChain = parts.standardChain ?? filterChain(stream.chainName, [proxy])
                continue
            }
            if !stream.serverNames.isEmpty { parts.inspectsTLS = true }
            parts.chains.append(
                filterChain(
                    stream.chainName,
                    ChainMatch(
                        serverNames: stream.serverNames, destinations: stream.destinations, sources: stream.sources),
                    [proxy]))
        }
        if parts.standardChain == nil, let fallback = plan.fallback {
            parts.standardChain = filterChain(
                fallback == ResourceNames.passthrough ? "PassthroughFilterChain" : "BlackHoleFilterChain",
                [streamProxy([StreamTarget(cluster: fallback)], side: .outbound, of: proxy)])
        }
        return parts
    }

    private func outboundStream(
        _ stream: OutboundListener.Stream, of proxy: ProxyClass, _ scope: OutboundScope
    ) -> UnsafeMutablePointer<NetworkFilter> {
        var pool: Istio.ConnectionPool.TCP?
        var hashesSource = false
        if let target = stream.targets.first, let service = service(target.host, in: scope.namespace, for: scope) {
            let rule = clientRule(for: target.host, scope)
            let subset = rule.subsets.first { $0.name == target.subset }
            let policy = clientPolicy(rule, subset: subset, port: target.port, of: service)
            pool = policy.connectionPool?.tcp
            if case .hash(.sourceAddress, _) = policy.balancing { hashesSource = true }
        }
        return streamProxy(
            stream.targets.map { StreamTarget(cluster: $0.cluster, weight: $0.weight) }, side: .outbound, of: proxy,
            pool: pool, hashesSource: hashesSource)
    }
}

extension OutboundListener.Stream {
    /// For statistics, and for people who read a dump.
    fileprivate var chainName: String {
        let place = ResourceNames.outbound(port, host)
        let names = serverNames + destinations.map { "\($0.address.text)/\($0.bits)" }
        return names.isEmpty ? place : place + ";" + names.joined(separator: ",")
    }
}
