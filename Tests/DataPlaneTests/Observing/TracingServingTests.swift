import EnvoyAPI
import Forwarding
import Foundation
import HTTP
import Protobuf
import Synchronization
import Testing

@testable import DataPlane

/// Traces of real requests, and collectors that are told of them.
@Suite struct TracingServingTests {
    private static let types = "type.googleapis.com/envoy"

    private static func openTelemetry(_ service: String) -> String {
        """
        provider:
          name: otel
          typed_config:
            "@type": \(types).config.trace.v3.OpenTelemetryConfig
            service_name: shop.default
            \(service)
        """
    }

    private static let overGRPC = openTelemetry("grpc_service: {envoy_grpc: {cluster_name: collector}}")

    private static func manager(_ tracing: String) -> String {
        "tracing:\n  " + Resources.indented(tracing, by: 2)
    }

    private static func options() -> Workers.Options {
        var options = Workers.Options()
        let arena = Arena()
        options.node = encode(
            arena.make(EnvoyAPI.Node.self) {
                $0.id = arena("me")
                $0.cluster = arena("shop")
            })
        return options
    }

    /// What a worker has counted of spans, once a condition holds.
    private func counts(_ stage: Stage, until isThere: ([String: Int64]) -> Bool) -> [String: Int64] {
        var last: [String: Int64] = [:]
        for _ in 0..<500 {
            last = Dictionary(
                uniqueKeysWithValues: Statistic.summed(stage.workers.ask { $0.statistics }.flatMap { $0 }).map {
                    ($0.dottedName, $0.value)
                })
            if isThere(last) { break }
            usleep(10_000)
        }
        return last
    }

    /// The fields that the upstream's echo told of.
    private func field(_ name: String, _ message: Message?) -> String? {
        message?.body.split(separator: "\n").first { $0.lowercased().hasPrefix(name + ": ") }
            .map { String($0.dropFirst(name.count + 2)) }
    }

    private static let routes = "- {match: {prefix: /}, route: {cluster: web}, decorator: {operation: shop/*}}"

    @Test func spansReachTheCollectorOverGRPCAndTheTraceGoesOn() throws {
        let upstream = TestServer.echo()
        let collector = Collector()
        let stage = try Stage(
            [try Resources.httpListener(routes: Self.routes, manager: Self.manager(Self.overGRPC))],
            [
                try Resources.cluster("web", ports: [upstream.port]),
                try Resources.cluster("collector", ports: [collector.port], Resources.http2),
            ], options: Self.options())
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        for _ in 0..<SpanQueue.batch {
            let answer = stage.get("/a?b", ["traceparent: \(parent)", "tracestate: x=y"])
            #expect(answer?.status == 200)
            let told = field("traceparent", answer)
            #expect(told?.hasPrefix("00-0af7651916cd43dd8448eb211c80319c-") == true && told != parent)
            #expect(told?.hasSuffix("-01") == true && field("tracestate", answer) == "x=y")
            // An inbound proxy tells the caller's what the operation is called.
            #expect(answer?["x-envoy-decorator-operation"] == "shop/*")
        }
        let all = counts(stage) { $0["tracing.opentelemetry.spans_sent"] == 5 }
        #expect(all["tracing.opentelemetry.spans_sent"] == 5 && all["tracing.opentelemetry.spans_dropped"] == 0)
        #expect(all["http.test.tracing.random_sampling"] == 5)
        #expect(collector.wait { !$0.isEmpty })
        let text = String(decoding: collector.messages.first?.bytes ?? [], as: UTF8.self)
        for word in ["service.name", "shop.default", "shop/*", "http://shop/a?b", "node_id", "x=y", "upstream_cluster"]
        {
            #expect(text.contains(word), "\(word)")
        }
    }

    @Test func whatIsNotSampledIsToldSoAndSentNowhere() throws {
        let upstream = TestServer.echo()
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("traces-\(UUID().uuidString)").path
        let log = """
            access_log:
            - name: file
              filter: {traceable_filter: {}}
              typed_config:
                "@type": \(Self.types).extensions.access_loggers.file.v3.FileAccessLog
                path: \(path)
                log_format: {text_format_source: {inline_string: "%PATH% %TRACE_ID%\\n"}}
            """
        let stage = try Stage(
            [
                try Resources.httpListener(
                    routes: Self.routes,
                    manager: Self.manager("random_sampling: {value: 0}\n" + Self.overGRPC) + "\n" + log)
            ], [try Resources.cluster("web", ports: [upstream.port])], options: Self.options())
        #expect(field("traceparent", stage.get("/no"))?.hasSuffix("-00") == true)
        let forced = stage.get("/forced", ["x-client-trace-id: a"])
        let told = try #require(field("traceparent", forced))
        #expect(told.hasSuffix("-01"))
        let all = counts(stage) { $0["http.test.tracing.client_enabled"] == 1 }
        #expect(all["http.test.tracing.not_traceable"] == 1 && all["http.test.tracing.client_enabled"] == 1)
        stage.workers.stop()
        stage.workers.options.logs.close()
        let id = told.split(separator: "-")[1]
        #expect(try String(contentsOfFile: path, encoding: .utf8) == "/forced \(id)\n")
    }

    @Test(arguments: ["otlp", "zipkin"])
    func spansArePosted(_ form: String) throws {
        let upstream = TestServer.echo()
        let posts = Mutex<[Message]>([])
        let collector = TestServer.http { request in
            posts.withLock { $0.append(request) }
            return "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"
        }
        let zipkin = """
            provider:
              name: zipkin
              typed_config:
                "@type": \(Self.types).config.trace.v3.ZipkinConfig
                collector_cluster: collector
                collector_endpoint: /api/v2/spans
                collector_endpoint_version: HTTP_JSON
            """
        let otlp = Self.openTelemetry(
            """
            http_service:
              http_uri: {uri: "http://otel.example/v1/traces", cluster: collector, timeout: 2s}
              request_headers_to_add: [{header: {key: x-key, value: secret}}]
            """.split(separator: "\n").joined(separator: "\n    "))
        let stage = try Stage(
            [
                try Resources.httpListener(
                    routes: Self.routes, manager: Self.manager(form == "otlp" ? otlp : zipkin))
            ],
            [
                try Resources.cluster("web", ports: [upstream.port]),
                try Resources.cluster("collector", ports: [collector.port]),
            ], options: Self.options())
        for _ in 0..<SpanQueue.batch { #expect(stage.get("/")?.status == 200) }
        for _ in 0..<500 where posts.withLock({ $0.isEmpty }) { usleep(10_000) }
        let post = try #require(posts.withLock { $0.first })
        if form == "otlp" {
            #expect(post.path == "/v1/traces" && post["host"] == "otel.example" && post["x-key"] == "secret")
            #expect(post["content-type"] == "application/x-protobuf" && post.body.contains("shop.default"))
        } else {
            #expect(post.path == "/api/v2/spans" && post["host"] == "collector")
            let list = try JSONSerialization.jsonObject(with: Data(post.body.utf8)) as? [[String: Any]]
            #expect(list?.count == SpanQueue.batch && list?.first?["name"] as? String == "shop/*")
            #expect((list?.first?["localEndpoint"] as? [String: Any])?["serviceName"] as? String == "shop")
            let all = counts(stage) { $0["tracing.zipkin.reports_sent"] == 1 }
            #expect(all["tracing.zipkin.reports_sent"] == 1 && all["tracing.zipkin.spans_sent"] == 5)
        }
    }

    @Test func aCollectorThatIsNotThereHoldsUpNobodyAndWhatIsLostIsCounted() throws {
        let stage = try Stage(
            [
                try Resources.httpListener(
                    routes: "- {match: {prefix: /}, direct_response: {status: 200}}",
                    manager: Self.manager(Self.overGRPC))
            ], [], options: Self.options())
        let client = stage.connect()
        for _ in 0..<12 {
            client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            #expect(client.message()?.status == 200)
        }
        let all = counts(stage) { $0["tracing.opentelemetry.spans_dropped"] == 10 }
        #expect(all["tracing.opentelemetry.spans_dropped"] == 10)
    }

    @Test func eachTryIsASpanWhereThatIsAskedFor() throws {
        let count = Atomic(0)
        let upstream = TestServer.http { request in
            let isFirst = count.add(1, ordering: .relaxed).oldValue == 0
            let body = request.fields.joined(separator: "\n")
            return "HTTP/1.1 \(isFirst ? 503 : 200) X\r\ncontent-length: \(body.utf8.count)\r\n\r\n\(body)"
        }
        let collector = Collector()
        let stage = try Stage(
            [
                try Resources.httpListener(
                    routes: """
                        - match: {prefix: /}
                          route: {cluster: web, retry_policy: {retry_on: 5xx, num_retries: 1}}
                        """,
                    manager: Self.manager("spawn_upstream_span: true\n" + Self.overGRPC))
            ],
            [
                try Resources.cluster("web", ports: [upstream.port]),
                try Resources.cluster("collector", ports: [collector.port], Resources.http2),
            ], options: Self.options())
        // Two tries and the request itself, then a request with one.
        #expect(stage.get("/")?.status == 200)
        #expect(stage.get("/")?.status == 200)
        let all = counts(stage) { $0["tracing.opentelemetry.spans_sent"] == 5 }
        #expect(all["tracing.opentelemetry.spans_sent"] == 5)
        #expect(collector.wait { !$0.isEmpty })
        let text = String(decoding: collector.messages.first?.bytes ?? [], as: UTF8.self)
        #expect(text.split(separator: "router web egress").count == 4 && text.contains("retry.count"))
        // The first try alone was given up.
        #expect(text.split(separator: "canceled").count == 2)
    }

    @Test func theReasonIsPackedIntoTheIdentifierAlsoWhereNoSpanIsMade() throws {
        let upstream = TestServer.echo()
        let stage = try Stage(
            [try Resources.httpListener(routes: Self.routes, manager: "tracing: {random_sampling: {value: 100}}")],
            [try Resources.cluster("web", ports: [upstream.port])])
        let answer = stage.get("/")
        #expect(field("x-request-id", answer).map { Array($0)[14] } == "9")
        #expect(field("traceparent", answer) == nil && answer?["x-envoy-decorator-operation"] == nil)
    }
}
