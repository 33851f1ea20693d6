import Testing

@testable import Forwarding

struct PriorityTests {
    /// Levels of 100 hosts, of which so many percent are healthy and degraded.
    private func load(
        _ levels: [(healthy: Int, degraded: Int)], panic: Int = 0, all: Int = 100
    ) -> PriorityLoad {
        PriorityLoad(
            levels.map {
                .init(
                    counted: all, healthy: $0.healthy, degraded: $0.degraded, countedWeight: all,
                    healthyWeight: $0.healthy, degradedWeight: $0.degraded, all: all)
            }, overprovisioning: 140, countsWeights: false, panicThreshold: panic)
    }

    /// Source: Envoy, "Priority levels".
    @Test(arguments: [
        ([100, 100], [100, 0]), ([72, 100], [100, 0]), ([71, 100], [99, 1]), ([50, 100], [70, 30]),
        ([25, 100], [35, 65]), ([0, 100], [0, 100]),
        ([100, 100, 100], [100, 0, 0]), ([72, 72, 100], [100, 0, 0]), ([71, 71, 100], [99, 1, 0]),
        ([50, 50, 100], [70, 30, 0]), ([25, 100, 100], [35, 65, 0]), ([25, 25, 100], [35, 35, 30]),
    ])
    func loadSpillsOverAsEnvoySays(_ healthy: [Int], _ expected: [Int]) {
        #expect(load(healthy.map { ($0, 0) }).healthy == expected)
    }

    /// Source: Envoy, "Degraded endpoints".
    @Test(arguments: [
        ([(100, 0), (100, 0)], [100, 0], [0, 0]), ([(71, 0), (71, 0)], [99, 1], [0, 0]),
        ([(71, 29), (0, 0)], [99, 0], [1, 0]), ([(36, 64), (0, 0)], [50, 0], [50, 0]),
        ([(1, 99), (0, 0)], [1, 0], [99, 0]), ([(1, 0), (0, 1)], [50, 0], [0, 50]),
    ])
    func degradedHostsGetWhatHealthyOnesCannotTake(
        _ levels: [(Int, Int)], _ healthy: [Int], _ degraded: [Int]
    ) {
        let result = load(levels.map { (healthy: $0.0, degraded: $0.1) })
        #expect(result.healthy == healthy)
        #expect(result.degraded == degraded)
    }

    /// Source: Envoy, "Panic threshold". Where its table says 7 and 93 for the last row, what rounding leaves goes to
    /// the first priority that can take it.
    @Test(arguments: [
        ([72, 72], [100, 0], [false, false]), ([71, 71], [99, 1], [false, false]),
        ([50, 60], [70, 30], [false, false]),
        ([25, 100], [35, 65], [false, false]), ([25, 25], [50, 50], [true, true]), ([5, 65], [8, 92], [true, false]),
    ])
    func prioritiesPanicWhenAllTogetherCannotServe(_ healthy: [Int], _ expected: [Int], _ panic: [Bool]) {
        let result = load(healthy.map { ($0, 0) }, panic: 50)
        #expect(result.healthy == expected)
        #expect(result.isInPanic == panic)
    }

    @Test func thePartsAlwaysAddUpToTheWhole() {
        var random = SeededRandom(seed: 7)
        for _ in 0..<5000 {
            let count = 1 + random.below(5)
            let levels = (0..<count).map { _ -> PriorityLoad.Level in
                let all = random.below(20)
                let healthy = random.below(all + 1)
                let degraded = random.below(all - healthy + 1)
                return .init(
                    counted: all, healthy: healthy, degraded: degraded, countedWeight: all, healthyWeight: healthy,
                    degradedWeight: degraded, all: all)
            }
            let result = PriorityLoad(
                levels, overprovisioning: 100 + random.below(100), countsWeights: false,
                panicThreshold: random.below(101))
            #expect((result.healthy + result.degraded).reduce(0, +) == 100)
        }
    }

    @Test func weightsAreCountedWhereTheResourceSaysSo() throws {
        var rig = try UpstreamRig("common_lb_config: { healthy_panic_threshold: { value: 0 } }")
        func levels(countsWeights: Bool) -> EndpointSet {
            EndpointSet(
                name: "web",
                levels: [
                    [.init(endpoints: [endpoint(0, weight: 1), endpoint(1, weight: 3, state: .unhealthy)])],
                    [.init(endpoints: [endpoint(2)])],
                ], countsWeights: countsWeights)
        }
        // 1 of 2 hosts: 70 %; 1 of 4 by weight: 35 %.
        rig.update(levels(countsWeights: false))
        expectShare(rig.counts(10_000)[0], of: 10_000, 0.7)
        rig.update(levels(countsWeights: true))
        expectShare(rig.counts(10_000)[0], of: 10_000, 0.35)
    }

    @Test func inPanicAllHostsServe() throws {
        var rig = try UpstreamRig(
            "common_lb_config: { healthy_panic_threshold: { value: 60 } }",
            set((0..<4).map { endpoint($0, state: $0 < 2 ? .healthy : .unhealthy) }))
        #expect(Set(rig.numbers(40)) == [0, 1, 2, 3])
        #expect(rig.cluster.counts.panicPicks == 40)
        rig.update(set((0..<4).map { endpoint($0, state: $0 < 3 ? .healthy : .unhealthy) }))
        #expect(Set(rig.numbers(40)) == [0, 1, 2])
    }

    @Test func withoutAThresholdNobodyPanics() throws {
        var rig = try UpstreamRig(
            "common_lb_config: { healthy_panic_threshold: { value: 0 } }",
            set((0..<4).map { endpoint($0, state: .unhealthy) }))
        #expect(rig.pick() == nil)
        var hashed = try UpstreamRig(
            "lb_policy: RING_HASH\ncommon_lb_config: { healthy_panic_threshold: { value: 0 } }",
            set((0..<4).map { endpoint($0, state: .unhealthy) }))
        #expect(hashed.pick(PickQuestion(hash: 5)) == nil)
    }
}
