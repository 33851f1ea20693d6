import Time

/// An xDS client as a value: aggregated streams, state-of-the-world or delta, to one of several servers. No socket,
/// clock or thread inside: it takes what the transport received and the moment, and returns what is to be done.
///
/// Who runs it keeps to this:
/// - carries out the actions in order;
/// - after each call asks ``nextDeadline``, and calls ``tick(now:)`` then;
/// - calls ``streamOpened(_:now:)`` once the stream can carry messages, and ``streamClosed(_:reason:now:)`` once
///   when it ended or could not be opened, but not after ``Action/closeStream(_:)``;
/// - between ``sendingPaused(_:)`` and ``sendingResumed(_:now:)`` gets nothing to send, and should not read either.
///
/// The update, removal and absence actions, taken alone, tell the whole of what the client holds.
///
/// Sources: Envoy, "xDS REST and gRPC protocol"; gRFC A40, A46, A57, A71, A88; xRFC TP1, TP3.
public struct DiscoveryClient: Sendable {
    public enum RemovalReason: Equatable, Sendable {
        /// Named as removed, or absent from a full set.
        case removedByServer
        /// Its time to live passed without a heartbeat.
        case expired
        /// Nobody wants it any more.
        case unsubscribed
        /// See ``DataErrorPolicy/drop``.
        case dataError
    }

    public enum Action: Equatable, Sendable {
        case openStream(StreamID)
        case closeStream(StreamID)
        case send(DiscoveryRequest, StreamID)
        case sendDelta(DeltaDiscoveryRequest, StreamID)
        /// A resource is new or has changed.
        case update(ResourceType, HeldResource)
        /// A resource that was held is held no more.
        case removed(ResourceType, name: String, RemovalReason)
        /// A name that was asked for has no resource. One may still come later.
        case doesNotExist(ResourceType, name: String)
        /// One resource of a response was not usable; the last good one, if any, stays. The name is nil when it
        /// cannot be known.
        case rejected(ResourceType, name: String?, version: String, reason: String)
        /// The server says why it cannot send a resource; the last good one, if any, stays.
        case receivedError(ResourceType, name: String, ErrorDetail)
        case ackSent(ResourceType, version: String, nonce: String)
        case nackSent(ResourceType, version: String, nonce: String, ErrorDetail)
        /// A response that nothing was asked for; not answered.
        case ignoredResponse(typeURL: String, nonce: String, reason: String)
        /// A stream ended after a response: nothing to worry about. Source: gRFC A57.
        case streamEnded(StreamID, reason: String)
        /// A stream could not be opened, or ended before a response.
        case connectionFailed(StreamID, reason: String)
        /// This server's word counts from now on.
        case serverInUse(Int)
        /// No server can be reached that could help. What is held stays in use.
        case unreachable(reason: String)
    }

    public let configuration: Configuration
    let validate: ResourceValidator
    var generator: SeededGenerator
    /// By ``ResourceType/order``.
    var types: [TypeCache] = ResourceType.all.map { TypeCache(type: $0) }
    var servers: [ServerLink]
    /// The last server of the list that is being asked: those behind it are not needed now.
    var lastAsked = 0
    var serverInUse: Int?
    var isUnreachable = false
    var attempts = 0
    var deadlines = DeadlineQueue()
    var keptResources = 0
    var keptBytes = 0
    var wantedNames = 0
    var collected: [Action] = []

    /// - Parameters:
    ///   - seed: determines the jitter; take it from the system's randomness, or from a simulation's seed.
    ///   - validate: judges each received resource.
    /// - Throws: `.noServers`.
    public init(
        configuration: Configuration, seed: UInt64, validate: @escaping ResourceValidator
    ) throws(DiscoveryClientError) {
        guard !configuration.servers.isEmpty else { throw .noServers }
        self.configuration = configuration
        self.validate = validate
        generator = SeededGenerator(seed: seed)
        servers = configuration.servers.map { _ in ServerLink() }
    }

    // MARK: What the user wants

    /// Subscribes to resources by name, or with `*` to all. Names that are subscribed to already are left alone.
    /// The first subscription opens a stream.
    /// - Throws: `.emptyName`, `.nulInName`, `.tooManyNames`; then nothing has changed.
    public mutating func subscribe(
        _ type: ResourceType, to names: [String], now: Instant
    ) throws(DiscoveryClientError) -> [Action] {
        var added: Set<String> = []
        for name in names {
            guard !name.isEmpty else { throw .emptyName(type) }
            guard !name.utf8.contains(0) else { throw .nulInName(type, name: name) }
            let canonical = canonicalResourceName(name)
            if !types[type.order].wanted.contains(canonical) { added.insert(canonical) }
        }
        guard wantedNames + added.count <= configuration.limits.names else {
            throw .tooManyNames(limit: configuration.limits.names)
        }
        guard !added.isEmpty else { return [] }
        wantedNames += added.count
        types[type.order].wanted.formUnion(added)
        for name in added where name != "*" && types[type.order].entries[name] == nil {
            types[type.order].entries[name] = CacheEntry()
        }
        for server in servers.indices {
            for name in added { servers[server].stream?.subscriptions[type.order].add(name) }
        }
        if servers[0].isIdle { connect(to: 0, now: now) }
        flushAll(now: now)
        askFurtherServers(now: now)
        return settle()
    }

    /// Takes subscriptions back, and drops what nothing else asks for. Names that are not subscribed to are left
    /// alone. With the last subscription the streams are closed; so subscribe to what is wanted next before.
    public mutating func unsubscribe(_ type: ResourceType, from names: [String], now: Instant) -> [Action] {
        let gone = Set(names.map(canonicalResourceName)).intersection(types[type.order].wanted).sorted()
        guard !gone.isEmpty else { return [] }
        wantedNames -= gone.count
        types[type.order].wanted.subtract(gone)
        for server in servers.indices {
            for name in gone { servers[server].stream?.subscriptions[type.order].remove(name) }
        }
        for name in gone where name != "*" {
            let canonical = types[type.order].canonicalNames.removeValue(forKey: name) ?? name
            forget(canonical, of: type)
        }
        if gone.contains("*") {
            types[type.order].syncedServer = nil
            for name in types[type.order].entries.keys.sorted() { forget(name, of: type) }
        }
        if wantedNames == 0 { closeAll() } else { flushAll(now: now) }
        return settle()
    }

    /// Drops what is known of a name, unless a subscription still asks for it.
    private mutating func forget(_ name: String, of type: ResourceType) {
        guard let entry = types[type.order].entries[name] else { return }
        if types[type.order].isWanted(name) {
            // The wildcard may cover the name, but a name without a resource was there for the subscription only.
            if entry.holding == nil, !types[type.order].wanted.contains(name) { types[type.order].entries[name] = nil }
        } else if entry.holding != nil {
            remove(name, of: type, because: .unsubscribed)
        } else {
            types[type.order].entries[name] = nil
        }
    }

    // MARK: What the client knows

    /// The resources held of a type, sorted by name.
    public func resources(of type: ResourceType) -> [HeldResource] {
        types[type.order].entries.values.compactMap { $0.holding?.resource }.sorted { $0.name < $1.name }
    }

    /// The resource of that name or alias, if it is held.
    public func resource(_ type: ResourceType, named name: String) -> HeldResource? {
        let cache = types[type.order]
        return cache.entries[cache.resolved(canonicalResourceName(name))]?.holding?.resource
    }

    /// What is known of a name or alias; nil when nobody asked for it and nothing of that name came.
    public func status(of type: ResourceType, named name: String) -> ResourceStatus? {
        let cache = types[type.order]
        return cache.status(of: cache.resolved(canonicalResourceName(name)))
    }

    /// What is known of each name, by type and name. Source: gRFC A40.
    public var statuses: [ResourceStatus] {
        types.flatMap { cache in cache.entries.keys.sorted().compactMap(cache.status(of:)) }
    }

    // MARK: Time

    /// When ``tick(now:)`` has something to do; nil while only the transport or the user can start something.
    public var nextDeadline: Instant? {
        var next = deadlines.first?.deadline
        for link in servers {
            for deadline in [link.retryAt, link.openingDeadline].compactMap({ $0 }) {
                next = next.map { min($0, deadline) } ?? deadline
            }
        }
        return next
    }

    /// Does what is due. May be called at any time.
    public mutating func tick(now: Instant) -> [Action] {
        fireDeadlines(now: now)
        for server in servers.indices {
            if let deadline = servers[server].openingDeadline, deadline <= now, let stream = servers[server].stream {
                collected.append(.closeStream(stream.id))
                let seconds = configuration.connectTimeout.components.seconds
                streamEnded(server, reason: "not connected within \(seconds) s", now: now)
            }
            if let retryAt = servers[server].retryAt, retryAt <= now { connect(to: server, now: now) }
        }
        askFurtherServers(now: now)
        return settle()
    }

    /// Hands out what was collected, and sweeps deadlines that no longer hold, so that ``nextDeadline`` is exact.
    mutating func settle() -> [Action] {
        while let first = deadlines.first, !isLive(first) { _ = deadlines.removeFirst() }
        if deadlines.needsSweep {
            var queue = DeadlineQueue()
            swap(&queue, &deadlines)
            queue.removeAll { !isLive($0) }
            deadlines = queue
        }
        defer { collected = [] }
        return collected
    }
}
