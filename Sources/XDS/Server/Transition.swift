/// The step from what a client was sent to what it should have. Computed once for all streams that make it.
struct Transition: Sendable {
    /// nil: the step changes nothing for this subscription.
    var response: PreparedResponse?
    /// How many subscribed resources the client loses by it.
    var removedCount: Int
    /// Whether it brings names that the client was not sent before, or that it asked for.
    var addsNames: Bool
    /// Hash of the subscribed subset afterwards; kept for state-of-the-world streams only.
    var digest: ContentHash
}

/// Which step: everything that decides the bytes of the response, apart from the set that it leads to.
struct TransitionKey: Hashable, Sendable {
    /// 0: the client was sent nothing.
    var heldID: UInt64
    var subscription: Subscription
    var owed: Owed
    var form: ResponseForm
    /// The names became fewer: the client must learn the version of what is left.
    var announcesVersion: Bool
    /// A NACK stands: the version must not prove on reconnect that the client has all of the subset.
    var isTainted: Bool
    /// Set in a heartbeat: the version that the client holds. ``owed`` are then the names to leave out.
    var heartbeatVersion: String?

    static func == (left: TransitionKey, right: TransitionKey) -> Bool {
        left.heldID == right.heldID && left.subscription === right.subscription && left.form == right.form
            && left.announcesVersion == right.announcesVersion && left.isTainted == right.isTainted
            && left.heartbeatVersion == right.heartbeatVersion
            && left.owed == right.owed
    }

    /// Hashes the owed names by their number and the first: there may be 100,000 of them.
    func hash(into hasher: inout Hasher) {
        hasher.combine(heldID)
        hasher.combine(ObjectIdentifier(subscription))
        hasher.combine(form)
        hasher.combine(owed.wildcard)
        hasher.combine(owed.names.count)
        hasher.combine(owed.names.first)
    }
}

extension ResourceSet {
    /// The step from `held` to this set.
    /// - Parameters:
    ///   - heldDigest: hash of the subscribed subset of `held`, for state-of-the-world streams.
    ///   - lastNonce: the response's nonce is greater.
    func transition(
        from held: ResourceSet?, heldDigest: ContentHash, _ key: TransitionKey, after lastNonce: UInt64
    ) -> Transition {
        let difference = held.map { self.difference(from: $0) }
        let listsAll = key.form != .delta && type.listsEverything && key.subscription.isWildcard
        if key.owed.wildcard || listsAll { _ = sortedResources() }
        return memos.withLock { memos in
            if let known = memos.transitions[key] {
                guard let response = known.response, response.nonceNumber <= lastNonce else { return known }
                var renewed = known
                renewed.response = response.renewed()
                memos.transitions.insert(renewed, for: key, weight: response.weight)
                return renewed
            }
            memos.statistics.transitions += 1
            var step = TransitionDraft(
                target: self, held: held, difference: difference, key: key, heldDigest: heldDigest,
                everything: memos.sortedResources ?? [])
            let transition = key.heartbeatVersion == nil ? step.finish() : step.heartbeat()
            memos.transitions.insert(transition, for: key, weight: transition.response?.weight ?? 64)
            return transition
        }
    }

    /// The sum of the fingerprints of what a subscription by names covers. The work grows with the names.
    func subsetDigest(of subscription: Subscription) -> ContentHash {
        if subscription.isWildcard { return digest }
        var sum = ContentHash.zero
        for name in subscription.names {
            guard let resource = resource(named: name) else { continue }
            if resource.name != name {
                // Count a resource once, whatever the number of its names that are subscribed to.
                let others = ([resource.name] + resource.aliases).filter(subscription.contains)
                if subscription.contains(resource.name) || others.min() != name { continue }
            }
            sum = sum + resource.fingerprint
        }
        return sum
    }

    /// `version_info` for a subscription: the label, or a hash of what it covers, the names included.
    func version(of subscription: Subscription, digest subset: ContentHash, isTainted: Bool = false) -> String {
        if let label { return label }
        let sum = subscription.isWildcard ? digest : subset + subscription.nameDigest
        return (isTainted ? sum + Self.taint : sum).hex
    }

    private static let taint = ContentHash(ofFields: [Array("refused".utf8)])
}

/// A transition in the making.
struct TransitionDraft {
    let target: ResourceSet
    let held: ResourceSet?
    let difference: SetDifference?
    let key: TransitionKey
    let heldDigest: ContentHash
    /// The target's resources by name; empty when the draft does not need them.
    let everything: [Resource]

    private var sending: [Resource] = []
    private var removed: [String] = []
    private var removedCount = 0
    private var addsNames = false
    private var digest = ContentHash.zero

    private var subscription: Subscription { key.subscription }

    init(
        target: ResourceSet, held: ResourceSet?, difference: SetDifference?, key: TransitionKey,
        heldDigest: ContentHash, everything: [Resource]
    ) {
        self.target = target
        self.held = held
        self.difference = difference
        self.key = key
        self.heldDigest = heldDigest
        self.everything = everything
    }

    mutating func finish() -> Transition {
        digest = key.form == .delta ? .zero : held == nil ? target.subsetDigest(of: subscription) : heldDigest
        collectChanges()
        collectOwed()
        sending = Self.unique(sending)
        removed = removed.sortedUnique()
        let errors = sending.filter { $0.error != nil }
        let changed = errors.isEmpty ? sending : sending.filter { $0.error == nil }
        let isNeeded: Bool
        var listed = changed
        if key.form == .delta || !target.type.listsEverything {
            isNeeded =
                !sending.isEmpty || key.owed.wildcard || key.announcesVersion
                || (key.form == .delta && !removed.isEmpty)
        } else {
            isNeeded = !sending.isEmpty || !key.owed.isEmpty || removedCount > 0 || key.announcesVersion
            if isNeeded { listed = wholeSubset() }
        }
        guard isNeeded else {
            return Transition(removedCount: removedCount, addsNames: false, digest: digest)
        }
        let version = self.version
        let response = PreparedResponse(
            type: target.type, form: key.form, version: version, resources: listed,
            removedNames: key.form == .delta ? removed : [], errors: errors,
            dependencies: dependencies(of: changed), digest: digest)
        return Transition(response: response, removedCount: removedCount, addsNames: addsNames, digest: digest)
    }

    /// Renews the time to live of what the client holds.
    mutating func heartbeat() -> Transition {
        let expiring = target.expiring.keys.sorted().filter { !key.owed.names.containsSorted($0) }
            .compactMap { target.resources[$0] }
            .filter { subscription.covers($0) && $0.error == nil && !$0.isPlaceholder }
        var transition = Transition(removedCount: 0, addsNames: false, digest: heldDigest)
        guard !expiring.isEmpty, let version = key.heartbeatVersion else { return transition }
        let listsAll = key.form != .delta && target.type.listsEverything
        transition.response = PreparedResponse(
            type: target.type, form: key.form, version: version, resources: listsAll ? wholeSubset() : expiring,
            isHeartbeat: true, digest: heldDigest)
        return transition
    }

    private var version: String {
        if key.form == .delta { return target.version }
        return target.version(of: subscription, digest: digest, isTainted: key.isTainted)
    }

    private mutating func collectChanges() {
        guard let held, let difference else { return }
        let keepsDigest = key.form != .delta
        for name in difference.changed {
            let was = held.resources[name].flatMap { subscription.covers($0) ? $0 : nil }
            let now = target.resources[name].flatMap { subscription.covers($0) ? $0 : nil }
            if keepsDigest {
                if let was { digest = digest - was.fingerprint }
                if let now { digest = digest + now.fingerprint }
            }
            if let now {
                sending.append(now)
                if was == nil { addsNames = true }
            } else if was != nil {
                remove(name)
            }
        }
        for name in difference.removed {
            guard let was = held.resources[name], subscription.covers(was) else { continue }
            if keepsDigest { digest = digest - was.fingerprint }
            // An error entry counts too: the client may have kept what it had before the error.
            remove(name)
        }
    }

    private mutating func remove(_ name: String) {
        removed.append(name)
        removedCount += 1
    }

    private mutating func collectOwed() {
        if key.owed.wildcard {
            sending.append(contentsOf: everything.filter { !$0.isPlaceholder })
            addsNames = true
        }
        for name in key.owed.names {
            if let resource = target.resource(named: name), !resource.isPlaceholder {
                sending.append(resource)
                addsNames = true
            } else {
                removed.append(name)
            }
        }
    }

    private func wholeSubset() -> [Resource] {
        if subscription.isWildcard {
            return everything.contains { $0.error != nil } ? everything.filter { $0.error == nil } : everything
        }
        let resources = subscription.names.compactMap { target.resource(named: $0) }.filter { $0.error == nil }
        return Self.unique(resources)
    }

    private func dependencies(of changed: [Resource]) -> [PreparedResponse.Dependencies] {
        var names: [ResourceType: [String]] = [:]
        for resource in changed {
            for reference in resource.dependencies { names[reference.type, default: []].append(reference.name) }
        }
        return names.sorted { $0.key < $1.key }.map { type, names in
            PreparedResponse.Dependencies(type: type, names: names.sortedUnique())
        }
    }

    /// By name in ascending order, each once.
    private static func unique(_ resources: [Resource]) -> [Resource] {
        var result: [Resource] = []
        result.reserveCapacity(resources.count)
        for resource in resources.sorted(by: { $0.name < $1.name }) where result.last !== resource {
            result.append(resource)
        }
        return result
    }
}
