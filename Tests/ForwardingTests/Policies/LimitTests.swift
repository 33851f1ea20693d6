import EnvoyAPI
import HTTP
import Protobuf
import Testing
import Time

@testable import Forwarding

struct LimitTests {
    private func limit(_ fields: String) throws -> LocalRateLimit {
        guard case .localRateLimit(let limit) = try filter("local_ratelimit.v3.LocalRateLimit", fields) else {
            throw ConfigurationError.invalid(path: "", message: "no rate limit")
        }
        return limit
    }

    private let always = #""filter_enabled": {"default_value": {"numerator": 100}}"#
    private let enforced = #""filter_enforced": {"default_value": {"numerator": 100}}"#

    @Test func aBucketIsFullAtFirstAndFillsSteadily() {
        let bucket = TokenBucket(capacity: 3, tokensPerFill: 2, fillInterval: .seconds(1))
        func taken(_ seconds: Double) -> Int { (0..<10).filter { _ in bucket.take(now: instant(seconds)) }.count }
        #expect(taken(100) == 3)
        #expect(taken(100.4) == 0)
        #expect(taken(100.5) == 1)
        #expect(taken(101.6) == 2)
        #expect(taken(300) == 3)
        // Another worker's clock may be behind.
        #expect(taken(299) == 0)
    }

    @Test func overALongTimeABucketLetsThroughWhatItIsFilledWith() {
        var dice = SeededDice(seed: 5)
        let bucket = TokenBucket(capacity: 5, tokensPerFill: 3, fillInterval: .milliseconds(700))
        var (taken, time) = (0, 50.0)
        for _ in 0..<20_000 {
            time += Double(Int.random(in: 0...20, using: &dice)) / 1_000
            if bucket.take(now: instant(time)) { taken += 1 }
        }
        let expected = 5 + (time - 50) * 3 / 0.7
        #expect(abs(Double(taken) - expected) <= 5)
    }

    @Test func requestsAboveTheLimitAreAnsweredWith429() throws {
        let limit = try limit(
            """
            {"stat_prefix": "x", "token_bucket": {"max_tokens": 1, "fill_interval": "1s"}, \(always), \(enforced),
             "response_headers_to_add": [{"header": {"key": "x-limited", "value": "yes"}}]}
            """)
        var dice = SeededDice(seed: 1)
        #expect(limit.status == 429 && limit.grpcStatus == 14 && limit.makeBucket() == nil)
        #expect(limit.decide(now: instant(0), random: &dice) == .passes)
        #expect(limit.decide(now: instant(0), random: &dice) == .limited)
        #expect(limit.decide(now: instant(1), random: &dice) == .passes)
        var head = HeaderList([(":status", "429")])
        limit.responseHeaders.apply(to: &head, isResponse: true) {
            preconditionFailure("constant values need no facts")
        }
        #expect(head.text("x-limited") == "yes")
    }

    @Test func aLimitThatIsNotEnforcedOnlySaysSo() throws {
        let limit = try limit(
            #"{"stat_prefix": "x", "token_bucket": {"max_tokens": 1, "fill_interval": "1s"}, \#(always)}"#)
        var dice = SeededDice(seed: 1)
        #expect(limit.decide(now: instant(0), random: &dice) == .passes)
        #expect(limit.decide(now: instant(0), random: &dice) == .wouldBeLimited)
        let off = try self.limit(#"{"stat_prefix": "x", "token_bucket": {"max_tokens": 1, "fill_interval": "1s"}}"#)
        for _ in 0..<3 { #expect(off.decide(now: instant(0), random: &dice) == .passes) }
    }

    @Test func eachConnectionMayHaveItsOwnBucket() throws {
        let limit = try limit(
            """
            {"stat_prefix": "x", "token_bucket": {"max_tokens": 1, "fill_interval": "1s"}, \(always), \(enforced),
             "local_rate_limit_per_downstream_connection": true, "status": {"code": "ServiceUnavailable"}}
            """)
        var dice = SeededDice(seed: 1)
        let (one, two) = (limit.makeBucket(), limit.makeBucket())
        #expect(limit.status == 503)
        #expect(limit.decide(bucket: one, now: instant(0), random: &dice) == .passes)
        #expect(limit.decide(bucket: one, now: instant(0), random: &dice) == .limited)
        #expect(limit.decide(bucket: two, now: instant(0), random: &dice) == .passes)
    }

    @Test func connectionsAreLimitedInTime() throws {
        let arena = Arena()
        let message = try arena.decodeJSON(
            NetworkLocalRateLimit.self,
            #"{"stat_prefix": "x", "token_bucket": {"max_tokens": 2, "fill_interval": "1s"}}"#, types: envoyTypes)
        let limit = try ConnectionRateLimit(message.pointee)
        #expect((0..<5).filter { _ in limit.admits(now: instant(0)) }.count == 2)
        #expect((0..<5).filter { _ in limit.admits(now: instant(1)) }.count == 1)
    }

    @Test(arguments: [
        (#"{"token_bucket": {"max_tokens": 0, "fill_interval": "1s"}}"#, "token_bucket.max_tokens"),
        (#"{"token_bucket": {"max_tokens": 1}}"#, "token_bucket.fill_interval"),
        (#"{"descriptors": [{"entries": [{"key": "a", "value": "b"}]}]}"#, "descriptors"),
    ])
    func whatIsNotUnderstoodIsRefusedWithItsPlace(fields: String, words: String) {
        let refusal = refusal("local_ratelimit.v3.LocalRateLimit", fields)
        #expect(refusal.contains(words), "\(refusal)")
    }
}

struct FaultTests {
    private func fault(_ fields: String) throws -> Fault {
        guard case .fault(let fault) = try filter("fault.v3.HTTPFault", fields) else {
            throw ConfigurationError.invalid(path: "", message: "no fault")
        }
        return fault
    }

    private let all = #""percentage": {"numerator": 100}"#

    @Test func aFilterWithoutFaultsDoesNothing() throws {
        var dice = SeededDice(seed: 1)
        let fault = try fault("{}")
        #expect(fault.isEmpty)
        #expect(fault.injection(for: request().head, upstream: "c", random: &dice) == nil)
    }

    @Test func aDelayComesBeforeAnAbort() throws {
        var dice = SeededDice(seed: 1)
        let fault = try fault(#"{"delay": {"fixed_delay": "1.5s", \#(all)}, "abort": {"http_status": 503, \#(all)}}"#)
        let injection = fault.injection(for: request().head, upstream: nil, random: &dice)
        #expect(injection == .init(delay: .milliseconds(1500), abort: .http(503)))
    }

    @Test func asManyAreHitAsThePercentageSays() throws {
        var dice = SeededDice(seed: 9)
        let fault = try fault(
            """
            {"delay": {"fixed_delay": "1s", "percentage": {"numerator": 20}},
             "abort": {"grpc_status": 14, "percentage": {"numerator": 2500, "denominator": "TEN_THOUSAND"}}}
            """)
        let all = (0..<20_000).map { _ in fault.injection(for: request().head, upstream: nil, random: &dice) }
        let delayed = all.filter { $0?.delay != nil }.count
        let aborted = all.filter { $0?.abort == .grpc(14) }.count
        #expect(abs(delayed - 4_000) < 250 && abs(aborted - 5_000) < 250)
    }

    @Test func clientsMayAskForFaultsWithinTheLimit() throws {
        var dice = SeededDice(seed: 3)
        let fault = try fault(
            """
            {"delay": {"header_delay": {}, "percentage": {"numerator": 100}},
             "abort": {"header_abort": {}, "percentage": {"numerator": 100}}}
            """)
        func ask(_ headers: [(String, String)]) -> Fault.Injection? {
            fault.injection(for: request("GET", "/", headers).head, upstream: nil, random: &dice)
        }
        #expect(ask([]) == nil)
        #expect(ask([("x-envoy-fault-delay-request", "250")]) == .init(delay: .milliseconds(250)))
        #expect(ask([("x-envoy-fault-abort-request", "418")]) == .init(abort: .http(418)))
        #expect(ask([("x-envoy-fault-abort-request", "99")]) == nil)
        #expect(ask([("x-envoy-fault-abort-grpc-request", "5")]) == .init(abort: .grpc(5)))
        #expect(
            ask([("x-envoy-fault-delay-request", "250"), ("x-envoy-fault-delay-request-percentage", "0")]) == nil)
        #expect(ask([("x-envoy-fault-delay-request", "-5")]) == nil)
    }

    @Test func onlyThoseThatMatchAreHit() throws {
        var dice = SeededDice(seed: 3)
        let fault = try fault(
            """
            {"abort": {"http_status": 500, \(all)}, "upstream_cluster": "c", "downstream_nodes": ["n"],
             "headers": [{"name": "x-user", "string_match": {"exact": "ann"}}], "max_active_faults": 2}
            """)
        let hit = request("GET", "/", [("x-user", "ann"), ("x-envoy-downstream-service-node", "n")]).head
        #expect(fault.injection(for: hit, upstream: "c", random: &dice) != nil)
        #expect(fault.injection(for: hit, upstream: "d", random: &dice) == nil)
        // Two at a time; what a route says counts with the filter's own.
        let route = fault.counted(with: fault)
        #expect(fault.begin() && route.begin() && !fault.begin() && !route.begin())
        route.end()
        #expect(fault.begin() && !route.begin())
        #expect(
            fault.injection(for: request("GET", "/", [("x-user", "ann")]).head, upstream: "c", random: &dice) == nil)
        let other = request("GET", "/", [("x-user", "bob"), ("x-envoy-downstream-service-node", "n")]).head
        #expect(fault.injection(for: other, upstream: "c", random: &dice) == nil)
    }

    @Test func whatIsNotUnderstoodIsRefusedWithItsPlace() {
        #expect(refusal("fault.v3.HTTPFault", #"{"abort": {"http_status": 99}}"#).contains("abort.http_status"))
        let throttled = #"{"response_rate_limit": {"fixed_limit": {"limit_kbps": 1}}}"#
        #expect(refusal("fault.v3.HTTPFault", throttled).contains("response_rate_limit"))
    }
}
