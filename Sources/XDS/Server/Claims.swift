// What a client that comes back already has.

extension StreamCore {
    /// Compares what the first requests said with the snapshot.
    mutating func resolveClaims(_ snapshot: Snapshot) {
        for index in states.indices {
            guard let claim = states[index].claim, let subscription = states[index].subscription else { continue }
            states[index].claim = nil
            // What was owed before: endpoints of clusters that were sent before the endpoints were subscribed to.
            let due =
                subscription.isWildcard
                ? states[index].owed.names : states[index].owed.names.filter(subscription.contains)
            let current = snapshot[states[index].type]
            if form == .delta {
                resolve(claim, index, subscription, current, due)
            } else {
                resolve(claim.version, index, subscription, current, due)
            }
        }
    }

    /// State of the world: an equal version proves that nothing need be sent, where it is a hash of the subscribed
    /// subset. A publisher's label proves it only for the wildcard, and only while it stood for one content.
    private mutating func resolve(
        _ version: String, _ index: Int, _ subscription: Subscription, _ current: ResourceSet, _ due: [String]
    ) {
        let digest = current.subsetDigest(of: subscription)
        let isProof = current.label == nil || (subscription.isWildcard && current.labelIsProof)
        if !version.isEmpty, isProof, version == current.version(of: subscription, digest: digest) {
            states[index].held = current
            states[index].digest = digest
            states[index].flags.remove(.digestIsStale)
            states[index].flags.insert(.isReconnecting)
            states[index].owed = Owed(names: due)
            states[index].sentVersion = version
            states[index].acknowledgedVersion = version
        } else {
            states[index].owed = Owed(wildcard: subscription.isWildcard, names: subscription.names)
        }
    }

    /// Delta: the client said the version of each resource that it holds.
    private mutating func resolve(
        _ claim: Claim, _ index: Int, _ subscription: Subscription, _ current: ResourceSet, _ due: [String]
    ) {
        guard !claim.versions.isEmpty else {
            states[index].owed = Owed(wildcard: subscription.isWildcard, names: subscription.names)
            return
        }
        let held = current.asHeld(by: claim.versions, subscription)
        states[index].held = held
        states[index].flags.insert(.isReconnecting)
        var owed = Owed(names: due)
        // Names that the client has a version of are answered by the difference alone.
        let unknown = subscription.names.filter { name in
            claim.versions[name] == nil && claim.versions[current.resource(named: name)?.name ?? name] == nil
        }
        owed.insert(unknown)
        states[index].owed = owed
        if held === current {
            states[index].sentVersion = current.version
            states[index].acknowledgedVersion = current.version
        }
    }
}

extension ResourceSet {
    /// Whether a client that names this set's label must have its content.
    fileprivate var labelIsProof: Bool {
        // A union was sent under this label too: such a client may hold what is not here.
        !labelIsAmbiguous && memos.withLock { $0.unions.count == 0 }
    }

    /// The set that a client with these versions holds: this very set when it holds what is here.
    fileprivate func asHeld(by versions: [String: String], _ subscription: Subscription) -> ResourceSet {
        var draft = SetDraft(from: self)
        var differs = false
        for (name, version) in versions {
            if let resource = resources[name], resource.error == nil, resource.version == version { continue }
            draft.keep(Resource(placeholderFor: name, type: type, version: version))
            differs = true
        }
        if subscription.isWildcard {
            for name in resources.keys where versions[name] == nil {
                draft.remove(name)
                differs = true
            }
        }
        return differs ? ResourceSet(draft, label: nil) : self
    }
}
