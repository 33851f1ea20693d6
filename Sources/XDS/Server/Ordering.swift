import Time

// Which response goes when. All sending is one idea: a step from what the client was sent to what it should have.
// Where something may still refer to what goes away, the step leads first to the union of both, and to the final
// set once everything that may refer to it is acknowledged: make before break.

extension StreamCore {
    /// Sends what can be sent now. Work is constant for a type whose set did not change.
    mutating func advance(now: Instant) {
        guard let snapshot, error == nil else { return }
        resolveClaims(snapshot)
        for index in states.indices { settle(index, at: snapshot[states[index].type]) }
        var hasSent: Bool
        repeat {
            hasSent = false
            for index in states.indices where states[index].isReady {
                if sendNext(index, snapshot, now) { hasSent = true }
            }
        } while hasSent  // A send fills a slot, so this ends after as many rounds as there are types.
        for index in states.indices { scheduleHeartbeat(index, now) }
    }

    /// The earliest moment when `advance` may have something to do without a request or a publication.
    var nextDeadline: Instant? {
        var earliest = Instant.never
        for state in states where state.isReady {
            if state.additionsWaitSince != .never {
                // Whatever else is due waits behind the response that waits.
                earliest = min(earliest, state.additionsWaitSince.advanced(by: limits.additionWait))
                continue
            }
            if state.removalsWaitSince != .never {
                let end =
                    state.flags.contains(.isReconnecting)
                    ? openedAt.advanced(by: limits.reconnectWait)
                    : state.removalsWaitSince.advanced(by: limits.removalWait)
                earliest = min(earliest, end)
            }
            earliest = min(earliest, state.heartbeatAt)
        }
        return earliest == .never ? nil : earliest
    }

    /// Follows the current set where that changes nothing for this client.
    private mutating func settle(_ index: Int, at current: ResourceSet) {
        guard states[index].isReady else { return }
        refreshDigest(index)
        repeatDoubtful(index, current)
        guard states[index].held !== current, states[index].owed.isEmpty,
            !states[index].flags.contains(.announcesVersion),
            let step = transition(index, to: current), step.response == nil
        else { return }
        states[index].held = current
        states[index].digest = step.digest
        states[index].removalsWaitSince = .never
        states[index].additionsWaitSince = .never
    }

    /// A client may have refused a response as a whole for one resource in it. Once those that its words name are
    /// replaced or gone, the others come again; until then nothing of the response does.
    private mutating func repeatDoubtful(_ index: Int, _ current: ResourceSet) {
        guard let rejection = states[index].rejection, !rejection.unresolved.isEmpty, let held = states[index].held,
            held !== current, let subscription = states[index].subscription
        else { return }
        let difference = current.difference(from: held)
        var record = rejection.clearing {
            difference.changed.containsSorted($0) || difference.removed.containsSorted($0)
        }
        if record.suspects.isEmpty && !rejection.suspects.isEmpty {
            let others = record.unresolved.filter { current.resource(named: $0) != nil }
            states[index].owed.insert(subscription.isWildcard ? others : others.filter(subscription.contains))
        }
        if form != .delta {
            // State of the world has no message for what is gone: no ACK would ever resolve it.
            guard let left = record.resolving({ current.resource(named: $0) == nil }) else {
                states[index].rejection = nil
                return
            }
            record = left
        }
        states[index].rejection = record
    }

    private func transition(_ index: Int, to target: ResourceSet) -> Transition? {
        let held = states[index].held
        guard let key = states[index].key(form, from: held) else { return nil }
        return target.transition(
            from: held, heldDigest: states[index].digest, key, after: states[index].lastNonce)
    }

    private mutating func refreshDigest(_ index: Int) {
        guard states[index].flags.contains(.digestIsStale), let subscription = states[index].subscription else {
            return
        }
        states[index].flags.remove(.digestIsStale)
        if form == .delta { return }
        states[index].digest = states[index].held?.subsetDigest(of: subscription) ?? .zero
    }

    /// - Returns: whether a response went out.
    private mutating func sendNext(_ index: Int, _ snapshot: Snapshot, _ now: Instant) -> Bool {
        let type = states[index].type
        let current = snapshot[type]
        if states[index].held === current, states[index].owed.isEmpty,
            !states[index].flags.contains(.announcesVersion)
        {
            states[index].removalsWaitSince = .never
            states[index].additionsWaitSince = .never
            return sendHeartbeat(index, now)
        }
        guard var step = transition(index, to: current) else { return false }
        var target = current
        var forced: StreamAction?
        if step.removedCount > 0, gatesRemovals(of: type),
            isReconnecting(index, now) || !referrersAreSettled(type, snapshot)
        {
            if states[index].removalsWaitSince == .never { states[index].removalsWaitSince = now }
            let waited = states[index].removalsWaitSince.duration(to: now)
            if waited < limits.removalWait, let held = states[index].held {
                target = current.union(with: held)
                guard let withoutRemovals = transition(index, to: target) else { return false }
                step = withoutRemovals
            } else {
                forced = .removalForced(type, count: step.removedCount, waited: waited)
            }
        } else {
            states[index].removalsWaitSince = .never
        }
        guard let response = step.response else {
            states[index].owed = Owed()
            states[index].additionsWaitSince = .never
            if target === current {
                states[index].held = current
                states[index].digest = step.digest
            }
            return sendHeartbeat(index, now)
        }
        if waitsForClusters(type), clustersAreUnsent(snapshot) {
            if states[index].additionsWaitSince == .never { states[index].additionsWaitSince = now }
            let waited = states[index].additionsWaitSince.duration(to: now)
            if waited < limits.additionWait { return false }
            actions.append(.additionForced(type, waited: waited))
        }
        if let forced { actions.append(forced) }
        if target === current { states[index].removalsWaitSince = .never }
        send(response, index, target, now)
        return true
    }

    mutating func send(_ response: PreparedResponse, _ index: Int, _ target: ResourceSet, _ now: Instant) {
        states[index].inFlight = response
        states[index].target = target
        states[index].lastNonce = response.nonceNumber
        states[index].sentAt = now
        if !response.isHeartbeat {
            states[index].sentVersion = response.version
            states[index].owed = Owed()
            states[index].flags.remove(.announcesVersion)
            states[index].additionsWaitSince = .never
        }
        actions.append(.send(response))
        for dependencies in response.dependencies { owe(dependencies) }
    }

    /// A proxy warms a changed cluster and waits for its endpoints, though these are unchanged: rule 19.
    private mutating func owe(_ dependencies: PreparedResponse.Dependencies) {
        guard case .aggregated = service else { return }
        let index = makeIndex(of: dependencies.type)
        if let subscription = states[index].subscription, states[index].claim == nil {
            states[index].owed.insert(
                subscription.isWildcard ? dependencies.names : dependencies.names.filter(subscription.contains))
        } else {
            // Not subscribed to yet: an equal version in the first request must not keep them back. The array is
            // the response's own, shared by all streams that were sent it.
            states[index].owed.insert(dependencies.names)
        }
    }

    // MARK: Order

    /// Whether removals wait for the ACKs of what may refer to them. Listeners are roots, and Envoy refuses two on
    /// one address, so that a renamed one must come and go in one response. Runtime layers are not referred to. In
    /// state of the world only full-state types have removals.
    private func gatesRemovals(of type: ResourceType) -> Bool {
        if type == .listener || type == .runtime { return false }
        return form == .delta || type.listsEverything
    }

    private func referrersAreSettled(_ type: ResourceType, _ snapshot: Snapshot) -> Bool {
        type.referrers.allSatisfy { referrer in
            guard let index = index(of: referrer) else { return true }
            return states[index].isSettled(at: snapshot[referrer])
        }
    }

    /// Whether a client that came back may yet subscribe to something that refers to what it holds.
    private mutating func isReconnecting(_ index: Int, _ now: Instant) -> Bool {
        guard states[index].flags.contains(.isReconnecting) else { return false }
        let isSubscribed = states[index].type.referrers.allSatisfy { self.index(of: $0) != nil }
        if case .aggregated = service, !isSubscribed, openedAt.duration(to: now) < limits.reconnectWait { return true }
        states[index].flags.remove(.isReconnecting)
        return false
    }

    private func waitsForClusters(_ type: ResourceType) -> Bool {
        ResourceType.cluster.referrers.contains(type)
    }

    /// Whether clusters, or endpoints that the client has never had, wait for a slot. Sent is enough: a proxy may
    /// acknowledge clusters only once it has their endpoints.
    private func clustersAreUnsent(_ snapshot: Snapshot) -> Bool {
        for type in [ResourceType.cluster, .endpoints] {
            guard let index = index(of: type), let target = states[index].target,
                let key = states[index].key(form, from: target)
            else { continue }
            let current = snapshot[type]
            if target === current && key.owed.isEmpty { continue }
            let digest = states[index].inFlight?.digest ?? .zero
            let pending = current.union(with: target)
                .transition(from: target, heldDigest: digest, key, after: states[index].lastNonce)
            guard pending.response != nil else { continue }
            if type == .cluster || pending.addsNames { return true }
        }
        return false
    }
}

extension ResourceType {
    /// The types whose resources may name resources of this type.
    var referrers: [ResourceType] {
        switch self {
        case .cluster: [.extensionConfig, .listener, .scopedRoute, .route, .virtualHost]
        case .endpoints, .secret: [.cluster, .extensionConfig, .listener, .scopedRoute, .route, .virtualHost]
        case .extensionConfig: [.listener, .route, .virtualHost]
        case .scopedRoute: [.listener]
        case .route: [.listener, .scopedRoute]
        case .virtualHost: [.listener, .scopedRoute, .route]
        default: []
        }
    }
}
