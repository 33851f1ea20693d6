import Identity
import Time

/// When to ask for a certificate and what to warn of: a value.
struct RenewalPlan: Sendable {
    /// What is told once for each certificate.
    enum Warning: Equatable, Sendable {
        /// Three quarters of its life are over.
        case nearsEnd(secondsLeft: Int64)
        case hasEnded
    }

    /// nil: there is no certificate yet.
    private var schedule: LeafSchedule?
    /// Attempts that failed while there was no certificate, and when to try next.
    private var firstFailures = 0
    private var nextFirstAttempt = Timestamp(nanoseconds: .min)
    private var warned: Set<Int> = []
    /// Certificates in a row that came from another authority than the one that is said to issue.
    private var foreignIssues = 0

    /// The longest pause between attempts as long as there is no certificate.
    static let longestFirstPause = Duration.seconds(15)
    /// Certificates in a row that may come from the wrong authority before the schedule alone counts.
    static let mostForeignIssues = 4

    var nextAttempt: Timestamp { schedule?.nextAttempt ?? nextFirstAttempt }

    func isLate(now: Timestamp) -> Bool { schedule?.isLate(now: now) ?? false }

    /// 0 without a certificate, or after its end.
    func secondsLeft(now: Timestamp) -> Int64 { schedule.map { max(0, ($0.notAfter - now).components.seconds) } ?? 0 }

    /// - Parameter chance: 0 ... 1.
    mutating func obtained(issuedAt: Timestamp, notAfter: Timestamp, chance: Double) {
        schedule = LeafSchedule(issuedAt: issuedAt, notAfter: notAfter, jitter: 0.1, chance: chance)
        firstFailures = 0
        warned = []
    }

    /// - Parameter chance: 0 ... 1.
    mutating func failed(now: Timestamp, chance: Double) {
        guard schedule == nil else {
            schedule?.failed(now: now, chance: chance)
            return
        }
        let pause = min(Duration.milliseconds(500) * (1 << min(firstFailures, 10)), Self.longestFirstPause)
        firstFailures += 1
        nextFirstAttempt = now + pause / 2 + .nanoseconds(Int64(Double((pause / 2).nanoseconds) * chance))
    }

    /// Ask at once.
    mutating func hasten(now: Timestamp) {
        schedule?.hasten(now: now)
        nextFirstAttempt = min(nextFirstAttempt, now)
    }

    mutating func warning(now: Timestamp) -> Warning? {
        guard let schedule else { return nil }
        if now >= schedule.notAfter { return warned.insert(1).inserted ? .hasEnded : nil }
        guard schedule.isLate(now: now), warned.insert(0).inserted else { return nil }
        return .nearsEnd(secondsLeft: secondsLeft(now: now))
    }

    /// The word of the control plane and what it does may be apart for a moment; for longer, the schedule is enough.
    /// - Returns: how long to wait before asking again because another authority is said to issue; nil: do not.
    mutating func pauseForForeignIssuer() -> Duration? {
        guard foreignIssues < Self.mostForeignIssues else { return nil }
        let pause = Duration.milliseconds(foreignIssues == 0 ? 0 : 500 << foreignIssues)
        foreignIssues += 1
        return pause
    }

    /// The certificate is of the authority that issues, or another one issues from now on.
    mutating func issuerSettled() { foreignIssues = 0 }
}
