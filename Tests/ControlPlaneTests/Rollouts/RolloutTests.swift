import Foundation
import Testing
import Time
import XDS

@testable import ControlPlane

/// A roll-out and the time, and what it has done so far, a line each.
private struct Script {
    var rollout: Rollout
    var now = Instant(nanoseconds: 0)
    var lines: [String] = []

    init(_ percents: [Int], hold: Duration = .seconds(30)) {
        rollout = Rollout(42, over: 41, order: RolloutOrder(percents: percents, hold: hold)!)
        on(.begun)
    }

    init(guarding revision: Int64) {
        rollout = Rollout(revision, over: revision - 1, order: .guarding)
        on(.begun)
    }

    mutating func on(_ event: Rollout.Event) {
        let actions = rollout.handle(event, now: now).map(Self.word)
        lines.append(([Self.word(event) + ":"] + actions).joined(separator: " ") + " [\(phase)]")
    }

    mutating func counted(_ share: Int, of affected: Int, acknowledged: Int, rejecting: String? = nil) {
        var tally = RolloutTally()
        (tally.affected, tally.share, tally.acknowledged) = (affected, share, acknowledged)
        if let rejecting { (tally.rejected, tally.rejections) = (1, [rejecting]) }
        on(.counted(tally))
    }

    mutating func pass(_ duration: Duration) {
        now = now.advanced(by: duration)
        on(.tick)
    }

    /// As after a crash.
    mutating func restart(newest: Int64) throws {
        let body = try JSONEncoder().encode(rollout.kept(share: nil))
        rollout = Rollout(
            kept: try JSONDecoder().decode(Rollout.Kept.self, from: body), newest: newest, now: now)
        on(.begun)
    }

    private var phase: String {
        switch rollout.phase {
        case .probing: "probing"
        case .spreading: "spreading"
        case .holding: "holding"
        case .judging: "judging"
        case .held(let reason): "held: \(reason)"
        case .undoing(let reason): "undoing: \(reason)"
        case .complete: "complete"
        case .undone(_, let by): "undone by \(by ?? 0)"
        }
    }

    private static func word(_ event: Rollout.Event) -> String {
        switch event {
        case .begun: "begun"
        case .counted(let tally): "counted \(tally.acknowledged) of \(tally.share)"
        case .tick: "tick"
        case .judged(let step, let verdict): "judged \(step) \(verdict)"
        case .promoted: "promoted"
        case .aborted: "aborted"
        case .superseded(let revision): "superseded by \(revision)"
        case .undid: "undid"
        case .couldNotUndo: "could not undo"
        }
    }

    private static func word(_ action: Rollout.Action) -> String {
        switch action {
        case .probe(let percent): "probe \(percent) %"
        case .spread(let percent): "spread \(percent) %"
        case .judge(let step): "judge \(step)"
        case .withdraw: "withdraw"
        case .undo: "undo"
        case .complete: "complete"
        case .tell(let words): "“\(words)”"
        }
    }
}

struct RolloutTests {
    private func expect(_ script: Script, _ text: String, sourceLocation: SourceLocation = #_sourceLocation) {
        #expect(script.lines.joined(separator: "\n") == text, sourceLocation: sourceLocation)
    }

    @Test func eachShareProbesThenSpreadsThenHolds() {
        var script = Script([25, 100])
        script.counted(1, of: 8, acknowledged: 0)
        script.counted(1, of: 8, acknowledged: 1)
        script.counted(2, of: 8, acknowledged: 2)
        script.pass(.seconds(29))
        script.pass(.seconds(1))
        script.on(.judged(step: 0, .unknown))
        script.counted(3, of: 8, acknowledged: 3)
        script.counted(8, of: 8, acknowledged: 7)
        script.counted(8, of: 8, acknowledged: 8)
        expect(
            script,
            """
            begun: probe 25 % [probing]
            counted 0 of 1: probe 25 % [probing]
            counted 1 of 1: spread 25 % [spreading]
            counted 2 of 2: “revision 42: 2 of 8 proxies have acknowledged it (25 %)” [holding]
            tick: [holding]
            tick: judge 0 [judging]
            judged 0 unknown: probe 100 % [probing]
            counted 3 of 3: spread 100 % [spreading]
            counted 7 of 8: [spreading]
            counted 8 of 8: complete “revision 42 has come to all proxies” [complete]
            """)
    }

    @Test func whatOneRejectsIsTakenFromAllAndUndone() {
        var script = Script([25, 100])
        script.counted(1, of: 8, acknowledged: 1)
        script.counted(2, of: 8, acknowledged: 2)
        // Long after it acknowledged: a proxy that comes back.
        script.counted(2, of: 8, acknowledged: 1, rejecting: "web-3: LDS rejected: no")
        script.counted(2, of: 8, acknowledged: 2)
        script.on(.undid(by: 43))
        expect(
            script,
            """
            begun: probe 25 % [probing]
            counted 1 of 1: spread 25 % [spreading]
            counted 2 of 2: “revision 42: 2 of 8 proxies have acknowledged it (25 %)” [holding]
            counted 1 of 2: withdraw undo “revision 42 is undone: web-3: LDS rejected: no” \
            [undoing: web-3: LDS rejected: no]
            counted 2 of 2: [undoing: web-3: LDS rejected: no]
            undid: [undone by 43]
            """)
    }

    @Test func whoeverJudgesIsHeardForTheStepThatWasAskedAbout() {
        var script = Script([50, 75], hold: .zero)
        script.counted(1, of: 2, acknowledged: 1)
        script.counted(1, of: 2, acknowledged: 1)
        script.pass(.zero)
        script.on(.judged(step: 1, .unhealthy("an answer to nothing")))
        script.on(.judged(step: 0, .healthy))
        script.counted(2, of: 2, acknowledged: 2)
        script.counted(2, of: 2, acknowledged: 2)
        script.pass(.zero)
        script.on(.judged(step: 1, .unhealthy("9 % of the requests fail")))
        #expect(script.rollout.order.percents == [50, 75, 100])
        #expect(script.lines[4] == "judged 1 unhealthy(\"an answer to nothing\"): [judging]")
        #expect(script.rollout.phase == .undoing(reason: "9 % of the requests fail"))
    }

    @Test func proxiesThatSayNothingEndACanaryAndNotAGuard() {
        var script = Script([25, 100])
        script.counted(1, of: 8, acknowledged: 0)
        script.pass(.seconds(59))
        script.pass(.seconds(1))
        #expect(script.rollout.phase == .undoing(reason: "1 of 1 proxies have not answered in 1m"))
        var guarding = Script(guarding: 7)
        guarding.counted(2, of: 9, acknowledged: 1)
        guarding.pass(.seconds(2))
        expect(
            guarding,
            """
            begun: probe 100 % [probing]
            counted 1 of 2: probe 100 % [probing]
            tick: “revision 7 goes to all proxies: 1 that were to try it say nothing” complete [complete]
            """)
    }

    @Test func aGuardedRevisionThatIsRejectedIsHeldUntilAnotherComes() {
        var script = Script(guarding: 7)
        script.counted(2, of: 9, acknowledged: 1, rejecting: "web-1: CDS rejected: no")
        script.pass(.seconds(100))
        script.on(.superseded(by: 8))
        script.counted(2, of: 9, acknowledged: 2)
        expect(
            script,
            """
            begun: probe 100 % [probing]
            counted 1 of 2: withdraw “revision 7 is kept from all proxies: web-1: CDS rejected: no” \
            [held: web-1: CDS rejected: no]
            tick: [held: web-1: CDS rejected: no]
            superseded by 8: probe 100 % [probing]
            counted 2 of 2: complete [complete]
            """)
        #expect(script.rollout.base == 6)
    }

    @Test func aRowOfChangesGoesToAllInTheTimeOfOne() {
        var script = Script(guarding: 7)
        for revision in 8..<20 {
            script.pass(.milliseconds(150))
            script.on(.superseded(by: Int64(revision)))
        }
        #expect(script.rollout.phase == .probing)
        script.pass(.milliseconds(200))
        #expect(script.rollout.phase == .complete && script.rollout.revision == 19)
    }

    @Test func usersEndARollOutEitherWay() {
        var promoted = Script([5, 100])
        promoted.on(.promoted(by: "ada"))
        promoted.on(.aborted(by: "ada"))
        #expect(promoted.rollout.phase == .complete)
        var aborted = Script(guarding: 7)
        aborted.counted(1, of: 2, acknowledged: 0, rejecting: "no")
        aborted.on(.aborted(by: "ada"))
        #expect(aborted.lines.last?.hasPrefix("aborted: withdraw undo") == true)
        aborted.on(.couldNotUndo("the disk is full"))
        guard case .held(let reason) = aborted.rollout.phase else {
            Issue.record("\(aborted.rollout.phase)")
            return
        }
        #expect(reason.hasSuffix("it cannot be undone: the disk is full"))
        aborted.on(.promoted(by: "ada"))
        #expect(aborted.rollout.phase == .complete)
    }

    @Test func aControlPlaneThatBeginsAgainCountsTheStepAnew() throws {
        var script = Script([25, 100])
        script.counted(1, of: 8, acknowledged: 1)
        script.counted(2, of: 8, acknowledged: 2)
        script.pass(.seconds(29))
        script.lines = []
        try script.restart(newest: 42)
        // Nobody has come back yet, or one who takes it: that is no answer of the others.
        script.counted(0, of: 0, acknowledged: 0)
        script.counted(1, of: 1, acknowledged: 1)
        script.counted(2, of: 8, acknowledged: 1)
        script.counted(2, of: 8, acknowledged: 2)
        script.counted(2, of: 8, acknowledged: 2)
        script.pass(.seconds(29))
        script.pass(.seconds(1))
        expect(
            script,
            """
            begun: [probing]
            counted 0 of 0: [probing]
            counted 1 of 1: [probing]
            counted 1 of 2: probe 25 % [probing]
            counted 2 of 2: spread 25 % [spreading]
            counted 2 of 2: “revision 42: 2 of 8 proxies have acknowledged it (25 %)” [holding]
            tick: [holding]
            tick: judge 0 [judging]
            """)
    }

    @Test func whoDoesNotComeBackIsWaitedForSoLong() throws {
        var script = Script([25, 100])
        script.counted(1, of: 8, acknowledged: 1)
        script.counted(2, of: 8, acknowledged: 2)
        script.lines = []
        try script.restart(newest: 42)
        script.counted(1, of: 5, acknowledged: 1)
        script.pass(.seconds(59))
        script.pass(.seconds(1))
        script.counted(2, of: 5, acknowledged: 2)
        expect(
            script,
            """
            begun: [probing]
            counted 1 of 1: [probing]
            tick: [probing]
            tick: probe 25 % [probing]
            counted 2 of 2: spread 25 % [spreading]
            """)
        // As a rejection counts at any time.
        var refused = Script([25, 100])
        try refused.restart(newest: 42)
        refused.counted(1, of: 1, acknowledged: 0, rejecting: "web-3: LDS rejected: no")
        #expect(refused.rollout.phase == .undoing(reason: "web-3: LDS rejected: no"))
    }

    @Test func whatIsKeptSaysHowItGoesOn() throws {
        func resumed(
            _ state: Rollout.Kept.State, _ order: RolloutOrder, newest: Int64, canUndo: Bool = true
        ) -> Rollout {
            let kept = Rollout.Kept(revision: 42, base: 41, order: order, step: 0, state: state, reason: "no")
            return Rollout(kept: kept, newest: newest, now: Instant(nanoseconds: 0), canUndo: canUndo)
        }
        let canary = try #require(RolloutOrder(percents: [5], hold: .zero))
        // Nothing is changed while a user rolls something out: the end of that was not written.
        #expect(resumed(.running, canary, newest: 43).phase == .complete)
        #expect(resumed(.running, canary, newest: 42).phase == .probing)
        let tried = resumed(.running, .guarding, newest: 43)
        #expect(tried.phase == .probing && tried.revision == 43)
        // What mends a canary that is held is no canary.
        let mended = resumed(.held, canary, newest: 43)
        #expect(mended.phase == .probing && mended.revision == 43 && mended.order.isGuard && mended.base == 41)
        #expect(resumed(.held, canary, newest: 42).phase == .held(reason: "no"))
        // It was held, and the next one comes before the proxies have come back.
        var next = resumed(.held, .guarding, newest: 42)
        #expect(next.handle(.begun, now: Instant(nanoseconds: 0)) == [.withdraw])
        #expect(next.handle(.superseded(by: 43), now: Instant(nanoseconds: 1)).isEmpty && next.phase == .probing)
        let later = Instant(nanoseconds: 0).advanced(by: Rollout.Patience().returning)
        #expect(next.handle(.tick, now: later) == [.probe(percent: 100)])
        // Files cannot be undone.
        for newest in [42, 43] as [Int64] {
            let files = resumed(.running, canary, newest: newest, canUndo: false)
            #expect(files.phase == .probing && files.order.isGuard && files.revision == newest)
        }
    }

    @Test func whatWasBeingUndoneIsUndoneOnceAfterACrash() throws {
        var script = Script([25, 100])
        script.counted(1, of: 8, acknowledged: 0, rejecting: "no")
        var later = script
        // Before the revision that undoes it was made, and after.
        try script.restart(newest: 42)
        #expect(script.lines.last == "begun: withdraw undo [undoing: no]")
        try later.restart(newest: 43)
        #expect(later.lines.last == "begun: [undone by 43]")
    }

    @Test func ordersThatLeadNowhereAreNone() {
        #expect(RolloutOrder(percents: [5, 25], hold: .zero)?.percents == [5, 25, 100])
        for percents in [[], [0], [100, 100], [25, 5], [-1, 100], [101], Array(1...30)] {
            #expect(RolloutOrder(percents: percents, hold: .zero) == nil, "\(percents)")
        }
        #expect(RolloutOrder(percents: [5], hold: .seconds(-1)) == nil)
        #expect(RolloutOrder(percents: [5], hold: .seconds(8 * 86_400)) == nil)
    }
}

struct RolloutShareTests {
    private let members = (0..<200).map { RolloutShare.Member("node-\($0)", ViewName("class-\($0 % 4)")) }

    private func count(_ share: RolloutShare) -> Int { members.count { share.contains($0.node, $0.view) } }

    @Test(arguments: [1, 5, 25, 33, 99, 100]) func aShareIsExactAndRoundedUp(_ percent: Int) {
        var share = RolloutShare(salt: 42)
        share.affect(members.map(\.view))
        share.spread(percent, over: members)
        #expect(count(share) == (members.count * percent + 99) / 100)
        var few = RolloutShare(salt: 42)
        few.affect(members.map(\.view))
        few.spread(percent, over: members.prefix(8))
        #expect(members.prefix(8).count { few.contains($0.node, $0.view) } == (8 * percent + 99) / 100)
    }

    @Test func aShareOnlyGrowsAndAnswersAlikeAfterARestart() throws {
        for salt in 1...50 as ClosedRange<Int64> {
            var share = RolloutShare(salt: salt)
            share.affect(members.map(\.view))
            var had: Set<String> = []
            for percent in [1, 5, 5, 3, 25, 60, 100] {
                share.probe(percent, among: members.prefix(150))
                share.spread(percent, over: members)
                share = try JSONDecoder().decode(RolloutShare.self, from: JSONEncoder().encode(share))
                let has = Set(members.filter { share.contains($0.node, $0.view) }.map(\.node))
                #expect(had.isSubset(of: has))
                had = has
            }
            #expect(had.count == members.count)
        }
    }

    @Test func aProbeIsOneOfEachClassThatTheShareReaches() {
        var share = RolloutShare(salt: 42)
        share.affect(members.map(\.view))
        share.probe(100, among: members)
        #expect(count(share) == 4)
        #expect(Set(members.filter { share.contains($0.node, $0.view) }.map(\.view)).count == 4)
        // Asked again it is the same ones, as long as they are there.
        share.probe(100, among: members)
        #expect(count(share) == 4)
        let gone = members.first { share.contains($0.node, $0.view) }!
        share.probe(100, among: members.filter { $0 != gone })
        #expect(count(share) == 5)
        var small = RolloutShare(salt: 42)
        small.affect(members.map(\.view))
        small.probe(1, among: members)
        #expect((1...2).contains(count(small)))
    }

    @Test func classesThatAreNotAffectedAreInNoShare() {
        var share = RolloutShare(salt: 42)
        share.affect([ViewName("class-0")])
        share.spread(100, over: members)
        #expect(count(share) == 50)
        share.affect([ViewName("class-1")])
        #expect(count(share) == 100)
    }

    /// Three are there when a share is given, and a thousand come later.
    @Test func aShareOfFewIsNoMoreOfThoseThatComeLater() {
        let crowd = (0..<1_000).map { RolloutShare.Member("late-\($0)", ViewName("class-\($0 % 4)")) }
        for salt in 1...30 as ClosedRange<Int64> {
            var share = RolloutShare(salt: salt)
            share.affect(members.map(\.view))
            share.probe(5, among: members.prefix(3))
            share.spread(5, over: members.prefix(3))
            #expect(members.prefix(3).count { share.contains($0.node, $0.view) } == 1)
            #expect(crowd.count { share.contains($0.node, $0.view) } < 80)
            // Then the share is of all.
            share.spread(5, over: members.prefix(3) + crowd)
            #expect((51..<80).contains((members.prefix(3) + crowd).count { share.contains($0.node, $0.view) }))
            share.spread(100, over: crowd)
            #expect(crowd.allSatisfy { share.contains($0.node, $0.view) } && share.chosen.isEmpty)
        }
    }

    @Test func aClassThatIsGoneIsForgotten() {
        var share = RolloutShare(salt: 42)
        for number in 0..<100 {
            share.affect([ViewName("class-\(number)")])
            share.forget(ViewName("class-\(number)"))
        }
        #expect(share.limits.isEmpty && !share.affects(ViewName("class-1")))
    }

    @Test func everyRollOutHasOthersGoFirst() {
        let first = (1...40 as ClosedRange<Int64>).map { salt in
            let share = RolloutShare(salt: salt)
            return members.map(\.node).min { share.draw($0) < share.draw($1) }!
        }
        #expect(Set(first).count > 30)
    }
}
