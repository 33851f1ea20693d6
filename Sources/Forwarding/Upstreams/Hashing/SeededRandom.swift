import Time

/// A quick random generator, the same for the same seed: choices of hosts, jitter, shares. Not for secrets.
/// Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (SplitMix64).
public struct SeededRandom: RandomNumberGenerator, Sendable {
    private var state: UInt64

    public init(seed: UInt64) {
        state = seed
    }

    public mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    /// A number under `bound`, which is at least 1.
    public mutating func below(_ bound: Int) -> Int {
        Int(truncatingIfNeeded: next().multipliedFullWidth(by: UInt64(bound)).high)
    }

    /// A number from 0 up to, but without, 1.
    public mutating func unit() -> Double {
        Double(next() >> 11) * 0x1p-53
    }

    /// Whether a share of so many percent is hit.
    public mutating func hits(percent: Int) -> Bool {
        percent >= 100 || (percent > 0 && below(100) < percent)
    }

    /// A duration under `bound`, in whole milliseconds; none where `bound` is less than one.
    mutating func jitter(_ bound: Duration) -> Duration {
        let milliseconds = bound.nanoseconds / 1_000_000
        return milliseconds > 0 ? .milliseconds(below(Int(milliseconds))) : .zero
    }
}
