import EnvoyAPI
import Testing
import Time

@testable import Forwarding

struct UpdateTests {
    @Test func hostsThatStayKeepWhatIsKnownOfThem() throws {
        var rig = try UpstreamRig("lb_policy: LEAST_REQUEST", set((0..<4).map { endpoint($0) }))
        let host = rig.host(1)
        rig.cluster.begin(host)
        rig.cluster.connectionBegan(host)
        host.attachment = rig.cluster
        let changes = rig.update(set([endpoint(5)], [endpoint(1, weight: 9, state: .degraded)]))
        #expect(changes.added.map(numberOf) == [5])
        #expect(changes.removed.map(numberOf).sorted() == [0, 2, 3])
        #expect(rig.host(1) === host)
        #expect(host.activeRequests == 1 && host.activeConnections == 1 && host.attachment === rig.cluster)
        #expect(host.weight == 9 && host.priority == 1 && host.state == .degraded)
        #expect(changes.removed.allSatisfy { $0.isGone } && !host.isGone)
        // The same again changes nothing.
        #expect(rig.update(set([endpoint(5)], [endpoint(1, weight: 9, state: .degraded)])).isEmpty)
    }

    @Test func anAddressThatComesTwiceIsOneHost() throws {
        var rig = try UpstreamRig("", set([endpoint(0, weight: 5), endpoint(0, weight: 1)], [endpoint(0)]))
        #expect(rig.cluster.hosts.count == 1)
        #expect(rig.host(0).weight == 5 && rig.host(0).priority == 0)
        #expect(rig.numbers(3) == [0, 0, 0])
    }

    @Test func turnsGoOnAfterAnUpdate() throws {
        var rig = try UpstreamRig("", set((0..<4).map { endpoint($0) }))
        // With a new set before each pick, no host is left out.
        var seen: [Int] = []
        for _ in 0..<8 {
            rig.update(set((0..<4).map { endpoint($0) }))
            seen.append(numberOf(try rig.some()))
        }
        #expect(Set(seen.prefix(4)).count == 4)
        #expect(Array(seen.prefix(4)) == Array(seen.suffix(4)))
    }

    @Test func fixedHostsAreThereAtOnce() throws {
        var rig = try UpstreamRig(
            """
            type: STATIC
            load_assignment:
              cluster_name: web
              endpoints:
              - lb_endpoints: [{ endpoint: { address: { socket_address: { address: 10.0.0.1, port_value: 80 } } } }]
            """)
        #expect(rig.number() == 0)
    }

    /// What a pick looks at does not grow with the hosts, and a change of health builds a view once.
    @Test func viewsAreBuiltOncePerChange() throws {
        var rig = try UpstreamRig("lb_policy: MAGLEV", set((0..<10_000).map { endpoint($0) }))
        let before = rig.cluster.version
        for key in 0..<1000 { _ = rig.pick(PickQuestion(hash: KeyHash.xx("\(key)"))) }
        #expect(rig.cluster.version == before)
        rig.update(set((0..<10_000).map { endpoint($0) }))
        #expect(rig.cluster.version == before + 1)
    }

    @Test func hostsAreListedAsEnvoyListsThem() throws {
        let rig = try UpstreamRig(
            "circuit_breakers: { thresholds: [{ max_requests: 7 }] }",
            EndpointSet(
                name: "web",
                levels: [[.init(locality: .init(region: "r", zone: "z"), endpoints: [endpoint(0, state: .unhealthy)])]])
        )
        let lines = Set(rig.cluster.listing.split(separator: "\n").map(String.init))
        #expect(
            lines.isSuperset(of: [
                "web::default_priority::max_requests::7", "web::high_priority::max_requests::1024",
                "web::10.0.0.1:80::health_flags::/failed_eds_health", "web::10.0.0.1:80::zone::z",
                "web::10.0.0.1:80::rq_total::0", "web::10.0.0.1:80::success_rate::-1",
            ]))
        #expect(lines.count == 28)
    }

    @Test func eventsThatNobodyTakesAreBounded() throws {
        var rig = try UpstreamRig(
            "outlier_detection: { consecutive_5xx: 1, enforcing_consecutive_5xx: 0 }", set([endpoint(0)]))
        for _ in 0..<5000 { rig.report(.response(status: 500), rig.host(0)) }
        #expect(rig.cluster.takeEvents().count <= 1024)
        #expect(!rig.cluster.hasEvents)
    }

    @Test func timesThatNeverEndDoNotOverflow() throws {
        let forever = "315576000000s"
        var rig = try UpstreamRig(
            """
            health_checks:
            - { timeout: \(forever), interval: \(forever), no_traffic_interval: \(forever), interval_jitter: \(forever),
                unhealthy_threshold: 1, healthy_threshold: 1, tcp_health_check: {} }
            outlier_detection: { interval: \(forever), base_ejection_time: \(forever), max_ejection_time: \(forever) }
            round_robin_lb_config: { slow_start_config: { slow_start_window: \(forever) } }
            """, set([endpoint(0), endpoint(1)]))
        for probe in rig.probes() { rig.answer(.tcp(received: []), probe) }
        #expect(rig.probes().isEmpty)
        #expect(rig.pick() != nil)
        rig.wait(.seconds(1_000_000))
        #expect(rig.probes().isEmpty)
        #expect(try #require(rig.cluster.nextEvent) > rig.now)
    }

    @Test func turnsOfChecksThatNoLongerCountAreLetGo() throws {
        var rig = try UpstreamRig(
            "health_checks: [{ timeout: 600s, interval: 0.001s, no_traffic_interval: 0.001s, unhealthy_threshold: 1, "
                + "healthy_threshold: 1, tcp_health_check: {} }]", set([endpoint(0)]))
        for _ in 0..<5000 {
            for probe in rig.probes() { rig.answer(.tcp(received: []), probe) }
            rig.wait(.milliseconds(1))
        }
        #expect(rig.cluster.counts.checkSuccesses == 5000)
        #expect(rig.cluster.checkQueue.count < 200)
    }
}
