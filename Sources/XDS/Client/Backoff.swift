import Time

/// How long to wait between attempts to reach a server, from the start of one attempt to the start of the next.
/// Source: gRPC, "Connection Backoff Protocol".
public struct Backoff: Equatable, Sendable {
    public var initial: Duration
    /// The factor from one failed attempt to the next; 1 or more.
    public var multiplier: Double
    /// The longest wait before jitter.
    public var maximum: Duration
    /// The largest part of a wait that is added or taken away at random, 0 to 1.
    public var jitter: Double

    public init(
        initial: Duration = .seconds(1), multiplier: Double = 1.6, maximum: Duration = .seconds(120),
        jitter: Double = 0.2
    ) {
        self.initial = initial
        self.multiplier = multiplier
        self.maximum = maximum
        self.jitter = jitter
    }

    /// The wait after the given number of failures in a row, without jitter.
    /// - Parameter failures: 1 after the first failed attempt.
    func wait(after failures: Int) -> Duration {
        var seconds = initial.inSeconds
        let most = min(maximum.inSeconds, 1e9)
        // With a multiplier of 1 the waits never reach the maximum, however many failures there are.
        guard multiplier > 1 else { return .nanoseconds(Int64(min(seconds, most) * 1e9)) }
        var remaining = failures - 1
        while remaining > 0, seconds < most {
            seconds *= multiplier
            remaining -= 1
        }
        return .nanoseconds(Int64(min(seconds, most) * 1e9))
    }

    /// The wait after the given number of failures in a row, with jitter.
    public func wait(after failures: Int, using generator: inout some RandomNumberGenerator) -> Duration {
        let base = wait(after: failures).inSeconds
        let factor = jitter > 0 ? 1 + Double.random(in: -jitter...jitter, using: &generator) : 1
        return .nanoseconds(Int64(base * factor * 1e9))
    }
}

extension Duration {
    fileprivate var inSeconds: Double { Double(nanoseconds) / 1e9 }
}

/// Random numbers that a seed determines, so that a run can be replayed. Not for secrets. Source: SplitMix64.
struct SeededGenerator: RandomNumberGenerator, Sendable {
    private var state: UInt64

    init(seed: UInt64) {
        state = seed
    }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
