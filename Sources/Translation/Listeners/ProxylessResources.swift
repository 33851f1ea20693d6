import EnvoyAPI
import Mesh
import Protobuf
import XDS

extension ResourceNames {
    /// What a gRPC server without a proxy asks for, by its template; Istio's.
    public static func proxylessServer(_ address: String, _ port: Int) -> String {
        let host = address.contains(":") ? "[\(address)]" : address
        return "xds.istio.io/grpc/lds/inbound/\(host):\(port)"
    }

    /// What a gRPC client without a proxy calls: `xds:///reviews.default.svc.cluster.local:9080`.
    public static func proxylessClient(_ host: String, _ port: Int) -> String { "\(host):\(port)" }
}

extension Translator {
    /// Everything for gRPC programs that speak xDS themselves: listeners for the services that they call, with routes,
    /// clusters and endpoints, and listeners for the ports that they serve. Only what gRPC knows is in it: it refuses
    /// what it does not. Source: gRPC, A27, A28, A29, A36, A41.
    public func proxylessResources(of proxy: ProxyClass, scope: OutboundScope) -> [XDS.Resource] {
        guard proxy.kind == .proxyless else { return [] }
        var resources = proxylessServers(of: proxy)
        for service in visibleServices(for: scope) where !service.host.hasPrefix("*") {
            let called = service.ports.filter { $0.statedProtocol.map { $0.isHTTP } ?? true }
            guard !called.isEmpty else { continue }
            let names = Set(called.map(\.number))
            for port in called { resources += proxylessClient(of: service, port, for: scope, proxy) }
            resources += outboundClusters(of: service, for: scope).compactMap { cluster in
                isOf(cluster.name, names) ? proxylessCluster(cluster) : nil
            }
            resources += endpoints(of: service, for: scope).filter { isOf($0.name, names) }
        }
        return resources
    }

    /// Whether a cluster is for one of these ports: `outbound|PORT|…`.
    private func isOf(_ cluster: String, _ ports: Set<Int>) -> Bool {
        let parts = cluster.split(separator: "|", omittingEmptySubsequences: false)
        return parts.count > 1 && Int(parts[1]).map { ports.contains($0) } ?? false
    }

    // MARK: Clients

    private func proxylessClient(
        of service: MeshService, _ port: MeshService.Port, for scope: OutboundScope, _ proxy: ProxyClass
    ) -> [Resource] {
        let routes = ResourceNames.outbound(port.number, service.host)
        guard let host = virtualHost(for: service, port: port.number, for: scope) else { return [] }
        let manager = arena.make(HttpConnectionManager.self) { manager in
            manager.stat_prefix = arena(routes)
            manager.set(
                rds: arena.make {
                    $0.config_source = arena.ads()
                    $0.route_config_name = arena(routes)
                })
            (manager.n_http_filters, manager.http_filters) = arena.list(
                httpFilter("envoy.filters.http.fault", arena.make(HTTPFault.self)),
                httpFilter("envoy.filters.http.router", arena.make(Router.self)))
        }
        // Both in full and as clients of the same namespace write it.
        var names = [service.host]
        let suffix = "." + MeshIndex.clusterDomain
        if service.key.kind == .service, service.host.hasSuffix(suffix) {
            let short = String(service.host.dropLast(suffix.count))
            names += [short, short + ".svc"]
            if service.namespace == proxy.namespace { names.append(service.key.name) }
        }
        let listeners = names.map { name in
            let address = ResourceNames.proxylessClient(name, port.number)
            return resource(
                .listener, address,
                arena.make(Listener.self) { listener in
                    listener.name = arena(address)
                    listener.api_listener = arena.make { $0.api_listener = arena.any(manager) }
                })
        }
        return listeners + [routeConfiguration(named: routes, port: port.number, virtualHosts: [host], for: scope)]
    }

    /// The cluster as gRPC takes it: endpoints over EDS, a policy that it has, and mutual TLS only where an object asks
    /// for it, for a program that has no certificates would refuse the cluster.
    private func proxylessCluster(_ resource: Resource) -> Resource? {
        guard let cluster = try? arena.decode(Cluster.self, from: resource.body) else { return nil }
        let outlier = cluster.pointee.outlier_detection
        let limits = cluster.pointee.circuit_breakers
        let eds = cluster.pointee.eds_cluster_config
        let kind = cluster.pointee.cluster_discovery_type
        let lean = arena.make(Cluster.self) { lean in
            lean.name = cluster.pointee.name
            switch kind {
            case .type(.EDS)?:
                lean.set(type: .EDS)
                lean.eds_cluster_config = eds
            case .type(.STRICT_DNS)?, .type(.LOGICAL_DNS)?:
                lean.set(type: .LOGICAL_DNS)
                lean.load_assignment = cluster.pointee.load_assignment
            default: lean.set(type: .EDS)
            }
            lean.connect_timeout = cluster.pointee.connect_timeout
            // gRPC has ring hash and, behind a switch, least request.
            lean.lb_policy = cluster.pointee.lb_policy == .RING_HASH ? .RING_HASH : .ROUND_ROBIN
            if lean.lb_policy == .RING_HASH, case .ring_hash_lb_config(let ring)? = cluster.pointee.lb_config {
                lean.set(ring_hash_lb_config: ring)
            }
            lean.circuit_breakers = limits
            lean.outlier_detection = outlier
            lean.lrs_server = cluster.pointee.lrs_server
            lean.transport_socket = proxylessSocket(cluster.pointee.transport_socket)
        }
        guard case .type(let type)? = lean.pointee.cluster_discovery_type, type != .EDS || eds != nil else {
            return nil
        }
        return self.resource(.cluster, resource.name, lean, dependencies: resource.dependencies)
    }

    /// Mutual TLS by the program's own providers of certificates; other TLS gRPC cannot be told of.
    private func proxylessSocket(
        _ socket: UnsafeMutablePointer<TransportSocket>?
    ) -> UnsafeMutablePointer<TransportSocket>? {
        guard let socket, case .typed_config(let any)? = socket.pointee.config_type,
            any.pointee.type_url.string == UpstreamTlsContext.descriptor.typeURL,
            let context = try? arena.decode(UpstreamTlsContext.self, from: any.pointee.value_bytes),
            context.pointee.common_tls_context?.pointee.tls_certificate_provider_instance != nil
        else { return nil }
        return socket
    }

    // MARK: Servers

    /// A server is told about each address at which it may listen: its request names one, and the answer must be its.
    private func proxylessServers(of proxy: ProxyClass) -> [Resource] {
        var addresses = [Self.anyAddress, "::"]
        if !addresses.contains(proxy.applicationAddress) { addresses.append(proxy.applicationAddress) }
        return inboundPorts(of: proxy).flatMap { port in
            addresses.map { proxylessServer(of: proxy, port, at: $0) }
        }
    }

    private func proxylessServer(of proxy: ProxyClass, _ port: InboundPort, at address: String) -> Resource {
        let name = ResourceNames.proxylessServer(address, port.number)
        // Of the policies gRPC knows those about who may call.
        var filters = httpPolicyFilters(of: proxy, port: port.number).filter {
            guard case .typed_config(let any)? = $0.pointee.config_type else { return false }
            return any.pointee.type_url.string == HttpRBAC.descriptor.typeURL
        }
        filters.append(httpFilter("envoy.filters.http.router", arena.make(Router.self)))
        let routes = arena.make(RouteConfiguration.self) { routes in
            routes.name = arena(ResourceNames.inbound(port.number))
            (routes.n_virtual_hosts, routes.virtual_hosts) = arena.list(
                arena.make(VirtualHost.self) { host in
                    host.name = arena("inbound|http|\(port.number)")
                    (host.n_domains, host.domains) = arena.strings(["*"])
                    (host.n_routes, host.routes) = arena.list(
                        arena.make(Route.self) { route in
                            route.match = arena.make { $0.set(prefix: arena("/")) }
                            route.set(non_forwarding_action: arena.make())
                        })
                })
        }
        let manager = arena.make(HttpConnectionManager.self) { manager in
            manager.stat_prefix = arena("inbound_\(port.number);")
            manager.set(route_config: routes)
            (manager.n_http_filters, manager.http_filters) = arena.list(filters)
        }
        // A server of gRPC has one kind of transport: only STRICT needs certificates.
        var socket: UnsafeMutablePointer<TransportSocket>?
        if mutualTLSMode(of: proxy, port: port.number) == .strict { socket = proxylessServerSocket() }
        let chain = filterChain(
            "inbound", [networkFilter("envoy.filters.network.http_connection_manager", manager)],
            transportSocket: socket)
        return resource(
            .listener, name,
            arena.make(Listener.self) { listener in
                listener.name = arena(name)
                listener.address = self.address(address, port.number)
                listener.traffic_direction = .INBOUND
                (listener.n_filter_chains, listener.filter_chains) = arena.list(chain)
            })
    }

    private func proxylessServerSocket() -> UnsafeMutablePointer<TransportSocket> {
        let context = arena.make(DownstreamTlsContext.self) { context in
            context.require_client_certificate = arena.bool(true)
            context.common_tls_context = arena.make { common in
                common.tls_certificate_provider_instance = arena.make {
                    $0.instance_name = arena("default")
                    $0.certificate_name = arena("default")
                }
                common.set(
                    validation_context: arena.make { validation in
                        validation.ca_certificate_provider_instance = arena.make {
                            $0.instance_name = arena("default")
                            $0.certificate_name = arena("ROOTCA")
                        }
                    })
            }
        }
        return transportSocket("envoy.transport_sockets.tls", context)
    }
}
