import Testing
import XDS

@testable import DataPlane

struct BootstrapTests {
    private let text = """
        node: { id: web-1, cluster: web, metadata: { NAMESPACE: shop }, locality: { region: r1, zone: z1 } }
        admin: { address: { socket_address: { address: 127.0.0.1, port_value: 15000 } } }
        dynamic_resources:
          ads_config:
            api_type: DELTA_GRPC
            transport_api_version: V3
            grpc_services:
              - envoy_grpc: { cluster_name: control }
                initial_metadata: [ { key: authorization, value: Bearer abc } ]
                timeout: 3s
          cds_config: { ads: {} }
          lds_config: { ads: {} }
        static_resources:
          clusters:
            - name: control
              connect_timeout: 1s
              load_assignment:
                cluster_name: control
                endpoints:
                  - lb_endpoints:
                      - endpoint: { address: { socket_address: { address: mesh.example.org, port_value: 15012 } } }
              transport_socket:
                name: tls
                typed_config:
                  "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
                  sni: control
                  common_tls_context: { validation_context: { trusted_ca: { filename: /root.pem } } }
            - name: local
        stats_flush_interval: 5s
        """

    @Test func whatItSaysIsTaken() throws {
        let file = try Bootstrap(yaml: text, file: "envoy.yaml")
        #expect(file.node.id == "web-1" && file.node.metadata == ["NAMESPACE": .string("shop")])
        #expect(file.node.locality == Locality(region: "r1", zone: "z1"))
        #expect(file.admin == "127.0.0.1:15000")
        let control = try #require(file.control)
        #expect(control.host == "mesh.example.org" && control.port == 15012 && control.isDelta)
        #expect(control.metadata.map(\.name) == ["authorization"] && control.metadata.map(\.value) == ["Bearer abc"])
        #expect(control.tls?.serverName == "control" && control.tls?.rules.validation.roots == .file("/root.pem"))
        // The way to the control plane is not for traffic.
        #expect(file.resources.map(\.name) == ["local"] && file.resources.map(\.type) == [.cluster])
        #expect(
            Set(file.unused) == [
                "stats_flush_interval", "dynamic_resources.ads_config.grpc_services[0].timeout",
                "static_resources.clusters[control].connect_timeout",
            ])
    }

    @Test(arguments: [
        ("envoy_grpc: { cluster_name: control }", "envoy_grpc: { cluster_name: nobody }", "no static cluster `nobody`"),
        ("api_type: DELTA_GRPC", "api_type: REST", "neither GRPC nor DELTA_GRPC"),
        ("port_value: 15012", "named_port: x", "no endpoint with an address and a port"),
        ("node: {", "nodes: {", "nodes"),
        ("cds_config: { ads: {} }", "cds_config: { path_config_source: { path: /cds.yaml } }", "cds_config: only `ads"),
        ("lds_config: { ads: {} }", "lds_config: { path_config_source: { path: /l.yaml } }", "lds_config: only `ads"),
        (
            "validation_context: {", "tls_certificate_sds_secret_configs: [{ name: own }], validation_context: {",
            "the secret `own`"
        ),
        (
            "trusted_ca: {", "allow_expired_certificate: true, trusted_ca: {",
            "validation_context.allow_expired_certificate"
        ),
        ("validation_context: { trusted_ca: { filename: /root.pem } }", "alpn_protocols: [h2]", "nobody is believed"),
        (
            "- lb_endpoints:\n",
            "- lb_endpoints:\n              "
                + "- endpoint: { address: { socket_address: { address: 10.0.0.9, port_value: 1 } } }\n",
            "name one endpoint; 2 are there"
        ),
    ])
    func whatIsWrongIsNamed(right: String, wrong: String, problem: String) {
        do {
            _ = try Bootstrap(yaml: text.replacing(right, with: wrong), file: "envoy.yaml")
            Issue.record("it was taken")
        } catch {
            #expect(error.problem.contains(problem), "\(error.problem)")
        }
    }

    @Test func theServersNamesAreChecked() throws {
        let named = text.replacing(
            "trusted_ca: {",
            with: "match_typed_subject_alt_names: [{ san_type: URI, matcher: { exact: spiffe://mesh/control } }], "
                + "trusted_ca: {")
        let names = try #require(Bootstrap(yaml: named, file: "envoy.yaml").control?.tls?.rules.validation.names)
        #expect(names.map { TLSMaking.peerName($0) } == [.uri("spiffe://mesh/control")])
    }
}
