import Testing
import Time

@testable import Identity

/// Goes back, and goes on after a restart, in each phase.
@Suite struct AbortTests {
    /// A machine with one proxy, in the given phase of a root's rotation.
    private func bench(in phase: Rotation.Phase) throws -> Bench {
        var bench = Bench()
        bench.join(1)
        bench.makes = phase != .making
        bench.perform(try bench.machine.rotate(.root, now: bench.now))
        if phase == .activating || phase == .retiring { bench.acknowledgeBundle(1) }
        // Handed out under the new root, and the acknowledgement is to come.
        if phase == .activating { bench.issue(1) }
        if phase == .retiring { bench.renew(1) }
        #expect(bench.phase == phase)
        bench.makes = true
        return bench
    }

    /// The proxy answers whatever it is given, until all is done.
    private func finish(_ bench: inout Bench) {
        for _ in 0..<8 where bench.phase != nil {
            bench.acknowledgeBundle(1)
            bench.renew(1)
        }
    }

    @Test(arguments: [Rotation.Phase.making, .preparing]) func beforeItSignsTheNewRootIsDropped(phase: Rotation.Phase)
        throws
    {
        var bench = try self.bench(in: phase)
        bench.perform(try bench.machine.abort(now: bench.now))
        #expect(bench.phase == nil)
        #expect(bench.machine.bundle == [AuthorityID("R1")])
        #expect(bench.machine.state.authorities.map(\.id.text) == ["R1", "I2"])
        #expect(bench.machine.state.crossSignatures.isEmpty)
        #expect(bench.forgotten.contains(AuthorityID("R3")) == (phase == .preparing))
    }

    @Test(arguments: [Rotation.Phase.activating, .retiring]) func onceItSignsTheOldOneComesBackByTheSameRules(
        phase: Rotation.Phase
    ) throws {
        var bench = try self.bench(in: phase)
        bench.perform(try bench.machine.abort(now: bench.now))
        #expect(bench.machine.bundle == [AuthorityID("R1"), AuthorityID("R3")])
        // Out of the bundle means that the old root has to be made known again first.
        #expect(bench.phase == (phase == .activating ? .activating : .preparing))
        finish(&bench)
        #expect(bench.phase == nil)
        #expect(bench.root == AuthorityID("R1"))
        #expect(bench.machine.bundle == [AuthorityID("R1")])
        #expect(bench.forgotten.contains(AuthorityID("R3")))
    }

    @Test(arguments: [Rotation.Phase.activating, .retiring]) func anAbortCanBeAborted(phase: Rotation.Phase) throws {
        var bench = try self.bench(in: phase)
        bench.perform(try bench.machine.abort(now: bench.now))
        bench.perform(try bench.machine.abort(now: bench.now))
        #expect(bench.phase == phase)
        finish(&bench)
        #expect(bench.root == AuthorityID("R3"))
        #expect(bench.machine.bundle == [AuthorityID("R3")])
    }

    @Test func anIntermediateComesBack() throws {
        var bench = Bench()
        bench.join(1)
        bench.perform(try bench.machine.rotate(.intermediate, now: bench.now))
        bench.renew(1)
        bench.join(2)
        bench.perform(try bench.machine.rotate(.intermediate, now: bench.now))
        let old = try #require(bench.machine.state.intermediateRotation?.old)
        bench.perform(try bench.machine.abort(now: bench.now))
        #expect(bench.machine.issuer?.id == old)
        #expect(bench.phase == nil)
        #expect(throws: OrderRefusal.nothingToAbort) { try bench.machine.abort(now: bench.now) }
    }

    @Test func afterAnAbortTheScheduleLeavesSomeTime() throws {
        var bench = Bench()
        bench.join(1)
        bench.leave(1)
        let start = try #require(bench.machine.activeRoot.flatMap { bench.machine.rootStart($0) })
        bench.now = start - .days(10)
        bench.pass(.days(10) - .seconds(60))
        bench.join(1)
        while bench.machine.state.rootRotation == nil { bench.pass(.seconds(60)) }
        bench.perform(try bench.machine.abort(now: bench.now))
        #expect(bench.machine.state.rootRotation == nil)
        bench.pass(.days(1))
        #expect(bench.machine.state.rootRotation == nil)
        bench.pass(.days(60))
        #expect(bench.machine.state.rootRotation != nil)
    }

    @Test(arguments: Rotation.Phase.allCases) func aRestartGoesOnWhereItWas(phase: Rotation.Phase) throws {
        var bench = try self.bench(in: phase)
        let before = bench.machine.state
        bench.published = []
        bench.makes = false
        try bench.restart()
        // Nobody is connected who could be waited for to forget the old root, and so it is over.
        if phase != .retiring { #expect(bench.machine.state == before) }
        #expect(bench.published.first == bench.machine.bundle)
        bench.makes = true
        if phase == .making { bench.perform(bench.machine.pendingActions(now: bench.now)) }
        // It is away until it is back, and waited for all the same.
        if phase != .retiring { #expect(bench.phase != nil) }
        bench.tell(.connected(Bench.holder(1)))
        bench.tell(.bundleRequested(Bench.holder(1)))
        finish(&bench)
        #expect(bench.phase == nil)
        #expect(bench.root == AuthorityID("R3"))
    }

    @Test func aKeyIsDestroyedThoughACrashCameBetween() throws {
        var bench = Bench()
        bench.perform(try bench.machine.rotate(.intermediate, now: bench.now))
        var machine = bench.machine
        let actions = try machine.rotate(.intermediate, now: bench.now)
        #expect(!actions.isEmpty)
        _ = machine.handle(
            .madeIntermediate(
                AuthorityID("I9"), under: AuthorityID("R1"), validity: bench.now..<(bench.now + .days(365))),
            now: bench.now)
        #expect(!machine.state.toForget.isEmpty)
        var restored = AuthorityMachine(policy: machine.policy, restoring: machine.state, holders: [])
        let again = restored.pendingActions(now: bench.now)
        for id in machine.state.toForget { #expect(again.contains(.forget(id))) }
    }
}
