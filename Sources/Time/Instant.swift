/// A moment on a monotonic clock, in nanoseconds since an arbitrary origin (the machine's boot, or a
/// simulation's start). For deadlines and ages; never for validity: see ``Timestamp``.
public struct Instant: InstantProtocol, Hashable, Sendable {
    public var nanoseconds: Int64

    public init(nanoseconds: Int64) {
        self.nanoseconds = nanoseconds
    }

    public func advanced(by duration: Duration) -> Instant {
        let (sum, overflows) = nanoseconds.addingReportingOverflow(duration.nanoseconds)
        // A deadline that no clock reaches stays ahead.
        return Instant(nanoseconds: overflows ? (duration < .zero ? .min : .max) : sum)
    }

    public func duration(to other: Instant) -> Duration {
        .nanoseconds(other.nanoseconds &- nanoseconds)
    }

    public static func < (left: Instant, right: Instant) -> Bool {
        left.nanoseconds < right.nanoseconds
    }
}

extension Duration {
    /// The whole duration in nanoseconds, clamped to what 64 bits hold (292 years).
    public var nanoseconds: Int64 {
        // 10^9 is 2^9 times 5^9: up to an hour that saves a division of 128 bits.
        let halved = attoseconds >> 9
        if let part = Int64(exactly: halved), part >= 0 { return part / 1_953_125 }
        let (seconds, attoseconds) = components
        let (product, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        let (sum, overflow2) = product.addingReportingOverflow(attoseconds / 1_000_000_000)
        guard overflow || overflow2 else { return sum }
        return seconds < 0 ? .min : .max
    }
}
