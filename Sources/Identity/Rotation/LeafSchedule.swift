import Time

/// When a workload's certificate is renewed: at half its life ± jitter; and when it fails, again and again.
public struct LeafSchedule: Hashable, Codable, Sendable {
    /// When it was issued: not its notBefore, which lies in the past by the backdate.
    public let issuedAt: Timestamp
    public let notAfter: Timestamp
    /// When to try next.
    public private(set) var nextAttempt: Timestamp
    /// Attempts that failed since the last success.
    public private(set) var failures = 0

    /// Of the first try again; it doubles from there.
    public static let firstRetry = Duration.seconds(1)

    /// - Parameters:
    ///   - jitter: the largest deviation from half of the life, as a share of the life: 0 ... 0.2.
    ///   - chance: from the caller, 0 ... 1; 0.5 is half the life exactly.
    public init(issuedAt: Timestamp, notAfter: Timestamp, jitter: Double, chance: Double) {
        self.issuedAt = issuedAt
        self.notAfter = notAfter
        let share = 0.5 + min(max(jitter, 0), 0.2) * (2 * min(max(chance, 0), 1) - 1)
        nextAttempt = issuedAt + .nanoseconds(Int64(Double((notAfter - issuedAt).nanoseconds) * share))
    }

    /// The longest pause between attempts: a sixteenth of the second half of the life, so that there are several
    /// attempts before the end however long the life is; at most ten minutes.
    public var longestRetry: Duration { min(max((notAfter - issuedAt) / 32, .milliseconds(50)), .seconds(600)) }

    /// An attempt failed: the next comes after a pause that doubles, with full jitter over its second half.
    public mutating func failed(now: Timestamp, chance: Double) {
        let doubled = Self.firstRetry * (1 << min(failures, 20))
        let pause = min(doubled, longestRetry)
        failures += 1
        nextAttempt = now + pause / 2 + .nanoseconds(Int64(Double((pause / 2).nanoseconds) * min(max(chance, 0), 1)))
    }

    /// Not before then: the caller knows that an attempt would fail.
    public mutating func wait(until moment: Timestamp) { nextAttempt = max(nextAttempt, moment) }

    /// Renew at once: its issuer signs no more, or its holder came back.
    public mutating func hasten(now: Timestamp) { nextAttempt = min(nextAttempt, now) }

    /// Three quarters of the life are over and there is no successor: worth a warning.
    public func isLate(now: Timestamp) -> Bool { now >= issuedAt + (notAfter - issuedAt) / 4 * 3 }
}

/// The validity of a new certificate within its issuer's.
public struct LeafValidity: Hashable, Sendable {
    public let validity: Range<Timestamp>
    /// Whether it ends before what was asked for, because the issuer does.
    public let isShortened: Bool

    /// - Parameters:
    ///   - wanted: life from `now` on.
    ///   - backdate: how much earlier it begins, against skewed clocks; not before the issuer.
    ///   - issuers: validities of all above it: it lies within each.
    /// - Returns: `nil` if nothing would be left from `now` on.
    public static func clamped(
        _ wanted: Duration, backdate: Duration, within issuers: [Range<Timestamp>], now: Timestamp
    ) -> LeafValidity? {
        let start = issuers.reduce(now - backdate) { max($0, $1.lowerBound) }
        let end = issuers.reduce(now + wanted) { min($0, $1.upperBound) }
        guard start <= now, end > now else { return nil }
        return LeafValidity(validity: start..<end, isShortened: end < now + wanted)
    }
}
