import Mesh
import Testing
import XDS

@testable import Translation

private func web(_ ports: String, _ mode: String, _ more: String = "") -> String {
    """
    apiVersion: v1
    kind: Service
    metadata: { name: web, namespace: default }
    spec: { clusterIP: 10.0.0.1, selector: { app: web }, ports: [\(ports)] }
    ---
    apiVersion: security.istio.io/v1
    kind: PeerAuthentication
    metadata: { name: default, namespace: default }
    spec: { mtls: { mode: \(mode) } }
    \(more)
    """
}

private let ports = """
    { port: 80, name: http, targetPort: 8080 }, { port: 81, name: tcp, targetPort: 8081 },
    { port: 82, name: unsaid, targetPort: 8082 }
    """

@Test func aStrictWorkloadHasNoChainForPlaintext() throws {
    let mesh = try ListenerCase(web(ports, "STRICT"))
    let listener = try mesh.inbound.named("virtualInbound")
    #expect(
        listener.chains == [
            "port 15006 → tcp BlackHoleCluster",
            "port 8080 tls TLS → http inbound|8080||",
            "port 8081 tls TLS → tcp inbound|8081||",
            "port 8082 tls alpn istio-http/1.0… TLS → http inbound|8082||",
            "port 8082 tls TLS → tcp inbound|8082||",
            "tls TLS → tcp InboundPassthroughCluster",
        ])
    #expect(listener["listener_filters"].list.count == 3)
    let socket = listener["filter_chains.1.transport_socket.typed_config"]
    #expect(socket["require_client_certificate"].flag == true)
    #expect(socket["common_tls_context.alpn_protocols"].texts == ["h2", "http/1.1", "istio"])
    try expectEnvoyTakes(mesh.inbound + mesh.clusters)
}

@Test func aPermissiveWorkloadTellsTheMeshFromTheApplicationsOwnTLS() throws {
    let mesh = try ListenerCase(web(ports, "PERMISSIVE"))
    #expect(
        try mesh.inbound.named("virtualInbound").chains == [
            "port 15006 → tcp BlackHoleCluster",
            "port 8080 tls TLS → http inbound|8080||",
            "port 8080 raw_buffer → http inbound|8080||",
            "port 8081 tls alpn istio… TLS → tcp inbound|8081||",
            "port 8081 tls → tcp inbound|8081||",
            "port 8081 raw_buffer → tcp inbound|8081||",
            "port 8082 *.web.default.svc.cluster.local tls alpn istio-http/1.0… TLS → http inbound|8082||",
            "port 8082 *.web.default.svc.cluster.local tls TLS → tcp inbound|8082||",
            "port 8082 tls alpn istio-http/1.0… TLS → http inbound|8082||",
            "port 8082 tls alpn istio… TLS → tcp inbound|8082||",
            "port 8082 tls → tcp inbound|8082||",
            "port 8082 raw_buffer alpn http/1.0… → http inbound|8082||",
            "port 8082 raw_buffer → tcp inbound|8082||",
            "tls alpn istio… TLS → tcp InboundPassthroughCluster",
            "tls → tcp InboundPassthroughCluster",
            "raw_buffer → tcp InboundPassthroughCluster",
        ])
    try expectEnvoyTakes(mesh.inbound + mesh.clusters)
}

@Test func withoutMutualTLSNothingIsDecrypted() throws {
    let mesh = try ListenerCase(web(ports, "DISABLE"))
    let chains = try mesh.inbound.named("virtualInbound").chains
    #expect(!chains.contains { $0.contains("TLS →") })
    #expect(chains.contains("port 8080 → http inbound|8080||"))
    try expectEnvoyTakes(mesh.inbound + mesh.clusters)
}

@Test func withoutInterceptionAWorkloadIsCalledAtItsOwnAddress() throws {
    let mesh = try ListenerCase(web(ports, "STRICT"), ListenerCase.explicit())
    #expect(mesh.inbound.map(\.name) == ["127.3.0.1_8080", "127.3.0.1_8081", "127.3.0.1_8082"])
    #expect(try mesh.inbound.named("127.3.0.1_8080").chains == ["tls TLS → http inbound|8080||"])
    try expectEnvoyTakes(mesh.inbound + mesh.clusters)
}

@Test func aServersSidecarAddsWhoCalledToWhatGatewaysTold() throws {
    let mesh = try ListenerCase(web(ports, "STRICT"), ListenerCase.explicit())
    let manager = try mesh.inbound.named("127.3.0.1_8080")["filter_chains.0.filters.0.typed_config"]
    #expect(manager["forward_client_cert_details"].text == "APPEND_FORWARD")
    #expect(manager["set_current_client_cert_details.uri"].flag == true)
}

@Test func aSidecarObjectOpensListenersWithItsOwnCertificates() throws {
    let mesh = try ListenerCase(
        web(
            ports, "DISABLE",
            """
            ---
            apiVersion: networking.istio.io/v1
            kind: Sidecar
            metadata: { name: web, namespace: default }
            spec:
              workloadSelector: { labels: { app: web } }
              ingress:
              - port: { number: 9443, protocol: HTTPS, name: https }
                captureMode: NONE
                bind: 127.8.8.8
                defaultEndpoint: 127.0.0.1:8443
                tls: { mode: SIMPLE, serverCertificate: /certs/cert.pem, privateKey: /certs/key.pem }
              - port: { number: 9080, protocol: HTTP, name: http }
                defaultEndpoint: unix:///run/app.sock
            """))
    #expect(mesh.inbound.map(\.name) == ["127.8.8.8_9443", "virtualInbound"])
    let own = try mesh.inbound.named("127.8.8.8_9443")["filter_chains.0.transport_socket.typed_config"]
    #expect(own["common_tls_context.tls_certificates.0.private_key.filename"].text == "/certs/key.pem")
    #expect(try mesh.inbound.named("virtualInbound").chains.contains("port 9080 → http inbound|9080||"))
}
