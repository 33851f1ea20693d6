import Testing
import Time

@testable import Agent

struct RenewalPlanTests {
    private let start = Timestamp(seconds: 1_000_000)

    @Test func theFirstAttemptIsDueAndThenPausesGrowToABound() {
        var plan = RenewalPlan()
        #expect(plan.nextAttempt <= start)
        var pauses: [Duration] = []
        for _ in 0..<8 {
            plan.failed(now: start, chance: 1)
            pauses.append(plan.nextAttempt - start)
        }
        #expect(
            pauses.map { Double($0.nanoseconds) / 1e9 } == [0.5, 1, 2, 4, 8, 15, 15, 15])
        plan.hasten(now: start)
        #expect(plan.nextAttempt == start)
    }

    @Test func aCertificateIsRenewedAroundHalfItsLife() {
        for (chance, share) in [(0.0, 0.4), (0.5, 0.5), (1.0, 0.6)] {
            var plan = RenewalPlan()
            plan.obtained(issuedAt: start, notAfter: start + .seconds(1000), chance: chance)
            #expect(abs((plan.nextAttempt - start).nanoseconds - Int64(share * 1e12)) < 1000)
        }
    }

    @Test func eachCertificateIsWarnedOfOnceBeforeItsEndAndOnceAfter() {
        var plan = RenewalPlan()
        #expect(plan.warning(now: start) == nil)
        plan.obtained(issuedAt: start, notAfter: start + .seconds(100), chance: 0.5)
        #expect(plan.warning(now: start + .seconds(74)) == nil)
        #expect(plan.warning(now: start + .seconds(75)) == .nearsEnd(secondsLeft: 25))
        #expect(plan.warning(now: start + .seconds(80)) == nil)
        #expect(plan.warning(now: start + .seconds(100)) == .hasEnded)
        #expect(plan.warning(now: start + .seconds(200)) == nil)
        plan.obtained(issuedAt: start + .seconds(200), notAfter: start + .seconds(300), chance: 0.5)
        #expect(plan.warning(now: start + .seconds(290)) == .nearsEnd(secondsLeft: 10))
    }

    /// A control plane that says one thing and does another is not asked without end.
    @Test func anAuthorityThatNeverIssuesIsNotAskedForEver() {
        var plan = RenewalPlan()
        var pauses: [Duration] = []
        while let pause = plan.pauseForForeignIssuer(), pauses.count < 100 { pauses.append(pause) }
        #expect(pauses == [.zero, .seconds(1), .seconds(2), .seconds(4)])
        plan.issuerSettled()
        #expect(plan.pauseForForeignIssuer() == .zero)
    }
}
