import EnvoyAPI
import Testing
import Time

@testable import Forwarding

struct BalancerTests {
    @Test func roundRobinGoesThroughAllHostsInTheirOrder() throws {
        var rig = try UpstreamRig("", set((0..<5).map { endpoint($0) }))
        let first = rig.number()!
        #expect(rig.numbers(9) == (1...9).map { (first + $0) % 5 })
    }

    @Test func weightsSpreadTurnsEvenly() throws {
        var rig = try UpstreamRig("", set([endpoint(0, weight: 3), endpoint(1, weight: 1), endpoint(2, weight: 2)]))
        // Whatever the start, each six turns have each host as often as it weighs.
        _ = rig.numbers(7)
        for _ in 0..<10 {
            let turns = rig.numbers(6)
            #expect(turns.filter { $0 == 0 }.count == 3)
            #expect(turns.filter { $0 == 1 }.count == 1)
            #expect(turns.filter { $0 == 2 }.count == 2)
            #expect(!zip(turns, turns.dropFirst()).dropFirst().contains { $0 == $1 && $0 == 1 })
        }
    }

    @Test func turnsComeInTheOrderOfTheirDeadlines() {
        func turns(_ weights: [Double], _ count: Int, start: Double = 0) -> String {
            var made = WeightedTurns(weights, start: start)
            return (0..<count).compactMap { _ in made.next { weights[$0] }.map { ["a", "b", "c"][$0] } }.joined()
        }
        #expect(turns([1, 1, 1], 7) == "abcabca")
        #expect(turns([3, 1, 2], 6) == "acabca")
        #expect(turns([4, 1], 10) == "aaabaaaaba")
        #expect(turns([0, 1, 0], 3) == "bbb")
        #expect(turns([], 3).isEmpty)
        // Another start is another place in the same sequence.
        #expect(turns([4, 1], 10, start: 0.5) == "abaaaabaaa")
    }

    @Test func randomPicksEachHostAsOften() throws {
        var rig = try UpstreamRig("lb_policy: RANDOM", set((0..<10).map { endpoint($0) }))
        let counts = rig.counts(20_000)
        for number in 0..<10 { expectShare(counts[number], of: 20_000, 0.1) }
    }

    @Test func leastRequestPrefersTheHostWithFewerRequests() throws {
        var rig = try UpstreamRig("lb_policy: LEAST_REQUEST", set((0..<2).map { endpoint($0) }))
        rig.cluster.begin(rig.host(0))
        // Host 0 is taken only when both draws are host 0.
        let counts = rig.counts(20_000)
        expectShare(counts[0], of: 20_000, 0.25)
        rig.cluster.end(rig.host(0), isSuccess: true)
        expectShare(rig.counts(20_000)[0], of: 20_000, 0.5)
    }

    @Test func leastRequestOfAllFindsTheLeastLoaded() throws {
        var rig = try UpstreamRig(
            """
            load_balancing_policy:
              policies:
              - typed_extension_config:
                  name: least
                  typed_config:
                    "@type": type.googleapis.com/envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest
                    selection_method: FULL_SCAN
            """, set((0..<50).map { endpoint($0) }))
        for number in 0..<50 where number != 17 && number != 31 { rig.cluster.begin(rig.host(number)) }
        let counts = rig.counts(1000)
        #expect(Set(counts.keys) == [17, 31])
        expectShare(counts[17], of: 1000, 0.5)
    }

    @Test func weightsOfLeastRequestFallWithLoad() throws {
        var rig = try UpstreamRig("lb_policy: LEAST_REQUEST", set([endpoint(0, weight: 3), endpoint(1, weight: 1)]))
        expectShare(rig.counts(4000)[0], of: 4000, 0.75)
        for _ in 0..<2 { rig.cluster.begin(rig.host(0)) }
        // 3 / (2 + 1) against 1 / 1.
        _ = rig.numbers(10)
        expectShare(rig.counts(4000)[0], of: 4000, 0.5)
    }

    @Test func withoutHostsNothingIsPicked() throws {
        for policy in ["ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "RING_HASH", "MAGLEV"] {
            var rig = try UpstreamRig("lb_policy: \(policy)")
            #expect(rig.pick() == nil)
            rig.update(set([]))
            #expect(rig.pick(PickQuestion(hash: 1)) == nil)
        }
    }

    @Test func localitiesShareByWeightAndHealth() throws {
        var rig = try UpstreamRig("common_lb_config: { locality_weighted_lb_config: {} }")
        func groups(_ states: [HostState]) -> EndpointSet {
            EndpointSet(
                name: "web",
                levels: [
                    [
                        EndpointSet.Group(
                            locality: EndpointLocality(zone: "a"), weight: 1, endpoints: (0..<10).map { endpoint($0) }),
                        EndpointSet.Group(
                            locality: EndpointLocality(zone: "b"), weight: 2,
                            endpoints: states.enumerated().map { endpoint(100 + $0.offset, state: $0.element) }),
                    ]
                ])
        }
        func inB(_ counts: [Int: Int]) -> Int { counts.filter { $0.key >= 100 }.values.reduce(0, +) }
        rig.update(groups(Array(repeating: .healthy, count: 10)))
        #expect(abs(inB(rig.counts(3000)) - 2000) <= 2)
        // 5 of 10: 2 × 1.4 × 0.5 = 1.4 of 2.4. Source: Envoy, "Locality weighted load balancing".
        rig.update(groups((0..<10).map { $0 < 5 ? .healthy : .unhealthy }))
        #expect(abs(inB(rig.counts(2400)) - 1400) <= 2)
        rig.update(groups(Array(repeating: .unhealthy, count: 10)))
        #expect(inB(rig.counts(1000)) == 0)
    }

    @Test func aProxyStaysInItsLocalityAsFarAsThatIsFair() throws {
        var rig = try UpstreamRig(
            "common_lb_config: { zone_aware_lb_config: { min_cluster_size: 2 }, healthy_panic_threshold: { value: 0 } }"
        )
        func zone(_ name: String, _ numbers: Range<Int>) -> EndpointSet.Group {
            EndpointSet.Group(
                locality: EndpointLocality(zone: name), weight: 1, endpoints: numbers.map { endpoint($0) })
        }
        rig.cluster.ownLocality = EndpointLocality(zone: "a")
        rig.cluster.peersByLocality = [EndpointLocality(zone: "a"): 5, EndpointLocality(zone: "b"): 5]
        rig.update(EndpointSet(name: "web", levels: [[zone("b", 100..<104), zone("a", 0..<6)]]))
        #expect(rig.counts(1000).keys.allSatisfy { $0 < 100 })
        // 20 % of the hosts for 50 % of the proxies: 40 % of the requests stay.
        rig.update(EndpointSet(name: "web", levels: [[zone("b", 100..<108), zone("a", 0..<2)]]))
        let stayed = rig.counts(10_000).filter { $0.key < 100 }.values.reduce(0, +)
        expectShare(stayed, of: 10_000, 0.4)
    }

    @Test func newHostsWarmUp() throws {
        var rig = try UpstreamRig(
            "round_robin_lb_config: { slow_start_config: { slow_start_window: 100s } }", set([endpoint(0)]))
        rig.wait(.seconds(200))
        rig.update(set([endpoint(0), endpoint(1)]))
        // 10 % at first, half after half of the time, all of it in the end.
        let start = rig.counts(1100)
        #expect(abs((start[1] ?? 0) - 100) <= 3)
        rig.wait(.seconds(50))
        _ = rig.numbers(50)
        let middle = rig.counts(1500)
        #expect(abs((middle[1] ?? 0) - 500) <= 3)
        rig.wait(.seconds(50))
        _ = rig.numbers(50)
        #expect(rig.counts(1000)[1] == 500)
    }

    @Test func retriesGoToHostsThatWereNotTried() throws {
        var rig = try UpstreamRig("", set((0..<3).map { endpoint($0) }))
        var policy = RetryHostPolicy()
        policy.avoidsTried = true
        policy.maximumAttempts = 20
        for _ in 0..<50 {
            var tries = RetryHosts(policy)
            var seen: Set<Int> = []
            for _ in 0..<3 {
                let host = try rig.some(PickQuestion(retry: tries))
                tries.note(host)
                seen.insert(numberOf(host))
            }
            #expect(seen == [0, 1, 2])
            // All were tried: one is taken all the same.
            #expect(rig.pick(PickQuestion(retry: tries)) != nil)
        }
    }

    @Test func retriesLeaveOutLabelsAndCanaries() throws {
        let canary = endpoint(0, labels: [.init("canary", true)])
        let old = endpoint(1, labels: [.init("version", "1")])
        var rig = try UpstreamRig("", set([canary, old, endpoint(2)]))
        var policy = RetryHostPolicy()
        policy.avoidsCanaries = true
        policy.avoidedLabels = [.init("version", "1")]
        policy.maximumAttempts = 10
        var tries = RetryHosts(policy)
        #expect(Set(rig.numbers(30, PickQuestion(retry: tries))) == [0, 1, 2])
        tries.note(rig.host(2))
        #expect(Set(rig.numbers(30, PickQuestion(retry: tries))) == [2])
    }

    @Test func retriesGoToOtherPriorities() throws {
        var rig = try UpstreamRig("", set([endpoint(0)], [endpoint(1)], [endpoint(2)]))
        var policy = RetryHostPolicy()
        policy.prioritiesAfter = 1
        var tries = RetryHosts(policy)
        var seen: [Int] = []
        for _ in 0..<7 {
            let host = try rig.some(PickQuestion(retry: tries))
            tries.note(host)
            seen.append(numberOf(host))
        }
        // After the last one it begins anew.
        #expect(seen == [0, 1, 2, 0, 1, 2, 0])

        policy.prioritiesAfter = 2
        tries = RetryHosts(policy)
        seen = []
        for _ in 0..<6 {
            let host = try rig.some(PickQuestion(retry: tries))
            tries.note(host)
            seen.append(numberOf(host))
        }
        #expect(seen == [0, 0, 1, 1, 2, 2])
    }

    @Test func aSessionsHostIsKeptWhileItIsHealthyEnough() throws {
        var rig = try UpstreamRig("", set((0..<4).map { endpoint($0) }))
        #expect(rig.numbers(20, PickQuestion(preferred: hostAddress(2))) == Array(repeating: 2, count: 20))
        rig.update(set([endpoint(0), endpoint(1), endpoint(2, state: .draining)]))
        #expect(!rig.numbers(20, PickQuestion(preferred: hostAddress(2))).contains(2))
        #expect(rig.pick(PickQuestion(preferred: hostAddress(2), insistsOnPreferred: true)) == nil)
        #expect(rig.number(PickQuestion(preferred: hostAddress(77))) != nil)

        var drains = try UpstreamRig("common_lb_config: { override_host_status: { statuses: [DRAINING] } }")
        drains.update(set([endpoint(0), endpoint(2, state: .draining)]))
        #expect(drains.number(PickQuestion(preferred: hostAddress(2))) == 2)
        #expect(drains.pick(PickQuestion(preferred: hostAddress(0), insistsOnPreferred: true)) == nil)
    }

    @Test func originalDestinationsComeAndGo() throws {
        var rig = try UpstreamRig(
            "type: ORIGINAL_DST\nlb_policy: CLUSTER_PROVIDED\noriginal_dst_lb_config: { upstream_port_override: 8080 }"
                + "\ncleanup_interval: 60s")
        #expect(rig.pick() == nil)
        let host = try rig.some(PickQuestion(destination: hostAddress(7)))
        #expect("\(host.address)" == "10.0.0.8:8080")
        #expect(rig.pick(PickQuestion(destination: hostAddress(7))) === host)
        rig.cluster.begin(host)
        rig.wait(.seconds(61))
        #expect(rig.cluster.hosts.count == 1)
        rig.cluster.end(host, isSuccess: true)
        rig.wait(.seconds(61))
        #expect(rig.cluster.hosts.isEmpty)
        #expect(host.isGone)
    }

    @Test func originalDestinationsAreBounded() throws {
        var rig = try UpstreamRig("type: ORIGINAL_DST\nlb_policy: CLUSTER_PROVIDED")
        var made = 0
        for number in 0..<20_000 where rig.pick(PickQuestion(destination: hostAddress(number))) != nil { made += 1 }
        #expect(made == 16_384)
        rig.wait(.seconds(6))
        #expect(rig.cluster.hosts.isEmpty)
    }
}
