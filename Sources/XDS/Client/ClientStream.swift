import Time

/// One attempt to hold a stream to one server. Never used again: what arrives late for an old stream is recognised.
public struct StreamID: Hashable, Sendable, CustomStringConvertible {
    /// Position in ``DiscoveryClient/Configuration/servers``.
    public var server: Int
    /// Counts the attempts of one client, from 1.
    public var attempt: Int

    public init(server: Int, attempt: Int) {
        self.server = server
        self.attempt = attempt
    }

    public var description: String { "\(server)#\(attempt)" }
}

/// The client's side of one stream: what the server has been told on it.
struct ClientStream: Sendable {
    enum Phase: Sendable {
        /// The transport connects; nothing is sent, and no resource counts as late.
        case opening(deadline: Instant)
        case open
        /// The transport takes no more for now.
        case paused
    }

    let id: StreamID
    let startedAt: Instant
    var openedAt: Instant?
    var phase: Phase
    var hasResponded = false
    /// Resources of another server came in after this one was told what is held.
    var mustBeginAnew = false
    var isNodeSent = false
    var waitingReplies = 0
    /// By ``ResourceType/order``.
    var subscriptions = [StreamSubscription](repeating: StreamSubscription(), count: ResourceType.all.count)

    var canSend: Bool {
        switch phase {
        case .open: true
        case .opening, .paused: false
        }
    }

    var isOpening: Bool {
        switch phase {
        case .opening: true
        case .open, .paused: false
        }
    }
}

/// An ACK or a NACK.
struct Reply: Equatable, Sendable {
    var nonce: String
    /// The version that is answered, for the record.
    var version: String
    /// nil in an ACK.
    var error: ErrorDetail?
}

/// One type on one stream: what the server knows that the client wants, and what it has yet to be told.
/// `*` is a name like others here.
struct StreamSubscription: Sendable {
    /// One request to make.
    struct Step: Equatable {
        var isFirst: Bool
        var subscribed: [String]
        var unsubscribed: [String]
        var reply: Reply?
    }

    private(set) var isRequested = false
    /// What the server has been told.
    private var told: Set<String> = []
    private var toSubscribe: Set<String> = []
    private var toUnsubscribe: Set<String> = []
    private(set) var replies: [Reply] = []
    /// Of the last response.
    private(set) var nonce = ""
    /// A list that was not empty has been sent: from then on an empty one means nothing, not everything.
    private var hasNamed = false
    private var sortedNames: [String]?

    /// What the server has been asked for, and need not be asked for again.
    var asked: Set<String> { toUnsubscribe.isEmpty ? told : told.subtracting(toUnsubscribe) }

    mutating func add(_ name: String) {
        // A name that is still to be taken back stays so: its resource was dropped, and only a new subscription
        // makes the server send it again.
        guard isRequested, !told.contains(name) || toUnsubscribe.contains(name) else { return }
        toSubscribe.insert(name)
    }

    mutating func remove(_ name: String) {
        toSubscribe.remove(name)
        if told.contains(name) { toUnsubscribe.insert(name) }
    }

    mutating func answer(_ reply: Reply) {
        nonce = reply.nonce
        replies.append(reply)
    }

    /// The next request to make; nil when the server knows all.
    mutating func nextStep(wanted: Set<String>) -> Step? {
        guard isRequested else {
            guard !wanted.isEmpty else { return nil }
            isRequested = true
            told = wanted
            return Step(isFirst: true, subscribed: wanted.sorted(), unsubscribed: [], reply: nil)
        }
        let reply = replies.isEmpty ? nil : replies.removeFirst()
        // Changes travel with the last reply: in state-of-the-world the server ignores what has an old nonce.
        guard replies.isEmpty else { return Step(isFirst: false, subscribed: [], unsubscribed: [], reply: reply) }
        let mustSplit = !toSubscribe.isDisjoint(with: toUnsubscribe)
        let subscribed = mustSplit ? [] : toSubscribe.sorted()
        let unsubscribed = toUnsubscribe.sorted()
        guard reply != nil || !subscribed.isEmpty || !unsubscribed.isEmpty else { return nil }
        if !subscribed.isEmpty || !unsubscribed.isEmpty {
            sortedNames = nil
            told.subtract(unsubscribed)
            told.formUnion(subscribed)
            toUnsubscribe = []
            if !mustSplit { toSubscribe = [] }
        }
        return Step(isFirst: false, subscribed: subscribed, unsubscribed: unsubscribed, reply: reply)
    }

    /// `resource_names_subscribe` of a step.
    static func subscribedNames(of step: Step, type: ResourceType) -> [String] {
        // The legacy wildcard, as Envoy sends it: older servers do not know the name `*`.
        step.isFirst && type.isFullState && step.subscribed == ["*"] ? [] : step.subscribed
    }

    /// `resource_names` of a state-of-the-world request.
    mutating func resourceNames(type: ResourceType) -> [String] {
        if type.isFullState, !hasNamed {
            if told == ["*"] { return [] }
            // An empty list would still be the legacy wildcard. The empty name matches nothing, and every server
            // takes it for a name.
            if told.isEmpty {
                hasNamed = true
                return [""]
            }
        }
        if let sortedNames { return sortedNames }
        let names = told.sorted()
        if !names.isEmpty { hasNamed = true }
        sortedNames = names
        return names
    }
}
