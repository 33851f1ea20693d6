import EnvoyAPI
import Testing
import Time

@testable import Forwarding

/// Hosts that fail, come and go under load, on a virtual clock; what must always hold is looked at after each step.
struct UpstreamSimulation {
    private var rig: UpstreamRig
    private var choices: SeededRandom
    private let maximumEjected: Double
    private let panicThreshold: Int
    /// What hosts really are: the share of requests that they fail, in percent.
    private var truth: [Int: Int] = [:]
    private var named: [[Int]] = [[], []]
    private var underWay: [UpstreamHost] = []
    private let hashes: Bool
    private let isChecked: Bool

    init(seed: UInt64) throws {
        choices = SeededRandom(seed: seed)
        let policies = [
            "ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "RING_HASH", "MAGLEV\nmaglev_lb_config: { table_size: 251 }",
        ]
        let policy = policies[choices.below(policies.count)]
        hashes = policy.hasPrefix("RING") || policy.hasPrefix("MAGLEV")
        panicThreshold = [0, 0, 30, 50][choices.below(4)]
        maximumEjected = Double([10, 30, 50, 100][choices.below(4)])
        isChecked = choices.below(2) == 0
        let checks = """

            health_checks:
            - timeout: 1s
              interval: 2s
              no_traffic_interval: 2s
              interval_jitter: 0.5s
              unhealthy_threshold: 2
              healthy_threshold: 2
              http_health_check: { path: / }
            """
        rig = try UpstreamRig(
            """
            lb_policy: \(policy)
            common_lb_config: { healthy_panic_threshold: { value: \(panicThreshold) } }
            circuit_breakers: { thresholds: [{ max_requests: 50 }] }
            outlier_detection:
              consecutive_5xx: 3
              max_ejection_percent: \(Int(maximumEjected))
              base_ejection_time: 5s
              interval: 2s
              success_rate_minimum_hosts: 3
              success_rate_request_volume: 20
              enforcing_failure_percentage: 100
            """ + (isChecked ? checks : ""), seed: seed)
    }

    mutating func run(steps: Int) throws {
        change()
        for _ in 0..<steps {
            switch choices.below(100) {
            case 0..<2: change()
            case 2..<5: flip()
            case 5..<15: wait(.milliseconds(100 + choices.below(2000)))
            case 15..<60: try start()
            default: finish()
            }
            look()
        }
        // Everything ends, all hosts are well: in the end nothing is held and everybody serves.
        while !underWay.isEmpty { finish() }
        for number in truth.keys { truth[number] = 0 }
        for _ in 0..<200 { wait(.seconds(5)) }
        look()
        for resource in Breaker.Resource.allCases {
            #expect(rig.cluster.breaker(.normal).count(resource) == 0)
            #expect(!rig.cluster.breaker(.normal).isOpen(resource))
        }
        #expect(rig.cluster.activeRequests == 0)
        #expect(rig.cluster.ejectedHosts == 0)
        #expect(rig.cluster.hosts.allSatisfy { $0.isUsable && $0.activeRequests == 0 })
        #expect(Set(rig.cluster.hosts.map(numberOf)).isSuperset(of: named.joined()))
    }

    private mutating func change() {
        let before = Dictionary(uniqueKeysWithValues: rig.cluster.hosts.map { (numberOf($0), $0) })
        let count = 1 + choices.below(12)
        var numbers = Set<Int>()
        while numbers.count < count { numbers.insert(choices.below(20)) }
        let sorted = numbers.sorted()
        let split = choices.below(3) == 0 ? choices.below(count + 1) : count
        named = [Array(sorted.prefix(split)), Array(sorted.suffix(count - split))]
        for number in sorted where truth[number] == nil { truth[number] = choices.below(3) == 0 ? 80 : 0 }
        let changes = rig.update(
            EndpointSet(
                name: "web",
                levels: named.map { numbers in
                    [.init(weight: 1, endpoints: numbers.map { endpoint($0, weight: 1 + $0 % 3) })]
                }))
        for host in rig.cluster.hosts {
            if let old = before[numberOf(host)] { #expect(old === host) }
        }
        for host in changes.removed { #expect(host.isGone) }
        for host in changes.added { #expect(before[numberOf(host)] == nil) }
    }

    private mutating func flip() {
        guard let number = named.joined().randomElement(using: &choices) else { return }
        truth[number] = truth[number] == 0 ? 50 + choices.below(51) : 0
    }

    private mutating func wait(_ duration: Duration) {
        rig.wait(duration)
        for probe in rig.probes() {
            let fails = choices.below(100) < (truth[numberOf(probe.host)] ?? 0)
            switch choices.below(10) {
            // No answer: the machine itself finds out.
            case 0 where fails: break
            case 1 where fails: rig.answer(.failed, probe)
            default: rig.answer(.http(status: fails ? 503 : 200, .init(), body: []), probe)
            }
        }
    }

    private mutating func start() throws {
        guard rig.cluster.tryAcquire(.requests) else {
            #expect(underWay.count >= 50)
            return
        }
        let host = rig.pick(PickQuestion(hash: hashes ? choices.next() : nil))
        guard let host else {
            rig.cluster.release(.requests)
            // Nobody, though somebody could: only in a priority that the key chose.
            return
        }
        #expect(!host.isGone)
        if !host.isUsable { #expect(load().isInPanic[host.priority], "an unhealthy host without panic") }
        rig.cluster.begin(host)
        underWay.append(host)
    }

    /// What the formula says of the hosts as they are.
    private func load() -> PriorityLoad {
        let count = (rig.cluster.hosts.map(\.priority).max() ?? 0) + 1
        let levels = (0..<max(count, rig.cluster.endpoints?.levels.count ?? 0)).map { priority -> PriorityLoad.Level in
            let hosts = rig.cluster.hosts.filter { $0.priority == priority }
            let healthy = hosts.filter { $0.health == .healthy }.count
            let degraded = hosts.filter { $0.health == .degraded }.count
            return .init(
                counted: hosts.count, healthy: healthy, degraded: degraded, countedWeight: 0, healthyWeight: 0,
                degradedWeight: 0, all: hosts.count)
        }
        return PriorityLoad(levels, overprovisioning: 140, countsWeights: false, panicThreshold: panicThreshold)
    }

    private mutating func finish() {
        guard !underWay.isEmpty else { return }
        let host = underWay.remove(at: choices.below(underWay.count))
        let fails = choices.below(100) < (truth[numberOf(host)] ?? 0)
        let before = rig.cluster.ejectedHosts
        rig.report(
            fails ? [.response(status: 500), .timedOut, .connectFailed][choices.below(3)] : .response(status: 200), host
        )
        rig.cluster.end(host, isSuccess: !fails)
        rig.cluster.release(.requests)
        if rig.cluster.ejectedHosts > before { expectFewEjected() }
    }

    private func expectFewEjected() {
        let share = 100 * Double(rig.cluster.ejectedHosts) / Double(rig.cluster.hosts.count)
        #expect(share <= maximumEjected)
    }

    private func look() {
        let hosts = rig.cluster.hosts
        #expect(rig.cluster.ejectedHosts == hosts.filter(\.isEjected).count)
        #expect(rig.cluster.activeRequests == underWay.count)
        #expect(rig.cluster.breaker(.normal).count(.requests) == underWay.count)
        #expect(hosts.allSatisfy { $0.activeRequests >= 0 && !$0.isGone })
        #expect(rig.cluster.isChecked == !hosts.contains { $0.isPending })
        #expect(Set(hosts.map(\.address)).count == hosts.count)
    }
}

struct UpstreamSimulationTests {
    @Test(arguments: 1...60)
    func whatMustHoldHoldsWhateverHappens(_ seed: Int) throws {
        var simulation = try UpstreamSimulation(seed: UInt64(seed))
        try simulation.run(steps: 600)
    }
}
