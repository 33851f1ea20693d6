import Time

/// Peers whose clocks are certainly further off than is good: a value with a bound. A peer whose clock is right takes
/// no room.
public struct PeerClocks: Sendable {
    public struct Entry: Hashable, Sendable {
        public var skew: ClockSkew
        /// When it was heard last.
        public var heardAt: Timestamp
    }

    /// What became of a peer by what it said.
    public enum Change: Hashable, Sendable {
        case strayed, returned
    }

    /// Beyond this a peer is listed.
    public let tolerance: Duration
    private let capacity: Int
    public private(set) var entries: [HolderID: Entry] = [:]

    /// - Parameter capacity: peers that are listed; those beyond are not.
    public init(tolerance: Duration, capacity: Int = 1_000) {
        self.tolerance = tolerance
        self.capacity = capacity
    }

    /// A peer has stated its time. Only the last statement counts: clocks are set.
    /// - Returns: nil: it is listed as before, or as little.
    public mutating func heard(_ peer: HolderID, _ skew: ClockSkew, now: Timestamp) -> Change? {
        guard skew.exceeds(tolerance) else { return entries.removeValue(forKey: peer) == nil ? nil : .returned }
        let isListed = entries[peer] != nil
        guard isListed || entries.count < capacity else { return nil }
        entries[peer] = Entry(skew: skew, heardAt: now)
        return isListed ? nil : .strayed
    }

    /// Forgets those that were not heard since.
    public mutating func forget(heardBefore past: Timestamp) {
        if entries.isEmpty { return }
        entries = entries.filter { $0.value.heardAt >= past }
    }

    /// The largest first.
    public var list: [(peer: HolderID, entry: Entry)] {
        entries.map { (peer: $0.key, entry: $0.value) }.sorted {
            let (left, right) = ($0.entry.skew.size, $1.entry.skew.size)
            return left == right ? $0.peer < $1.peer : left > right
        }
    }

    /// Of the one that is furthest off; zero: of nobody is known that it is.
    public var largest: Duration { entries.values.map(\.skew.size).max() ?? .zero }
}

extension ClockSkew {
    /// ``estimate`` without its sign.
    public var size: Duration { estimate < .zero ? .zero - estimate : estimate }
}
