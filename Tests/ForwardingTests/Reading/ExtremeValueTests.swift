import HTTP
import Testing
import Time

@testable import Forwarding

/// No number that a control plane, a client or an upstream may write stops the proxy. What is taken is used; what the
/// uses come to is for other tests.
struct ExtremeValueTests {
    private static let durations = ["0s", "0.000000001s", "1s", "3600s", "31557600s", "315576000000s"]
    private static let numbers = ["0", "1", "2", "100", "1000000000", "2147483647", "4294967295"]
    private static let shares = ["0", "1", "99.6", "100", "NaN", "Infinity", "-1", "1e300"]
    private static let texts = [
        "0", "1", "-1", "+1", "9223372036854775807", "-9223372036854775808", "18446744073709551616", "1e9", "", " 1",
        "999999999999999999", "1099511627776", "NaN", "4294967296", "65536", "99999999H", "99999999M", "٣",
    ]
    private static let moments: [Int64] = [.min, -1, 0, 1, 1 << 40, .max / 2, .max]

    @Test func bucketsOfEverySizeAndPaceHoldWhatTheyAreAskedFor() throws {
        for most in Self.numbers {
            for fill in Self.numbers {
                for interval in Self.durations {
                    guard
                        case .localRateLimit(let limit)? = try? filter(
                            "local_ratelimit.v3.LocalRateLimit",
                            """
                            {"stat_prefix": "x", "token_bucket": {"max_tokens": \(most), "tokens_per_fill": \(fill),
                             "fill_interval": "\(interval)"}, "filter_enabled": {"default_value": {"numerator": 100}},
                             "filter_enforced": {"default_value": {"numerator": 100}}}
                            """)
                    else { continue }
                    var dice = SeededDice(seed: 1)
                    #expect(limit.decide(now: Instant(nanoseconds: 1), random: &dice) == .passes)
                    for moment in Self.moments {
                        _ = limit.decide(now: Instant(nanoseconds: moment), random: &dice)
                    }
                }
            }
        }
    }

    @Test func aBucketThatWouldTakeLongerThanAClockRunsKeepsItsPace() {
        // The size of a published incident's configuration: a thousand million, ten seconds each.
        let large = TokenBucket(capacity: 1_000_000_000, fillInterval: .seconds(10))
        for _ in 0..<1000 { #expect(large.take(now: instant(50))) }
        let slow = TokenBucket(capacity: 3, fillInterval: .seconds(315_576_000_000))
        #expect((0..<5).map { _ in slow.take(now: instant(50)) } == [true, true, true, false, false])
    }

    private func route(_ action: String) -> Route.Forwarded? {
        let table = try? RouteTable(
            yaml:
                "{virtual_hosts: [{name: h, domains: ['*'], routes: [{match: {prefix: /}, route: {cluster: c, \(action)}}]}]}"
        )
        return table?.routes[0].forwarded
    }

    @Test func anUpstreamMayWriteAnyNumberIntoItsResetHeaders() throws {
        for longest in Self.durations.dropFirst() {
            let action = """
                retry_policy: {retry_on: 5xx, rate_limited_retry_back_off: {max_interval: \(longest), reset_headers: [
                  {name: retry-after}, {name: x-ratelimit-reset, format: UNIX_TIMESTAMP}]}}
                """
            let rules = try #require(route(action)).retries
            for name in ["retry-after", "x-ratelimit-reset"] {
                for text in Self.texts {
                    var head = RouteTableTests.head("/")
                    var state = try #require(RetryState(rules, &head))
                    for now in Self.moments {
                        let pause = state.pause(
                            after: HeaderList([(":status", "429"), (name, text)]), now: now, random: .max)
                        #expect(pause >= .zero)
                    }
                }
            }
        }
    }

    @Test func pausesAndTimeoutsOfEveryLengthAreTaken() throws {
        for (base, longest) in zip(Self.durations, Self.durations) {
            guard
                let forwarded = route(
                    """
                    timeout: \(base), max_grpc_timeout: \(longest), grpc_timeout_offset: \(base), retry_policy: {
                      retry_on: 5xx, num_retries: 4294967295, per_try_timeout: \(longest),
                      retry_back_off: {base_interval: \(base), max_interval: \(longest)}}
                    """)
            else { continue }
            for text in Self.texts {
                var head = RouteTableTests.head(
                    "/",
                    [
                        ("content-type", "application/grpc"), ("grpc-timeout", text), ("x-envoy-max-retries", text),
                        ("x-envoy-upstream-rq-timeout-ms", text), ("x-envoy-upstream-rq-per-try-timeout-ms", text),
                        ("x-envoy-retriable-status-codes", text),
                    ])
                let limits = forwarded.timeouts.limits(&head, retries: forwarded.retries)
                for limit in [limits.whole, limits.perTry, limits.stream].compactMap({ $0 }) {
                    #expect(
                        Instant(nanoseconds: 5_000_000_000).advanced(by: limit) >= Instant(nanoseconds: 5_000_000_000))
                }
                var state = try #require(RetryState(forwarded.retries, &head))
                for random in [0, 1, UInt64.max] { #expect(state.pause(after: nil, now: 0, random: random) >= .zero) }
                _ = state.wants(retryOn: HeaderList([(":status", text), ("grpc-status", text)]))
            }
        }
    }

    @Test func clientsMayAskForAnyFault() throws {
        guard
            case .fault(let fault) = try filter(
                "fault.v3.HTTPFault",
                """
                {"delay": {"header_delay": {}, "percentage": {"numerator": 100}},
                 "abort": {"header_abort": {}, "percentage": {"numerator": 100}}}
                """)
        else { return }
        var dice = SeededDice(seed: 3)
        let names = [
            "x-envoy-fault-delay-request", "x-envoy-fault-abort-request", "x-envoy-fault-abort-grpc-request",
            "x-envoy-fault-delay-request-percentage", "x-envoy-fault-abort-request-percentage",
        ]
        for _ in 0..<2000 {
            let head = request("GET", "/", names.map { ($0, dice.pick(Self.texts)) }).head
            if let delay = fault.injection(for: head, upstream: "c", random: &dice)?.delay { #expect(delay >= .zero) }
        }
    }

    @Test func endpointsAndBalancersOfEverySizeArePickedFrom() throws {
        var dice = SeededDice(seed: 11)
        for _ in 0..<60 {
            let policy = dice.pick([
                "lb_policy: LEAST_REQUEST\nleast_request_lb_config: {choice_count: \(dice.pick(Self.numbers))}",
                "lb_policy: RING_HASH\nring_hash_lb_config: {minimum_ring_size: \(dice.pick(["0", "1", "1024"])), maximum_ring_size: 1024}",
                "lb_policy: ROUND_ROBIN\nround_robin_lb_config: {slow_start_config: {slow_start_window: "
                    + "\(dice.pick(Self.durations)), aggression: {default_value: \(dice.pick(["0.1", "1", "1e9"])), runtime_key: a}}}",
                "lb_policy: RANDOM",
            ])
            let localities = dice.pick([
                "locality_weighted_lb_config: {}",
                "zone_aware_lb_config: {routing_enabled: {value: \(dice.pick(Self.shares))}, "
                    + "min_cluster_size: \(dice.pick(Self.numbers))}",
            ])
            let fields = """
                \(policy)
                common_lb_config: {healthy_panic_threshold: {value: \(dice.pick(Self.shares))}, \(localities)}
                outlier_detection: {interval: \(dice.pick(Self.durations)), base_ejection_time: \(dice.pick(Self.durations)),
                  max_ejection_time: \(dice.pick(Self.durations)), max_ejection_time_jitter: \(dice.pick(Self.durations)),
                  success_rate_stdev_factor: \(dice.pick(Self.numbers)), max_ejection_percent: 100}
                circuit_breakers: {thresholds: [{max_connections: \(dice.pick(Self.numbers)), retry_budget: {
                  budget_percent: {value: \(dice.pick(Self.shares))}, min_retry_concurrency: \(dice.pick(Self.numbers))}}]}
                """
            guard var rig = try? UpstreamRig(fields, seed: 7) else { continue }
            let places = (0..<3).map { place in
                let hosts = (0..<2).map { host in
                    "{endpoint: {address: {socket_address: {address: 10.0.\(place).\(host + 1), port_value: 80}}}, "
                        + "health_status: \(dice.pick(["HEALTHY", "UNHEALTHY", "DEGRADED"])), "
                        + "load_balancing_weight: \(dice.pick(Self.numbers))}"
                }
                return "{locality: {zone: z\(place)}, priority: \(place / 2), load_balancing_weight: "
                    + "\(dice.pick(Self.numbers)), lb_endpoints: [\(hosts.joined(separator: ", "))]}"
            }
            let text = """
                {cluster_name: web, policy: {overprovisioning_factor: \(dice.pick(Self.numbers)),
                  weighted_priority_health: true}, endpoints: [\(places.joined(separator: ", "))]}
                """
            guard let endpoints = try? endpointsOf(text) else { continue }
            rig.update(endpoints)
            for _ in 0..<4 {
                if let host = rig.pick(PickQuestion(hash: dice.next())) {
                    _ = rig.cluster.tryAcquire(.retries, .normal)
                    for _ in 0..<6 { rig.report(dice.pick([.connectFailed, .failed, .response(status: 503)]), host) }
                }
                rig.wait(.seconds(dice.pick([1, 1 << 20, 315_576_000])))
            }
        }
    }

    @Test func aDeadlineThatNoClockReachesStaysAhead() {
        let now = Instant(nanoseconds: 1 << 60)
        #expect(now.advanced(by: .seconds(315_576_000_000)) == Instant(nanoseconds: .max))
        #expect(now.advanced(by: .zero - .seconds(315_576_000_000)) < now)
        #expect(Timestamp(nanoseconds: 1 << 60) + .seconds(315_576_000_000) == Timestamp(nanoseconds: .max))
    }
}
