import Time

/// One client's incremental stream, as a value: no socket, clock or thread inside. Give it each request, each new
/// snapshot of the client's view, and the time; carry out the actions that it returns.
/// Source: Envoy, "xDS REST and gRPC protocol", Incremental xDS.
public struct DeltaStream: Sendable {
    var core: StreamCore

    /// - Parameters:
    ///   - service: the service that the client called.
    ///   - limits: what the client may make this stream hold, and how long order is kept.
    public init(service: DiscoveryService = .aggregated, limits: StreamLimits = StreamLimits()) {
        core = StreamCore(service: service, form: .delta, limits: limits)
    }

    /// Takes one request. A request that the protocol forbids ends in ``StreamAction/fail(_:)``.
    public mutating func receive(_ request: DeltaDiscoveryRequest, now: Instant) -> [StreamAction] {
        guard let type = core.begin(node: request.node, typeURL: request.typeURL, now: now),
            core.accept(names: request.resourceNamesSubscribe, of: type),
            core.accept(names: request.resourceNamesUnsubscribe, of: type),
            core.accept(names: Array(request.initialResourceVersions.keys), of: type)
        else { return core.takeActions() }
        let index = core.makeIndex(of: type)
        let isFirst = core.states[index].subscription == nil
        if isFirst {
            if let detail = request.errorDetail {
                core.actions.append(.ignoredStale(type, nonce: request.responseNonce, detail: detail))
            }
            guard core.openDelta(index, request) else { return core.takeActions() }
        } else {
            if !request.responseNonce.isEmpty || request.errorDetail != nil {
                let nonce = request.responseNonce
                if !core.answer(index, nonce: nonce, detail: request.errorDetail, now: now) {
                    // The subscription changes in the same message count nevertheless: rule 8.
                    core.actions.append(.ignoredStale(type, nonce: nonce, detail: request.errorDetail))
                }
            }
            guard core.changeDelta(index, request) else { return core.takeActions() }
        }
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
    /// The first request of a type.
    fileprivate mutating func openDelta(_ index: Int, _ request: DeltaDiscoveryRequest) -> Bool {
        let type = states[index].type
        let asked = request.resourceNamesSubscribe
        if !asked.isEmpty { states[index].flags.insert(.everNamed) }
        let isWildcard = asked.contains("*") || (asked.isEmpty && type.hasLegacyWildcard)
        let names = asked.filter { $0 != "*" && !$0.isEmpty }.sortedUnique()
        guard subscribe(index, isWildcard: isWildcard, names: names) else { return false }
        states[index].claim = Claim(versions: request.initialResourceVersions, names: names)
        return true
    }

    /// A later request: unsubscribes first, so that a name in both lists is subscribed to.
    fileprivate mutating func changeDelta(_ index: Int, _ request: DeltaDiscoveryRequest) -> Bool {
        guard let old = states[index].subscription else { return true }
        if request.resourceNamesSubscribe.isEmpty && request.resourceNamesUnsubscribe.isEmpty { return true }
        var isWildcard = old.isWildcard
        var names = old.names
        let unsubscribed = request.resourceNamesUnsubscribe.sortedUnique()
        if !unsubscribed.isEmpty {
            if unsubscribed.containsSorted("*") {
                isWildcard = false
                states[index].owed.wildcard = false
            }
            let dropped = unsubscribed.flatMap { namesMeant(by: $0, among: names, index) }.sortedUnique()
            names = names.subtractingSorted(dropped)
            states[index].owed.names = states[index].owed.names.subtractingSorted(dropped)
            // While the wildcard holds, the client must learn whether it keeps the resource: rule 3.
            if isWildcard { states[index].owed.insert(dropped) }
        }
        let asked = request.resourceNamesSubscribe
        if asked.contains("*") {
            isWildcard = true
            states[index].owed.wildcard = true
        }
        let added = asked.filter { $0 != "*" && !$0.isEmpty }.sortedUnique()
        names = names.mergedSorted(with: added)
        states[index].owed.insert(added)
        guard subscribe(index, isWildcard: isWildcard, names: names) else { return false }
        if !isWildcard { forgetRejections(index, of: old.names.subtractingSorted(names)) }
        return true
    }

    /// The subscribed names that an unsubscription takes away: the very name, or else the other names of the same
    /// resource (rule 6).
    private func namesMeant(by name: String, among names: [String], _ index: Int) -> [String] {
        if names.containsSorted(name) { return [name] }
        let state = states[index]
        let sets = [state.held, state.target, snapshot?[state.type]]
        for case let set? in sets {
            guard let resource = set.resource(named: name) else { continue }
            let meant = ([resource.name] + resource.aliases).filter(names.containsSorted)
            if !meant.isEmpty { return meant }
        }
        return []
    }
}
