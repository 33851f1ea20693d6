import Foundation

/// Raw Envoy resources in Envoy's own YAML, as a user writes them.
enum RawResources {
    static func listener(_ name: String, port: Int, routes: String) -> String {
        """
        resources:
          - "@type": type.googleapis.com/envoy.config.listener.v3.Listener
            name: \(name)
            address: { socket_address: { address: 127.0.0.1, port_value: \(port) } }
            filter_chains:
              - filters:
                  - name: envoy.filters.network.http_connection_manager
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                      stat_prefix: \(name)
                      rds:
                        route_config_name: \(routes)
                        config_source: { resource_api_version: V3, ads: {} }
                      http_filters:
                        - name: envoy.filters.http.router
                          typed_config:
                            "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
        """
    }

    /// One that Envoy refuses: its address is no IP address.
    static func brokenListener(_ name: String, routes: String) -> String {
        listener(name, port: 1, routes: routes).replacing("address: 127.0.0.1", with: "address: not-an-address")
    }

    static func routes(_ name: String, weights: [(cluster: String, weight: Int)]) -> String {
        let clusters = weights.map { "                  - { name: \($0.cluster), weight: \($0.weight) }" }
        return """
            resources:
              - "@type": type.googleapis.com/envoy.config.route.v3.RouteConfiguration
                name: \(name)
                virtual_hosts:
                  - name: all
                    domains: ["*"]
                    routes:
                      - match: { prefix: "" }
                        route:
                          weighted_clusters:
                            clusters:
            \(clusters.joined(separator: "\n"))
            """
    }

    static func clusters(_ names: [String], options: String = "") -> String {
        "resources:\n"
            + names.map {
                """
                  - "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
                    name: \($0)
                    type: EDS
                    connect_timeout: 1s
                    eds_cluster_config: { eds_config: { resource_api_version: V3, ads: {} } }
                \(options)
                """
            }.joined(separator: "\n")
    }

    static func endpoints(_ ports: [(cluster: String, ports: [Int])]) -> String {
        "resources:\n"
            + ports.map { cluster, ports in
                let endpoints = ports.map {
                    """
                              - endpoint:
                                  address: { socket_address: { address: 127.0.0.1, port_value: \($0) } }
                    """
                }
                return """
                      - "@type": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment
                        cluster_name: \(cluster)
                        endpoints:
                          - locality: { region: here, zone: here }
                            load_balancing_weight: 1
                            lb_endpoints:
                    """ + "\n" + endpoints.joined(separator: "\n")
            }.joined(separator: "\n")
    }

    /// A listener for gRPC's own xDS client, which takes it by name.
    static func apiListener(_ name: String, routes: String) -> String {
        """
        resources:
          - "@type": type.googleapis.com/envoy.config.listener.v3.Listener
            name: \(name)
            api_listener:
              api_listener:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                rds:
                  route_config_name: \(routes)
                  config_source: { resource_api_version: V3, ads: {} }
                http_filters:
                  - name: envoy.filters.http.router
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
        """
    }

    /// One whose certificate is a secret of its own.
    static func tlsListener(_ name: String, port: Int, routes: String, secret: String) -> String {
        listener(name, port: port, routes: routes)
            + """

                    transport_socket:
                      name: envoy.transport_sockets.tls
                      typed_config:
                        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
                        common_tls_context:
                          tls_certificate_sds_secret_configs:
                            - name: \(secret)
                              sds_config: { resource_api_version: V3, ads: {} }
            """
    }

    static func secret(_ name: String, _ certificate: CertificateAuthority.Issued) throws -> String {
        func lines(_ path: String) throws -> String {
            try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n").map { "          \($0)" }
                .joined(separator: "\n")
        }
        return """
            resources:
              - "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
                name: \(name)
                tls_certificate:
                  certificate_chain:
                    inline_string: |
            \(try lines(certificate.certificate))
                  private_key:
                    inline_string: |
            \(try lines(certificate.key))
            """
    }
}
