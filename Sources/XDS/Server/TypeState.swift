import Time

/// One type on one stream. There are four of these on each of 10,000 streams: no map by resource, no text that is
/// not shared with a response.
struct TypeState: Sendable {
    let type: ResourceType
    /// nil: not subscribed to; the state only remembers what a later subscription must be sent.
    var subscription: Subscription?
    /// What the first request said of the past; nil once it was compared with a snapshot.
    var claim: Claim?
    /// What the client was sent and answered to, as far as its subscription covers it.
    var held: ResourceSet?
    /// The response that waits for its ACK or NACK.
    var inFlight: PreparedResponse?
    /// What the client holds once it has `inFlight`.
    var target: ResourceSet?
    var owed = Owed()
    /// Hash of the subset of `held` that is subscribed to; for state-of-the-world subscriptions by name.
    var digest = ContentHash.zero
    /// 0: nothing was sent.
    var lastNonce: UInt64 = 0
    var sentVersion = ""
    var acknowledgedVersion = ""
    var rejection: RejectionRecord?
    var sentAt = Instant.never
    var removalsWaitSince = Instant.never
    var additionsWaitSince = Instant.never
    var heartbeatAt = Instant.never
    var flags: Flags = []

    struct Flags: OptionSet {
        var rawValue: UInt8
        /// Some name was subscribed to: an empty list means nothing from now on.
        static let everNamed = Flags(rawValue: 1)
        /// Names were dropped: the next response says the version of what is left, even if it brings nothing.
        static let announcesVersion = Flags(rawValue: 2)
        /// The subscription changed since `digest` was computed.
        static let digestIsStale = Flags(rawValue: 4)
        /// The client came back with resources, and may not have subscribed yet to all that refers to them.
        static let isReconnecting = Flags(rawValue: 8)
    }

    init(_ type: ResourceType) {
        self.type = type
    }

    /// Subscribed to, compared with a snapshot, and no response under way.
    var isReady: Bool { subscription != nil && claim == nil && inFlight == nil }

    /// Whether the client was asked for nothing more, has everything, and did not refuse it.
    func isSettled(at current: ResourceSet) -> Bool {
        guard let subscription, !subscription.isEmpty else { return true }
        return isReady && held === current && owed.isEmpty && rejection == nil
    }

    func key(_ form: ResponseForm, from held: ResourceSet?) -> TransitionKey? {
        guard let subscription else { return nil }
        return TransitionKey(
            heldID: held?.id ?? 0, subscription: subscription, owed: owed, form: form,
            announcesVersion: flags.contains(.announcesVersion),
            isTainted: form != .delta && !type.listsEverything && rejection != nil)
    }
}

extension Instant {
    /// Stands for no moment where an optional would double the size.
    static let never = Instant(nanoseconds: .max)
}

/// What the first request for a type said of an earlier stream.
final class Claim: Sendable {
    /// State of the world: the version that the client last accepted.
    let version: String
    /// Delta: name to version of what the client holds.
    let versions: [String: String]
    /// Delta: the names that the first request subscribed to, in ascending order.
    let names: [String]

    init(version: String = "", versions: [String: String] = [:], names: [String] = []) {
        self.version = version
        self.versions = versions
        self.names = names
    }
}

/// A NACK that stands: the client runs something else than it was sent.
final class RejectionRecord: Sendable {
    let version: String
    let detail: ErrorDetail
    let at: Instant
    /// The names of the refused response that were not acknowledged since; empty where the next ACK is for all.
    let unresolved: [String]
    /// Those of them that the client's words name, as long as they are what the client refused.
    let suspects: [String]

    init(version: String, detail: ErrorDetail, at: Instant, unresolved: [String], suspects: [String]) {
        self.version = version
        self.detail = detail
        self.at = at
        self.unresolved = unresolved
        self.suspects = suspects
    }

    /// - Returns: nil when nothing of the refused response is left.
    func resolving(_ isResolved: (String) -> Bool) -> RejectionRecord? {
        let left = unresolved.filter { !isResolved($0) }
        if left.isEmpty { return nil }
        if left.count == unresolved.count { return self }
        return RejectionRecord(
            version: version, detail: detail, at: at, unresolved: left, suspects: suspects.filter { !isResolved($0) })
    }

    /// Takes those away from the suspects that are no longer what was refused.
    func clearing(_ isReplaced: (String) -> Bool) -> RejectionRecord {
        let left = suspects.filter { !isReplaced($0) }
        if left.count == suspects.count { return self }
        return RejectionRecord(version: version, detail: detail, at: at, unresolved: unresolved, suspects: left)
    }

    /// The names that a text mentions: whole words of it, without the punctuation that follows them.
    /// - Parameter names: in ascending order.
    static func names(_ names: [String], mentionedIn text: String) -> [String] {
        let words = text.split { $0.isWhitespace || "\"'`,;()[]{}<>".contains($0) }
        var found: [String] = []
        for word in words {
            var candidate = word
            while true {
                if names.containsSorted(String(candidate)) {
                    found.append(String(candidate))
                    break
                }
                guard let last = candidate.last, ".:!?".contains(last) else { break }
                candidate.removeLast()
            }
        }
        return found.sortedUnique()
    }
}
