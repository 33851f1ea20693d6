import Discovery
import EnvoyAPI
import Protobuf
import XDS

/// A control plane of one's own: each node cluster has its own view, and endpoints change while proxies are connected.
struct ShopControlPlane {
    let cache = SnapshotCache { node in ViewName(node.cluster) }
    let server: DiscoveryServer

    init(port: UInt16) throws {
        server = try DiscoveryServer(cache, on: [.init(.loopback(port: port))])
    }

    /// Everything that the proxies of a node cluster see.
    func publish(to cluster: String, upstreams: [String: [UInt32]]) throws {
        let resources = upstreams.flatMap { name, ports in [Self.cluster(name), Self.endpoints(of: name, ports)] }
        try cache.publish(resources, to: ViewName(cluster))
    }

    /// Only what changed goes out, and only to those who asked for it.
    func move(_ name: String, to ports: [UInt32], in cluster: String) throws {
        try cache.update(ViewName(cluster), setting: [Self.endpoints(of: name, ports)])
    }

    private static func cluster(_ name: String) -> XDS.Resource {
        let arena = Arena()
        let cluster = arena.make(EnvoyAPI.Cluster.self) { cluster in
            cluster.name = arena(name)
            cluster.set(type: .EDS)
            cluster.eds_cluster_config = arena.make { $0.eds_config = arena.ads() }
            cluster.connect_timeout = arena.seconds(1)
        }
        return XDS.Resource(
            .cluster, name: name, body: encode(cluster), dependencies: [ResourceReference(.endpoints, name)])
    }

    private static func endpoints(of name: String, _ ports: [UInt32]) -> XDS.Resource {
        let arena = Arena()
        let endpoints = ports.map { port in
            let socket = arena.make(EnvoyAPI.SocketAddress.self) {
                $0.address = arena("127.0.0.1")
                $0.set(port_value: port)
            }
            let endpoint = arena.make(Endpoint.self) { $0.address = arena.make { $0.set(socket_address: socket) } }
            return arena.make(LbEndpoint.self) { $0.set(endpoint: endpoint) }
        }
        let assignment = arena.make(ClusterLoadAssignment.self) {
            $0.cluster_name = arena(name)
            let locality = arena.make(LocalityLbEndpoints.self) {
                ($0.n_lb_endpoints, $0.lb_endpoints) = arena.list(endpoints)
            }
            ($0.n_endpoints, $0.endpoints) = arena.list(locality)
        }
        return XDS.Resource(.endpoints, name: name, body: encode(assignment))
    }
}
