import Time

/// What the client knows of one server of its list.
struct ServerLink: Sendable {
    var stream: ClientStream?
    var retryAt: Instant?
    /// Streams in a row that ended before a response.
    var failures = 0
    var lastFailure = ""
    /// By ``ResourceType/order``: the version of the last state-of-the-world response that was accepted whole.
    var versions = [String](repeating: "", count: ResourceType.all.count)
    /// By ``ResourceType/order``: whether nothing of a later, rejected response was used.
    var isVersionWhole = [Bool](repeating: true, count: ResourceType.all.count)
    /// By ``ResourceType/order``: the names that the server had been told when the version came.
    var versionNames = [Set<String>](repeating: [], count: ResourceType.all.count)
    /// By ``ResourceType/order``: names that were asked for so late that the version may not speak of them. The answer
    /// to the names before may have crossed the request on its way.
    var widenings = [Widening?](repeating: nil, count: ResourceType.all.count)

    struct Widening: Sendable {
        var names: Set<String>
        var isAnswered = false
    }

    /// Takes note that a response came. It was made after the request if it has a name of it, or if it followed the
    /// acknowledgement of a response that came after the request.
    mutating func noteResponse(of type: ResourceType, names: some Sequence<String>) {
        guard let widening = widenings[type.order] else { return }
        if widening.isAnswered || names.contains(where: widening.names.contains) {
            widenings[type.order] = nil
        } else {
            widenings[type.order]?.isAnswered = true
        }
    }

    var isIdle: Bool { stream == nil && retryAt == nil }

    /// Whether the last attempt failed, and no new one has got through.
    var isFailing: Bool { failures > 0 && stream?.isOpening != false }

    var openingDeadline: Instant? {
        switch stream?.phase {
        case .opening(let deadline): deadline
        case .open, .paused, nil: nil
        }
    }
}

extension DiscoveryClient {
    // MARK: What the transport tells

    /// The stream can carry messages: what is wanted is asked for, in the order in which a server sends it.
    public mutating func streamOpened(_ id: StreamID, now: Instant) -> [Action] {
        guard let stream = servers[id.server].stream, stream.id == id, stream.isOpening else { return [] }
        servers[id.server].stream?.phase = .open
        servers[id.server].stream?.openedAt = now
        flush(id.server, now: now)
        return settle()
    }

    /// The stream has ended, or could not be opened.
    /// - Parameter reason: for people, for example the gRPC status or the system's error.
    public mutating func streamClosed(_ id: StreamID, reason: String, now: Instant) -> [Action] {
        guard servers[id.server].stream?.id == id else { return [] }
        streamEnded(id.server, reason: reason, now: now)
        askFurtherServers(now: now)
        return settle()
    }

    /// The transport takes nothing more for this stream until ``sendingResumed(_:now:)``. What changes meanwhile
    /// is merged.
    public mutating func sendingPaused(_ id: StreamID) {
        guard let stream = servers[id.server].stream, stream.id == id, stream.canSend else { return }
        servers[id.server].stream?.phase = .paused
    }

    /// The transport takes messages again.
    public mutating func sendingResumed(_ id: StreamID, now: Instant) -> [Action] {
        guard let stream = servers[id.server].stream, stream.id == id, !stream.canSend, !stream.isOpening else {
            return []
        }
        servers[id.server].stream?.phase = .open
        flush(id.server, now: now)
        return settle()
    }

    // MARK: Connecting

    mutating func connect(to server: Int, now: Instant) {
        attempts += 1
        let id = StreamID(server: server, attempt: attempts)
        servers[server].retryAt = nil
        servers[server].stream = ClientStream(
            id: id, startedAt: now, phase: .opening(deadline: now.advanced(by: configuration.connectTimeout)))
        collected.append(.openStream(id))
    }

    /// Plans the next attempt. Waits count from the start of the attempt before, so a stream that ends after a
    /// response and a second or more is replaced at once, and one that ends sooner cannot make a busy loop.
    mutating func streamEnded(_ server: Int, reason: String, now: Instant) {
        guard let stream = servers[server].stream else { return }
        servers[server].stream = nil
        stopAwaiting(server: server)
        startAwaiting(now: now)
        // A server that has nothing new to say is silent. One that held the stream for longer than any wait is well.
        let isLongLived = !stream.isOpening && stream.startedAt.advanced(by: configuration.backoff.maximum) <= now
        if stream.hasResponded || isLongLived {
            servers[server].failures = 0
            collected.append(.streamEnded(stream.id, reason: reason))
        } else {
            servers[server].failures += 1
            servers[server].lastFailure = reason
            collected.append(.connectionFailed(stream.id, reason: reason))
        }
        let wait = configuration.backoff.wait(after: max(servers[server].failures, 1), using: &generator)
        let retryAt = stream.startedAt.advanced(by: wait)
        if retryAt <= now { connect(to: server, now: now) } else { servers[server].retryAt = retryAt }
    }

    /// Goes down the list of servers while those above cannot be reached and something is missing.
    /// Source: gRFC A71.
    mutating func askFurtherServers(now: Instant) {
        guard wantedNames > 0, servers[...lastAsked].allSatisfy(\.isFailing) else { return }
        if lastAsked + 1 < servers.count, types.contains(where: \.hasUnresolved) {
            lastAsked += 1
            isUnreachable = false
            connect(to: lastAsked, now: now)
        } else if !isUnreachable {
            isUnreachable = true
            let reasons = zip(configuration.servers, servers[...lastAsked]).map { "\($0): \($1.lastFailure)" }
            collected.append(.unreachable(reason: reasons.joined(separator: "; ")))
        }
    }

    /// A server has responded: it is well, and the servers behind it in the list are not needed.
    mutating func noteResponse(from server: Int, now: Instant) {
        servers[server].stream?.hasResponded = true
        servers[server].failures = 0
        isUnreachable = false
        if server < lastAsked {
            for further in (server + 1)...lastAsked { close(further) }
            lastAsked = server
            startAwaiting(now: now)
            let mustBeginAnew = holdsUnreported(to: server)
            servers[server].stream?.mustBeginAnew = mustBeginAnew
        }
        if serverInUse != server {
            serverInUse = server
            collected.append(.serverInUse(server))
        }
    }

    /// Whether the server cannot know of something that the wildcard made the client take from another one. It can
    /// only be told on a new stream: `initial_resource_versions` comes with the first request. In state-of-the-world
    /// the next full set tells.
    private func holdsUnreported(to server: Int) -> Bool {
        guard configuration.variant == .delta, let openedAt = servers[server].stream?.openedAt else { return false }
        return types.contains { cache in
            cache.wantsAll
                && cache.entries.values.contains { entry in
                    entry.holding.map { $0.server != server && $0.receivedAt >= openedAt } ?? false
                }
        }
    }

    /// Names whose wait ended with a stream wait for the other servers that have been asked for them.
    private mutating func startAwaiting(now: Instant) {
        for server in servers.indices {
            for type in ResourceType.all {
                guard let asked = servers[server].stream?.subscriptions[type.order].asked, !asked.isEmpty else {
                    continue
                }
                awaitAnswers(to: asked, of: type, from: server, now: now)
            }
        }
    }

    /// Ends what goes on with a server, without a plan to come back.
    private mutating func close(_ server: Int) {
        if let stream = servers[server].stream { collected.append(.closeStream(stream.id)) }
        servers[server].stream = nil
        servers[server].retryAt = nil
        servers[server].failures = 0
        stopAwaiting(server: server)
    }

    mutating func closeAll() {
        for server in servers.indices { close(server) }
        lastAsked = 0
        serverInUse = nil
        isUnreachable = false
    }

    // MARK: Requests

    mutating func flushAll(now: Instant) {
        for server in servers.indices { flush(server, now: now) }
    }

    /// Tells the server what it does not know yet.
    mutating func flush(_ server: Int, now: Instant) {
        guard servers[server].stream?.canSend == true else { return }
        for type in ResourceType.all {
            let wanted = types[type.order].wanted
            while let step = servers[server].stream?.subscriptions[type.order].nextStep(wanted: wanted) {
                send(step, of: type, to: server, now: now)
            }
        }
        servers[server].stream?.waitingReplies = 0
    }

    private mutating func send(_ step: StreamSubscription.Step, of type: ResourceType, to server: Int, now: Instant) {
        guard let id = servers[server].stream?.id else { return }
        // While another server's word counts, this one must say something to be heard again: claiming to hold what
        // it has would let it be silent.
        let asksForAll = lastAsked > server
        let node = servers[server].stream?.isNodeSent == false ? configuration.node : nil
        servers[server].stream?.isNodeSent = true
        switch configuration.variant {
        case .delta:
            let request = DeltaDiscoveryRequest(
                node: node, typeURL: type.typeURL,
                resourceNamesSubscribe: StreamSubscription.subscribedNames(of: step, type: type),
                resourceNamesUnsubscribe: step.unsubscribed,
                initialResourceVersions: step.isFirst
                    ? types[type.order].initialVersions(for: server, asksForAll: asksForAll) : [:],
                responseNonce: step.reply?.nonce ?? "", errorDetail: step.reply?.error)
            collected.append(.sendDelta(request, id))
        case .stateOfTheWorld:
            // Only who lacks nothing may claim a version: the server need not send it again.
            let claimsVersion =
                !asksForAll && servers[server].isVersionWhole[type.order]
                && servers[server].widenings[type.order] == nil
                && servers[server].versionNames[type.order].isSuperset(of: step.subscribed)
                && types[type.order].isWhole(from: server)
            if step.isFirst {
                if !claimsVersion { servers[server].versions[type.order] = "" }
                servers[server].widenings[type.order] = nil
            } else if !step.subscribed.isEmpty {
                servers[server].widenings[type.order] = .init(names: Set(step.subscribed))
            }
            let names = servers[server].stream?.subscriptions[type.order].resourceNames(type: type) ?? []
            let nonce = step.reply?.nonce ?? servers[server].stream?.subscriptions[type.order].nonce ?? ""
            let request = DiscoveryRequest(
                versionInfo: servers[server].versions[type.order], node: node, resourceNames: names,
                typeURL: type.typeURL, responseNonce: nonce, errorDetail: step.reply?.error)
            collected.append(.send(request, id))
        }
        awaitAnswers(to: step.subscribed, of: type, from: server, now: now)
        guard let reply = step.reply else { return }
        if let error = reply.error {
            collected.append(.nackSent(type, version: reply.version, nonce: reply.nonce, error))
        } else {
            collected.append(.ackSent(type, version: reply.version, nonce: reply.nonce))
        }
    }
}
