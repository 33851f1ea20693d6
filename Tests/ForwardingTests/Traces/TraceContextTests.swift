import HTTP
import Testing

@testable import Forwarding

/// A request's place in a trace, from the headers that came to those that go on.
struct TraceContextTests {
    private static func head(_ fields: [(String, String)]) -> HeaderList {
        HeaderList(fields.map { (name: $0.0, value: $0.1) })
    }

    /// What goes upstream, and where the request stands.
    private static func passed(
        _ fields: [(String, String)], _ tracing: TracingSettings, isTraced: Bool = true
    ) throws -> (context: TraceContext?, head: HeaderList) {
        let provider = try #require(tracing.provider)
        var head = head(fields)
        var random = SeededRandom(seed: 7)
        let context = provider.begin(head, isTraced: isTraced, tracing.kind, random: &random)
        context?.write(provider.propagation, to: &head)
        return (context, head)
    }

    private static let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    @Test func aTraceIsGoneOnWithUnderASpanOfItsOwn() throws {
        let tracing = try TraceSettings.tracing(TraceSettings.openTelemetry())
        let fields = [("traceparent", Self.parent), ("tracestate", "a=1")]
        // What the caller has decided counts, not what is decided here.
        let (context, head) = try Self.passed(fields, tracing, isTraced: false)
        let span = try #require(context)
        #expect(span.isSampled && span.parent == 0xb7ad_6b71_6920_3331 && span.span != span.parent && !span.isShared)
        let digits = String(decoding: span.span.hexadecimalDigits, as: UTF8.self)
        #expect(head["traceparent"] == "00-0af7651916cd43dd8448eb211c80319c-\(digits)-01")
        #expect(head["tracestate"] == "a=1")
        let unsampled = Self.parent.dropLast(2) + "00"
        let other = try Self.passed([("traceparent", String(unsampled))], tracing)
        #expect(other.context?.isSampled == false && other.head["traceparent"]?.hasSuffix("-00") == true)
    }

    @Test func aTraceBeginsWhereThereIsNone() throws {
        let tracing = try TraceSettings.tracing(TraceSettings.openTelemetry())
        for isTraced in [true, false] {
            let (context, head) = try Self.passed([], tracing, isTraced: isTraced)
            let span = try #require(context)
            #expect(span.isSampled == isTraced && span.parent == 0 && span.high != 0)
            let id = String(decoding: span.traceID, as: UTF8.self)
            #expect(id.utf8.count == 32)
            #expect(head["traceparent"]?.hasPrefix("00-\(id)-") == true)
            #expect(head["traceparent"]?.hasSuffix(isTraced ? "-01" : "-00") == true)
        }
    }

    @Test(arguments: [
        "", "00", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333x-01",
        "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
    ])
    func whatCannotBeReadGoesOnAsItIs(_ value: String) throws {
        let (context, head) = try Self.passed(
            [("traceparent", value)], TraceSettings.tracing(TraceSettings.openTelemetry()))
        #expect(context == nil && head["traceparent"] == value)
    }

    @Test func theManyHeadersOfB3() throws {
        let tracing = try TraceSettings.tracing(TraceSettings.zipkin("shared_span_context: false"))
        let fields = [
            ("x-b3-traceid", "463ac35c9f6413ad48485a3953bb6124"), ("x-b3-spanid", "a2fb4a1d1a96d312"),
            ("x-b3-parentspanid", "0020000000000001"), ("x-b3-sampled", "1"),
        ]
        let (context, head) = try Self.passed(fields, tracing, isTraced: false)
        #expect(context?.isSampled == true && context?.parent == 0xa2fb_4a1d_1a96_d312)
        #expect(head["x-b3-traceid"] == "463ac35c9f6413ad48485a3953bb6124" && head["x-b3-sampled"] == "1")
        #expect(head["x-b3-parentspanid"] == "a2fb4a1d1a96d312" && head["x-b3-spanid"] != "a2fb4a1d1a96d312")
        // The decision may come alone, and a trace without one.
        #expect(try Self.passed([("x-b3-sampled", "0")], tracing).context?.isSampled == false)
        #expect(try Self.passed([("x-b3-sampled", "true")], tracing, isTraced: false).context?.isSampled == true)
        #expect(try Self.passed(Array(fields[..<2]), tracing).context?.isSampled == true)
        #expect(try Self.passed(Array(fields[..<2]), tracing, isTraced: false).context?.isSampled == false)
        #expect(try Self.passed([("x-b3-traceid", "x"), fields[1]], tracing).context == nil)
    }

    @Test func theOneHeaderOfB3() throws {
        let tracing = try TraceSettings.tracing(TraceSettings.zipkin("shared_span_context: false"))
        func context(_ value: String, isTraced: Bool = false) throws -> TraceContext? {
            try Self.passed([("b3", value)], tracing, isTraced: isTraced).context
        }
        let long = try #require(try context("463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-1"))
        #expect(long.high == 0x463a_c35c_9f64_13ad && long.parent == 0xa2fb_4a1d_1a96_d312 && long.isSampled)
        #expect(try context("48485a3953bb6124-a2fb4a1d1a96d312-d-0020000000000001")?.isSampled == true)
        #expect(try context("48485a3953bb6124-a2fb4a1d1a96d312-0", isTraced: true)?.isSampled == false)
        #expect(try context("48485a3953bb6124-a2fb4a1d1a96d312", isTraced: true)?.isSampled == true)
        #expect(try context("0", isTraced: true)?.isSampled == false)
        for bad in ["", "x", "48485a3953bb6124", "48485a3953bb6124-a2fb4a1d1a96d312-2", "1-2-3", "--"] {
            #expect(try context(bad) == nil, "\(bad)")
        }
        // Who speaks with one header is spoken to with one.
        let head = try Self.passed([("b3", "463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-1")], tracing).head
        let told = head["b3"]?.split(separator: "-") ?? []
        #expect(told.count == 4 && told[0] == "463ac35c9f6413ad48485a3953bb6124" && told[1] != "a2fb4a1d1a96d312")
        #expect(told.suffix(2) == ["1", "a2fb4a1d1a96d312"] && !head.contains("x-b3-traceid"))
    }

    @Test func zipkinsServerSharesTheCallersSpanWhereThatIsAskedFor() throws {
        let fields = [("x-b3-traceid", "48485a3953bb6124"), ("x-b3-spanid", "a2fb4a1d1a96d312"), ("x-b3-sampled", "1")]
        let shared = try Self.passed(fields, TraceSettings.tracing(TraceSettings.zipkin()))
        #expect(shared.context?.isShared == true && shared.head["x-b3-spanid"] == "a2fb4a1d1a96d312")
        #expect(shared.head["x-b3-traceid"] == "48485a3953bb6124" && !shared.head.contains("x-b3-parentspanid"))
        // A client's side is another span.
        let client = try Self.passed(fields, TraceSettings.tracing(TraceSettings.zipkin(), direction: "OUTBOUND"))
        #expect(client.context?.isShared == false && client.context?.parent == 0xa2fb_4a1d_1a96_d312)
    }

    @Test func zipkinTakesTheHeadersOfW3CWhereItIsToldTo() throws {
        let fields = [("traceparent", Self.parent)]
        let both = try TraceSettings.tracing(
            TraceSettings.zipkin("shared_span_context: false, trace_context_option: USE_B3_WITH_W3C_PROPAGATION"))
        let (context, head) = try Self.passed(fields, both, isTraced: false)
        #expect(context?.isSampled == true && context?.parent == 0xb7ad_6b71_6920_3331)
        #expect(head["x-b3-traceid"] == "0af7651916cd43dd8448eb211c80319c")
        #expect(head["traceparent"] != Self.parent && head["traceparent"]?.hasPrefix("00-0af7651916cd43dd") == true)
        let alone = try Self.passed(fields, TraceSettings.tracing(TraceSettings.zipkin()), isTraced: false)
        #expect(alone.context?.parent == 0 && alone.context?.high == 0 && alone.head["traceparent"] == Self.parent)
        let wide = try Self.passed([], TraceSettings.tracing(TraceSettings.zipkin("trace_id_128bit: true")))
        #expect(wide.context?.traceID.count == 32 && wide.context?.span == wide.context?.low)
    }
}
