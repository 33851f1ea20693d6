import EnvoyAPI
import Testing

@testable import Forwarding

struct HashingTests {
    /// Values of Envoy's own tests, of the reference implementation for texts of 32 bytes and more.
    @Test func hashesAreThoseOfEnvoy() {
        #expect(KeyHash.xx("foo") == 3_728_699_739_546_630_719)
        #expect(KeyHash.xx("bar") == 5_234_164_152_756_840_025)
        #expect(KeyHash.xx("foo\nbar") == 8_917_841_378_505_826_757)
        #expect(KeyHash.xx("lyft") == 4_400_747_396_090_729_504)
        #expect(KeyHash.xx("") == 17_241_709_254_077_376_921)
        #expect(KeyHash.murmur("foo") == 9_631_199_822_919_835_226)
        #expect(KeyHash.murmur("bar") == 11_474_628_671_133_349_555)
        #expect(KeyHash.murmur("foo\nbar") == 16_306_510_975_912_980_159)
        #expect(KeyHash.murmur("lyft") == 12_847_078_931_730_529_320)
        #expect(KeyHash.murmur("") == 6_142_509_188_972_423_790)
        #expect(KeyHash.xx("Nobody inspects the spammish repetition") == 0xFBCE_A83C_8A37_8BF1)
    }

    /// Source: the C++ standard, [rand.predef]: the 10,000th number of a generator with the seed 5489.
    @Test func theTwisterIsTheStandardOne() {
        var twister = MersenneTwister(seed: 5489)
        for _ in 0..<9999 { _ = twister.next() }
        #expect(twister.next() == 4_123_659_995)
    }

    @Test(arguments: ["RING_HASH", "MAGLEV"])
    func aKeyStaysWithItsHost(_ policy: String) throws {
        var rig = try UpstreamRig("lb_policy: \(policy)", set((0..<20).map { endpoint($0) }))
        let before = (0..<2000).map { rig.number(PickQuestion(hash: KeyHash.xx("key \($0)")))! }
        // Another order of the same hosts.
        rig.update(set((0..<20).reversed().map { endpoint($0) }))
        #expect((0..<2000).map { rig.number(PickQuestion(hash: KeyHash.xx("key \($0)")))! } == before)
        #expect(Set(before).count == 20)

        // One host less: its keys move, and hardly any others (the places of a ring follow the number of hosts).
        rig.update(set((0..<19).map { endpoint($0) }))
        let after = (0..<2000).map { rig.number(PickQuestion(hash: KeyHash.xx("key \($0)")))! }
        let moved = zip(before, after).filter { $0 != $1 && $0 != 19 }.count
        #expect(moved <= 100)
        #expect(!after.contains(19))

        // As before: all are where they were.
        rig.update(set((0..<20).map { endpoint($0) }))
        #expect((0..<2000).map { rig.number(PickQuestion(hash: KeyHash.xx("key \($0)")))! } == before)
    }

    @Test(arguments: ["RING_HASH", "MAGLEV"])
    func keysFollowWeights(_ policy: String) throws {
        var rig = try UpstreamRig(
            "lb_policy: \(policy)", set([endpoint(0, weight: 1), endpoint(1, weight: 3), endpoint(2, weight: 6)]))
        var counts: [Int: Int] = [:]
        for key in 0..<10_000 { counts[rig.number(PickQuestion(hash: KeyHash.xx("\(key)")))!, default: 0] += 1 }
        #expect(abs(Double(counts[0] ?? 0) / 10_000 - 0.1) < 0.05)
        #expect(abs(Double(counts[1] ?? 0) / 10_000 - 0.3) < 0.07)
        #expect(abs(Double(counts[2] ?? 0) / 10_000 - 0.6) < 0.07)
    }

    @Test(arguments: ["RING_HASH", "MAGLEV"])
    func anUnhealthyHostsKeysGoElsewhereAndComeBack(_ policy: String) throws {
        var rig = try UpstreamRig("lb_policy: \(policy)", set((0..<10).map { endpoint($0) }))
        let before = (0..<1000).map { rig.number(PickQuestion(hash: KeyHash.xx("\($0)")))! }
        rig.update(set((0..<10).map { endpoint($0, state: $0 == 4 ? .unhealthy : .healthy) }))
        let without = (0..<1000).map { rig.number(PickQuestion(hash: KeyHash.xx("\($0)")))! }
        #expect(!without.contains(4))
        rig.update(set((0..<10).map { endpoint($0) }))
        #expect((0..<1000).map { rig.number(PickQuestion(hash: KeyHash.xx("\($0)")))! } == before)
    }

    @Test func overloadedHostsGiveKeysAway() throws {
        var rig = try UpstreamRig(
            "lb_policy: RING_HASH\ncommon_lb_config: { consistent_hashing_lb_config: { hash_balance_factor: 125 } }",
            set((0..<5).map { endpoint($0) }))
        let key = KeyHash.xx("popular")
        let home = try rig.some(PickQuestion(hash: key))
        for _ in 0..<40 { rig.cluster.begin(home) }
        // 125 % of 41 / 5 is 11 requests: 40 are too many.
        let other = try rig.some(PickQuestion(hash: key))
        #expect(other !== home)
        #expect(rig.pick(PickQuestion(hash: key)) === other)
        for _ in 0..<35 { rig.cluster.end(home, isSuccess: true) }
        #expect(rig.pick(PickQuestion(hash: key)) === other || rig.pick(PickQuestion(hash: key)) === home)
        for _ in 0..<5 { rig.cluster.end(home, isSuccess: true) }
        #expect(rig.pick(PickQuestion(hash: key)) === home)
    }

    @Test func hostsMayHaveKeysOfTheirOwn() throws {
        // The key in the metadata keeps what belongs to a host with it, whatever its address.
        func hosts(_ first: Int) -> EndpointSet {
            set((0..<5).map { endpoint(first + $0, labels: [.init("hash_key", .string("host \($0)"))]) })
        }
        var rig = try UpstreamRig("lb_policy: MAGLEV", hosts(0))
        let before = (0..<500).map { rig.number(PickQuestion(hash: KeyHash.xx("\($0)")))! }
        rig.update(hosts(100))
        #expect((0..<500).map { rig.number(PickQuestion(hash: KeyHash.xx("\($0)")))! - 100 } == before)
    }

    @Test func retriesOfAKeyGoToOtherHosts() throws {
        var policy = RetryHostPolicy()
        policy.avoidsTried = true
        policy.maximumAttempts = 30
        for balancing in ["RING_HASH", "MAGLEV"] {
            var rig = try UpstreamRig("lb_policy: \(balancing)", set((0..<4).map { endpoint($0) }))
            for key in 0..<20 {
                var tries = RetryHosts(policy)
                for _ in 0..<3 {
                    let host = try rig.some(PickQuestion(hash: KeyHash.xx("\(key)"), retry: tries))
                    #expect(!tries.refuses(host))
                    tries.note(host)
                }
            }
        }
    }

    @Test func withoutAKeyAnyHostIsTaken() throws {
        var rig = try UpstreamRig("lb_policy: RING_HASH", set((0..<4).map { endpoint($0) }))
        #expect(Set(rig.numbers(200)) == [0, 1, 2, 3])
    }

    @Test func ringsHaveTheSizeThatIsAskedFor() throws {
        func places(_ policy: BalancingSettings.Policy, _ weights: [Double]) -> [Int] {
            let sum = weights.reduce(0, +)
            let hosts = weights.enumerated().map { index, weight in
                WeighedHost(
                    host: UpstreamHost(
                        endpoint(index), address: hostAddress(index), priority: 0, locality: EndpointLocality(),
                        transport: 0), share: weight / sum)
            }
            return KeyTable(hosts, policy: policy, settings: BalancingSettings()).placesPerHost()
        }
        #expect(places(.ring(.init()), [1, 1, 1, 1]) == [256, 256, 256, 256])
        #expect(places(.ring(.init()), [1, 1, 1]) == [342, 342, 342])
        // As few as the maximum allows: one and a half for each.
        #expect(places(.ring(.init(minimumSize: 4, maximumSize: 6)), [1, 1, 1, 1]) == [1, 1, 1, 1])
        #expect(places(.ring(.init(minimumSize: 8, maximumSize: 6)), [1, 1, 1, 1]) == [2, 1, 2, 1])
        #expect(places(.maglev(slots: 65_537), [1, 2]).reduce(0, +) == 65_537)
        #expect(places(.maglev(slots: 7), [1, 1, 1]).sorted() == [2, 2, 3])
    }
}
