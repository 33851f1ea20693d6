import Time

/// Which of the keys that sign JWT-SVIDs signs now, and which are published, as a value.
///
/// A new key is published for a while before it signs, so that whoever verifies has fetched it by then; an old key stays
/// published until the last token that it signed is past.
public struct JWTKeyRing: Hashable, Sendable {
    /// A key, and what it is for at which time.
    public struct Key: Hashable, Sendable {
        public var id: String
        public var madeAt: Timestamp
        /// From then on it signs, until the next key's moment.
        public var signsFrom: Timestamp

        public init(id: String, madeAt: Timestamp, signsFrom: Timestamp) {
            (self.id, self.madeAt, self.signsFrom) = (id, madeAt, signsFrom)
        }
    }

    /// How long keys and tokens live.
    public struct Policy: Hashable, Sendable {
        /// How long a key signs.
        public var signing = Duration.seconds(7 * 86_400)
        /// How long a key is published before it signs.
        public var announcement = Duration.seconds(86_400)
        /// The longest validity of a token.
        public var longestToken = Duration.seconds(3600)
        /// How far a verifier's clock may be behind.
        public var skew = Duration.seconds(300)

        public init() {}
    }

    /// What is to be done.
    public enum Action: Hashable, Sendable {
        /// Make a key and tell by ``made(_:now:)``.
        case make
        /// Destroy a key: nothing that it signed is valid.
        case forget(String)
    }

    public let policy: Policy
    /// Oldest first; all of them are published.
    public private(set) var keys: [Key]

    public init(policy: Policy = Policy(), keys: [Key] = []) {
        self.policy = policy
        self.keys = keys.sorted { ($0.signsFrom, $0.id) < ($1.signsFrom, $1.id) }
    }

    /// The key that signs; nil before there is one.
    public func signing(now: Timestamp) -> Key? { keys.last { $0.signsFrom <= now } ?? keys.first }

    /// What is due. To be called at ``nextDeadline``, and at the start.
    public mutating func tick(now: Timestamp) -> [Action] {
        var actions: [Action] = []
        while keys.count > 1, now >= retirement(of: 0) { actions.append(.forget(keys.removeFirst().id)) }
        if now >= makingTime { actions.append(.make) }
        return actions
    }

    /// A key was made, and is published from now on.
    public mutating func made(_ id: String, now: Timestamp) {
        // The first one signs at once: nobody has tokens of another, and who verifies fetches an unknown key.
        let isFirst = keys.isEmpty
        keys.append(Key(id: id, madeAt: now, signsFrom: isFirst ? now : now + policy.announcement))
    }

    /// When ``tick(now:)`` has something to do.
    public var nextDeadline: Timestamp {
        keys.count > 1 ? min(makingTime, retirement(of: 0)) : makingTime
    }

    private var makingTime: Timestamp {
        guard let last = keys.last else { return Timestamp(nanoseconds: .min) }
        return last.signsFrom + (policy.signing - policy.announcement)
    }

    private func retirement(of index: Int) -> Timestamp {
        keys[index + 1].signsFrom + (policy.longestToken + policy.skew)
    }
}
