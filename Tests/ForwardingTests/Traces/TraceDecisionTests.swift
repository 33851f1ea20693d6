import HTTP
import Testing

@testable import Forwarding

/// Which requests are traced, and how that is told to those that follow.
struct TraceDecisionTests {
    /// Its first number is 25 of 10,000.
    private static let id = "00000019-0000-4000-8000-000000000000"

    private static func percent(_ number: UInt32) -> Fraction { Fraction(numerator: number * 100, denominator: 10_000) }

    private static func decide(
        _ fields: [(String, String)], _ sampling: TraceSampling, _ manager: String = ""
    ) throws -> (reason: TraceReason, id: String?) {
        let settings = try #require(try TraceSettings.manager(manager)).requestID
        var head = HeaderList(fields.map { (name: $0.0, value: $0.1) })
        var random = SeededRandom(seed: 1)
        let reason = sampling.decide(&head, settings, random: &random)
        return (reason, head["x-request-id"])
    }

    @Test func theIdentifiersNumberDecidesAndTellsThoseThatFollow() throws {
        let none = TraceSampling(client: Self.percent(0), random: Self.percent(0))
        let fields = [("x-request-id", Self.id)]
        var decided = try Self.decide(fields, TraceSampling(random: Fraction(numerator: 26, denominator: 10_000)))
        #expect(decided.reason == .sampled && decided.id == "00000019-0000-9000-8000-000000000000")
        decided = try Self.decide(fields, TraceSampling(random: Fraction(numerator: 25, denominator: 10_000)))
        #expect(decided.reason == .notTraced && decided.id == Self.id)
        // What a proxy before this one has decided holds, but for the share of all.
        let told = [("x-request-id", "00000019-0000-9000-8000-000000000000")]
        #expect(try Self.decide(told, none).reason == .sampled)
        decided = try Self.decide(told, TraceSampling(overall: Fraction(numerator: 25, denominator: 10_000)))
        #expect(decided.reason == .notTraced && decided.id == Self.id)
    }

    @Test func clientsAndServicesMayForceATrace() throws {
        let none = TraceSampling(client: .all, random: Self.percent(0))
        let id = ("x-request-id", Self.id)
        var decided = try Self.decide([id, ("x-client-trace-id", "a")], none)
        #expect(decided.reason == .forcedByClient && decided.id == "00000019-0000-b000-8000-000000000000")
        decided = try Self.decide([id, ("x-envoy-force-trace", "true")], none)
        #expect(decided.reason == .forcedByService && decided.id == "00000019-0000-a000-8000-000000000000")
        let deaf = TraceSampling(client: Self.percent(0), random: Self.percent(0))
        #expect(try Self.decide([id, ("x-client-trace-id", "a")], deaf).reason == .notTraced)
    }

    @Test func anIdentifierThatCannotBeReadIsNotTraced() throws {
        #expect(try Self.decide([], TraceSampling()).reason == .notTraced)
        #expect(try Self.decide([("x-request-id", "zzzzzzzz")], TraceSampling()).reason == .notTraced)
        // A number is enough to decide; it has no place to tell.
        let decided = try Self.decide([("x-request-id", "00000000-a")], TraceSampling())
        #expect(decided.reason == .sampled && decided.id == "00000000-a")
    }

    @Test func theIdentifierIsLeftAloneWhereItIsToSayNothing() throws {
        func uuid(_ fields: String) -> String {
            """
            request_id_extension: {typed_config: {
              '@type': type.googleapis.com/envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig, \(fields)}},
            """
        }
        let packed = ("x-request-id", "00000019-0000-9000-8000-000000000000")
        let none = TraceSampling(client: Self.percent(0), random: Self.percent(0))
        var decided = try Self.decide([("x-request-id", Self.id)], TraceSampling(), uuid("pack_trace_reason: false"))
        #expect(decided.reason == .sampled && decided.id == Self.id)
        #expect(try Self.decide([packed], none, uuid("pack_trace_reason: false")).reason == .notTraced)
        decided = try Self.decide([], none, uuid("use_request_id_for_trace_sampling: false"))
        #expect(decided.reason == .sampled)
    }
}

/// Settings of connection managers for tests of traces.
enum TraceSettings {
    private static let types = "type.googleapis.com/envoy"

    /// - Parameter fields: of the manager, each with a comma behind.
    static func manager(_ fields: String, direction: String = "INBOUND") throws -> HTTPConnectionSettings? {
        let listener = try ListenerConfiguration(
            yaml: """
                {name: l, address: {socket_address: {address: 127.0.0.1, port_value: 8080}},
                 traffic_direction: \(direction), filter_chains: [{filters: [{name: http, typed_config: {
                  '@type': \(types).extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
                  stat_prefix: x, rds: {config_source: {ads: {}}, route_config_name: r}, \(fields)
                  http_filters: [{name: router, typed_config: {'@type': \(types).extensions.filters.http.router.v3.Router}}]
                }}]}]}
                """)
        guard case .http(let settings) = listener.chains[0].terminal else { return nil }
        return settings
    }

    static func tracing(_ fields: String, direction: String = "INBOUND") throws -> TracingSettings {
        try #require(try manager("tracing: {\(fields)},", direction: direction)?.tracing)
    }

    static func openTelemetry(_ fields: String = "grpc_service: {envoy_grpc: {cluster_name: c}}") -> String {
        "provider: {name: o, typed_config: {'@type': \(types).config.trace.v3.OpenTelemetryConfig, \(fields)}}"
    }

    static let zipkinCluster = "collector_cluster: z, collector_endpoint: /api, collector_endpoint_version: HTTP_JSON"

    static func zipkin(_ fields: String = "") -> String {
        "provider: {name: z, typed_config: {'@type': \(types).config.trace.v3.ZipkinConfig, \(zipkinCluster), \(fields)}}"
    }
}
