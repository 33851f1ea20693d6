import Addresses
import Mesh

/// Where connections go that are no HTTP: for filter chains. The first that a connection fits decides.
public struct StreamRoute: Hashable, Sendable {
    /// Nil for what no object says.
    public var origin: RouteRule.Origin?
    /// Server names of TLS, wildcards allowed; empty: any.
    public var serverNames: [String]
    /// Where the client meant to connect to; empty: any address of the service.
    public var destinations: [AddressBlock]
    /// Where the client connects from; empty: anywhere.
    public var sources: [AddressBlock]
    /// Those without weight beside others are left out.
    public var targets: [Forwarding.Target]

    /// Whether every connection of the service fits.
    public var takesEverything: Bool { serverNames.isEmpty && destinations.isEmpty && sources.isEmpty }
}

extension Translator {
    /// The routes of connections to one port of a service, which may carry TLS or anything but HTTP, in order. Where no
    /// object says it, one to the service itself.
    public func streamRoutes(of service: MeshService, port: Int, for scope: OutboundScope) -> [StreamRoute] {
        let isTLS = service.port(port)?.statedProtocol?.isTLS ?? false
        let gateway = Istio.VirtualService.meshGateway
        let setting = RouteSetting(gateway: gateway, port: port, isTLS: isTLS, scope: scope)
        for object in mesh.virtualServices(for: service.host, gateway: gateway, from: scope.namespace) {
            guard case .virtualService(let virtual) = object.body else { continue }
            let routes =
                isTLS ? tlsRoutes(of: object, virtual, in: setting) : tcpRoutes(of: object, virtual, in: setting)
            if routes.isEmpty { break }
            // What fits no route of TLS is refused, as it would be for HTTP; TCP falls back to the service.
            if isTLS || routes.contains(where: \.takesEverything) { return routes }
            return routes + [defaultRoute(to: service, port: port)]
        }
        let attached = routes([isTLS ? .tlsRoute : .tcpRoute], on: service, port: port, for: scope)
            .sorted { $0.isOlder(than: $1) }
            .flatMap { streamRoutes(of: $0, names: isTLS ? $0.body.routedHostnames : []) }
        if !attached.isEmpty { return StreamRoute.withoutShared(attached) }
        return [defaultRoute(to: service, port: port)]
    }

    private func defaultRoute(to service: MeshService, port: Int) -> StreamRoute {
        StreamRoute(
            origin: nil, serverNames: [], destinations: [], sources: [],
            targets: [
                Forwarding.Target(
                    cluster: ResourceNames.outbound(port, service.host), host: service.host, port: port, subset: "",
                    weight: 1)
            ])
    }

    func tlsRoutes(
        of object: MeshObject, _ service: Istio.VirtualService, in setting: RouteSetting
    ) -> [StreamRoute] {
        var routes: [StreamRoute] = []
        for (index, tls) in service.tls.enumerated() {
            for (number, match) in tls.match.enumerated() {
                guard
                    applies(
                        match.port, match.sourceLabels, match.sourceNamespace, match.gateways,
                        of: object.key.namespace, in: setting)
                else { continue }
                let names = match.serverNames.map { $0.lowercased() }
                // Envoy refuses two filter chains with the same condition: the first has it.
                let taken = Set(routes.filter { $0.destinations == match.destinationSubnets }.flatMap(\.serverNames))
                let left = names.filter { !taken.contains($0) }
                if left.isEmpty, !names.isEmpty { continue }
                routes.append(
                    StreamRoute(
                        origin: RouteRule.Origin(object.key, "spec.tls[\(index)].match[\(number)]"), serverNames: left,
                        destinations: match.destinationSubnets, sources: [],
                        targets: streamTargets(tls.route, from: object.key.namespace, in: setting)))
            }
        }
        return routes
    }

    func tcpRoutes(
        of object: MeshObject, _ service: Istio.VirtualService, in setting: RouteSetting
    ) -> [StreamRoute] {
        var routes: [StreamRoute] = []
        for (index, tcp) in service.tcp.enumerated() {
            let targets = streamTargets(tcp.route, from: object.key.namespace, in: setting)
            func append(_ path: String, _ match: Istio.StreamMatch?) {
                let route = StreamRoute(
                    origin: RouteRule.Origin(object.key, path), serverNames: [],
                    destinations: match?.destinationSubnets ?? [],
                    sources: [match?.sourceSubnet].compactMap { $0 }, targets: targets)
                let isTaken = routes.contains {
                    $0.destinations == route.destinations && $0.sources == route.sources
                }
                if !isTaken { routes.append(route) }
            }
            if tcp.match.isEmpty { append("spec.tcp[\(index)]", nil) }
            for (number, match) in tcp.match.enumerated()
            where applies(
                match.port, match.sourceLabels, match.sourceNamespace, match.gateways, of: object.key.namespace,
                in: setting)
            {
                append("spec.tcp[\(index)].match[\(number)]", match)
            }
            if routes.contains(where: \.takesEverything) { break }
        }
        return routes
    }

    private func applies(
        _ port: Int?, _ labels: [String: String], _ source: String?, _ gateways: [String], of namespace: String,
        in setting: RouteSetting
    ) -> Bool {
        (port == nil || port == setting.port) && (source == nil || source == setting.scope.namespace)
            && labels.allSatisfy { setting.scope.labels[$0.key] == $0.value }
            && (gateways.isEmpty || gateways.contains { mesh.fullGateway($0, in: namespace) == setting.gateway })
    }

    private func streamTargets(
        _ destinations: [Istio.StreamDestination], from namespace: String, in setting: RouteSetting
    ) -> [Forwarding.Target] {
        let weighted = destinations.count > 1 ? destinations.filter { $0.weight > 0 } : destinations
        return weighted.map {
            target($0.destination, from: namespace, calledPort: setting.port, weight: max(1, $0.weight))
        }
    }
}
