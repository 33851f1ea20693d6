import Foundation
import Identity
import Mesh
import Testing
import XDS

@testable import Translation

private let gateways = """
    apiVersion: v1
    kind: Service
    metadata: { name: istio-ingressgateway, namespace: default }
    spec:
      selector: { istio: ingressgateway }
      ports: [{ port: 80, name: http2, targetPort: 8080 }, { port: 443, name: https, targetPort: 8443 }]
    ---
    apiVersion: v1
    kind: Service
    metadata: { name: db, namespace: default }
    spec: { selector: { app: db }, ports: [{ port: 5432, name: tcp }, { port: 443, name: tls }] }
    ---
    apiVersion: networking.istio.io/v1
    kind: Gateway
    metadata: { name: bookinfo, namespace: default, creationTimestamp: "2026-01-01T00:00:00Z" }
    spec:
      selector: { istio: ingressgateway }
      servers:
      - port: { number: 80, name: http, protocol: HTTP }
        hosts: ["*"]
        tls: { httpsRedirect: true }
      - port: { number: 443, name: https-a, protocol: HTTPS }
        hosts: [a.example.com]
        tls: { mode: SIMPLE, credentialName: a-cert, minProtocolVersion: TLSV1_3 }
      - port: { number: 443, name: https-b, protocol: HTTPS }
        hosts: ["*.b.example.com"]
        tls: { mode: MUTUAL, credentialName: b-cert, subjectAltNames: [client.example.com], cipherSuites: [ECDHE-ECDSA-AES128-GCM-SHA256] }
      - port: { number: 443, name: https-c, protocol: HTTPS }
        hosts: [c.example.com]
        tls: { mode: OPTIONAL_MUTUAL, credentialName: c-cert }
      - port: { number: 443, name: tls-d, protocol: TLS }
        hosts: [d.example.com]
        tls: { mode: PASSTHROUGH }
      - port: { number: 443, name: https-m, protocol: HTTPS }
        hosts: [m.example.com]
        tls: { mode: ISTIO_MUTUAL }
      - port: { number: 15443, name: tls, protocol: TLS }
        hosts: ["*.local"]
        tls: { mode: AUTO_PASSTHROUGH }
      - port: { number: 5432, name: tcp, protocol: TCP }
        hosts: ["*"]
    ---
    apiVersion: networking.istio.io/v1
    kind: Gateway
    metadata: { name: late, namespace: default, creationTimestamp: "2026-02-01T00:00:00Z" }
    spec:
      selector: { istio: ingressgateway }
      servers:
      - port: { number: 443, name: https-again, protocol: HTTPS }
        hosts: [a.example.com, e.example.com]
        tls: { mode: SIMPLE, serverCertificate: /cert.pem, privateKey: /key.pem }
    ---
    apiVersion: networking.istio.io/v1
    kind: Gateway
    metadata: { name: of-others, namespace: default }
    spec:
      selector: { istio: egressgateway }
      servers: [{ port: { number: 81, name: http, protocol: HTTP }, hosts: ["*"] }]
    ---
    apiVersion: networking.istio.io/v1
    kind: VirtualService
    metadata: { name: db, namespace: default }
    spec:
      hosts: ["*"]
      gateways: [bookinfo]
      tcp:
      - match: [{ port: 5432 }]
        route: [{ destination: { host: db, port: { number: 5432 } } }]
    ---
    apiVersion: networking.istio.io/v1
    kind: VirtualService
    metadata: { name: d, namespace: default }
    spec:
      hosts: [d.example.com]
      gateways: [bookinfo]
      tls:
      - match: [{ sniHosts: [d.example.com] }]
        route: [{ destination: { host: db, port: { number: 443 } } }]
    """

@Test func aGatewayListensAtTheTargetPortsOfItsOwnService() throws {
    let mesh = try ListenerCase(gateways, ListenerCase.gateway())
    #expect(mesh.gateway.map(\.name) == ["0.0.0.0_15443", "0.0.0.0_5432", "0.0.0.0_8080", "0.0.0.0_8443"])
    #expect(try mesh.gateway.named("0.0.0.0_8080").chains == ["any → http http.8080"])
    #expect(
        try mesh.gateway.named("0.0.0.0_5432").chains == ["any → tcp outbound|5432||db.default.svc.cluster.local"])
    #expect(
        try mesh.gateway.named("0.0.0.0_15443").chains == [
            "*.local tls alpn istio… → envoy.filters.network.sni_cluster, tcp BlackHoleCluster"
        ])
}

@Test func serversOnOnePortAreToldApartByServerName() throws {
    let mesh = try ListenerCase(gateways, ListenerCase.gateway())
    let listener = try mesh.gateway.named("0.0.0.0_8443")
    #expect(
        listener.chains == [
            "a.example.com TLS → http https.443.https-a.bookinfo.default",
            "*.b.example.com TLS → http https.443.https-b.bookinfo.default",
            "c.example.com TLS → http https.443.https-c.bookinfo.default",
            "d.example.com → tcp outbound|443||db.default.svc.cluster.local",
            "m.example.com TLS → http https.443.https-m.bookinfo.default",
            "e.example.com TLS → http https.443.https-again.late.default",
        ])
    func context(_ index: Int) -> Read {
        listener["filter_chains.\(index).transport_socket.typed_config"]
    }
    #expect(
        context(0)["common_tls_context.tls_certificate_sds_secret_configs.0.name"].text == "kubernetes://a-cert")
    #expect(context(0)["common_tls_context.tls_params.tls_minimum_protocol_version"].text == "TLSv1_3")
    #expect(context(0)["require_client_certificate"].flag == false)
    let roots = "common_tls_context.combined_validation_context.validation_context_sds_secret_config.name"
    #expect(context(1)[roots].text == "kubernetes://b-cert-cacert")
    #expect(context(1)["require_client_certificate"].flag == true)
    #expect(context(1)["common_tls_context.tls_params.cipher_suites"].texts == ["ECDHE-ECDSA-AES128-GCM-SHA256"])
    #expect(context(2)[roots].text == "kubernetes://c-cert-cacert")
    #expect(context(2)["require_client_certificate"].flag == false)
    #expect(context(4)[roots].text == "ROOTCA")
    let manager = listener["filter_chains.0.filters.0.typed_config"]
    #expect(manager["use_remote_address"].flag == true)
    #expect(manager["http2_protocol_options.allow_connect"].flag != true)
    #expect(manager["forward_client_cert_details"].text == "SANITIZE_SET")
    let files = mesh.gateway.filter { $0.name != "0.0.0.0_8443" }
    try expectEnvoyTakes(files + mesh.clusters)
}

@Test func envoyTakesAGatewaysTLS() throws {
    // The certificates of the file server would have to be there: it is left out.
    let text = gateways.replacing("serverCertificate: /cert.pem, privateKey: /key.pem", with: "credentialName: e-cert")
    let mesh = try ListenerCase(text, ListenerCase.gateway())
    try expectEnvoyTakes(mesh.gateway + mesh.clusters)
}

@Test func aProxyBelongsToAGatewayOfTheGatewayAPIByItsLabel() throws {
    let text = """
        apiVersion: gateway.networking.k8s.io/v1
        kind: Gateway
        metadata: { name: front, namespace: default }
        spec:
          gatewayClassName: istio
          listeners:
          - { name: http, port: 80, protocol: HTTP }
          - name: https
            port: 443
            protocol: HTTPS
            hostname: "*.example.com"
            tls: { certificateRefs: [{ name: cert }, { name: theirs, namespace: other }] }
          - { name: pass, port: 443, protocol: TLS, hostname: pass.example.org, tls: { mode: Passthrough } }
          - { name: tcp, port: 5432, protocol: TCP }
        ---
        apiVersion: v1
        kind: Service
        metadata: { name: db, namespace: default }
        spec: { selector: { app: db }, ports: [{ port: 5432, name: tcp }] }
        ---
        apiVersion: gateway.networking.k8s.io/v1
        kind: TCPRoute
        metadata: { name: db, namespace: default }
        spec:
          parentRefs: [{ name: front, sectionName: tcp }]
          rules: [{ backendRefs: [{ name: db, port: 5432 }] }]
        ---
        apiVersion: gateway.networking.k8s.io/v1
        kind: TLSRoute
        metadata: { name: pass, namespace: default }
        spec:
          parentRefs: [{ name: front, sectionName: pass }]
          hostnames: [pass.example.org]
          rules: [{ backendRefs: [{ name: db, port: 5432 }] }]
        """
    let own = ListenerCase.gateway(["gateway.networking.k8s.io/gateway-name": "front"])
    let mesh = try ListenerCase(text, own)
    #expect(mesh.gateway.map(\.name) == ["0.0.0.0_443", "0.0.0.0_5432", "0.0.0.0_80"])
    let listener = try mesh.gateway.named("0.0.0.0_443")
    #expect(
        listener.chains == [
            "*.example.com TLS → http https.443.https.front.default",
            "pass.example.org → tcp outbound|5432||db.default.svc.cluster.local",
        ])
    // No ReferenceGrant lets it use the other namespace's Secret.
    #expect(
        listener["filter_chains.0.transport_socket.typed_config.common_tls_context.tls_certificate_sds_secret_configs"]
            .list.map { $0["name"].text } == ["kubernetes-gateway://default/cert"])
    try expectEnvoyTakes(mesh.gateway + mesh.clusters)
    #expect(try ListenerCase(text, ListenerCase.gateway()).gateway.isEmpty)
    let foreign = text.replacing("gatewayClassName: istio", with: "gatewayClassName: nginx")
    #expect(try ListenerCase(foreign, own).gateway.isEmpty)
}

@Test func aGatewayGetsTheSecretsThatItsServersNameAndNoOthers() throws {
    func secret(_ name: String, _ namespace: String = "default", _ more: String = "") -> String {
        """

        ---
        apiVersion: v1
        kind: Secret
        metadata: { name: \(name), namespace: \(namespace) }
        type: kubernetes.io/tls
        stringData: { tls.crt: chain of \(name), tls.key: key of \(name)\(more) }
        """
    }
    let text =
        gateways + secret("a-cert") + secret("b-cert", "default", ", ca.crt: roots of b")
        + secret("c-cert", "other") + secret("unused")
    let index = try meshIndex(text)
    let translator = Translator(
        MeshReader(index), settings: TranslationSettings(trustDomain: try TrustDomain("cluster.local")))
    let secrets = translator.gatewaySecrets(of: ListenerCase.gateway())
    // That of c is in another namespace than the proxy.
    #expect(
        secrets.map(\.name) == ["kubernetes://a-cert", "kubernetes://b-cert", "kubernetes://b-cert-cacert"])
    let chain = try secrets[0].tree["tls_certificate"]["certificate_chain"]["inline_bytes"].text
    #expect(chain == Data("chain of a-cert".utf8).base64EncodedString())
    let roots = try secrets[2].tree["validation_context"]["trusted_ca"]["inline_bytes"].text
    #expect(roots == Data("roots of b".utf8).base64EncodedString())
}
