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
        static_resources:
          clusters:
            - name: control
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
        #expect(control.tls?.serverName == "control" && control.tls?.trusted == .file("/root.pem"))
        // The way to the control plane is not for traffic.
        #expect(file.resources.map(\.name) == ["local"] && file.resources.map(\.type) == [.cluster])
        #expect(file.unused == ["stats_flush_interval"])
    }

    @Test(arguments: [
        ("envoy_grpc: { cluster_name: control }", "envoy_grpc: { cluster_name: nobody }", "no static cluster `nobody`"),
        ("api_type: DELTA_GRPC", "api_type: REST", "neither GRPC nor DELTA_GRPC"),
        ("port_value: 15012", "named_port: x", "no endpoint with an address and a port"),
        ("node: {", "nodes: {", "nodes"),
    ])
    func whatIsWrongIsNamed(right: String, wrong: String, problem: String) {
        do {
            _ = try Bootstrap(yaml: text.replacing(right, with: wrong), file: "envoy.yaml")
            Issue.record("it was taken")
        } catch {
            #expect(error.problem.contains(problem), "\(error.problem)")
        }
    }
}
