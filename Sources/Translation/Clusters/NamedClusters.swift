import EnvoyAPI
import Mesh
import Protobuf
import XDS

extension ResourceNames {
    /// The server name by which clients ask a gateway for a cluster: `outbound_.9080_.v1_.reviews.default.svc.cluster.local`.
    /// Source: Istio, SNI-DNAT clusters.
    static func serverName(_ port: Int, subset: String, _ host: String) -> String {
        "outbound_.\(port)_.\(subset)_.\(host)"
    }
}

extension Translator {
    /// The clusters that clients of a gateway with `AUTO_PASSTHROUGH` ask for by their server names: what the servers'
    /// hosts take in, as it comes, the client's own TLS untouched.
    public func serverNameClusters(of proxy: ProxyClass) -> [XDS.Resource] {
        let servers = gatewayServers(of: proxy).filter { $0.transport == .automaticPassthrough }
        guard !servers.isEmpty else { return [] }
        let scope = OutboundScope(namespace: proxy.namespace, kind: .gateway)
        // `*.local` of a server means what TLS asks for, and that ends in the host.
        let hosts = servers.flatMap(\.hosts)
        return visibleServices(for: scope).filter { service in
            hosts.contains { host in
                host.host == "*"
                    || overlap(host.host.lowercased(), service.host) != nil
                        && (host.namespace == "*" || host.namespace == service.namespace)
            }
        }.flatMap { service in
            outbound(service, for: scope).compactMap { cluster in
                cluster.discovery == .told ? serverNameCluster(cluster) : nil
            }
        }
    }

    private func serverNameCluster(_ outbound: OutboundCluster) -> XDS.Resource {
        let name = ResourceNames.serverName(
            outbound.number, subset: outbound.subset?.name ?? "", outbound.service.host)
        let made = arena.make(Cluster.self) { cluster in
            cluster.name = arena(name)
            cluster.connect_timeout = connectTimeout(outbound.policy.connectionPool)
            cluster.set(type: .EDS)
            cluster.eds_cluster_config = arena.make {
                $0.eds_config = arena.ads()
                $0.service_name = arena(outbound.name)
            }
            limit(&cluster, outbound.policy.connectionPool, retryBudget: nil)
        }
        return resource(.cluster, name, made, dependencies: [ResourceReference(.endpoints, outbound.name)])
    }
}
