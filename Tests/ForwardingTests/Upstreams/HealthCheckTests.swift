import EnvoyAPI
import Forwarding
import HTTP
import Testing
import Time

struct HealthCheckTests {
    private static let http = """
        health_checks:
        - timeout: 1s
          interval: 10s
          unhealthy_threshold: 3
          healthy_threshold: 2
          no_traffic_interval: 60s
          http_health_check: { path: /ready }
        """

    private func ok(_ status: Int = 200, _ head: [(name: String, value: String)] = []) -> ProbeOutcome {
        .http(status: status, HeaderList(head), body: [])
    }

    /// Makes the checks that are due and answers each.
    private func round(_ rig: inout UpstreamRig, _ answer: (UpstreamHost) -> ProbeOutcome) {
        for probe in rig.probes() { rig.answer(answer(probe.host), probe) }
    }

    private func rig(_ fields: String = HealthCheckTests.http, hosts: Int = 2) throws -> UpstreamRig {
        try UpstreamRig(
            fields + "\ncommon_lb_config: { healthy_panic_threshold: { value: 0 } }",
            set((0..<hosts).map { endpoint($0) }))
    }

    @Test func hostsServeAfterTheirFirstCheck() throws {
        var rig = try rig()
        #expect(rig.pick() == nil)
        #expect(!rig.cluster.isChecked)
        let probes = rig.probes()
        #expect(probes.count == 2)
        guard case .http(let head, let body, false, let limit) = probes[0].request else {
            Issue.record("another kind of check")
            return
        }
        #expect(
            head.fields.map { "\($0.name): \($0.value)" } == [
                ":method: GET", ":scheme: http", ":authority: web", ":path: /ready", "user-agent: Envoy/HC",
            ])
        #expect(body.isEmpty && limit == 1024)
        rig.answer(ok(), probes[0])
        #expect(Set(rig.numbers(5)) == [0])
        #expect(!rig.cluster.isChecked)
        // The first failure decides too.
        rig.answer(.failed, probes[1])
        #expect(rig.cluster.isChecked)
        #expect(rig.host(1).flags == "/failed_active_hc")
    }

    @Test func thresholdsDecideAfterThat() throws {
        var rig = try rig(hosts: 1)
        rig.cluster.connectionBegan(rig.host(0))
        round(&rig) { _ in ok() }
        for failures in 1...3 {
            #expect(rig.pick() != nil, "after \(failures - 1) failures")
            rig.wait(.seconds(10))
            round(&rig) { _ in .failed }
        }
        #expect(rig.pick() == nil)
        rig.wait(.seconds(10))
        round(&rig) { _ in ok() }
        #expect(rig.pick() == nil)
        rig.wait(.seconds(10))
        round(&rig) { _ in ok() }
        #expect(rig.pick() != nil)
    }

    @Test func aWrongStatusDecidesAtOnceUnlessItMayBeTriedAgain() throws {
        var rig = try rig(
            """
            health_checks:
            - timeout: 1s
              interval: 10s
              unhealthy_threshold: 2
              healthy_threshold: 1
              http_health_check:
                path: /
                expected_statuses: [{ start: 200, end: 300 }, { start: 404, end: 405 }]
                retriable_statuses: [{ start: 503, end: 504 }]
            """, hosts: 1)
        rig.cluster.connectionBegan(rig.host(0))
        round(&rig) { _ in ok(404) }
        #expect(rig.pick() != nil)
        rig.wait(.seconds(10))
        round(&rig) { _ in ok(503) }
        #expect(rig.pick() != nil)
        rig.wait(.seconds(10))
        round(&rig) { _ in ok(503) }
        #expect(rig.pick() == nil)
        rig.wait(.seconds(10))
        round(&rig) { _ in ok(299) }
        #expect(rig.pick() != nil)
        rig.wait(.seconds(10))
        round(&rig) { _ in ok(300) }
        #expect(rig.pick() == nil)
    }

    @Test func checksThatTakeTooLongHaveFailed() throws {
        var rig = try rig(hosts: 1)
        rig.cluster.connectionBegan(rig.host(0))
        let late = rig.probes()[0]
        #expect(late.deadline == rig.now.advanced(by: .seconds(1)))
        rig.wait(.milliseconds(999))
        #expect(rig.probes().isEmpty)
        #expect(!rig.cluster.isChecked)
        rig.wait(.milliseconds(1))
        #expect(rig.probes().isEmpty)
        #expect(rig.cluster.isChecked)
        #expect(rig.host(0).state == .timeout)
        // An answer that comes after that changes nothing.
        rig.answer(ok(), late)
        #expect(rig.pick() == nil)
        rig.wait(.seconds(10))
        #expect(rig.probes().count == 1)
    }

    @Test func intervalsFollowHealthAndTraffic() throws {
        var rig = try rig(
            """
            health_checks:
            - timeout: 1s
              interval: 10s
              unhealthy_threshold: 2
              healthy_threshold: 2
              no_traffic_interval: 60s
              no_traffic_healthy_interval: 30s
              unhealthy_interval: 20s
              unhealthy_edge_interval: 3s
              healthy_edge_interval: 2s
              tcp_health_check: {}
            """, hosts: 1)
        func pause() -> Int64 {
            guard let next = rig.cluster.nextProbe else { return -1 }
            let seconds = rig.now.duration(to: next).components.seconds
            rig.wait(.seconds(seconds))
            return seconds
        }
        round(&rig) { _ in .tcp(received: []) }
        #expect(pause() == 30)
        round(&rig) { _ in .failed }
        #expect(pause() == 60)
        rig.cluster.connectionBegan(rig.host(0))
        round(&rig) { _ in .failed }
        #expect(rig.pick() == nil)
        #expect(pause() == 20)
        round(&rig) { _ in .tcp(received: []) }
        #expect(pause() == 2)
        round(&rig) { _ in .tcp(received: []) }
        #expect(rig.pick() != nil)
        #expect(pause() == 10)
        round(&rig) { _ in .failed }
        #expect(pause() == 3)
    }

    @Test func firstChecksAndIntervalsAreSpread() throws {
        var rig = try UpstreamRig(
            """
            health_checks:
            - timeout: 1s
              interval: 10s
              initial_jitter: 10s
              interval_jitter_percent: 50
              unhealthy_threshold: 1
              healthy_threshold: 1
              tcp_health_check: {}
            """, set((0..<1000).map { endpoint($0) }))
        #expect(rig.probes().count < 20)
        rig.cluster.connectionBegan(rig.host(0))
        var first = 0
        for _ in 0..<10 {
            rig.wait(.seconds(1))
            let probes = rig.probes()
            first += probes.count
            #expect(probes.count < 250)
            for probe in probes { rig.answer(.tcp(received: []), probe) }
        }
        #expect(rig.cluster.isChecked)
        #expect(first >= 980)
    }

    @Test func bodiesAndServicesAreLookedAt() throws {
        var rig = try rig(
            """
            health_checks:
            - timeout: 1s
              interval: 1s
              unhealthy_threshold: 1
              healthy_threshold: 1
              no_traffic_interval: 1s
              alt_port: 9000
              http_health_check:
                path: /
                host: checks
                method: POST
                send: { text: "7b7d" }
                receive: [{ text: "6f6b" }, { binary: "Lg==" }]
                request_headers_to_add: [{ header: { key: X-Check, value: "1" } }]
                service_name_matcher: { prefix: web }
            """, hosts: 1)
        func answer(_ body: String, _ service: String) -> Bool {
            for probe in rig.probes() {
                #expect("\(probe.address)" == "10.0.0.1:9000")
                guard case .http(let head, let sent, _, _) = probe.request else { continue }
                #expect(head[":method"] == "POST" && head[":authority"] == "checks" && head["x-check"] == "1")
                #expect(sent == Array("{}".utf8))
                let head2 = HeaderList([("x-envoy-upstream-healthchecked-cluster", service)])
                rig.answer(.http(status: 200, head2, body: Array(body.utf8)), probe)
            }
            rig.wait(.seconds(1))
            return rig.pick() != nil
        }
        #expect(answer("it is ok.", "web-1"))
        #expect(!answer("it is ok", "web-1"))
        #expect(answer("ok.", "web"))
        #expect(!answer(".ok", "web"))
        #expect(!answer("ok.", "other"))
    }

    @Test func hostsMaySayThatTheyAreDegraded() throws {
        var rig = try rig()
        rig.cluster.connectionBegan(rig.host(0))
        round(&rig) { numberOf($0) == 0 ? ok(200, [("x-envoy-degraded", "")]) : ok() }
        #expect(rig.host(0).state == .degraded)
        #expect(!rig.numbers(50).contains(0) || rig.cluster.ejectedHosts == 0)
        rig.wait(.seconds(10))
        round(&rig) { _ in ok() }
        #expect(Set(rig.numbers(10)) == [0, 1])
    }

    @Test func ordinaryTrafficMayAskToBeLeftAlone() throws {
        var rig = try rig()
        rig.cluster.connectionBegan(rig.host(0))
        round(&rig) { _ in ok() }
        rig.cluster.failAtOnce(rig.host(0), now: rig.now, random: &rig.random)
        #expect(Set(rig.numbers(10)) == [1])
        #expect(rig.host(0).flags == "/failed_active_hc/excluded_via_immediate_hc_fail")
        for _ in 0..<2 {
            rig.wait(.seconds(10))
            round(&rig) { _ in ok() }
        }
        #expect(Set(rig.numbers(10)) == [0, 1])
    }

    @Test func grpcHostsMustSayThatTheyServe() throws {
        var rig = try rig(
            """
            health_checks:
            - timeout: 1s
              interval: 1s
              no_traffic_interval: 1s
              unhealthy_threshold: 3
              healthy_threshold: 1
              grpc_health_check: { service_name: shop.Cart, authority: cart }
            typed_extension_protocol_options:
              envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
                "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
                explicit_http_config: { http2_protocol_options: {} }
            """, hosts: 1)
        func answer(_ status: Int, _ message: [UInt8]) -> Bool {
            for probe in rig.probes() {
                guard case .grpc(let head, let body) = probe.request else { continue }
                #expect(head[":path"] == "/grpc.health.v1.Health/Check" && head[":authority"] == "cart")
                #expect(body == [0, 0, 0, 0, 11, 0x0A, 9] + Array("shop.Cart".utf8))
                rig.answer(.grpc(status: status, message: message), probe)
            }
            rig.wait(.seconds(1))
            return rig.pick() != nil
        }
        #expect(answer(0, [0, 0, 0, 0, 2, 8, 1]))
        #expect(!answer(0, [0, 0, 0, 0, 2, 8, 2]))
        #expect(answer(0, [0, 0, 0, 0, 2, 8, 1]))
        #expect(!answer(0, [0, 0, 0, 0, 0]))
        #expect(!answer(14, []))
        #expect(!answer(0, [0, 0, 0, 0, 9, 8, 1]))
    }

    @Test func tcpHostsMustAnswerAsExpected() throws {
        var rig = try rig(
            """
            health_checks:
            - timeout: 1s
              interval: 1s
              no_traffic_interval: 1s
              unhealthy_threshold: 1
              healthy_threshold: 1
              tcp_health_check: { send: { text: "50494e47" }, receive: [{ text: "504f4e47" }] }
            """, hosts: 1)
        let probe = rig.probes()[0]
        guard case .tcp(let sent) = probe.request else {
            Issue.record("another kind of check")
            return
        }
        #expect(sent == Array("PING".utf8))
        #expect(!probe.isAnswered(by: Array("+PON".utf8)))
        #expect(probe.isAnswered(by: Array("+PONG\r\n".utf8)))
        rig.answer(.tcp(received: Array("+PONG\r\n".utf8)), probe)
        #expect(rig.pick() != nil)
        rig.wait(.seconds(1))
        round(&rig) { _ in .tcp(received: Array("-ERR".utf8)) }
        #expect(rig.pick() == nil)
    }

    @Test func aHostThatIsNoLongerNamedServesWhileItIsHealthy() throws {
        var rig = try rig()
        rig.cluster.connectionBegan(rig.host(0))
        round(&rig) { _ in ok() }
        #expect(rig.update(set([endpoint(1)])).removed.isEmpty)
        #expect(Set(rig.numbers(10)) == [0, 1])
        #expect(rig.host(0).flags == "/pending_dynamic_removal")
        let host = rig.host(0)
        _ = rig.cluster.takeEvents()
        for _ in 0..<3 {
            rig.wait(.seconds(10))
            round(&rig) { numberOf($0) == 0 ? .failed : ok() }
        }
        #expect(host.isGone)
        #expect(Set(rig.numbers(10)) == [1])
        #expect(rig.cluster.takeEvents().contains { if case .left(let one) = $0 { one === host } else { false } })
        // One that failed already goes at once.
        for _ in 0..<3 {
            rig.wait(.seconds(10))
            round(&rig) { _ in .failed }
        }
        #expect(rig.update(set([])).removed.map(numberOf) == [1])
        #expect(rig.cluster.nextProbe == nil)
        rig.wait(.seconds(100))
        #expect(rig.probes().isEmpty)
    }

    @Test func aHostMayBeLeftUnchecked() throws {
        var unchecked = endpoint(0)
        unchecked.isChecked = false
        var rig = try rig(hosts: 0)
        rig.update(set([unchecked, endpoint(1)]))
        #expect(Set(rig.numbers(5)) == [0])
        #expect(rig.probes().map { numberOf($0.host) } == [1])
        rig.update(set([endpoint(0), endpoint(1)]))
        #expect(rig.pick() == nil)
        #expect(rig.probes().map { numberOf($0.host) } == [0])
    }

    @Test func aPassedCheckEndsAnEjection() throws {
        var rig = try rig(
            HealthCheckTests.http + "\noutlier_detection: { consecutive_5xx: 1, max_ejection_percent: 100 }")
        rig.cluster.connectionBegan(rig.host(0))
        round(&rig) { _ in ok() }
        rig.report(.response(status: 500), rig.host(0))
        #expect(rig.host(0).isEjected)
        rig.wait(.seconds(10))
        round(&rig) { _ in ok() }
        #expect(!rig.host(0).isEjected)
        #expect(rig.cluster.ejectedHosts == 0)
    }

    @Test func newHostsMayBeLeftOutOfTheCount() throws {
        // Two priorities: the new hosts of the first do not move its load to the second.
        for (ignores, share) in [(true, 1.0), (false, 0.7)] {
            var rig = try UpstreamRig(
                HealthCheckTests.http
                    + "\ncommon_lb_config: { ignore_new_hosts_until_first_hc: \(ignores) }",
                set([endpoint(0), endpoint(1)], [endpoint(9)]))
            rig.cluster.connectionBegan(rig.host(0))
            round(&rig) { _ in ok() }
            rig.update(set([endpoint(0), endpoint(1), endpoint(2), endpoint(3)], [endpoint(9)]))
            let inFirst = rig.counts(10_000).filter { $0.key < 9 }.values.reduce(0, +)
            expectShare(inFirst, of: 10_000, share)
        }
    }

    @Test func aChangeOfTheClusterSaysNothingOfItsHosts() throws {
        var rig = try rig(HealthCheckTests.http)
        rig.cluster.connectionBegan(rig.host(0))
        round(&rig) { host in numberOf(host) == 0 ? ok() : .failed }
        let endpoints = try #require(rig.cluster.endpoints)
        let changed = UpstreamCluster(
            try clusterOf(HealthCheckTests.http + "\nconnect_timeout: 3s"), now: rig.now, random: &rig.random)
        _ = changed.update(endpoints, now: rig.now, random: &rig.random)
        #expect(changed.hosts.allSatisfy { $0.hasFailedChecks })
        changed.adopt(healthFrom: rig.cluster)
        #expect(changed.hosts.filter(\.isUsable).map { numberOf($0) } == [0])
        #expect(changed.isChecked)
    }
}
