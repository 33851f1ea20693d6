import Forwarding
import Testing
import Time

struct OutlierTests {
    private func rig(_ fields: String, hosts: Int = 10) throws -> UpstreamRig {
        try UpstreamRig("outlier_detection: { \(fields) }", set((0..<hosts).map { endpoint($0) }))
    }

    @Test func failuresInARowEject() throws {
        var rig = try rig("consecutive_5xx: 3, max_ejection_percent: 50")
        let host = rig.host(0)
        for status in [500, 500, 200, 500, 500] { rig.report(.response(status: status), host) }
        #expect(!host.isEjected)
        rig.report(.response(status: 503), host)
        #expect(host.isEjected)
        #expect(host.flags == "/failed_outlier_check")
        #expect(rig.cluster.ejectedHosts == 1)
        #expect(!rig.numbers(50).contains(0))
        guard case .ejected(let one, .consecutive5xx)? = rig.cluster.takeEvents().last else {
            Issue.record("no event")
            return
        }
        #expect(one === host)
    }

    @Test func gatewayFailuresAreCountedApart() throws {
        var rig = try rig(
            "consecutive_5xx: 100, consecutive_gateway_failure: 2, enforcing_consecutive_gateway_failure: 100, "
                + "max_ejection_percent: 100")
        let host = rig.host(0)
        for status in [503, 500, 504] { rig.report(.response(status: status), host) }
        #expect(!host.isEjected)
        rig.report(.timedOut, host)
        #expect(host.isEjected)
        let other = rig.host(1)
        rig.report(.connectFailed, other)
        rig.report(.connectFailed, other)
        #expect(other.isEjected)
    }

    @Test func localFailuresCountApartWhereTheyAreSplit() throws {
        var rig = try rig(
            "split_external_local_origin_errors: true, consecutive_5xx: 2, consecutive_local_origin_failure: 3, "
                + "max_ejection_percent: 100")
        let host = rig.host(0)
        for _ in 0..<2 { rig.report(.connectFailed, host) }
        rig.report(.connected, host)
        for _ in 0..<2 { rig.report(.timedOut, host) }
        #expect(!host.isEjected)
        rig.report(.connectFailed, host)
        #expect(host.isEjected)
        let other = rig.host(1)
        rig.report(.failed, other)
        rig.report(.response(status: 500), other)
        #expect(other.isEjected)
    }

    @Test func ejectedHostsReturnAndStayAwayLongerEachTime() throws {
        var rig = try rig("consecutive_5xx: 1, max_ejection_percent: 100, base_ejection_time: 30s, interval: 10s")
        let host = rig.host(0)
        func secondsAway() -> Int {
            rig.report(.response(status: 500), host)
            var seconds = 0
            while host.isEjected, seconds < 1000 {
                rig.wait(.seconds(10))
                seconds += 10
            }
            return seconds
        }
        #expect(secondsAway() == 30)
        #expect(secondsAway() == 60)
        #expect(secondsAway() == 90)
        // The multiplier falls with each interval without ejection.
        for _ in 0..<2 { rig.wait(.seconds(10)) }
        #expect(secondsAway() == 60)
        for _ in 0..<20 { _ = secondsAway() }
        #expect(secondsAway() == 300)
    }

    @Test func aReturningHostStartsAnew() throws {
        var rig = try rig(
            "consecutive_5xx: 5, consecutive_gateway_failure: 4, enforcing_consecutive_gateway_failure: 100")
        let host = rig.host(0)
        for _ in 0..<4 { rig.report(.response(status: 503), host) }
        #expect(host.isEjected)
        for _ in 0..<3 { rig.wait(.seconds(10)) }
        #expect(!host.isEjected)
        for _ in 0..<3 { rig.report(.response(status: 503), host) }
        #expect(!host.isEjected)
    }

    @Test func noMoreThanTheShareIsEjected() throws {
        var rig = try rig("consecutive_5xx: 1, max_ejection_percent: 30")
        for number in 0..<10 { rig.report(.response(status: 500), rig.host(number)) }
        #expect(rig.cluster.ejectedHosts == 3)
        #expect(rig.cluster.counts.ejectionOverflows == 7)

        var few = try self.rig("consecutive_5xx: 1", hosts: 3)
        few.report(.response(status: 500), few.host(0))
        #expect(few.cluster.ejectedHosts == 0)
        var one = try self.rig("consecutive_5xx: 1, always_eject_one_host: true", hosts: 3)
        one.report(.response(status: 500), one.host(0))
        one.report(.response(status: 500), one.host(1))
        #expect(one.cluster.ejectedHosts == 1)
    }

    @Test func whatIsNotEnforcedIsToldOnly() throws {
        var rig = try rig("consecutive_5xx: 1, enforcing_consecutive_5xx: 0, max_ejection_percent: 100")
        rig.report(.response(status: 500), rig.host(0))
        #expect(!rig.host(0).isEjected)
        guard case .notEjected(_, .consecutive5xx)? = rig.cluster.takeEvents().first else {
            Issue.record("no event")
            return
        }
        var half = try self.rig(
            "consecutive_5xx: 1, enforcing_consecutive_5xx: 50, max_ejection_percent: 100", hosts: 1000)
        for number in 0..<1000 { half.report(.response(status: 500), half.host(number)) }
        expectShare(half.cluster.ejectedHosts, of: 1000, 0.5)
    }

    @Test func aRateFarUnderTheOthersEjects() throws {
        var rig = try rig(
            "consecutive_5xx: 1000, success_rate_minimum_hosts: 5, success_rate_request_volume: 100, "
                + "max_ejection_percent: 50, interval: 10s", hosts: 6)
        for number in 0..<6 {
            for request in 0..<100 {
                let fails = number == 3 && request.isMultiple(of: 2)
                rig.report(.response(status: fails ? 500 : 200), rig.host(number))
            }
        }
        #expect(!rig.host(3).isEjected)
        rig.wait(.seconds(10))
        #expect((0..<6).filter { rig.host($0).isEjected } == [3])
        #expect(rig.host(3).successRate == 50)
        // The next interval has no requests, and says nothing.
        rig.wait(.seconds(10))
        #expect(rig.host(0).successRate == nil)
    }

    @Test func aShareOfFailuresEjects() throws {
        var rig = try rig(
            "consecutive_5xx: 1000, enforcing_success_rate: 0, enforcing_failure_percentage: 100, "
                + "failure_percentage_threshold: 60, failure_percentage_minimum_hosts: 2, "
                + "failure_percentage_request_volume: 10, max_ejection_percent: 100", hosts: 3)
        for request in 0..<10 {
            rig.report(.response(status: request < 6 ? 500 : 200), rig.host(0))
            rig.report(.response(status: request < 5 ? 500 : 200), rig.host(1))
        }
        rig.wait(.seconds(10))
        #expect((0..<3).filter { rig.host($0).isEjected } == [0])
    }

    @Test func jitterSpreadsReturns() throws {
        var rig = try rig(
            "consecutive_5xx: 1, max_ejection_percent: 100, max_ejection_time_jitter: 100s, interval: 1s", hosts: 200)
        for number in 0..<200 { rig.report(.response(status: 500), rig.host(number)) }
        rig.wait(.seconds(30))
        var away: [Int] = []
        for _ in 0..<102 {
            away.append(rig.cluster.ejectedHosts)
            rig.wait(.seconds(1))
        }
        #expect(away.last == 0)
        expectShare(away[50], of: 200, 0.5)
    }

    @Test func hostsThatStayKeepTheirEjection() throws {
        var rig = try rig("consecutive_5xx: 1, max_ejection_percent: 50")
        rig.report(.response(status: 500), rig.host(0))
        rig.report(.response(status: 500), rig.host(1))
        let changes = rig.update(set((1..<10).map { endpoint($0, weight: 2) } + [endpoint(20)]))
        #expect(changes.added.map(numberOf) == [20])
        #expect(changes.removed.map(numberOf) == [0])
        #expect(rig.host(1).isEjected)
        #expect(rig.cluster.ejectedHosts == 1)
        #expect(!Set(rig.numbers(100)).contains(1))
        // What is told of a host that is gone changes nothing.
        rig.report(.response(status: 500), changes.removed[0])
        #expect(rig.cluster.ejectedHosts == 1)
    }

    @Test func statusesOfGRPCAreTakenAsOfHTTP() {
        #expect(HostOutcome.status(ofGRPC: 0) == 200)
        #expect(HostOutcome.status(ofGRPC: 14) == 503)
        #expect(HostOutcome.status(ofGRPC: 12) == 501)
        #expect(HostOutcome.status(ofGRPC: 99) == 500)
    }
}
