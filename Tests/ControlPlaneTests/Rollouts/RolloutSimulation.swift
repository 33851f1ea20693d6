import Foundation
import Testing
import Time
import XDS

@testable import ControlPlane

/// Proxies that answer late, refuse, go and come back, and a control plane that crashes: all of it from one seed.
private struct RolloutWorld {
    struct Proxy {
        var view: ViewName
        var isConnected = true
        var refuses = false
        /// When it answers to what it has; nil: it has nothing new, or has answered.
        var answersAt: Int64?
        var isGiven = false
        var hasAnswered = false

        mutating func forget() { (isGiven, hasAnswered, answersAt) = (false, false, nil) }
    }

    var seed: UInt64
    var rollout: Rollout
    var share: RolloutShare?
    var proxies: [String: Proxy] = [:]
    var now: Int64 = 0
    /// Everyone who ever had it before it was taken back.
    var everGiven: Set<String> = []
    var refusedBy: Set<String> = []
    var undos = 0
    var newest: Int64 = 42
    let isGuard: Bool

    init(seed: UInt64) {
        self.seed = seed
        var chance = SplitMix(seed: seed)
        isGuard = chance.below(3) == 0
        let order =
            isGuard
            ? RolloutOrder.guarding
            : RolloutOrder(percents: [[5, 25], [1], [50], [10, 20, 30]][chance.below(4)], hold: .seconds(5))!
        rollout = Rollout(42, over: 41, order: order)
        share = RolloutShare(salt: Int64(seed))
        let isBad = chance.below(2) == 0
        for number in 0..<(2 + chance.below(40)) {
            var proxy = Proxy(view: ViewName("class-\(chance.below(4))"))
            proxy.refuses = isBad && chance.below(3) == 0
            proxies["proxy-\(number)"] = proxy
        }
        share?.affect(Set(proxies.values.map(\.view)))
        self.chance = chance
        perform(.begun)
    }

    private var chance: SplitMix

    private var members: [RolloutShare.Member] {
        proxies.filter(\.value.isConnected).map { RolloutShare.Member($0.key, $0.value.view) }
    }

    mutating func perform(_ event: Rollout.Event) {
        let wasGiven = rollout.isGiven
        for action in rollout.handle(event, now: Instant(nanoseconds: now)) {
            switch action {
            case .probe(let percent): grow { $0.probe(percent, among: $1) }
            case .spread(let percent): grow { $0.spread(percent, over: $1) }
            case .judge(let step): perform(.judged(step: step, .unknown))
            case .withdraw: withdraw()
            case .undo:
                undos += 1
                newest += 1
                perform(.undid(by: newest))
            case .complete:
                for name in proxies.keys { proxies[name]?.isGiven = true }
            case .tell: break
            }
        }
        if !wasGiven { #expect(!rollout.isGiven || event == .begun, "seed \(seed)") }
    }

    private mutating func grow(_ change: (inout RolloutShare, [RolloutShare.Member]) -> Void) {
        var next = share ?? RolloutShare(salt: Int64(seed))
        next.affect(proxies.values.map(\.view))
        change(&next, members)
        share = next
        giveShare()
    }

    private mutating func giveShare() {
        for (name, proxy) in proxies.sorted(by: { $0.key < $1.key }) {
            let isIn = share?.contains(name, proxy.view) ?? false
            #expect(isIn || !proxy.isGiven, "seed \(seed): \(name) loses what it has")
            guard isIn, !proxy.isGiven, proxy.isConnected else { continue }
            proxies[name]?.isGiven = true
            proxies[name]?.answersAt = now + Int64(1 + chance.below(300)) * 1_000_000
            everGiven.insert(name)
        }
    }

    private mutating func withdraw() {
        share = nil
        for name in proxies.keys {
            proxies[name]?.forget()
        }
    }

    private mutating func count() {
        guard rollout.isGiven else { return }
        var tally = RolloutTally()
        tally.affected = members.count
        for (name, proxy) in proxies where proxy.isConnected && share?.contains(name, proxy.view) == true {
            tally.share += 1
            if refusedBy.contains(name) {
                tally.rejected += 1
                tally.rejections.append(name)
            } else if proxy.hasAnswered {
                tally.acknowledged += 1
            }
        }
        perform(.counted(tally))
    }

    /// - Returns: whether it has come to its end.
    mutating func turn() throws -> Bool {
        now += 50_000_000
        for (name, proxy) in proxies.sorted(by: { $0.key < $1.key }) {
            if let due = proxy.answersAt, due <= now, proxy.isConnected {
                proxies[name]?.answersAt = nil
                proxies[name]?.hasAnswered = true
                if proxy.refuses { refusedBy.insert(name) }
            }
            if chance.below(400) == 0 { drop(name) }
            if !proxy.isConnected, chance.below(20) == 0 { proxies[name]?.isConnected = true }
        }
        if rollout.isGiven {
            giveShare()
            if chance.below(300) == 0 { try crash() }
        }
        count()
        perform(.tick)
        return !rollout.isUnderWay || (isGuard && !rollout.isGiven)
    }

    private mutating func drop(_ name: String) {
        proxies[name]?.isConnected = false
        proxies[name]?.forget()
        refusedBy.remove(name)
    }

    private mutating func crash() throws {
        // The share comes to the disk later than the revision does.
        let body = try JSONEncoder().encode(rollout.kept(share: chance.below(4) == 0 ? nil : share))
        let kept = try JSONDecoder().decode(Rollout.Kept.self, from: body)
        for name in proxies.keys { drop(name) }
        rollout = Rollout(kept: kept, newest: newest, now: Instant(nanoseconds: now))
        share = kept.share ?? RolloutShare(salt: Int64(seed))
        share?.affect(Set(proxies.values.map(\.view)))
        perform(.begun)
    }
}

private struct SplitMix {
    private var state: UInt64

    init(seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 &+ 1 }

    mutating func below(_ limit: Int) -> Int {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return Int((z ^ (z >> 31)) % UInt64(limit))
    }
}

struct RolloutSimulation {
    /// Whatever happens: nobody loses it while it grows, one rejection ends it for all, and it comes to an end.
    @Test func anyRowOfEventsEndsWithAllOrNone() throws {
        var ends: [String: Int] = [:]
        for seed in 1...600 as ClosedRange<UInt64> {
            var world = RolloutWorld(seed: seed)
            var turns = 0
            while try !world.turn() {
                turns += 1
                try #require(turns < 20_000, "seed \(seed): \(world.rollout.phase)")
            }
            switch world.rollout.phase {
            case .complete:
                #expect(world.undos == 0 && world.proxies.values.allSatisfy(\.isGiven), "seed \(seed)")
                // Whoever is there has taken it.
                #expect(
                    world.isGuard || !world.proxies.values.contains { $0.isConnected && $0.refuses }, "seed \(seed)")
            case .held, .undone: #expect(world.proxies.values.allSatisfy { !$0.isGiven }, "seed \(seed)")
            case .probing, .spreading, .holding, .judging, .undoing: Issue.record("seed \(seed): \(world.rollout)")
            }
            #expect(world.undos <= 1)
            ends["\(world.rollout.phase)".prefix { $0 != "(" }.description, default: 0] += 1
        }
        #expect(ends["complete", default: 0] > 100 && ends["undone", default: 0] > 50 && ends["held", default: 0] > 10)
    }
}
