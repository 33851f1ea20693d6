import Foundation
import Testing

/// Services outside of the proxies that these ask and tell: authorization, logs, spans, load.
@Suite(.serialized)
struct ProviderScenarios {
    /// A program of ours in Python with a port for gRPC and one for HTTP, and the ServiceEntry that leads to it.
    private struct Peer {
        let process: ChildProcess
        let entry: String

        init(_ script: String, host: String, in directory: String) throws {
            let (grpc, http) = (try freePort(), try freePort())
            process = try ChildProcess(
                Installation.python,
                [
                    Installation.root + "/Tests/EndToEndTests/Peers/" + script, "127.0.0.1:\(grpc)",
                    "127.0.0.1:\(http)",
                ], in: directory)
            let process = process
            try eventually("\(script) to listen; \(process.log)") { process.log.contains("ready") ? true : nil }
            entry = """
                apiVersion: networking.istio.io/v1
                kind: ServiceEntry
                metadata: { name: \(host.prefix { $0 != "." }) }
                spec:
                  hosts: [\(host)]
                  location: MESH_EXTERNAL
                  resolution: STATIC
                  ports:
                    - { number: 9191, name: grpc, protocol: GRPC }
                    - { number: 8000, name: http, protocol: HTTP }
                  endpoints: [{ address: 127.0.0.1, ports: { grpc: \(grpc), http: \(http) } }]
                """
        }

        func lines(_ start: String) -> [Substring] { process.log.split(separator: "\n").filter { $0.hasPrefix(start) } }
    }

    @Test func aServiceDecidesWhatCustomPoliciesMatch() throws {
        let shop = try BookinfoMesh(reviews: ["v1"])
        let peer = try Peer("authorizer.py", host: "authz.example.com", in: shop.mesh.control.directory)
        defer { peer.process.stop() }
        func config(_ grpc: String) -> String {
            """
            apiVersion: martinet.dev/v1
            kind: MeshConfig
            metadata: { name: default }
            spec:
              extensionProviders:
                - name: over-grpc
                  envoyExtAuthzGrpc: { service: authz.example.com, port: 9191, timeout: 2s\(grpc) }
                - name: over-http
                  envoyExtAuthzHttp:
                    service: authz.example.com
                    port: 8000
                    timeout: 2s
                    pathPrefix: /check
                    includeRequestHeadersInCheck: [x-pass]
                    includeAdditionalHeadersInCheck: { x-asked-by: reviews }
                    headersToUpstreamOnAllow: [x-let-in-by]
                    headersToDownstreamOnDeny: [x-let-in-by]
            """
        }
        func policy(_ name: String, _ app: String, _ provider: String, _ path: String) -> String {
            """
            apiVersion: security.istio.io/v1
            kind: AuthorizationPolicy
            metadata: { name: \(name) }
            spec:
              selector: { matchLabels: { app: \(app) } }
              action: CUSTOM
              provider: { name: \(provider) }
              rules: [{ to: [{ operation: { paths: ["\(path)"] } }] }]
            """
        }
        try shop.mesh.apply(
            yaml: [
                peer.entry, config(""), policy("details", "details", "over-grpc", "/details/0"),
                policy("reviews", "reviews", "over-http", "/reviews/0"),
                policy("ratings", "ratings", "nobody", "/ratings/0"),
            ].joined(separator: "\n---\n"))
        let page = try shop.mesh["productpage-v1"]
        let pass = ["x-pass": "please"]

        // Over gRPC: refused in the service's words, let in when asked for, and unasked where no rule matches.
        try eventually("the service to refuse; \(shop.mesh.state)") {
            page.call("details:9080", "/details/0").tally(3) == ["401": 3] ? true : nil
        }
        let refused = try HTTPConnection.exchange(page.call("details:9080", "/details/0"))
        #expect(refused.code == 401 && refused.body == "not without asking")
        #expect(refused.headers["x-let-in-by"] == "grpc")
        let caller = "grpc GET /details/0 spiffe://cluster.local/ns/default/sa/bookinfo-productpage"
        let heard = peer.lines(caller).count
        #expect(page.call("details:9080", "/details/0", headers: pass).tally(10) == ["v1": 10])
        // It is told who calls.
        try eventually("the service to say who called") { peer.lines(caller).count == heard + 10 ? true : nil }
        let asked = peer.lines("grpc").count
        #expect(page.call("details:9080", "/details/1").tally(5) == ["v1": 5])
        #expect(peer.lines("grpc").count == asked)

        try eventually("the other service to refuse") {
            page.call("reviews:9080", "/reviews/0").tally(3) == ["402": 3] ? true : nil
        }
        let before = peer.lines("http GET /check/reviews/0 reviews").count
        // Over HTTP, with the headers and the path that the provider says.
        #expect(page.call("reviews:9080", "/reviews/0").tally(5) == ["402": 5])
        #expect(page.call("reviews:9080", "/reviews/0", headers: pass).tally(5) == ["v1": 5])
        try eventually("the service to say what it was asked") {
            peer.lines("http GET /check/reviews/0 reviews").count == before + 10 ? true : nil
        }

        // Nobody can be asked: refused.
        let reviews = try shop.mesh["reviews-v1"]
        #expect(reviews.call("ratings:9080", "/ratings/0", headers: pass).tally(5) == ["403": 5])
        #expect(reviews.call("ratings:9080", "/ratings/1").tally(5) == ["v1": 5])

        // explain says who decides.
        let told = try shop.mesh.control.command(
            "explain", "--from", "productpage-v1", "--to", "details:9080", "--path", "/details/0")
        #expect(told.output.contains("asks `over-grpc`, by ns[default]-policy[details]-rule[0]"), "\(told.output)")

        // The service is gone: closed, unless it is to fail open.
        peer.process.stop()
        try eventually("requests to be refused") {
            page.call("details:9080", "/details/0", headers: pass).tally(3) == ["403": 3] ? true : nil
        }
        try shop.mesh.apply(yaml: config(", failOpen: true"))
        try eventually("requests to pass") {
            page.call("details:9080", "/details/0").tally(3) == ["v1": 3] ? true : nil
        }
        #expect(try shop.mesh.control.command("status").status == 0, "\(shop.mesh.state)")
    }

    @Test(.anyDataPlane) func logsAndSpansGoWhereProvidersSayAndTheControlPlaneCountsItsOwn() throws {
        let shop = try BookinfoMesh(reviews: ["v1"])
        let peer = try Peer("collector.py", host: "collector.example.com", in: shop.mesh.control.directory)
        defer { peer.process.stop() }
        func config(tracer: String) -> String {
            """
            apiVersion: martinet.dev/v1
            kind: MeshConfig
            metadata: { name: default }
            spec:
              tracingSampling: 100
              extensionProviders:
                - { name: logs, envoyHttpAls: { service: collector.example.com, port: 9191, logName: requests } }
                - { name: otlp, opentelemetry: { service: collector.example.com, port: 9191 } }
                - name: otlp-http
                  opentelemetry:
                    service: collector.example.com
                    port: 8000
                    http: { path: /v1/traces, timeout: 2s, headers: [{ name: x-key, value: secret }] }
                - { name: zipkin, zipkin: { service: collector.example.com, port: 8000 } }
                - { name: numbers, prometheus: {} }
              defaultProviders: { accessLogging: [logs], tracing: [\(tracer)] }
            """
        }
        let call = try shop.reviews()
        try shop.mesh.apply(yaml: peer.entry + "\n---\n" + config(tracer: "otlp"))
        // Envoy sends logs and spans after some seconds, or when it has many.
        func see(_ line: String) throws {
            try eventually("`\(line)`; \(peer.process.log.suffix(2_000))\n\(shop.mesh.state)", within: 30) {
                #expect(call.tally(5) == ["v1": 5])
                return peer.lines(line).isEmpty ? nil : true
            }
        }
        try see("als requests /reviews/0 200")
        try see("otlp")
        try shop.mesh.apply(yaml: config(tracer: "zipkin"))
        try see("post /api/v2/spans")
        try shop.mesh.apply(yaml: config(tracer: "otlp-http"))
        try see("post /v1/traces 0 secret")
        #expect(try shop.mesh.control.command("status").status == 0, "\(shop.mesh.state)")
        // The control plane gets the same logs.
        try eventually("log entries at the control plane") {
            try shop.mesh.control.metric("martinet_access_log_entries_total") >= 10 ? true : nil
        }
    }

    @Test func proxiesReportTheirLoad() throws {
        let shop = try BookinfoMesh(reviews: ["v1"])
        let call = try shop.reviews()
        try eventually("load reports with requests; \(shop.mesh.control.process.log.suffix(2_000))", within: 40) {
            _ = call.tally(5)
            return try shop.mesh.control.metric("martinet_load_reports_total") > 0
                && shop.mesh.control.metric("martinet_load_reported_requests_total") >= 5 ? true : nil
        }
    }
}
