import EnvoyAPI
import Mesh
import Protobuf
import XDS

extension Translator {
    /// The endpoints of every cluster of a service that is told them, named as the clusters.
    public func endpoints(of service: MeshService, for scope: OutboundScope) -> [XDS.Resource] {
        outbound(service, for: scope).compactMap { cluster in
            guard case .told = cluster.discovery else { return nil }
            return resource(.endpoints, cluster.name, loadAssignment(cluster))
        }
    }

    func loadAssignment(_ cluster: OutboundCluster) -> UnsafeMutablePointer<ClusterLoadAssignment> {
        var endpoints: [MeshEndpoint]
        switch cluster.discovery {
        case .told: endpoints = cluster.endpoints(self).filter { !$0.isName }
        case .names: endpoints = cluster.endpoints(self).filter { !$0.address.hasPrefix("unix://") }
        case .host(let host, let port):
            endpoints = [MeshEndpoint(address: host, port: port, namespace: cluster.service.namespace)]
        case .originalDestination, .forwardProxy: endpoints = []
        }
        if let subset = cluster.subset {
            let selector = Istio.WorkloadSelector(labels: subset.labels)
            endpoints = endpoints.filter { selector.selects($0.labels) }
        }
        if cluster.isSingle, cluster.discovery != .told { endpoints = Array(endpoints.prefix(1)) }
        let preference = LocalityPreference(
            policy: cluster.policy, locality: cluster.scope.locality, labels: cluster.scope.labels)
        return arena.make { assignment in
            assignment.cluster_name = arena(cluster.name)
            (assignment.n_endpoints, assignment.endpoints) = arena.list(
                preference.groups(endpoints).map { localityEndpoints($0, cluster) })
        }
    }

    private func localityEndpoints(
        _ group: LocalityGroup, _ cluster: OutboundCluster
    ) -> UnsafeMutablePointer<LocalityLbEndpoints> {
        arena.make { made in
            if group.locality != Locality() {
                made.locality = arena.make {
                    $0.region = arena(group.locality.region)
                    $0.zone = arena(group.locality.zone)
                    $0.sub_zone = arena(group.locality.subZone)
                }
            } else if cluster.scope.kind == .proxyless {
                // gRPC wants one, though it may be empty.
                made.locality = arena.make()
            }
            made.priority = UInt32(group.priority)
            made.load_balancing_weight = arena.u32(UInt32(group.weight))
            let bound = Int(UInt32.max) / group.endpoints.count
            (made.n_lb_endpoints, made.lb_endpoints) = arena.list(
                group.endpoints.map { message($0, weight: min($0.weight, bound)) })
        }
    }

    private func message(_ endpoint: MeshEndpoint, weight: Int) -> UnsafeMutablePointer<LbEndpoint> {
        arena.make { made in
            made.set(
                endpoint: arena.make {
                    $0.address = address(endpoint.address, endpoint.port)
                    if let other = endpoint.otherAddress {
                        ($0.n_additional_addresses, $0.additional_addresses) = arena.list(
                            arena.make(EndpointAdditionalAddress.self) { $0.address = address(other, endpoint.port) })
                    }
                })
            made.load_balancing_weight = arena.u32(UInt32(weight))
            if endpoint.isHealthy == false { made.health_status = .UNHEALTHY }
            if endpoint.isDraining { made.health_status = .DRAINING }
            if endpoint.isMeshed {
                made.metadata = arena.make {
                    ($0.n_filter_metadata, $0.filter_metadata) = arena.map([
                        ("envoy.transport_socket_match", arena.structure(["tlsMode": "istio"]))
                    ])
                }
            }
        }
    }
}
