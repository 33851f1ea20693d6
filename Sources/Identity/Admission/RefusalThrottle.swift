import Time

/// Slows peers that are refused again and again: the n-th refusal in a row is told 2ⁿ⁻² seconds late, up to 30 s; the
/// first at once. Bounded, whoever comes: with more peers than it can hold it forgets the one that was quiet longest.
public struct RefusalThrottle: Sendable {
    private struct Entry: Sendable {
        var refusals: Int
        var last: Instant
    }

    /// The longest delay.
    public static let longestDelay = Duration.seconds(30)
    /// A peer that was not refused for so long begins anew.
    public static let quiet = Duration.seconds(300)

    private let capacity: Int
    private var entries: [String: Entry] = [:]

    /// - Parameter capacity: peers that are remembered.
    public init(capacity: Int = 4096) {
        precondition(capacity > 0)
        self.capacity = capacity
    }

    /// Peers that are remembered.
    public var count: Int { entries.count }

    /// A peer is refused.
    /// - Parameter peer: its address without the port: that is what a peer cannot choose freely.
    /// - Returns: how long to wait before it is told.
    public mutating func refused(_ peer: String, now: Instant) -> Duration {
        var entry = entries[peer] ?? Entry(refusals: 0, last: now)
        if entry.last.duration(to: now) >= Self.quiet { entry.refusals = 0 }
        entry.refusals += 1
        entry.last = now
        if entries[peer] == nil, entries.count >= capacity { makeRoom() }
        entries[peer] = entry
        guard entry.refusals > 1 else { return .zero }
        return min(.seconds(1 << min(entry.refusals - 2, 10)), Self.longestDelay)
    }

    /// A peer was admitted: it begins anew.
    public mutating func admitted(_ peer: String) { entries[peer] = nil }

    /// Drops an eighth of the table at a time, those that were quiet longest, so that a crowd costs little each.
    private mutating func makeRoom() {
        let oldestFirst = entries.sorted { ($0.value.last, $0.key) < ($1.value.last, $1.key) }
        for (peer, _) in oldestFirst.prefix(max(1, capacity / 8)) { entries[peer] = nil }
    }
}
