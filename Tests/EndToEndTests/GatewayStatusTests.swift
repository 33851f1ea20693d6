import Testing

/// What the specification of the Gateway API wants said of its objects is shown with them.
struct GatewayStatusTests {
    private static let objects = """
        apiVersion: gateway.networking.k8s.io/v1
        kind: GatewayClass
        metadata: { name: martinet }
        spec: { controllerName: martinet.dev/gateway-controller }
        ---
        apiVersion: gateway.networking.k8s.io/v1
        kind: Gateway
        metadata: { name: web, namespace: shop }
        spec:
          gatewayClassName: martinet
          listeners:
            - { name: http, port: 80, protocol: HTTP, hostname: "*.example.com" }
            - { name: other, port: 80, protocol: TCP }
        ---
        apiVersion: v1
        kind: Service
        metadata: { name: pages, namespace: shop }
        spec: { ports: [{ name: http, port: 8080 }] }
        ---
        apiVersion: gateway.networking.k8s.io/v1
        kind: HTTPRoute
        metadata: { name: pages, namespace: shop }
        spec:
          parentRefs: [{ name: web, sectionName: http }]
          hostnames: [www.example.com]
          rules: [{ backendRefs: [{ name: pages, port: 8080 }] }]
        ---
        apiVersion: gateway.networking.k8s.io/v1
        kind: HTTPRoute
        metadata: { name: elsewhere, namespace: shop }
        spec:
          parentRefs: [{ name: web }]
          hostnames: [www.example.org]
          rules: [{ backendRefs: [{ name: nobody, port: 8080 }] }]

        """

    @Test func conditionsAreShownWithTheirObjects() throws {
        let control = try ControlPlaneProcess()
        let applied = try control.command("apply", "-f", "-", input: Self.objects)
        try #require(applied.status == 0, "\(applied.errors)")

        let gatewayClass = try control.command("describe", "gatewayclass", "martinet").output
        #expect(gatewayClass.contains("Conditions:   Accepted: True\n"), "\(gatewayClass)")
        let gateway = try control.command("describe", "gateway.gateway.networking.k8s.io/web").output
        #expect(gateway.contains("Accepted: True (ListenersNotValid): not valid: other\n"), "\(gateway)")
        #expect(gateway.contains("Programmed: False (NoResources)"), "\(gateway)")
        #expect(
            gateway.contains("Conflicted: True (ProtocolConflict) for listener other: port 80 is HTTP for `http`\n"))
        let good = try control.command("describe", "httproute/pages").output
        #expect(good.contains("Accepted: True for parent Gateway shop/web http\n"), "\(good)")
        #expect(good.contains("ResolvedRefs: True for parent Gateway shop/web http\n"), "\(good)")
        let bad = try control.command("describe", "httproute/elsewhere").output
        #expect(bad.contains("Accepted: False (NoMatchingListenerHostname) for parent Gateway shop/web"), "\(bad)")
        #expect(bad.contains("ResolvedRefs: False (BackendNotFound) for parent Gateway shop/web"), "\(bad)")
        // What has no conditions says nothing of them.
        #expect(try !control.command("describe", "service/pages").output.contains("Conditions"))
    }

    @Test func theStatusIsInTheTextAndNoPartOfTheObject() throws {
        let control = try ControlPlaneProcess()
        try #require(try control.command("apply", "-f", "-", input: Self.objects).status == 0)
        let shown = try control.command("get", "httproute/pages", "-o", "yaml").output
        #expect(shown.contains("\nstatus:\n  parents:\n"), "\(shown)")
        #expect(shown.contains("controllerName: martinet.dev/gateway-controller"), "\(shown)")
        let gateway = try control.command("get", "gateway.gateway.networking.k8s.io/web", "-o", "yaml").output
        #expect(gateway.contains("attachedRoutes: 1"), "\(gateway)")
        // Applied again it changes nothing.
        let again = try control.command("apply", "-f", "-", input: shown + "---\n" + gateway)
        #expect(again.status == 0 && !again.output.contains("configured"), "\(again.output)\(again.errors)")
        #expect(again.output.contains("httproute.gateway.networking.k8s.io/pages unchanged"), "\(again.output)")
    }
}
