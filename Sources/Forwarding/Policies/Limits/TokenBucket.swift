import CEnvoyAPI
import EnvoyAPI
import Synchronization
import Time

/// So many at once, and so many per time: shared by all workers without a lock. It fills continuously, as Envoy's does
/// (`AtomicTokenBucketImpl`), and is full at first.
public final class TokenBucket: Sendable {
    public let capacity: UInt32
    /// Nanoseconds in which one token comes.
    private let interval: Double
    /// The time in which it fills, in nanoseconds. A bucket that would take longer than a clock runs (146 years) is as
    /// large as what comes in that time.
    private let full: Double
    /// When the bucket would have been empty, in nanoseconds: what it holds is the time since, up to its capacity.
    private let emptied = Atomic<Int64>(.min)

    private static let longest = Double(Int64.max / 2)
    private static let hour = 3600e9

    public init(capacity: UInt32, tokensPerFill: UInt32 = 1, fillInterval: Duration) {
        self.capacity = capacity
        let exact = Double(max(1, fillInterval.nanoseconds)) / Double(max(1, tokensPerFill))
        // Where tokens come so seldom that the first would hardly be seen, their number at first counts for more.
        interval = exact <= Self.hour ? exact : max(Self.hour, min(exact, Self.longest / Double(max(1, capacity))))
        full = min(Double(capacity) * interval, Self.longest)
    }

    /// One that is filled as this one, and full.
    public init(like other: TokenBucket) {
        (capacity, interval, full) = (other.capacity, other.interval, other.full)
    }

    convenience init(_ message: EnvoyAPI.TokenBucket) throws(ConfigurationError) {
        guard message.max_tokens > 0 else { throw .invalid(path: "max_tokens", message: "0 lets nobody through") }
        let fill = message.tokens_per_fill.number ?? 1
        guard fill > 0 else { throw .invalid(path: "tokens_per_fill", message: "0 never fills the bucket") }
        guard let interval = try message.fill_interval.duration("fill_interval"), interval > .zero else {
            throw .invalid(path: "fill_interval", message: "a time above 0 is needed")
        }
        self.init(capacity: message.max_tokens, tokensPerFill: fill, fillInterval: interval)
    }

    /// Takes one token.
    /// - Returns: false if there is none.
    public func take(now: Instant) -> Bool {
        while true {
            let old = emptied.load(ordering: .relaxed)
            // Other workers' clocks may be a little ahead.
            let held = old == .min ? full : min(full, max(0, Double(now.nanoseconds &- old)))
            // Of large numbers the last digits are not exact: a token is not lost to them.
            guard held >= interval * (1 - 1e-9) else { return false }
            let new = now.nanoseconds &- Int64(max(0, held - interval).rounded(.down))
            if emptied.compareExchange(expected: old, desired: new, ordering: .relaxed).exchanged { return true }
        }
    }
}

extension SupportedFields {
    static let tokenBucket = SupportedFields([
        "envoy.type.v3.TokenBucket": "max_tokens tokens_per_fill fill_interval"
    ])
}
