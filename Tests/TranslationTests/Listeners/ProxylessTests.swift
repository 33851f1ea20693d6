import Mesh
import Testing
import XDS

@testable import Translation

private func mesh(_ more: String = "") throws -> ListenerCase {
    try ListenerCase(
        """
        apiVersion: v1
        kind: Service
        metadata: { name: echo, namespace: default }
        spec: { selector: { app: echo }, ports: [{ port: 7070, name: grpc, targetPort: 17070 }, { port: 90, name: tcp }] }
        \(more)
        """, ProxyClass(.proxyless, namespace: "default", labels: ["app": "echo"]))
}

extension ListenerCase {
    fileprivate var proxyless: [XDS.Resource] { translator.proxylessResources(of: proxy, scope: scope) }
}

@Test func aGRPCClientFindsAServiceByItsHostAndPort() throws {
    let mesh = try mesh()
    let host = "echo.default.svc.cluster.local"
    let listener = try mesh.proxyless.filter { $0.type == .listener }.named("\(host):7070")
    let manager = listener["api_listener.api_listener"]
    #expect(manager["rds.route_config_name"].text == "outbound|7070||\(host)")
    #expect(
        manager["http_filters"].list.map { $0["name"].text }
            == ["envoy.filters.http.fault", "envoy.filters.http.router"])
    let routes = try mesh.proxyless.filter { $0.type == .route }.named("outbound|7070||\(host)")
    #expect(routes["virtual_hosts.0.domains"].texts.contains("\(host):7070"))
    #expect(routes["virtual_hosts"].list.count == 1)
    let clusters = mesh.proxyless.filter { $0.type == .cluster }
    #expect(clusters.map(\.name) == ["outbound|7070||\(host)"])
    let cluster = try clusters.named("outbound|7070||\(host)")
    #expect(cluster["lb_policy"].text ?? "ROUND_ROBIN" == "ROUND_ROBIN")
    #expect(!cluster["transport_socket_matches"].isThere && !cluster["typed_extension_protocol_options"].isThere)
    #expect(mesh.proxyless.contains { $0.type == .endpoints && $0.name == "outbound|7070||\(host)" })
}

@Test func aGRPCServerFindsItsListenerByWhereItListens() throws {
    let mesh = try mesh()
    let name = "xds.istio.io/grpc/lds/inbound/0.0.0.0:17070"
    let listener = try mesh.proxyless.named(name)
    #expect(listener["address.socket_address.address"].text == "0.0.0.0")
    let chain = listener["filter_chains.0"]
    #expect(!chain["transport_socket"].isThere)
    #expect(
        chain["filters.0.typed_config.route_config.virtual_hosts.0.routes.0.non_forwarding_action"].isThere)
    #expect(mesh.proxyless.contains { $0.name == "xds.istio.io/grpc/lds/inbound/[::]:17070" })
}

@Test func aStrictGRPCServerAsksForCertificatesOfItsProviders() throws {
    let mesh = try mesh(
        """
        ---
        apiVersion: security.istio.io/v1
        kind: PeerAuthentication
        metadata: { name: default, namespace: default }
        spec: { mtls: { mode: STRICT } }
        ---
        apiVersion: networking.istio.io/v1
        kind: DestinationRule
        metadata: { name: echo, namespace: default }
        spec: { host: echo, trafficPolicy: { tls: { mode: ISTIO_MUTUAL } } }
        """)
    let server = try mesh.proxyless.named("xds.istio.io/grpc/lds/inbound/0.0.0.0:17070")
    let context = server["filter_chains.0.transport_socket.typed_config"]
    #expect(context["require_client_certificate"].flag == true)
    #expect(
        context["common_tls_context.tls_certificate_provider_instance.certificate_name"].text == "default")
    let cluster = try mesh.proxyless.filter { $0.type == .cluster }
        .named("outbound|7070||echo.default.svc.cluster.local")
    #expect(
        cluster[
            "transport_socket.typed_config.common_tls_context.combined_validation_context.default_validation_context."
                + "ca_certificate_provider_instance.certificate_name"
        ].text == "ROOTCA")
}
