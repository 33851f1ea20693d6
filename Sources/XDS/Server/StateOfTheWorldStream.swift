import Time

/// One client's state-of-the-world stream, as a value: no socket, clock or thread inside. Give it each request, each
/// new snapshot of the client's view, and the time; carry out the actions that it returns.
/// Source: Envoy, "xDS REST and gRPC protocol", The Protocol.
public struct StateOfTheWorldStream: Sendable {
    var core: StreamCore

    /// - Parameters:
    ///   - service: the service that the client called.
    ///   - limits: what the client may make this stream hold, and how long order is kept.
    public init(service: DiscoveryService = .aggregated, limits: StreamLimits = StreamLimits()) {
        core = StreamCore(service: service, form: .stateOfTheWorld, limits: limits)
    }

    /// Takes one request. A request that the protocol forbids ends in ``StreamAction/fail(_:)``.
    public mutating func receive(_ request: DiscoveryRequest, now: Instant) -> [StreamAction] {
        guard let type = core.begin(node: request.node, typeURL: request.typeURL, now: now) else {
            return core.takeActions()
        }
        // Nearly every request repeats the names of the one before: nothing to check, nothing to change.
        let repeatsNames = core.isSubscription(request.resourceNames, of: type)
        guard repeatsNames || core.accept(names: request.resourceNames, of: type) else { return core.takeActions() }
        let index = core.makeIndex(of: type)
        if core.states[index].subscription == nil {
            core.states[index].claim = Claim(version: request.versionInfo)
            if let detail = request.errorDetail {
                core.actions.append(.ignoredStale(type, nonce: request.responseNonce, detail: detail))
            }
        } else {
            let (nonce, lastNonce) = (request.responseNonce, core.states[index].lastNonce)
            guard lastNonce == 0 || nonce == PreparedResponse.text(ofNonce: lastNonce) else {
                core.actions.append(.ignoredStale(type, nonce: nonce, detail: request.errorDetail))
                return core.takeActions()
            }
            if !core.answer(index, nonce: nonce, detail: request.errorDetail, now: now), request.errorDetail != nil {
                core.actions.append(.ignoredStale(type, nonce: nonce, detail: request.errorDetail))
            }
        }
        guard repeatsNames || core.replaceNames(index, request.resourceNames) else { return core.takeActions() }
        core.advance(now: now)
        return core.takeActions()
    }

    /// Shows the client a snapshot: after ``StreamAction/opened(_:)``, and after each change of its view.
    public mutating func publish(_ snapshot: Snapshot, now: Instant) -> [StreamAction] {
        guard core.error == nil, core.snapshot !== snapshot else { return [] }
        core.snapshot = snapshot
        core.advance(now: now)
        return core.takeActions()
    }

    /// To be called at ``nextDeadline``.
    public mutating func tick(now: Instant) -> [StreamAction] {
        core.advance(now: now)
        return core.takeActions()
    }

    /// When ``tick(now:)`` must be called; nil: not before the next request or snapshot.
    public var nextDeadline: Instant? { core.nextDeadline }
}

extension StreamCore {
    /// Whether these very names, and they alone, are subscribed to.
    fileprivate func isSubscription(_ asked: [String], of type: ResourceType) -> Bool {
        guard !asked.isEmpty, let index = index(of: type), let subscription = states[index].subscription else {
            return false
        }
        return !subscription.isWildcard && subscription.names == asked
    }

    /// The names of a request replace those before. What is newly named is sent even if unchanged: rule 4.
    fileprivate mutating func replaceNames(_ index: Int, _ asked: [String]) -> Bool {
        if !asked.isEmpty { states[index].flags.insert(.everNamed) }
        let type = states[index].type
        let old = states[index].subscription
        let isLegacy = asked.isEmpty && type.hasLegacyWildcard && !states[index].flags.contains(.everNamed)
        let isWildcard = isLegacy || asked.contains("*")
        let names = asked.filter { $0 != "*" && !$0.isEmpty }.sortedUnique()
        if let old {
            if old.isWildcard == isWildcard && old.names == names { return true }
            let dropped = old.names.subtractingSorted(names)
            if !isWildcard { states[index].owed.wildcard = false }
            if isWildcard && !old.isWildcard { states[index].owed.wildcard = true }
            states[index].owed.names = states[index].owed.names.subtractingSorted(dropped)
            states[index].owed.insert(names.subtractingSorted(old.names))
            if !isWildcard, losesResources(index, dropped, wildcard: old.isWildcard) {
                states[index].flags.insert(.announcesVersion)
            }
            guard subscribe(index, isWildcard: isWildcard, names: names) else { return false }
            if !isWildcard { forgetRejections(index, of: dropped) }
            return true
        }
        return subscribe(index, isWildcard: isWildcard, names: names)
    }

    /// Whether the client gives up something that it was sent. It then says a version that stands for more than it
    /// holds: were it to name those resources again, lose the connection and come back, its version would seem to
    /// prove that it has them. So it is told the version of what is left.
    private func losesResources(_ index: Int, _ dropped: [String], wildcard: Bool) -> Bool {
        let state = states[index]
        guard let set = state.target ?? state.held else { return false }
        if set.label != nil { return false }
        if wildcard { return set.count > 0 }
        return dropped.contains { set.resource(named: $0)?.error == nil && set.resource(named: $0) != nil }
    }
}
