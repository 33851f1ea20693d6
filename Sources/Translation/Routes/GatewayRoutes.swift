import Addresses
import EnvoyAPI
import Mesh
import XDS

extension Translator {
    /// The route configurations that the HTTP servers of a gateway's proxies name, sorted by name.
    public func gatewayRouteConfigurations(of proxy: ProxyClass) -> [XDS.Resource] {
        var names: [String] = []
        for name in gatewayServers(of: proxy).compactMap(\.routeName) where !names.contains(name) {
            names.append(name)
        }
        return names.sorted().map { name in
            let hosts = gatewayVirtualHosts(named: name, of: proxy).map { pack($0, for: .gateway) }
            return routeConfiguration(named: name, virtualHosts: hosts, for: .gateway)
        }
    }

    /// What the route configuration of that name says, sorted by host. Without any route it has one virtual host that
    /// answers 404.
    public func gatewayVirtualHosts(named name: String, of proxy: ProxyClass) -> [VirtualHostPlan] {
        let servers = gatewayServers(of: proxy).filter { $0.routeName == name }
        let scope = OutboundScope(namespace: proxy.namespace, kind: .gateway, labels: proxy.labels)
        var hosts = GatewayHosts()
        for server in servers {
            let setting = RouteSetting(
                gateway: server.gateway.namespace + "/" + server.gateway.name, port: server.port,
                isTLS: server.transport == .https, scope: scope)
            switch server.gateway.kind {
            case .gateway: collectVirtualServices(of: server, in: setting, into: &hosts)
            default: collectRoutes(of: server, in: setting, into: &hosts)
            }
            guard server.redirectsToHTTPS else { continue }
            for host in server.hosts {
                hosts.entries[host.host.lowercased(), default: GatewayHosts.Entry()].redirectsToHTTPS = true
            }
        }
        let port = servers.first?.port ?? 0
        if hosts.entries.isEmpty { return [VirtualHostPlan(name: "blackhole:\(port)", domains: ["*"], rules: [])] }
        return hosts.entries.sorted { $0.key < $1.key }.map { host, entry in
            let attached = rules(
                of: entry.routes, host: host, in: entry.setting ?? RouteSetting(gateway: "", port: port, scope: scope))
            let all = entry.rules + attached
            var plan = VirtualHostPlan(
                name: "\(host):\(port)", domains: [host],
                rules: all.filter { !$0.match.takesEverything } + all.filter(\.match.takesEverything).prefix(1))
            plan.redirectsToHTTPS = entry.redirectsToHTTPS
            return plan
        }
    }

    private struct GatewayHosts {
        struct Entry {
            /// Of VirtualServices, the oldest first.
            var rules: [RouteRule] = []
            /// Of the Gateway API: they are merged rule by rule.
            var routes: [MeshObject] = []
            var setting: RouteSetting?
            var redirectsToHTTPS = false
            var objects: Set<ObjectKey> = []
        }

        var entries: [String: Entry] = [:]
    }

    private func collectVirtualServices(
        of server: GatewayServer, in setting: RouteSetting, into hosts: inout GatewayHosts
    ) {
        for (object, service) in virtualServices(of: server, for: setting.scope) {
            for host in self.hosts(of: server, service.hosts, of: object) {
                let rules = rules(of: object, service, host: host, in: setting)
                guard !rules.isEmpty,
                    hosts.entries[host, default: GatewayHosts.Entry()].objects.insert(object.key).inserted
                else { continue }
                hosts.entries[host]?.rules += rules
            }
        }
    }

    private func collectRoutes(of server: GatewayServer, in setting: RouteSetting, into hosts: inout GatewayHosts) {
        for object in routes([.httpRoute, .grpcRoute], on: server) {
            for host in self.hosts(of: server, object.body.routedHostnames, of: object) {
                var entry = hosts.entries[host] ?? GatewayHosts.Entry()
                if entry.objects.insert(object.key).inserted { entry.routes.append(object) }
                entry.setting = entry.setting ?? setting
                hosts.entries[host] = entry
            }
        }
    }

    /// The VirtualServices that name a server's Gateway, the oldest first.
    private func virtualServices(
        of server: GatewayServer, for scope: OutboundScope
    ) -> [(MeshObject, Istio.VirtualService)] {
        mesh.objects(of: .virtualService, naming: server.gateway).sorted { $0.isOlder(than: $1) }.compactMap { object in
            guard case .virtualService(let service) = object.body, mesh.isExported(object, to: scope.namespace) else {
                return nil
            }
            return (object, service)
        }
    }

    /// The hosts that a server has in common with an object's: the narrower of each two.
    private func hosts(of server: GatewayServer, _ stated: [String], of object: MeshObject) -> [String] {
        let own =
            stated.isEmpty ? ["*"] : stated.map { mesh.fullHost($0, in: object.key.namespace) }
        var hosts: Set<String> = []
        for scoped in server.hosts where scoped.namespace == "*" || scoped.namespace == object.key.namespace {
            hosts.formUnion(own.compactMap { overlap(scoped.host.lowercased(), $0) })
        }
        return hosts.sorted()
    }

    /// The routes of the Gateway API that hang on a listener and that it takes.
    func routes(_ kinds: Set<ObjectKind>, on server: GatewayServer) -> [MeshObject] {
        guard case .kubernetesGateway(let gateway)? = mesh.object(server.gateway)?.body,
            let listener = gateway.listeners.first(where: { $0.name == server.name })
        else { return [] }
        return mesh.objects(naming: server.gateway).filter { object in
            guard kinds.contains(object.key.kind), let parents = object.body.parents else { return false }
            let names = parents.contains { parent in
                parent.isGateway && parent.name == server.gateway.name
                    && parent.namespace ?? object.key.namespace == server.gateway.namespace
                    && parent.section ?? listener.name == listener.name && parent.port ?? listener.port == listener.port
            }
            return names && mesh.takes(listener, object.key)
                && mesh.allows(listener, object.key.namespace, gatewayNamespace: server.gateway.namespace)
        }
    }

    // MARK: Connections

    /// The routes of connections to a server that is no HTTP's, in order.
    public func streamRoutes(of server: GatewayServer, for proxy: ProxyClass) -> [StreamRoute] {
        let scope = OutboundScope(namespace: proxy.namespace, kind: .gateway, labels: proxy.labels)
        let setting = RouteSetting(
            gateway: server.gateway.namespace + "/" + server.gateway.name, port: server.port,
            isTLS: server.transport == .tls, scope: scope)
        var routes: [StreamRoute] = []
        switch server.gateway.kind {
        case .gateway:
            for (object, service) in virtualServices(of: server, for: scope) {
                let shared = hosts(of: server, service.hosts, of: object)
                if shared.isEmpty { continue }
                if server.transport == .passthrough {
                    for var route in tlsRoutes(of: object, service, in: setting) {
                        let names = route.serverNames.flatMap { name in
                            server.hosts.compactMap { overlap($0.host.lowercased(), name) }
                        }
                        guard !names.isEmpty else { continue }
                        route.serverNames = names
                        routes.append(route)
                    }
                } else {
                    routes += tcpRoutes(of: object, service, in: setting)
                }
            }
        default:
            let kinds: Set<ObjectKind> = server.transport == .tcp ? [.tcpRoute] : [.tlsRoute, .tcpRoute]
            for object in self.routes(kinds, on: server) {
                let names = hosts(of: server, object.body.routedHostnames, of: object)
                if names.isEmpty { continue }
                routes += streamRoutes(
                    of: object, names: object.key.kind == .tlsRoute && !names.contains("*") ? names : [])
            }
        }
        return StreamRoute.withoutShared(routes)
    }

    /// The routes of a TLSRoute or a TCPRoute; a backend that is none refuses its share of the connections.
    func streamRoutes(of object: MeshObject, names: [String]) -> [StreamRoute] {
        switch object.body {
        case .tlsRoute(let route), .tcpRoute(let route):
            route.rules.enumerated().compactMap { index, rule in
                let targets = rule.backends.filter { $0.weight > 0 }.map {
                    target($0.object, weight: $0.weight, of: object.key)
                }
                if targets.isEmpty { return nil }
                return StreamRoute(
                    origin: RouteRule.Origin(object.key, "spec.rules[\(index)]"), serverNames: names, destinations: [],
                    sources: [], targets: targets)
            }
        default: []
        }
    }
}

extension StreamRoute {
    /// The routes without the conditions that an earlier one has: Envoy refuses two filter chains that are alike.
    static func withoutShared(_ routes: [StreamRoute]) -> [StreamRoute] {
        struct Condition: Hashable {
            var name: String
            var destinations: [AddressBlock]
            var sources: [AddressBlock]
        }
        var taken: Set<Condition> = []
        return routes.compactMap { route in
            func isNew(_ name: String) -> Bool {
                taken.insert(Condition(name: name, destinations: route.destinations, sources: route.sources)).inserted
            }
            var left = route
            if route.serverNames.isEmpty { return isNew("") ? route : nil }
            left.serverNames = route.serverNames.filter(isNew)
            return left.serverNames.isEmpty ? nil : left
        }
    }
}
