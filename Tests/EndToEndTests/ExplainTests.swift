import Testing

/// `martinet explain` says what becomes of a request.
struct ExplainTests {
    private let shop = """
        apiVersion: v1
        kind: Service
        metadata: { name: reviews, namespace: shop }
        spec: { selector: { app: reviews }, ports: [{ name: http, port: 9080 }] }
        ---
        apiVersion: v1
        kind: Pod
        metadata: { name: reviews-1, namespace: shop, labels: { app: reviews } }
        spec: { containers: [{ name: a, image: b }] }
        ---
        apiVersion: v1
        kind: Pod
        metadata: { name: web-1, namespace: shop, labels: { app: web } }
        spec: { serviceAccountName: web, containers: [{ name: a, image: b }] }
        ---
        apiVersion: security.istio.io/v1
        kind: AuthorizationPolicy
        metadata: { name: reviews, namespace: shop }
        spec:
          action: DENY
          rules: [{ to: [{ operation: { methods: [PUT] } }] }]

        """

    private func explain(_ more: String...) throws -> (status: Int32, output: String, errors: String) {
        try ChildProcess.run(Installation.martinet, ["explain", "-f", "-"] + more, input: shop)
    }

    @Test func aRequestIsFollowedToThePolicyThatRefusesIt() throws {
        let (status, output, _) = try explain("--from", "shop/web-1", "--to", "reviews:9080", "--method", "PUT")
        #expect(status == 0)
        #expect(output.contains("from       shop/web-1, spiffe://cluster.local/ns/shop/sa/web\n"), "\(output)")
        #expect(output.contains("expected, port 9080 reviews-1: mutual TLS\n"), "\(output)")
        #expect(
            output.contains(
                "denied by ns[shop]-policy[reviews]-rule[0], AuthorizationPolicy shop/reviews spec.rules[0] stdin:21\n"),
            "\(output)")
    }

    @Test func anUnknownWorkloadIsAnErrorThatNamesTheOthers() throws {
        let (status, _, errors) = try explain("--from", "shop/nobody", "--to", "reviews")
        #expect(status == 1)
        #expect(errors.contains("there is no workload nobody in shop") && errors.contains("there are reviews-1, web-1"))
    }
}
