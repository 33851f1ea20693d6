import HTTP
import Testing
import Time

@testable import Forwarding

/// What spans tell of a request, and how collectors are told.
struct SpanTests {
    private static let context = TraceContext(high: 1, low: 2, span: 3, parent: 4, isSampled: true)
    private static let node = SpanNode(id: "sidecar~1", cluster: "web.shop", zone: "z1")

    private static func span(
        _ record: AccessRecord, _ fields: String = TraceSettings.openTelemetry(), direction: String = "INBOUND",
        route: Route? = nil, operation: String? = nil
    ) throws -> Span {
        try TraceSettings.tracing(fields, direction: direction).span(
            of: record, context, route: route, operation: operation.map { Array($0.utf8) }, node: node)
    }

    private static func route(_ fields: String) throws -> Route {
        let table = try RouteTable(
            yaml: """
                {name: t, virtual_hosts: [{name: v, domains: ['*'], routes: [
                  {match: {prefix: /}, direct_response: {status: 200}, \(fields)}]}]}
                """)
        let head = HeaderList([(":method", "GET"), (":authority", "a"), (":path", "/")])
        let facts = LogRecords.request().connection
        let routing = table.route(head, facts, remote: facts.source, metadata: FilterMetadata(), random: 0)
        return try #require(routing.route)
    }

    @Test func aSpanTellsWhatEnvoysTells() throws {
        let record = LogRecords.request {
            $0.trailers = nil
            $0.request.set("tracestate", "a=1")
        }
        let span = try Self.span(record)
        #expect(span.name == "ingress" && span.kind == .server && span.state == "a=1" && span.isParentRemote)
        #expect(span.start == LogRecords.start && span.end == LogRecords.start + .microseconds(12_345))
        #expect(
            span.tags.map { "\($0.name)=\($0.value)" } == [
                "node_id=sidecar~1", "zone=z1", "guid:x-request-id=id-1", "http.url=https://web.example/old?q",
                "http.method=GET", "downstream_cluster=-", "user_agent=curl/8 \"x\"", "http.protocol=HTTP/1.1",
                "peer.address=10.0.0.9", "request_size=11", "response_size=22", "component=proxy",
                "upstream_cluster=outbound|80||web", "upstream_cluster.name=outbound|80||web", "http.status_code=200",
                "response_flags=-",
            ])
        #expect(span.events.isEmpty)
    }

    @Test func aSpanIsNamedByWhoKnowsBest() throws {
        let record = LogRecords.request()
        #expect(try Self.span(record, direction: "OUTBOUND").name == "egress web.example")
        #expect(try Self.span(record, direction: "OUTBOUND").kind == .client)
        let own = TraceSettings.openTelemetry() + ", spawn_upstream_span: true"
        #expect(try Self.span(record, own, direction: "OUTBOUND").kind == .server)
        #expect(try Self.span(record, TraceSettings.zipkin()).name == "web.example")
        let route = try Self.route("decorator: {operation: shop/*}")
        #expect(try Self.span(record, route: route).name == "shop/*")
        #expect(try Self.span(record, route: route, operation: "theirs").name == "theirs")
        let format = TraceSettings.openTelemetry() + ", operation: 'do %REQ(:METHOD)%'"
        #expect(try Self.span(record, format, route: route, operation: "theirs").name == "do GET")
        #expect(try Self.span(record, format, route: Self.route("tracing: {operation: r}")).name == "r")
    }

    @Test func whatWentWrongIsMarked() throws {
        let broken = LogRecords.request {
            ($0.status, $0.flags) = (503, .noHealthyUpstream)
        }
        let span = try Self.span(broken)
        #expect(span["error"] == "true" && span["response_flags"] == "UH" && span.hasFailed)
        let missing = LogRecords.request { $0.status = 404 }
        #expect(try Self.span(missing)["error"] == nil && !Self.span(missing).hasFailed)
        #expect(try Self.span(missing, direction: "OUTBOUND").hasFailed)
        // Nothing was answered.
        #expect(try Self.span(LogRecords.request { $0.status = 0 })["error"] == "true")
        let call = LogRecords.request {
            $0.request.set("content-type", "application/grpc")
            $0.trailers = LogRecords.list([("grpc-status", "14"), ("grpc-message", "no")])
        }
        let failed = try Self.span(call)
        #expect(failed["error"] == "true" && failed["grpc.status_code"] == "14" && failed["grpc.message"] == "no")
        #expect(failed["grpc.path"] == "/new?b=2&a=1&c" && failed["grpc.authority"] == "web.example")
    }

    @Test func tagsOfOnesOwn() throws {
        let fields =
            TraceSettings.openTelemetry() + """
                , max_path_tag_length: 3, verbose: true, custom_tags: [
                  {tag: fixed, literal: {value: one}}, {tag: agent, request_header: {name: User-Agent}},
                  {tag: absent, request_header: {name: x-none}},
                  {tag: standard, request_header: {name: x-none, default_value: d}},
                  {tag: home, environment: {name: NOT_SET_ANYWHERE, default_value: e}},
                  {tag: format, value: "%RESPONSE_CODE%!"},
                  {tag: deep, metadata: {kind: {request: {}}, metadata_key: {key: f, path: [{key: a}, {key: b}]}}},
                  {tag: number, metadata: {metadata_key: {key: f, path: [{key: n}]}, default_value: x}},
                  {tag: place, metadata: {kind: {route: {}}, metadata_key: {key: r, path: [{key: p}]}}}]
                """
        let route = try Self.route(
            "metadata: {filter_metadata: {r: {p: here}}}, tracing: {custom_tags: [{tag: fixed, literal: {value: two}}]}"
        )
        let span = try Self.span(LogRecords.request(), fields, route: route)
        #expect(span["fixed"] == "two" && span["agent"] == "curl/8 \"x\"" && span["absent"] == nil)
        #expect(span["standard"] == "d" && span["home"] == "e" && span["format"] == "200!")
        #expect(span["deep"] == "deep" && span["number"] == "3" && span["place"] == "here")
        #expect(span["http.url"] == "https://web.example/ol")
        #expect(
            span.events.map(\.name) == [
                "last_downstream_rx_byte_received", "first_upstream_tx_byte_sent", "last_upstream_tx_byte_sent",
                "first_upstream_rx_byte_received", "last_downstream_tx_byte_sent",
            ])
        #expect(span.events.first?.time == LogRecords.start + .milliseconds(1))
    }

    @Test func aTryIsASpanUnderTheRequests() throws {
        let tracing = try TraceSettings.tracing(TraceSettings.openTelemetry() + ", spawn_upstream_span: true")
        let record = LogRecords.request()
        (record.status, record.flags) = (0, .upstreamRemoteReset)
        let start = LogRecords.start + .milliseconds(2)
        let span = tracing.span(ofTry: 2, record, Self.context, start: start, route: nil)
        #expect(span.name == "router outbound|80||web egress" && span.kind == .client && span.start == start)
        #expect(span["retry.count"] == "1" && span["upstream_address"] == "10.9.9.9:8080" && span["error"] == "true")
        #expect(span["response_flags"] == "UR" && span["http.protocol"] == "HTTP/2" && span["node_id"] == nil)
    }

    // MARK: Messages

    @Test func openTelemetrysMessage() throws {
        let provider = try #require(
            try TraceSettings.tracing(
                TraceSettings.openTelemetry(
                    """
                    service_name: web.shop, grpc_service: {envoy_grpc: {cluster_name: c, authority: a}}
                    """)
            ).provider)
        var span = Span(
            "n", .server, Self.context, start: Timestamp(nanoseconds: 1), end: Timestamp(nanoseconds: 258))
        span.tag("k", "v")
        span.tag("http.status_code", "500")
        span.state = "s"
        let encoded = provider.encode(span, node: Self.node)
        let zeros: [UInt8] = [0, 0, 0, 0, 0, 0, 0]
        let parts: [[UInt8]] = [
            [10, 16], zeros, [1], zeros, [2], [18, 8], zeros, [3], [26, 1, 115], [34, 8], zeros, [4],
            [42, 1, 110, 48, 2, 57, 1], zeros, [65, 2, 1, 0, 0, 0, 0, 0, 0],
            [74, 8, 10, 1, 107, 18, 3, 10, 1, 118],
            [74, 25, 10, 16], Array("http.status_code".utf8), [18, 5, 10, 3], Array("500".utf8), [122, 2, 24, 2],
            [133, 1, 1, 1, 0, 0],
        ]
        #expect(encoded == Array(parts.joined()))
        let message = String(decoding: provider.message([encoded, encoded]), as: UTF8.self)
        #expect(message.contains("service.name") && message.contains("web.shop") && message.contains("martinet"))
        #expect(provider.head["content-type"] == "application/grpc" && provider.head[":authority"] == "a")
        #expect(provider.head[":path"] == "/opentelemetry.proto.collector.trace.v1.TraceService/Export")
    }

    @Test func zipkinsMessage() throws {
        let provider = try #require(try TraceSettings.tracing(TraceSettings.zipkin()).provider)
        var span = Span(
            "a \"b\"", .client, TraceContext(high: 0, low: 10, span: 11, isSampled: true),
            start: Timestamp(nanoseconds: 5_000_000), end: Timestamp(nanoseconds: 7_000_000))
        span.tag("k", "v\n")
        span.events = [.init(name: "e", time: Timestamp(nanoseconds: 6_000_000))]
        let one = provider.encode(span, node: Self.node)
        #expect(
            String(decoding: provider.message([one]), as: UTF8.self) == """
                [{"traceId":"000000000000000a","id":"000000000000000b","name":"a \\"b\\"","kind":"CLIENT",\
                "timestamp":5000,"duration":2000,"localEndpoint":{"serviceName":"web.shop"},\
                "annotations":[{"timestamp":6000,"value":"e"}],"tags":{"k":"v\\n"}}]
                """)
        #expect(provider.head[":authority"] == "z" && provider.head[":path"] == "/api")
    }

    @Test(arguments: [
        ("", "no exporter"), ("sampler: {name: s}", "sampler"),
        ("resource_detectors: [{name: d}]", "resource_detectors"),
        ("grpc_service: {google_grpc: {target_uri: x, stat_prefix: y}}", "grpc_service"),
        ("http_service: {http_uri: {uri: /x, cluster: c, timeout: 1s}}", "http_service.http_uri.uri"),
    ])
    func whatCannotBeDoneIsRefused(_ fields: String, _ place: String) {
        let path = "filter_chains[0].filters[0].typed_config.tracing.provider.typed_config"
        let error = #expect(throws: ConfigurationError.self) {
            try TraceSettings.tracing(TraceSettings.openTelemetry(fields))
        }
        let text = error.map { "\($0)" } ?? ""
        #expect(text.hasPrefix(place == "no exporter" ? path : path + "." + place), "\(text)")
    }

    @Test func otherTracersAreRefusedByName() {
        let error = #expect(throws: ConfigurationError.self) {
            try TraceSettings.tracing(
                "provider: {name: x, typed_config: {'@type': type.googleapis.com/envoy.config.core.v3.HttpUri}}")
        }
        #expect("\(error.map { "\($0)" } ?? "")".contains("the tracer `envoy.config.core.v3.HttpUri` is not supported"))
        #expect(throws: ConfigurationError.self) {
            try TraceSettings.tracing(TraceSettings.zipkin("collector_service: {http_uri: {uri: a, cluster: b}}"))
        }
        #expect(throws: ConfigurationError.self) {
            try TraceSettings.tracing("custom_tags: [{tag: t, metadata: {kind: {host: {}}, metadata_key: {key: k}}}]")
        }
    }

    @Test func headersGoWithEachPost() throws {
        let provider = try #require(
            try TraceSettings.tracing(
                TraceSettings.openTelemetry(
                    """
                    http_service: {http_uri: {uri: 'http://otel.example/v1/traces', cluster: c, timeout: 2s},
                      request_headers_to_add: [{header: {key: X-Key, value: secret}}]}
                    """)
            ).provider)
        #expect(provider.head[":authority"] == "otel.example" && provider.head[":path"] == "/v1/traces")
        #expect(provider.head["x-key"] == "secret" && provider.timeout == .seconds(2))
        #expect(provider.head["content-type"] == "application/x-protobuf")
    }
}
