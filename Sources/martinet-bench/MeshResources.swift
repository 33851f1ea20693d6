import EnvoyAPI
import Protobuf
import XDS

/// The configuration that is served: clusters over EDS, ten endpoints each.
enum MeshResources {
    static let endpointsPerCluster = 10

    static func name(_ cluster: Int) -> String {
        let digits = String(cluster)
        return "c" + String(repeating: "0", count: max(0, 4 - digits.count)) + digits
    }

    static func all(clusters: Int) -> [XDS.Resource] {
        (0..<clusters).flatMap { [cluster($0, change: 0), endpoints(of: $0, change: 0)] }
    }

    /// - Parameter change: with each number another connect timeout.
    static func cluster(_ number: Int, change: Int) -> XDS.Resource {
        let arena = Arena()
        let cluster = arena.make(EnvoyAPI.Cluster.self) { cluster in
            cluster.name = arena(name(number))
            cluster.set(type: .EDS)
            cluster.eds_cluster_config = arena.make { $0.eds_config = arena.ads() }
            cluster.connect_timeout = arena.seconds(Int64(1 + change % 1000))
        }
        return XDS.Resource(
            .cluster, name: name(number), body: encode(cluster),
            dependencies: [ResourceReference(.endpoints, name(number))])
    }

    /// - Parameter change: with each number another port of the last endpoint.
    static func endpoints(of number: Int, change: Int) -> XDS.Resource {
        let arena = Arena()
        let endpoints = (0..<endpointsPerCluster).map { index in
            let socket = arena.make(EnvoyAPI.SocketAddress.self) {
                $0.address = arena("10.\(number / 250).\(number % 250).\(100 + index)")
                $0.set(port_value: index == endpointsPerCluster - 1 ? UInt32(20_000 + change % 40_000) : 8080)
            }
            let endpoint = arena.make(Endpoint.self) { $0.address = arena.make { $0.set(socket_address: socket) } }
            return arena.make(LbEndpoint.self) { $0.set(endpoint: endpoint) }
        }
        let assignment = arena.make(ClusterLoadAssignment.self) {
            $0.cluster_name = arena(name(number))
            let locality = arena.make(LocalityLbEndpoints.self) {
                ($0.n_lb_endpoints, $0.lb_endpoints) = arena.list(endpoints)
            }
            ($0.n_endpoints, $0.endpoints) = arena.list(locality)
        }
        return XDS.Resource(.endpoints, name: name(number), body: encode(assignment))
    }
}
