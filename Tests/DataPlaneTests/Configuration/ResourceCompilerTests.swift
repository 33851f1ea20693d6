import EnvoyAPI
import Protobuf
import Testing
import XDS

@testable import DataPlane

struct ResourceCompilerTests {
    private func packed<M: ProtobufMessage>(_ type: M.Type, _ yaml: String) throws -> [UInt8] {
        let arena = Arena()
        return encode(try arena.decodeYAML(M.self, yaml, types: envoyTypes))
    }

    private func references<M: ProtobufMessage>(_ type: M.Type, _ yaml: String) throws -> ResourceReferences {
        let arena = Arena()
        return try ResourceReferences(of: DynamicMessage(try arena.decodeYAML(M.self, yaml, types: envoyTypes)))
    }

    @Test func aClusterNamesItsEndpointsAndSecrets() throws {
        let found = try references(
            Cluster.self,
            """
            name: web
            type: EDS
            eds_cluster_config: { service_name: web-v1, eds_config: { ads: {} } }
            transport_socket:
              name: tls
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
                common_tls_context:
                  tls_certificate_sds_secret_configs: [{ name: default, sds_config: { ads: {} } }]
                  combined_validation_context:
                    default_validation_context: {}
                    validation_context_sds_secret_config: { name: ROOTCA, sds_config: { ads: {} } }
            """)
        #expect(found.endpoints == ["web-v1"] && found.secrets == ["default", "ROOTCA"] && found.clusters == [])
        #expect(try references(Cluster.self, "{ name: web, type: EDS }").endpoints == ["web"])
        #expect(try references(Cluster.self, "{ name: web, type: STRICT_DNS }").endpoints == [])
    }

    @Test func aListenerNamesRoutesSecretsAndClusters() throws {
        let found = try references(
            EnvoyAPI.Listener.self,
            """
            name: in
            filter_chains:
              - filters:
                  - name: http
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                      rds: { route_config_name: in, config_source: { ads: {} } }
              - filters:
                  - name: tcp
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
                      weighted_clusters: { clusters: [{ name: a, weight: 1 }, { name: b, weight: 1 }] }
              - filters:
                  - name: tcp
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
                      cluster: c
            """)
        #expect(found.routes == ["in"] && found.clusters == ["a", "b", "c"])
    }

    @Test func routesNameEveryClusterThatRequestsMayGoTo() throws {
        let found = try references(
            RouteConfiguration.self,
            """
            name: in
            virtual_hosts:
              - name: all
                domains: ["*"]
                routes:
                  - match: { prefix: /a }
                    route: { cluster: a, request_mirror_policies: [{ cluster: m }] }
                  - match: { prefix: / }
                    route: { weighted_clusters: { clusters: [{ name: b, weight: 1 }] } }
            """)
        #expect(found.clusters == ["a", "b", "m"])
    }

    @Test func whatCannotBeUsedIsRefusedWithItsNameAndPlace() throws {
        let compiler = ResourceCompiler()
        func verdict<M: ProtobufMessage>(_ resource: ResourceType, _ type: M.Type, _ yaml: String) throws -> String {
            let body = try packed(type, yaml)
            let received = ReceivedResource(
                name: "web", version: "1", typeURL: resource.typeURL, body: body)
            switch compiler.judge(resource, received) {
            case .accepted(let name): return "accepted \(name)"
            case .rejected(let name, let reason): return "\(name ?? ""): \(reason)"
            }
        }
        #expect(try verdict(.cluster, Cluster.self, "{ name: web, type: EDS, connect_timeout: 1s }") == "accepted web")
        #expect(try verdict(.cluster, Cluster.self, "{ name: other, type: EDS }").contains("it says `other`"))
        #expect(try verdict(.cluster, Cluster.self, "{ type: EDS }").contains("name: it is missing"))
        #expect(
            try verdict(
                .secret, Secret.self, "{ name: web, tls_certificate: { certificate_chain: { inline_string: x } } }"
            )
            .contains("tls_certificate.private_key: it is missing"))
        let socket = """
            name: web
            type: STATIC
            transport_socket:
              name: tls
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
                common_tls_context: { tls_params: { cipher_suites: [ECDHE-RSA-AES128-SHA] } }
            """
        let refused = try verdict(.cluster, Cluster.self, socket)
        #expect(refused.hasPrefix("web: transport_socket.common_tls_context.tls_params.cipher_suites:"), "\(refused)")
        let garbage = ReceivedResource(name: "web", version: "1", typeURL: ResourceType.cluster.typeURL, body: [0xFF])
        guard case .rejected("web", _) = compiler.judge(.cluster, garbage) else {
            Issue.record("bytes that are no message were taken")
            return
        }
    }

    @Test func theControlPlaneDoesNotReplaceWhatIsStatic() throws {
        let compiler = ResourceCompiler(fixed: [(.cluster, "own")])
        func verdict(_ name: String) throws -> ResourceVerdict {
            let body = try packed(Cluster.self, "{ name: \(name), type: STATIC, connect_timeout: 1s }")
            return compiler.judge(.cluster, ReceivedResource(name: name, version: "1", body: body))
        }
        guard case .rejected(name: "own", let reason) = try verdict("own") else {
            Issue.record("it was taken")
            return
        }
        #expect(reason == "name: a static resource has the name `own`; choose another")
        guard case .accepted(name: "other") = try verdict("other") else {
            Issue.record("it was refused")
            return
        }
        #expect(compiler.isFixed(.cluster, "own") && !compiler.isFixed(.listener, "own"))
    }

    @Test func theLongestPatienceOfAResourceCounts() throws {
        func patience(_ first: String, _ second: String) throws -> ResourceReferences {
            try references(
                Cluster.self,
                """
                name: web
                type: EDS
                eds_cluster_config: { eds_config: { ads: {} \(first) } }
                transport_socket:
                  name: tls
                  typed_config:
                    "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
                    common_tls_context:
                      tls_certificate_sds_secret_configs: [{ name: own, sds_config: { ads: {} \(second) } }]
                """)
        }
        let (two, three, none) = (
            ", initial_fetch_timeout: 2s", ", initial_fetch_timeout: 3.5s", ", initial_fetch_timeout: 0s"
        )
        #expect(try patience("", "").patience(.seconds(15)) == .seconds(15))
        #expect(try patience(two, three).patience(.seconds(15)) == .milliseconds(3500))
        #expect(try patience(two, "").patience(.seconds(15)) == .seconds(15))
        #expect(try patience(two, none).patience(.seconds(15)) == ResourceReferences.forever)
    }
}
