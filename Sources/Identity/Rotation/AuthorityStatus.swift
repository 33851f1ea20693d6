import Time

/// What stands where, for people and metrics.
public struct AuthorityStatus: Hashable, Sendable {
    /// A rotation and those it waits for.
    public struct Progress: Hashable, Sendable {
        public let rotation: Rotation
        public let awaitedCount: Int
        /// The first of them, by name.
        public let awaited: [AwaitedHolder]
        /// When the step goes on without them; `nil`: never by itself.
        public let forcedAt: Timestamp?
    }

    /// A moment to come, or that has passed and is overdue.
    public struct Moment: Hashable, Sendable {
        public enum What: Hashable, Sendable {
            case begins(AuthorityID, AuthorityTier)
            case rotationBegins(AuthorityTier, of: AuthorityID)
            case stepIsForced(AuthorityTier, Rotation.Phase)
            /// The last certificate of a holder that is away and waited for is past.
            case lastAwaitedIsPast(AuthorityTier)
            case ends(AuthorityID, AuthorityTier)
        }
        public let at: Timestamp
        public let what: What
    }

    public let authorities: [Authority]
    public let bundle: Set<AuthorityID>
    public let issuer: AuthorityID?
    public let crossSignature: CrossSignature?
    public let progress: [Progress]
    /// In the order of time.
    public let timeline: [Moment]
    /// What is wrong now; empty when all is well.
    public let warnings: [AuthorityMachine.Warning]
    public let holderCount: Int
    public let connectedCount: Int
}

extension AuthorityMachine {
    /// - Parameter limit: how many awaited holders are listed for each rotation.
    public func status(now: Timestamp, limit: Int = 100) -> AuthorityStatus {
        let rotations = [state.rootRotation, state.intermediateRotation].compactMap(\.self)
        return AuthorityStatus(
            authorities: state.authorities.sorted {
                ($0.tier.rawValue, $0.createdAt, $0.id) > ($1.tier.rawValue, $1.createdAt, $1.id)
            },
            bundle: bundle, issuer: issuer?.id, crossSignature: crossSignature,
            progress: rotations.map { progress(of: $0, now: now, limit: limit) },
            timeline: timeline(now: now), warnings: standingWarnings(now: now),
            holderCount: table.records.count, connectedCount: table.records.values.lazy.filter(\.isConnected).count)
    }

    private func awaited(_ tier: AuthorityTier) -> AwaitedSet? {
        switch tier {
        case .root: awaitedForRoot
        case .intermediate: awaitedForIntermediate
        }
    }

    private func progress(of rotation: Rotation, now: Timestamp, limit: Int) -> AuthorityStatus.Progress {
        let awaited = awaited(rotation.tier)
        let listed = (awaited?.holders ?? []).sorted().prefix(limit).compactMap { id -> AwaitedHolder? in
            guard let awaited, let record = table[id],
                let want = awaited.wait.want(of: record, now: now, allowance: policy.clockAllowance)
            else { return nil }
            return AwaitedHolder(
                id: id, isConnected: record.isConnected, lastSeen: record.lastSeen, bundle: record.bundle,
                leaves: record.leaves, want: want,
                until: awaited.wait.end(for: record, allowance: policy.clockAllowance))
        }
        return AuthorityStatus.Progress(
            rotation: rotation, awaitedCount: awaited?.holders.count ?? 0, awaited: listed,
            forcedAt: rotation.phase == .making ? nil : rotation.forceAfter.map { rotation.since + $0 })
    }

    private func timeline(now: Timestamp) -> [AuthorityStatus.Moment] {
        var moments: [AuthorityStatus.Moment] = []
        func add(_ at: Timestamp, _ what: AuthorityStatus.Moment.What) { moments.append(.init(at: at, what: what)) }
        for authority in state.authorities {
            add(authority.validity.upperBound, .ends(authority.id, authority.tier))
            if authority.validity.lowerBound > now {
                add(authority.validity.lowerBound, .begins(authority.id, authority.tier))
            }
        }
        if let root = activeRoot, let issuer {
            if state.rootRotation == nil, let start = rootStart(root) {
                add(start, .rotationBegins(.root, of: root.id))
            }
            if state.intermediateRotation == nil, let start = intermediateStart(issuer, root) {
                add(start, .rotationBegins(.intermediate, of: issuer.id))
            }
        }
        for rotation in [state.rootRotation, state.intermediateRotation].compactMap(\.self)
        where rotation.phase != .making {
            if let patience = rotation.forceAfter {
                add(rotation.since + patience, .stepIsForced(rotation.tier, rotation.phase))
            }
            if let awaited = awaited(rotation.tier) {
                let ends = awaited.holders.lazy.compactMap { table[$0] }
                    .compactMap { awaited.wait.end(for: $0, allowance: policy.clockAllowance) }
                if let last = ends.max() { add(last, .lastAwaitedIsPast(rotation.tier)) }
            }
        }
        return moments.sorted { $0.at < $1.at }
    }

    /// Authorities that are in use and whose successor is late.
    private func endangered(now: Timestamp) -> [Alarm] { alarms.filter { now >= $0.at } }

    struct Alarm {
        let authority: Authority
        let at: Timestamp
        let needsImport: Bool
    }

    /// From when on it must be said that an authority in use comes to its end.
    private var alarms: [Alarm] {
        guard let root = activeRoot, let issuer else { return [] }
        let rootLead =
            root.isImported || !root.hasKey
            ? min(policy.rootLead, (root.validity.upperBound - root.validity.lowerBound) / 2) : policy.rootLead / 2
        let lead = policy.intermediateLead(of: issuer.validity)
        let byImport =
            !root.hasKey
            || (root.isImported && root.validity.upperBound <= issuer.validity.upperBound + policy.leafValidity)
        return [
            Alarm(
                authority: root, at: root.validity.upperBound - rootLead,
                needsImport: root.isImported || !root.hasKey),
            // What cannot be renewed here is announced from the moment at which it would be.
            Alarm(
                authority: issuer,
                at: issuer.validity.upperBound - (byImport ? lead : max(lead / 3, policy.leafValidity)),
                needsImport: byImport),
        ]
    }

    func standingWarnings(now: Timestamp) -> [Warning] {
        var warnings: [Warning] = retries.sorted { $0.value.at < $1.value.at }.map { making, retry in
            .makingFails(making, reason: retry.reason, attempts: retry.attempts, retryAt: retry.at)
        }
        warnings += endangered(now: now).map { warning(of: $0.authority, needsImport: $0.needsImport, now: now) }
        for rotation in [state.rootRotation, state.intermediateRotation].compactMap(\.self)
        where warnedOfWaiting[rotation.tier] != nil {
            warnings.append(
                .waitsLong(
                    rotation.tier, rotation.phase, since: rotation.since,
                    holders: awaited(rotation.tier)?.holders.count ?? 0))
        }
        return warnings
    }

    private func warning(of authority: Authority, needsImport: Bool, now: Timestamp) -> Warning {
        let end = authority.validity.upperBound
        return now >= end
            ? .expired(authority.id, authority.tier, at: end)
            : .expires(authority.id, authority.tier, at: end, needsImport: needsImport)
    }

    /// Warns when an authority that is in use comes near its end, again each time that the rest has halved, and once it
    /// has ended: about a dozen times in all.
    mutating func warnOfEnds(now: Timestamp, into actions: inout [Action]) {
        for alarm in endangered(now: now) {
            let authority = alarm.authority
            if let next = warned[authority.id], now < next { continue }
            let rest = authority.validity.upperBound - now
            warned[authority.id] =
                rest <= .zero ? now + .seconds(3600) : now + min(rest, max(rest / 2, .seconds(1)))
            actions.append(.warn(warning(of: authority, needsImport: alarm.needsImport, now: now)))
        }
    }

    /// When to call ``handle(_:now:)`` with a tick if nothing happens before. A moment that is past: now.
    public func nextDeadline(now: Timestamp) -> Timestamp? {
        var moments = retries.filter { !asked.contains($0.key) }.map(\.value.at)
        if let root = activeRoot, let issuer {
            if state.rootRotation == nil, state.intermediateRotation == nil, let start = rootStart(root) {
                moments.append(start)
            }
            if state.intermediateRotation == nil, let start = intermediateStart(issuer, root) { moments.append(start) }
            moments += alarms.map { warned[$0.authority.id] ?? $0.at }
        } else {
            if state.rootRotation == nil { moments.append(now) }
        }
        for rotation in [state.rootRotation, state.intermediateRotation].compactMap(\.self)
        where rotation.phase != .making {
            if let patience = rotation.forceAfter { moments.append(rotation.since + patience) }
            let last = warnedOfWaiting[rotation.tier] ?? rotation.since
            moments.append(last + policy.leafValidity + policy.clockAllowance * 2)
            if let check = awaited(rotation.tier)?.nextCheck { moments.append(check) }
        }
        if state.rootRotation?.phase == .activating, let retiresAt { moments.append(retiresAt) }
        return moments.min()
    }
}
