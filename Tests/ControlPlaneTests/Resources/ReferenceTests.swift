import Testing
import XDS

@testable import ControlPlane

private func references(_ resource: String) throws -> [String] {
    try Sample.file("a.yaml", .all, resource).resources[0].references.map {
        let strength = $0.strength == .required ? "" : " (\($0.strength))"
        return "\($0.target.type) \($0.target.name)\(strength) at \($0.path):\($0.line ?? 0)"
    }
}

@Test func aClusterRefersToItsEndpointsByServiceNameOrByName() throws {
    #expect(try references(Sample.cluster("web")) == ["EDS web at name:3"])
    #expect(
        try references(Sample.cluster("web", service: "outbound-web"))
            == ["EDS outbound-web at eds_cluster_config.service_name:6"])
    #expect(try references(Sample.staticCluster("web")).isEmpty)
    #expect(
        try Sample.file("a.yaml", .all, Sample.cluster("web", service: "w")).resources[0].resource.dependencies
            == [ResourceReference(.endpoints, "w")])
}

@Test func endpointsFromAnotherServerMayBeOursAndFromAFileAreNot() throws {
    let api =
        "{ resource_api_version: V3, api_config_source: { api_type: GRPC, grpc_services: [ { envoy_grpc: { cluster_name: xds } } ] } }"
    #expect(try references(Sample.cluster("web").replacing(Sample.ads, with: api)) == ["EDS web (possible) at name:3"])
    let file = "{ path_config_source: { path: /etc/eds.yaml } }"
    #expect(try references(Sample.cluster("web").replacing(Sample.ads, with: file)).isEmpty)
}

@Test func aListenerRefersToItsRoutes() throws {
    #expect(
        try references(Sample.listener("l", routes: "r"))
            == ["RDS r at filter_chains[0].filters[0].typed_config.rds.route_config_name:11"])
}

@Test func routesReferToClustersOncePerName() throws {
    let routes = Sample.routes("r", to: ["a", "b", "a"]).replacing(
        "route: { cluster: \"b\" }",
        with: "route: { weighted_clusters: { clusters: [{ name: c, weight: 1 }, { name: d, weight: 1 }] }, "
            + "request_mirror_policies: [ { cluster: e } ] }")
    #expect(
        try references(routes).map { $0.prefix { $0 != ":" } } == [
            "CDS a at virtual_hosts[0].routes[0].route.cluster",
            "CDS e at virtual_hosts[0].routes[1].route.request_mirror_policies[0].cluster",
            "CDS c at virtual_hosts[0].routes[1].route.weighted_clusters.clusters[0].name",
            "CDS d at virtual_hosts[0].routes[1].route.weighted_clusters.clusters[1].name",
        ] || Set(try references(routes).map { String($0.prefix(5)) }) == ["CDS a", "CDS c", "CDS d", "CDS e"])
}

@Test func aTCPProxyRefersToItsClusters() throws {
    func listener(_ target: String) -> String {
        """
          - "@type": \(Sample.types)listener.v3.Listener
            name: l
            address: { socket_address: { address: 127.0.0.1, port_value: 8080 } }
            filter_chains:
              - filters:
                  - name: tcp
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
                      stat_prefix: l
                      \(target)

        """
    }
    let path = "filter_chains[0].filters[0].typed_config"
    #expect(try references(listener("cluster: a")) == ["CDS a at \(path).cluster:11"])
    #expect(
        try references(listener("weighted_clusters: { clusters: [{ name: b, weight: 1 }] }"))
            == ["CDS b at \(path).weighted_clusters.clusters[0].name:11"])
}

@Test func anAggregateClusterRefersToItsMembers() throws {
    let cluster = """
          - "@type": \(Sample.types)cluster.v3.Cluster
            name: all
            lb_policy: CLUSTER_PROVIDED
            cluster_type:
              name: envoy.clusters.aggregate
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig
                clusters: [one, two]

        """
    #expect(
        try references(cluster) == [
            "CDS one at cluster_type.typed_config.clusters[0]:9", "CDS two at cluster_type.typed_config.clusters[1]:9",
        ])
}

@Test func secretsOverADSAreReferredToAndStaticOnesAreNot() throws {
    let cluster =
        Sample.staticCluster("web") + """
                transport_socket:
                  name: tls
                  typed_config:
                    "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
                    common_tls_context:
                      tls_certificate_sds_secret_configs: [ { name: own, sds_config: \(Sample.ads) }, { name: static } ]
                      validation_context_sds_secret_config: { name: roots, sds_config: \(Sample.ads) }

            """
    let found = try references(cluster).map { $0.split(separator: " ").prefix(2).joined(separator: " ") }
    #expect(found.sorted() == ["SDS own", "SDS roots"])
}

@Test func filtersFromDiscoveryAreReferredTo() throws {
    let filter = "http_filters: [ { name: f, config_discovery: { config_source: \(Sample.ads), type_urls: [a] } } ]"
    let listener = Sample.listener("l", routes: "r") + "              \(filter)\n"
    let found = try references(listener).map { $0.split(separator: " ").prefix(2).joined(separator: " ") }
    #expect(found.sorted() == ["ECDS f", "RDS r"])
}

@Test func aScopedRouteRefersToItsRoutesAndAVirtualHostToWhatItIsAPartOf() throws {
    let scoped = """
          - "@type": \(Sample.types)route.v3.ScopedRouteConfiguration
            name: s
            route_configuration_name: r
            key: { fragments: [ { string_key: a } ] }

        """
    #expect(try references(scoped) == ["RDS r at route_configuration_name:4"])
    let host = """
          - "@type": \(Sample.types)route.v3.VirtualHost
            name: r/web.example
            domains: [web.example]
            routes: [ { match: { prefix: "" }, route: { cluster: a } } ]

        """
    #expect(try references(host) == ["CDS a at routes[0].route.cluster:5", "RDS r (owner) at name:3"])
}
