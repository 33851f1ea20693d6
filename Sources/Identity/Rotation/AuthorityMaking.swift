import Time

/// Making what a rotation needs.
extension AuthorityMachine {
    /// What is lacking, in the order in which it can be made.
    func wantedMakings(now: Timestamp) -> [Making] {
        var wanted: [Making] = []
        if let rotation = state.rootRotation, rotation.phase == .making {
            if let new = rotation.new {
                if rotation.newIntermediate == nil { wanted.append(.intermediate(under: new)) }
                if needsCrossSignature(rotation, now: now), let old = rotation.old {
                    wanted.append(.crossSignature(root: new, by: old))
                }
            } else {
                wanted.append(.root)
            }
        }
        if let rotation = state.intermediateRotation, rotation.phase == .making, let root = activeRoot?.id {
            wanted.append(.intermediate(under: root))
        }
        return wanted
    }

    /// An outside root certifies nothing here: then the waiting alone keeps peers in agreement.
    /// One that is past certifies nothing either, and nobody who knows it alone accepts anybody.
    func needsCrossSignature(_ rotation: Rotation, now: Timestamp) -> Bool {
        guard let old = rotation.old.flatMap(authority), old.hasKey, let new = rotation.new,
            old.validity.upperBound > now
        else { return false }
        return !isCrossSigned(new, by: old.id)
    }

    func isCrossSigned(_ root: AuthorityID, by: AuthorityID) -> Bool {
        state.crossSignatures.contains { $0.root == root && $0.by == by }
    }

    func authority(_ id: AuthorityID) -> Authority? { state.authorities.first { $0.id == id } }

    /// Asks for what is lacking and was not asked for, or failed long enough ago.
    mutating func askForMakings(now: Timestamp, into actions: inout [Action]) {
        let wanted = wantedMakings(now: now)
        asked.formIntersection(wanted)
        retries = retries.filter { wanted.contains($0.key) }
        for making in wanted where !asked.contains(making) {
            if let retry = retries[making], now < retry.at { continue }
            guard let validity = validity(of: making, now: now) else { continue }
            asked.insert(making)
            actions.append(.make(making, validity: validity))
        }
    }

    private func validity(of making: Making, now: Timestamp) -> Range<Timestamp>? {
        let start = now - policy.clockAllowance
        switch making {
        case .root: return start..<(now + policy.rootValidity)
        case .intermediate(let root):
            guard let root = authority(root) else { return nil }
            return LeafValidity.clamped(
                policy.intermediateValidity, backdate: policy.clockAllowance, within: [root.validity], now: now)?
                .validity
        case .crossSignature(let root, let by):
            guard let root = authority(root), let by = authority(by) else { return nil }
            let both = root.validity.clamped(to: by.validity)
            return both.contains(now) ? both : nil
        }
    }

    mutating func takeRoot(
        _ id: AuthorityID, _ validity: Range<Timestamp>, now: Timestamp, into actions: inout [Action]
    ) {
        guard authority(id) == nil else { return }
        guard state.rootRotation?.phase == .making, state.rootRotation?.new == nil else {
            return discard(id, into: &actions)
        }
        answered(.root)
        state.authorities.append(
            Authority(id: id, tier: .root, issuer: id, validity: validity, createdAt: now))
        state.rootRotation?.new = id
    }

    mutating func takeIntermediate(
        _ id: AuthorityID, under root: AuthorityID, _ validity: Range<Timestamp>, now: Timestamp,
        into actions: inout [Action]
    ) {
        guard authority(id) == nil else { return }
        let made = Authority(id: id, tier: .intermediate, issuer: root, validity: validity, createdAt: now)
        if let rotation = state.rootRotation, rotation.phase == .making, rotation.new == root,
            rotation.newIntermediate == nil
        {
            state.authorities.append(made)
            state.rootRotation?.newIntermediate = id
        } else if let rotation = state.intermediateRotation, rotation.phase == .making, activeRoot?.id == root {
            state.authorities.append(made)
            state.intermediateRotation?.new = id
        } else {
            return discard(id, into: &actions)
        }
        answered(.intermediate(under: root))
    }

    mutating func takeCrossSignature(_ signature: CrossSignature, now: Timestamp) {
        guard wantedMakings(now: now).contains(.crossSignature(root: signature.root, by: signature.by)) else { return }
        answered(.crossSignature(root: signature.root, by: signature.by))
        state.crossSignatures.append(signature)
    }

    /// Made for a rotation that is no more.
    private mutating func discard(_ id: AuthorityID, into actions: inout [Action]) {
        state.toForget.insert(id)
        actions.append(.forget(id))
    }

    private mutating func answered(_ making: Making) {
        asked.remove(making)
        retries[making] = nil
    }

    /// Pauses between attempts: from a second, doubling, to ten minutes.
    mutating func takeFailure(of making: Making, reason: String, now: Timestamp, into actions: inout [Action]) {
        guard wantedMakings(now: now).contains(making) else { return }
        asked.remove(making)
        let attempts = (retries[making]?.attempts ?? 0) + 1
        let retryAt = now + min(.seconds(1 << min(attempts - 1, 10)), .seconds(600))
        retries[making] = Retry(attempts: attempts, at: retryAt, reason: reason)
        actions.append(.warn(.makingFails(making, reason: reason, attempts: attempts, retryAt: retryAt)))
    }
}
