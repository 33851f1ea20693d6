import Time

/// What one client runs of one type, as three separate facts: sent, acknowledged, refused.
public struct TypeStatus: Hashable, Sendable {
    /// A NACK that stands: the client runs something else than it was sent.
    public struct Rejection: Hashable, Sendable {
        /// The version of the refused response.
        public var version: String
        /// The client's words, cut to ``StreamLimits/errorDetailBytes``.
        public var detail: ErrorDetail
        /// When the NACK came.
        public var at: Instant
    }

    /// The facts in one word.
    public enum State: String, Hashable, Sendable {
        /// Subscribed to, and nothing was sent yet.
        case waiting
        /// A response waits for its ACK or NACK.
        case pending
        /// The last response was acknowledged, and no NACK stands.
        case synced
        /// The client refused something that it was not sent a replacement for.
        case rejected
    }

    /// Which type this is about.
    public var type: ResourceType
    /// Whether the client takes everything of the type.
    public var isWildcard: Bool
    /// How many names the client subscribed to.
    public var nameCount: Int
    /// nil: nothing was sent, and no version was confirmed on reconnect.
    public var sentVersion: String?
    /// The version that the client last accepted; nil: none on this stream.
    public var acknowledgedVersion: String?
    /// nil: the client refused nothing that still stands.
    public var rejection: Rejection?
    /// Since when a response waits for its ACK or NACK.
    public var pendingSince: Instant?
    /// Whether the client has not answered to all that its view shows.
    public var isBehind = false

    /// The facts in one word; a NACK goes before all else.
    public var state: State {
        if rejection != nil { return .rejected }
        if pendingSince != nil { return .pending }
        return sentVersion == nil ? .waiting : .synced
    }
}

/// One stream, as an operator sees it.
public struct StreamStatus: Hashable, Sendable {
    /// The node's id; empty before the first request.
    public var node: String
    /// The view that the owner found for the node.
    public var view: ViewName?
    /// Whether the client speaks the incremental variant.
    public var isDelta: Bool
    /// The service that the client called.
    public var service: DiscoveryService
    /// The types subscribed to, in the order of ``ResourceType/all``.
    public var types: [TypeStatus]
    /// nil: connected.
    public var closedAt: Instant?
}

/// All streams of a server: the connected ones, and a bounded number of those that went, newest last.
public struct StatusTable: Sendable {
    /// The owner's number for a stream; never used twice.
    public struct StreamID: Hashable, Comparable, Sendable {
        /// The number that the owner gave.
        public var number: UInt64
        /// The stream of this number.
        public init(_ number: UInt64) { self.number = number }
        /// By number.
        public static func < (left: StreamID, right: StreamID) -> Bool { left.number < right.number }
    }

    /// How many streams that ended are shown.
    public let closedLimit: Int
    private var connected: [StreamID: StreamStatus] = [:]
    private var closed: [(id: StreamID, status: StreamStatus)] = []

    /// - Parameter closedLimit: how many streams that ended are remembered.
    public init(closedLimit: Int = 1000) {
        self.closedLimit = closedLimit
    }

    /// Notes what a stream says of itself now.
    public mutating func record(_ status: StreamStatus, for id: StreamID) {
        connected[id] = status
    }

    /// Notes the end of a stream; its last status stays among the newest closed ones.
    public mutating func close(_ id: StreamID, now: Instant) {
        guard var status = connected.removeValue(forKey: id) else { return }
        status.closedAt = now
        closed.append((id, status))
        // Twice the limit before the oldest half goes, so that a close costs constant time on average.
        if closed.count > 2 * closedLimit { closed.removeFirst(closed.count - closedLimit) }
    }

    /// How many streams are connected.
    public var connectedCount: Int { connected.count }

    /// The connected streams, by node and then by number.
    public var connectedStreams: [(id: StreamID, status: StreamStatus)] {
        connected.map { ($0.key, $0.value) }.sorted { ($0.1.node, $0.0) < ($1.1.node, $1.0) }
    }

    /// The streams that ended, oldest first; at most ``closedLimit``.
    public var closedStreams: [(id: StreamID, status: StreamStatus)] { closed.suffix(closedLimit) }

    /// The connected streams with a NACK that stands.
    public var rejectedStreams: [(id: StreamID, status: StreamStatus)] {
        connectedStreams.filter { $0.status.types.contains { $0.state == .rejected } }
    }
}

extension StreamCore {
    func status(in view: ViewName?, showing shown: Snapshot?) -> StreamStatus {
        StreamStatus(
            node: nodeID ?? "", view: view, isDelta: form == .delta, service: service,
            types: states.compactMap { $0.status(at: (shown ?? snapshot)?[$0.type]) })
    }
}

extension TypeState {
    fileprivate func status(at current: ResourceSet?) -> TypeStatus? {
        guard let subscription else { return nil }
        let isBehind = !subscription.isEmpty && !(isReady && held === current && owed.isEmpty)
        return TypeStatus(
            type: type, isWildcard: subscription.isWildcard, nameCount: subscription.names.count,
            sentVersion: sentVersion.isEmpty ? nil : sentVersion,
            acknowledgedVersion: acknowledgedVersion.isEmpty ? nil : acknowledgedVersion,
            rejection: rejection.map { .init(version: $0.version, detail: $0.detail, at: $0.at) },
            pendingSince: inFlight == nil ? nil : sentAt, isBehind: isBehind)
    }
}

extension StreamCore {
    /// The types that the client has asked for, whether or not it holds names of them now.
    var subscribedTypes: [ResourceType] {
        // By index: asked after each request, and a state that is taken out of the array is a copy.
        states.indices.compactMap { states[$0].subscription == nil ? nil : states[$0].type }
    }
}

extension DeltaStream {
    /// The types that the client has asked for. Cheaper than ``status(in:)``.
    public var subscribedTypes: [ResourceType] { core.subscribedTypes }

    /// - Parameters:
    ///   - view: the view that the owner found for the node.
    ///   - shown: what the view shows now; nil: what the stream was last told.
    public func status(in view: ViewName?, showing shown: Snapshot? = nil) -> StreamStatus {
        core.status(in: view, showing: shown)
    }
}

extension StateOfTheWorldStream {
    /// The types that the client has asked for. Cheaper than ``status(in:)``.
    public var subscribedTypes: [ResourceType] { core.subscribedTypes }

    /// - Parameters:
    ///   - view: the view that the owner found for the node.
    ///   - shown: what the view shows now; nil: what the stream was last told.
    public func status(in view: ViewName?, showing shown: Snapshot? = nil) -> StreamStatus {
        core.status(in: view, showing: shown)
    }
}
