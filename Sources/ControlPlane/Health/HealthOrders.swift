import Addresses
import EnvoyAPI
import Mesh
import Protobuf
import Translation
import XDS

/// One thing that a proxy is asked to check.
struct HealthOrder: Hashable, Sendable {
    var workload: Workload.ID
    /// Where the workload itself listens: an IP address.
    var address: String
    /// Of the probe, looked up.
    var port: Int
    var probe: Kubernetes.Probe
}

/// A proxy that checks.
struct HealthChecker: Hashable, Sendable {
    /// With the namespace and the service account that it has proved.
    var proxy: ProxyClass
    /// The one that it says that it stands beside; nil: it checks others alone.
    var workload: Workload?
}

/// Which workloads without a proxy a proxy is asked about besides its own.
struct HealthNeighbours: OptionSet, Hashable, Sendable {
    let rawValue: Int
    /// Those of its namespace whose objects name no service account.
    static let anybodys = HealthNeighbours(rawValue: 1)
    /// Those of its namespace that run under its own service account.
    static let ofOwnAccount = HealthNeighbours(rawValue: 2)
}

extension MeshIndex {
    /// How to see whether a workload can take calls: its Pod, a Deployment that selects it, or a WorkloadGroup whose
    /// labels it has, in this order.
    func probe(of workload: Workload) -> Kubernetes.Probe? {
        let namespace = workload.id.namespace
        if case .pod(let pod)? = self[ObjectKey(.pod, namespace, workload.id.name)]?.body, let probe = pod.readiness {
            return probe
        }
        for object in objects(of: .deployment, in: namespace) {
            guard case .deployment(let deployment) = object.body, deployment.selector.selects(workload.labels),
                let probe = deployment.template.readiness
            else { continue }
            return probe
        }
        for object in objects(of: .workloadGroup, in: namespace) {
            guard case .workloadGroup(let group) = object.body, let probe = group.probe else { continue }
            let labels = group.labels.merging(group.template.labels) { own, _ in own }
            if !labels.isEmpty, labels.allSatisfy({ workload.labels[$0.key] == $0.value }) { return probe }
        }
        return nil
    }

    /// What a proxy is asked to check. A workload that runs under a service account is judged by that account alone: a
    /// proxy proves its namespace and account, and merely says which workload it stands beside.
    func healthOrders(for checker: HealthChecker, neighbours: HealthNeighbours) -> [HealthOrder] {
        var orders: [HealthOrder] = []
        func add(_ workload: Workload, at address: String?) {
            guard let address, IPAddress(address) != nil, let probe = probe(of: workload),
                let port = probe.port(of: workload)
            else { return }
            orders.append(HealthOrder(workload: workload.id, address: address, port: port, probe: probe))
        }
        let account = checker.proxy.serviceAccount
        if let own = checker.workload, own.id.namespace == checker.proxy.namespace,
            connectedWorkload(own.id)?.serviceAccount == account
        {
            add(own, at: checker.proxy.isIntercepted ? own.addresses.first : checker.proxy.applicationAddress)
        }
        guard !neighbours.isEmpty else { return orders }
        for object in objects(of: .workloadEntry, in: checker.proxy.namespace) {
            guard orders.count < HealthDesk.mostOrders else { break }
            guard case .workloadEntry(let entry) = object.body, let workload = Workload(object),
                connectedWorkload(workload.id) == nil
            else { continue }
            let isAsked =
                entry.serviceAccount.map { $0 == account && neighbours.contains(.ofOwnAccount) }
                ?? neighbours.contains(.anybodys)
            guard isAsked else { continue }
            add(workload, at: workload.addresses.first)
        }
        return orders
    }
}

extension Kubernetes.Probe {
    /// The port that it means; nil: the workload has none of that name, or no proxy can check it.
    fileprivate func port(of workload: Workload) -> Int? {
        func number(_ port: IntOrString) -> Int? {
            switch port {
            case .number(let number): number
            case .text(let name): workload.ports.first { $0.name == name }?.port
            }
        }
        let port: Int? =
            switch check {
            case .http(let http): number(http.port)
            case .tcp(let port): number(port)
            case .grpc(let port, _): port
            case .command: nil
            }
        // Names mean what a proxy says of itself.
        return port.flatMap { (1...65_535).contains($0) ? $0 : nil }
    }
}

// On the wire. Source: Envoy, envoy.service.health.v3.

/// What a proxy is told to check, as a HealthCheckSpecifier.
func encodedSpecifier(_ orders: [HealthOrder]) -> [UInt8] {
    let arena = Arena()
    return encode(
        arena.make(HealthCheckSpecifier.self) { specifier in
            (specifier.n_cluster_health_checks, specifier.cluster_health_checks) = arena.list(
                orders.map { clusterCheck($0, arena) })
            // How often it reports what it has found.
            specifier.interval = arena.seconds(orders.isEmpty ? 60 : 1)
        })
}

/// Bytes of the longest name under which health is reported: names of namespaces and workloads have up to 255.
let longestHealthName = 2 * NodeClaims.longestText + 1

/// The name under which a workload's health is reported.
func healthName(_ id: Workload.ID) -> String { "\(id.namespace)/\(id.name)" }

private func clusterCheck(_ order: HealthOrder, _ arena: Arena) -> UnsafeMutablePointer<ClusterHealthCheck> {
    arena.make { check in
        check.cluster_name = arena(healthName(order.workload))
        (check.n_health_checks, check.health_checks) = arena.list(healthCheck(order, arena))
        (check.n_locality_endpoints, check.locality_endpoints) = arena.list(
            arena.make(LocalityEndpoints.self) { group in
                (group.n_endpoints, group.endpoints) = arena.list(
                    arena.make(EnvoyAPI.Endpoint.self) { endpoint in
                        endpoint.address = arena.make {
                            $0.set(
                                socket_address: arena.make {
                                    $0.address = arena(order.address)
                                    $0.set(port_value: UInt32(clamping: order.port))
                                })
                        }
                    })
            })
        guard case .http(let http) = order.probe.check, http.isTLS else { return }
        // As Kubernetes does it: encrypted, whoever answers.
        (check.n_transport_socket_matches, check.transport_socket_matches) = arena.list(
            arena.make(ClusterTransportSocketMatch.self) { match in
                match.name = arena("tls")
                match.match = arena.structure([])
                match.transport_socket = arena.make {
                    $0.name = arena("envoy.transport_sockets.tls")
                    $0.set(typed_config: arena.any(arena.make(UpstreamTlsContext.self)))
                }
            })
    }
}

private func healthCheck(_ order: HealthOrder, _ arena: Arena) -> UnsafeMutablePointer<HealthCheck> {
    let probe = order.probe
    return arena.make { check in
        check.timeout = arena.duration(probe.timeout)
        check.interval = arena.duration(probe.period)
        // Nothing else goes there through this cluster: it is checked as often all the same.
        check.no_traffic_interval = arena.duration(probe.period)
        check.no_traffic_healthy_interval = arena.duration(probe.period)
        check.healthy_threshold = arena.u32(UInt32(clamping: probe.successes))
        check.unhealthy_threshold = arena.u32(UInt32(clamping: probe.failures))
        switch probe.check {
        case .http(let http):
            check.set(
                http_health_check: arena.make { made in
                    made.host = arena(http.host ?? order.address)
                    made.path = arena(http.path)
                    (made.n_request_headers_to_add, made.request_headers_to_add) = arena.list(
                        http.headers.map { header in
                            arena.make(HeaderValueOption.self) { option in
                                option.header = arena.make {
                                    ($0.key, $0.value) = (arena(header.name), arena(header.value))
                                }
                            }
                        })
                    // Source: Kubernetes: 200 to 399.
                    (made.n_expected_statuses, made.expected_statuses) = arena.list(
                        arena.make(Int64Range.self) { ($0.start, $0.end) = (200, 400) })
                })
        // Envoy makes no cluster of HTTP/2 for this, and its health check over gRPC needs one: that the workload takes
        // connections is what a proxy can see. Source: Envoy, HdsDelegate.
        case .tcp, .grpc, .command: check.set(tcp_health_check: arena.make())
        }
    }
}

/// What a proxy has found, by the names of ``healthName(_:)``: whether every endpoint under the name is healthy.
func decodedHealth(_ response: EndpointHealthResponse) -> [String: Bool] {
    var found: [String: Bool] = [:]
    for cluster in response.cluster_endpoints_health_list {
        let states = cluster.pointee.locality_endpoints_health_list.flatMap { group in
            group.pointee.endpoints_health_list.map { $0.pointee.health_status }
        }
        guard !states.isEmpty, !states.contains(.UNKNOWN) else { continue }
        found[cluster.pointee.cluster_name.string] = states.allSatisfy { $0 == .HEALTHY || $0 == .DEGRADED }
    }
    return found
}
