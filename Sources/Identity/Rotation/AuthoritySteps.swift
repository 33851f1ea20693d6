import Time

/// The steps of rotations: when one begins, and what it does.
extension AuthorityMachine {
    /// Goes as far as is possible now.
    mutating func settle(now: Timestamp, into actions: inout [Action]) {
        sweep(now: now)
        startOnSchedule(now: now, into: &actions)
        // Each turn is a step forwards; a rotation has four, and the end of one may let the other begin.
        for _ in 0..<16 {
            let isChanged = advanceRoot(now: now, into: &actions)
            guard advanceIntermediate(now: now, into: &actions) || isChanged else { break }
        }
        askForMakings(now: now, into: &actions)
        warnOfEnds(now: now, into: &actions)
    }

    /// Forgets what is past, a few hundred times in a leaf's life.
    private mutating func sweep(now: Timestamp) {
        if let nextSweep, now < nextSweep { return }
        nextSweep = now + policy.leafValidity / 256
        table.dropPast(now: now, allowance: policy.clockAllowance)
    }

    private mutating func startOnSchedule(now: Timestamp, into actions: inout [Action]) {
        guard let root = activeRoot, let issuer else {
            if state.rootRotation == nil, state.authorities.isEmpty {
                begin(.root, .firstStart, forceAfter: nil, now: now, into: &actions)
            }
            return
        }
        if state.rootRotation == nil, state.intermediateRotation == nil, let start = rootStart(root), now >= start {
            begin(.root, .schedule, forceAfter: policy.forceAfter, now: now, into: &actions)
        } else if state.intermediateRotation == nil, let start = intermediateStart(issuer, root), now >= start {
            begin(.intermediate, .schedule, forceAfter: policy.forceAfter, now: now, into: &actions)
        }
    }

    /// When the successor of `root` begins; `nil`: never by itself.
    func rootStart(_ root: Authority) -> Timestamp? {
        guard !root.isImported, root.hasKey else { return nil }
        return max(root.validity.upperBound - policy.rootLead, postponed(.root))
    }

    /// When the successor of `issuer` begins; `nil`: never by itself. While the root is about to change, which brings
    /// another intermediate anyhow, only when leaves would soon be shortened.
    func intermediateStart(_ issuer: Authority, _ root: Authority) -> Timestamp? {
        guard root.hasKey else { return nil }
        let end = issuer.validity.upperBound
        let start: Timestamp
        switch state.rootRotation?.phase {
        case .making, .preparing: start = end - policy.leafValidity * 2 - policy.clockAllowance
        case .activating, .retiring, nil: start = end - policy.intermediateLead(of: issuer.validity)
        }
        // A successor is of use if it ends later. The root may not let it.
        guard root.validity.upperBound > end + policy.leafValidity else { return nil }
        return max(start, postponed(.intermediate))
    }

    private func postponed(_ tier: AuthorityTier) -> Timestamp {
        state.postponed[tier] ?? Timestamp(nanoseconds: .min)
    }

    mutating func begin(
        _ tier: AuthorityTier, _ reason: Rotation.Reason, forceAfter: Duration?, now: Timestamp,
        into actions: inout [Action]
    ) {
        let rotation = Rotation(
            tier: tier, phase: .making, reason: reason, began: now, since: now, forceAfter: forceAfter,
            old: tier == .root ? activeRoot?.id : issuer?.id, oldIntermediate: tier == .root ? issuer?.id : nil)
        switch tier {
        case .root: state.rootRotation = rotation
        case .intermediate: state.intermediateRotation = rotation
        }
        actions.append(.note(.began(tier, reason)))
    }

    // MARK: The root

    private mutating func advanceRoot(now: Timestamp, into actions: inout [Action]) -> Bool {
        guard let rotation = state.rootRotation else { return false }
        switch rotation.phase {
        case .making:
            guard let new = rotation.new, let intermediate = rotation.newIntermediate,
                !needsCrossSignature(rotation, now: now)
            else { return false }
            set(new, .prepared)
            set(intermediate, .prepared)
            guard rotation.old != nil else {
                activate(rotation, now: now, into: &actions)
                finishRoot(rotation, into: &actions)
                return true
            }
            enter(.root, .preparing, now: now, into: &actions)
            publish(into: &actions)
            return true
        case .preparing:
            guard mayGoOn(.root, rotation, now: now, into: &actions) else { return false }
            // Of the bundle nothing changes; who knows only the old root gets the cross-signed one.
            activate(rotation, now: now, into: &actions)
            enter(.root, .activating, now: now, into: &actions)
            return true
        case .activating:
            let mayRetire = mayGoOn(.root, rotation, now: now, into: &actions)
            guard mayRetire, handshakesAreOver(now: now) else {
                if !mayRetire { retiresAt = nil }
                return false
            }
            if let old = rotation.old { set(old, .retired) }
            enter(.root, .retiring, now: now, into: &actions)
            publish(into: &actions)
            return true
        case .retiring:
            guard mayGoOn(.root, rotation, now: now, into: &actions) else { return false }
            finishRoot(rotation, into: &actions)
            return true
        }
    }

    /// The new root and its intermediate are the ones that sign.
    private mutating func activate(_ rotation: Rotation, now: Timestamp, into actions: inout [Action]) {
        guard let new = rotation.new, let intermediate = rotation.newIntermediate else { return }
        // An intermediate of the old root that was on its way has come too late.
        if let late = state.intermediateRotation, state.rootRotation != nil, rotation.tier == .root {
            if late.phase == .making, let made = late.new { set(made, .retiring) }
            state.intermediateRotation = nil
            awaitedForIntermediate = nil
        }
        let before = issuer?.id
        if rotation.old != nil { state.rootRotation?.oldIntermediate = before }
        for index in state.authorities.indices where state.authorities[index].state == .active {
            state.authorities[index].state = .retiring
        }
        set(new, .active)
        set(intermediate, .active)
        if rotation.old == nil { publish(into: &actions) }
        actions.append(.issueUnder(intermediate, crossSignature: crossSignature))
        let outdated = authoritiesToLeave
        if !outdated.isEmpty { actions.append(.renewLeaves(of: outdated)) }
    }

    private mutating func finishRoot(_ rotation: Rotation, into actions: inout [Action]) {
        state.rootRotation = nil
        awaitedForRoot = nil
        if let old = rotation.old { forget(actions: &actions) { $0.id == old || $0.issuer == old } }
        let wasCrossSigned = crossSignature != nil
        state.crossSignatures = []
        if wasCrossSigned, let issuer { actions.append(.issueUnder(issuer.id, crossSignature: nil)) }
        state.postponed[.root] = nil
        if let new = rotation.new { actions.append(.note(.finished(.root, new))) }
    }

    // MARK: The intermediate

    private mutating func advanceIntermediate(now: Timestamp, into actions: inout [Action]) -> Bool {
        guard let rotation = state.intermediateRotation else { return false }
        switch rotation.phase {
        case .making:
            guard let new = rotation.new else { return false }
            if let old = rotation.old { set(old, .retiring) }
            set(new, .active)
            enter(.intermediate, .activating, now: now, into: &actions)
            actions.append(.issueUnder(new, crossSignature: crossSignature))
            if let old = rotation.old { actions.append(.renewLeaves(of: [old])) }
            return true
        case .preparing, .activating, .retiring:
            guard mayGoOn(.intermediate, rotation, now: now, into: &actions) else { return false }
            state.intermediateRotation = nil
            awaitedForIntermediate = nil
            if let old = rotation.old { forget(actions: &actions) { $0.id == old } }
            state.postponed[.intermediate] = nil
            if let new = rotation.new { actions.append(.note(.finished(.intermediate, new))) }
            return true
        }
    }

    // MARK: Parts of steps

    mutating func publish(into actions: inout [Action]) {
        let bundle = bundle
        table.published(bundle)
        actions.append(.publishBundle(bundle))
    }

    mutating func set(_ id: AuthorityID, _ new: Authority.State) {
        for index in state.authorities.indices where state.authorities[index].id == id {
            state.authorities[index].state = new
        }
    }

    mutating func forget(actions: inout [Action], where isGone: (Authority) -> Bool) {
        let gone = state.authorities.filter(isGone).map(\.id).sorted()
        state.authorities.removeAll(where: isGone)
        state.toForget.formUnion(gone)
        for id in gone { warned[id] = nil }
        actions += gone.map { .forget($0) }
    }

    mutating func enter(
        _ tier: AuthorityTier, _ phase: Rotation.Phase, now: Timestamp, into actions: inout [Action]
    ) {
        switch tier {
        case .root:
            state.rootRotation?.phase = phase
            state.rootRotation?.since = now
            awaitedForRoot = nil
            retiresAt = nil
        case .intermediate:
            state.intermediateRotation?.phase = phase
            state.intermediateRotation?.since = now
            awaitedForIntermediate = nil
        }
        warnedOfWaiting[tier] = nil
        actions.append(.note(.reached(tier, phase)))
    }

    /// What the present phase of `rotation` waits for before the next.
    func wait(of rotation: Rotation) -> Wait {
        var wait = Wait()
        guard rotation.tier == .root else {
            wait.outdated = rotation.old
            return wait
        }
        let isCrossSigned =
            if let new = rotation.new, let old = rotation.old { isCrossSigned(new, by: old) } else { false }
        switch rotation.phase {
        case .making: break
        case .preparing:
            wait.mustKnow = rotation.new
            wait.includesRootsOfLeaves = !isCrossSigned
        case .activating:
            wait.mustKnow = rotation.new
            wait.includesRootsOfLeaves = !isCrossSigned
            wait.current = Set(
                state.authorities.lazy.filter { $0.tier == .intermediate && $0.issuer == rotation.new }.map(\.id))
        case .retiring:
            wait.mustKnow = rotation.new
            wait.includesRootsOfLeaves = true
            wait.mustForget = rotation.old
        }
        return wait
    }

    /// Whether nobody is waited for, or the wait has been long enough.
    private mutating func mayGoOn(
        _ tier: AuthorityTier, _ rotation: Rotation, now: Timestamp, into actions: inout [Action]
    ) -> Bool {
        let wait = wait(of: rotation)
        var awaited = tier == .root ? awaitedForRoot : awaitedForIntermediate
        if awaited?.wait != wait {
            awaited = AwaitedSet(wait, table: table, now: now, policy: policy)
        }
        awaited?.check(table: table, now: now, policy: policy)
        switch tier {
        case .root: awaitedForRoot = awaited
        case .intermediate: awaitedForIntermediate = awaited
        }
        let left = awaited?.holders.count ?? 0
        if left == 0 { return true }
        guard let patience = rotation.forceAfter, now >= rotation.since + patience else {
            warnOfWaiting(tier, rotation, holders: left, now: now, into: &actions)
            return false
        }
        actions.append(.note(.forced(tier, rotation.phase, without: left)))
        return true
    }

    /// Whether nobody can be shaking hands with a certificate that was replaced; an operator who goes on without some
    /// goes on without them.
    private mutating func handshakesAreOver(now: Timestamp) -> Bool {
        guard awaitedForRoot?.isEmpty == true, !table.records.isEmpty else { return true }
        let due = retiresAt ?? now + policy.handshakeAllowance
        retiresAt = now < due ? due : nil
        return now >= due
    }

    /// A wait beyond the life of a leaf is for somebody who is connected and does not answer: an operator must look.
    private mutating func warnOfWaiting(
        _ tier: AuthorityTier, _ rotation: Rotation, holders: Int, now: Timestamp, into actions: inout [Action]
    ) {
        let last = warnedOfWaiting[tier] ?? rotation.since
        guard now >= last + policy.leafValidity + policy.clockAllowance * 2 else { return }
        warnedOfWaiting[tier] = now
        actions.append(.warn(.waitsLong(tier, rotation.phase, since: rotation.since, holders: holders)))
    }
}
