import Time

/// How far a peer's clock is off, from moments that it stated: bounds, for a message takes time and a certificate says
/// only "not before".
public struct ClockSkew: Hashable, Sendable {
    /// The peer's clock minus ours: at least, and at most, this. `nil`: not known.
    public private(set) var least: Duration?
    public private(set) var most: Duration?

    public init() {}

    /// The peer said that its clock reads `stated`, and we heard it at `now`: its clock is ahead by at least the
    /// difference; behind by at most that and the time that the message took.
    public mutating func heard(_ stated: Timestamp, takingAtMost travel: Duration, now: Timestamp) {
        let difference = stated - now
        least = max(least ?? difference, difference)
        most = min(most ?? difference + travel, difference + travel)
        if let low = least, let high = most, low > high {
            // The clock was set in between: only the last word counts.
            (least, most) = (difference, difference + travel)
        }
    }

    /// The peer took a certificate for not yet valid that begins at `notBefore`.
    public mutating func refusedAsEarly(_ notBefore: Timestamp, now: Timestamp) {
        let bound = notBefore - now
        most = min(most ?? bound, bound)
        if let low = least, low > bound { least = nil }
    }

    /// The peer took a certificate for past that ends at `notAfter`.
    public mutating func refusedAsPast(_ notAfter: Timestamp, now: Timestamp) {
        let bound = notAfter - now
        least = max(least ?? bound, bound)
        if let high = most, high < bound { most = nil }
    }

    /// The least skew that explains what was seen; zero if none is needed.
    public var estimate: Duration {
        if let least, least > .zero { return least }
        if let most, most < .zero { return most }
        return .zero
    }

    /// Whether the clock is certainly further off than certificates are made for.
    public func exceeds(_ allowance: Duration) -> Bool { estimate > allowance || estimate < .zero - allowance }
}
