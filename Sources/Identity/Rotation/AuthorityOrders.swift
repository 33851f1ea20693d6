import Time

/// What an operator orders.
extension AuthorityMachine {
    /// An authority that an operator gives.
    public struct Given: Hashable, Sendable {
        public let id: AuthorityID
        public let validity: Range<Timestamp>
        public let hasKey: Bool

        public init(id: AuthorityID, validity: Range<Timestamp>, hasKey: Bool) {
            self.id = id
            self.validity = validity
            self.hasKey = hasKey
        }
    }

    /// Replaces the root (and so the intermediate), or the intermediate alone.
    /// - Parameter forceAfter: how long each step waits at most; `nil`: as the policy says.
    public mutating func rotate(
        _ tier: AuthorityTier, forceAfter: Duration? = nil, now: Timestamp
    ) throws(OrderRefusal) -> [Action] {
        guard let root = activeRoot, let issuer else { throw .notReady }
        if let running = state.rootRotation ?? state.intermediateRotation {
            throw .rotationUnderWay(running.tier, running.phase)
        }
        if tier == .intermediate {
            guard root.hasKey else { throw .noKey(root.id, tier: .root) }
            guard
                root.validity.upperBound > issuer.validity.upperBound
                    || root.validity.upperBound >= now + policy.leafValidity * 4
            else { throw .rootEndsTooSoon(root.id, end: root.validity.upperBound) }
        }
        var actions: [Action] = []
        begin(tier, .order, forceAfter: forceAfter ?? policy.forceAfter, now: now, into: &actions)
        settle(now: now, into: &actions)
        return actions
    }

    /// Lets the steps of the running rotation wait no longer than this; counted from the beginning of each.
    public mutating func force(after patience: Duration, now: Timestamp) throws(OrderRefusal) -> [Action] {
        guard state.rootRotation != nil || state.intermediateRotation != nil else { throw .nothingToAbort }
        state.rootRotation?.forceAfter = patience
        state.intermediateRotation?.forceAfter = patience
        var actions: [Action] = []
        settle(now: now, into: &actions)
        return actions
    }

    /// Goes back, by the same rules: nobody's handshake breaks. Before the new authority signs, it is dropped at once;
    /// afterwards the old one is brought back by a rotation in the other direction, which starts where both are
    /// trusted.
    public mutating func abort(now: Timestamp) throws(OrderRefusal) -> [Action] {
        var actions: [Action] = []
        if let rotation = state.rootRotation {
            guard rotation.old != nil else { throw .notReady }
            try abortRoot(rotation, now: now, into: &actions)
        } else if let rotation = state.intermediateRotation {
            try abortIntermediate(rotation, now: now, into: &actions)
        } else {
            throw .nothingToAbort
        }
        settle(now: now, into: &actions)
        return actions
    }

    private mutating func abortRoot(
        _ rotation: Rotation, now: Timestamp, into actions: inout [Action]
    ) throws(OrderRefusal) {
        let published = bundle
        switch rotation.phase {
        case .making where rotation.reason == .abort, .preparing where rotation.reason == .abort:
            // It was on its way back from retiring the root that it would have brought back: it retires that again.
            guard let old = rotation.new, let new = rotation.old else { throw .notReady }
            set(old, .retired)
            for authority in state.authorities where authority.tier == .intermediate && authority.issuer == old {
                set(authority.id, .retiring)
            }
            state.rootRotation = Rotation(
                tier: .root, phase: .retiring, reason: .abort, began: now, since: now, forceAfter: rotation.forceAfter,
                old: old, oldIntermediate: rotation.newIntermediate, new: new, newIntermediate: issuer?.id)
            awaitedForRoot = nil
            if bundle != published { publish(into: &actions) }
        case .making, .preparing:
            state.rootRotation = nil
            awaitedForRoot = nil
            forget(actions: &actions) { $0.id == rotation.new || $0.issuer == rotation.new }
            state.crossSignatures.removeAll { $0.root == rotation.new }
            if bundle != published { publish(into: &actions) }
        case .activating, .retiring:
            guard let old = rotation.old.flatMap(authority), let new = rotation.new,
                let back = rotation.oldIntermediate.flatMap(authority)
            else { throw .notReady }
            guard back.validity.upperBound >= now + policy.leafValidity * 2 else {
                throw .oldEndsTooSoon(back.id, end: back.validity.upperBound)
            }
            let isTrusted = published.contains(old.id)
            state.rootRotation = Rotation(
                tier: .root, phase: .making, reason: .abort, began: now, since: now, forceAfter: rotation.forceAfter,
                old: new, oldIntermediate: issuer?.id, new: old.id, newIntermediate: back.id)
            awaitedForRoot = nil
            // Everybody who knows the new root knows the old one too, as long as that has not left the bundle.
            if isTrusted { reactivate(root: old.id, intermediate: back.id, now: now, into: &actions) }
        }
        postpone(.root, activeRoot, now: now)
        actions.append(.note(.aborted(.root, rotation.phase)))
    }

    private mutating func reactivate(
        root: AuthorityID, intermediate: AuthorityID, now: Timestamp, into actions: inout [Action]
    ) {
        if let late = state.intermediateRotation {
            if late.phase == .making, let made = late.new { set(made, .retiring) }
            state.intermediateRotation = nil
            awaitedForIntermediate = nil
        }
        for index in state.authorities.indices where state.authorities[index].state == .active {
            state.authorities[index].state = .retiring
        }
        set(root, .active)
        set(intermediate, .active)
        enter(.root, .activating, now: now, into: &actions)
        actions.append(.issueUnder(intermediate, crossSignature: crossSignature))
        actions.append(.renewLeaves(of: authoritiesToLeave))
    }

    private mutating func abortIntermediate(
        _ rotation: Rotation, now: Timestamp, into actions: inout [Action]
    ) throws(OrderRefusal) {
        awaitedForIntermediate = nil
        switch rotation.phase {
        case .making:
            state.intermediateRotation = nil
        case .preparing, .activating, .retiring:
            guard let old = rotation.old.flatMap(authority), let new = rotation.new else { throw .notReady }
            guard old.validity.upperBound >= now + policy.leafValidity * 2 else {
                throw .oldEndsTooSoon(old.id, end: old.validity.upperBound)
            }
            state.intermediateRotation = Rotation(
                tier: .intermediate, phase: .activating, reason: .abort, began: now, since: now,
                forceAfter: rotation.forceAfter, old: new, oldIntermediate: nil, new: old.id)
            set(new, .retiring)
            set(old.id, .active)
            actions.append(.issueUnder(old.id, crossSignature: crossSignature))
            actions.append(.renewLeaves(of: [new]))
        }
        postpone(.intermediate, issuer, now: now)
        actions.append(.note(.aborted(.intermediate, rotation.phase)))
    }

    /// The schedule would begin again at once: it gives the operator an eighth of what is left.
    private mutating func postpone(_ tier: AuthorityTier, _ authority: Authority?, now: Timestamp) {
        guard let authority else { return }
        state.postponed[tier] = now + max(policy.leafValidity, (authority.validity.upperBound - now) / 8)
    }

    /// Takes authorities from outside. An intermediate of the root in force replaces the present one; a new root with
    /// an intermediate of it goes through all the steps of a rotation. At the first start they are simply used.
    /// - Parameters:
    ///   - root: needed unless it is known here already.
    ///   - intermediate: its key is here. `nil`: the root's key is, and an intermediate is made.
    public mutating func importing(
        root: Given?, intermediate: Given?, under rootID: AuthorityID, forceAfter: Duration? = nil, now: Timestamp
    ) throws(OrderRefusal) -> [Action] {
        if let running = state.rootRotation ?? state.intermediateRotation, running.reason != .firstStart {
            throw .rotationUnderWay(running.tier, running.phase)
        }
        for given in [root, intermediate].compactMap(\.self) where !given.validity.contains(now) {
            throw .notValidNow(given.id)
        }
        if let intermediate, !intermediate.hasKey { throw .noKey(intermediate.id, tier: .intermediate) }
        var actions: [Action] = []
        if let known = authority(rootID), known.state == .active {
            guard let intermediate else { return [] }
            guard authority(intermediate.id) == nil else { return [] }
            begin(.intermediate, .imported, forceAfter: forceAfter ?? policy.forceAfter, now: now, into: &actions)
            add(intermediate, .intermediate, issuer: rootID, now: now)
            state.intermediateRotation?.new = intermediate.id
        } else {
            guard let root, root.id == rootID else { throw .unknownRoot(rootID) }
            guard root.hasKey || intermediate != nil else { throw .noKey(rootID, tier: .root) }
            if state.rootRotation?.reason == .firstStart {
                forget(actions: &actions) { _ in true }
                state.rootRotation = nil
            }
            let reason: Rotation.Reason = state.authorities.isEmpty ? .firstStart : .imported
            begin(.root, reason, forceAfter: forceAfter ?? policy.forceAfter, now: now, into: &actions)
            add(root, .root, issuer: rootID, now: now)
            state.rootRotation?.new = rootID
            if let intermediate {
                add(intermediate, .intermediate, issuer: rootID, now: now)
                state.rootRotation?.newIntermediate = intermediate.id
            }
        }
        settle(now: now, into: &actions)
        return actions
    }

    private mutating func add(_ given: Given, _ tier: AuthorityTier, issuer: AuthorityID, now: Timestamp) {
        state.authorities.append(
            Authority(
                id: given.id, tier: tier, issuer: issuer, validity: given.validity, hasKey: given.hasKey,
                isImported: true, createdAt: now))
    }
}
