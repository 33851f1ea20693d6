import Testing
import Time

@testable import Identity

@Suite struct ScheduleTests {
    private let now = Timestamp(seconds: 1_800_000_000)

    @Test(arguments: [
        (AuthorityPolicy(leafValidity: .seconds(9)), PolicyError.leafTooShort(.seconds(9))),
        (AuthorityPolicy(leafValidity: .days(91)), .leafTooLong(.days(91))),
        (AuthorityPolicy(intermediateValidity: .days(3)), .intermediateTooShort(.days(3), least: .days(4))),
        (AuthorityPolicy(rootValidity: .days(400)), .rootTooShort(.days(400), least: .days(1095))),
        (AuthorityPolicy(backdate: .days(2)), .backdateOutOfRange(.days(2))),
        (AuthorityPolicy(renewalJitter: 0.5), .jitterOutOfRange(0.5)),
        (AuthorityPolicy(forceAfter: .seconds(-1)), .negativeForceAfter(.seconds(-1))),
    ])
    func aPolicyThatCannotWorkIsRefusedWithTheMend(policy: AuthorityPolicy, error: PolicyError) {
        #expect(throws: error) { try policy.validate() }
        #expect(error.hint.hasPrefix("use "))
    }

    @Test func theShortestAndTheLongestLeavesWork() throws {
        try AuthorityPolicy().validate()
        try AuthorityPolicy(
            rootValidity: .seconds(120), intermediateValidity: .seconds(40), leafValidity: .seconds(10)
        ).validate()
        try AuthorityPolicy(leafValidity: .days(90)).validate()
    }

    @Test func aLeafIsRenewedAtHalfItsLifeWithJitter() {
        func next(_ chance: Double) -> Duration {
            LeafSchedule(issuedAt: now, notAfter: now + .seconds(1000), jitter: 0.1, chance: chance).nextAttempt - now
        }
        #expect(next(0.5) == .seconds(500))
        #expect(next(0) == .seconds(400))
        #expect(next(1) == .seconds(600))
    }

    @Test(arguments: [10, 3600, 86400, 90 * 86400]) func aRenewalThatFailsIsTriedManyTimesBeforeTheEnd(life: Int) {
        var schedule = LeafSchedule(issuedAt: now, notAfter: now + .seconds(life), jitter: 0, chance: 0.5)
        while schedule.nextAttempt < schedule.notAfter { schedule.failed(now: schedule.nextAttempt, chance: 1) }
        #expect(schedule.failures >= 12)
        #expect(!schedule.isLate(now: now + .seconds(life) / 2))
        #expect(schedule.isLate(now: now + .seconds(life) / 4 * 3))
    }

    @Test func aLeafLiesWithinItsIssuers() {
        let issuer = (now - .seconds(5))..<(now + .seconds(100))
        let whole = LeafValidity.clamped(.seconds(60), backdate: .seconds(3), within: [issuer], now: now)
        #expect(whole == LeafValidity(validity: (now - .seconds(3))..<(now + .seconds(60)), isShortened: false))
        let short = LeafValidity.clamped(.seconds(600), backdate: .seconds(30), within: [issuer], now: now)
        #expect(short == LeafValidity(validity: issuer, isShortened: true))
        #expect(LeafValidity.clamped(.seconds(1), backdate: .zero, within: [issuer], now: issuer.upperBound) == nil)
        #expect(LeafValidity.clamped(.seconds(1), backdate: .zero, within: [issuer], now: now - .seconds(6)) == nil)
    }

    @Test func theScheduleRunsByItself() throws {
        var bench = Bench()
        let end = bench.now + .days(3650)
        var ticks = 0
        while bench.now < end, let next = bench.machine.nextDeadline(now: bench.now) {
            bench.now = max(next, bench.now + .seconds(1))
            bench.tell(.tick)
            ticks += 1
            let validity = try #require(bench.machine.leafValidity(now: bench.now))
            #expect(!validity.isShortened)
        }
        #expect(ticks < 200)
        #expect(bench.root != AuthorityID("R1"))
        #expect(bench.warnings.isEmpty)
    }

    @Test func whatCannotBeMadeIsTriedAgainAndSaid() {
        var bench = Bench(isStarted: false)
        bench.makes = false
        bench.tell(.tick)
        bench.tell(.makingFailed(.root, reason: "the disk is full"))
        let retry = bench.now + .seconds(1)
        #expect(bench.warnings == [.makingFails(.root, reason: "the disk is full", attempts: 1, retryAt: retry)])
        #expect(bench.machine.nextDeadline(now: bench.now) == retry)
        bench.tell(.tick)
        #expect(bench.asked == [.root])
        bench.pass(.seconds(1))
        #expect(bench.asked == [.root, .root])
        #expect(bench.machine.status(now: bench.now).warnings.count == 1)
    }

    @Test func anOutsideRootIsAnnouncedLongBeforeTheIntermediateEnds() throws {
        var bench = Bench(isStarted: false)
        let root = AuthorityMachine.Given(
            id: AuthorityID("X"), validity: bench.now..<(bench.now + .days(3650)), hasKey: false)
        let intermediate = AuthorityMachine.Given(
            id: AuthorityID("Y"), validity: bench.now..<(bench.now + .days(365)), hasKey: true)
        bench.perform(
            try bench.machine.importing(root: root, intermediate: intermediate, under: root.id, now: bench.now))
        #expect(bench.machine.issuer?.id == intermediate.id)
        #expect(throws: OrderRefusal.noKey(root.id, tier: .root)) {
            try bench.machine.rotate(.intermediate, now: bench.now)
        }
        bench.pass(.days(334))
        #expect(bench.warnings.isEmpty)
        bench.pass(.days(2))
        let warning = AuthorityMachine.Warning.expires(
            intermediate.id, .intermediate, at: intermediate.validity.upperBound, needsImport: true)
        #expect(bench.warnings == [warning])
        for _ in 0..<100 { bench.pass(.days(1)) }
        #expect(bench.warnings.contains(.expired(intermediate.id, .intermediate, at: intermediate.validity.upperBound)))
        #expect(bench.machine.leafValidity(now: bench.now) == nil)
        #expect(bench.warnings.count < 2000)
    }

    @Test func anotherRootFromOutsideGoesThroughAllSteps() throws {
        var bench = Bench()
        bench.join(1)
        let root = AuthorityMachine.Given(
            id: AuthorityID("X"), validity: bench.now..<(bench.now + .days(3650)), hasKey: false)
        let intermediate = AuthorityMachine.Given(
            id: AuthorityID("Y"), validity: bench.now..<(bench.now + .days(365)), hasKey: true)
        #expect(throws: OrderRefusal.unknownRoot(root.id)) {
            try bench.machine.importing(root: nil, intermediate: intermediate, under: root.id, now: bench.now)
        }
        bench.perform(
            try bench.machine.importing(root: root, intermediate: intermediate, under: root.id, now: bench.now))
        #expect(bench.phase == .preparing)
        #expect(bench.asked.last == .crossSignature(root: root.id, by: AuthorityID("R1")))
        bench.acknowledgeBundle(1)
        bench.renew(1)
        bench.acknowledgeBundle(1)
        #expect(bench.phase == nil)
        #expect(bench.machine.bundle == [root.id])
    }
}
