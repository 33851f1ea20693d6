import Time

/// Who has what. Grows with the holders that are connected or may use a certificate, and with nothing else.
struct HolderTable: Sendable {
    private(set) var records: [HolderID: HolderRecord] = [:]
    /// Records that differ from what the caller has kept.
    private(set) var changed: Set<HolderID> = []

    subscript(id: HolderID) -> HolderRecord? { records[id] }

    /// - Parameter published: the bundle that may have reached anybody before the end of the process.
    mutating func restore(_ kept: [HolderRecord], published: Set<AuthorityID>) {
        for var record in kept {
            record.isConnected = false
            record.mayHaveGot(published)
            records[record.id] = record
        }
    }

    /// Changes one record in place.
    mutating func update(_ id: HolderID, now: Timestamp, _ change: (inout HolderRecord) -> Void) {
        change(&records[id, default: HolderRecord(id: id, lastSeen: now)])
        records[id]?.lastSeen = now
        changed.insert(id)
    }

    /// A bundle goes to everybody who is connected.
    mutating func published(_ bundle: Set<AuthorityID>) {
        for (id, record) in records where record.isConnected && !record.certainRoots.isSubset(of: bundle) {
            records[id]?.mayHaveGot(bundle)
            changed.insert(id)
        }
    }

    mutating func takeChanged() -> (kept: [HolderRecord], dropped: [HolderID]) {
        let ids = changed.sorted()
        changed = []
        return (ids.compactMap { records[$0] }, ids.filter { records[$0] == nil })
    }

    /// Drops leaves that are past, and holders that are away with nothing left. Walks everybody: see the caller for
    /// how often.
    mutating func dropPast(now: Timestamp, allowance: Duration) {
        var gone: [HolderID] = []
        for (id, record) in records where record.leaves.contains(where: { $0.notAfter + allowance <= now }) {
            records[id]?.dropPast(now: now, allowance: allowance)
            changed.insert(id)
        }
        for (id, record) in records where !record.isConnected && record.leaves.isEmpty { gone.append(id) }
        for id in gone {
            records[id] = nil
            changed.insert(id)
        }
    }
}

extension Wait {
    /// What `record` lacks for this step, if it is to be waited for.
    func want(of record: HolderRecord, now: Timestamp, allowance: Duration) -> AwaitedHolder.Want? {
        let live = record.leaves.filter { $0.notAfter + allowance > now }
        if let old = live.last(where: { isOutdated($0.issuer) }) {
            return .replaces(issuer: old.issuer, notAfter: old.notAfter)
        }
        if let root = mustKnow {
            if record.bundle != nil, !record.certainRoots.contains(root), record.isConnected || !live.isEmpty {
                return .knows(root)
            }
            if includesRootsOfLeaves, live.contains(where: { $0.roots.map { !$0.contains(root) } ?? false }) {
                return .knows(root)
            }
        }
        if let root = mustForget, record.isConnected, let bundle = record.bundle, bundle.contains(root) {
            return .forgets(root)
        }
        return nil
    }

    /// When `record` is waited for no longer though nothing more is heard of it; `nil`: never while it is connected.
    func end(for record: HolderRecord, allowance: Duration) -> Timestamp? {
        let waitsForLeaves = outdated != nil || current != nil
        let relevant = waitsForLeaves ? record.leaves.filter { isOutdated($0.issuer) } : record.leaves
        if record.isConnected, relevant.isEmpty || mustForget != nil { return nil }
        return (relevant.isEmpty ? record.leaves : relevant).map { $0.notAfter + allowance }.max()
    }
}

/// The holders that one step waits for: walked once when the step begins, then kept by events.
struct AwaitedSet: Sendable {
    let wait: Wait
    private(set) var holders: Set<HolderID> = []
    /// The next moment at which somebody may drop out because what it holds is past.
    private(set) var nextCheck: Timestamp?

    init(_ wait: Wait, table: HolderTable, now: Timestamp, policy: AuthorityPolicy) {
        self.wait = wait
        for (id, record) in table.records
        where wait.want(of: record, now: now, allowance: policy.clockAllowance) != nil {
            holders.insert(id)
        }
        schedule(table: table, now: now, policy: policy)
    }

    var isEmpty: Bool { holders.isEmpty }

    /// After an event of `id`.
    mutating func update(_ id: HolderID, table: HolderTable, now: Timestamp, policy: AuthorityPolicy) {
        guard let record = table[id], wait.want(of: record, now: now, allowance: policy.clockAllowance) != nil else {
            holders.remove(id)
            return
        }
        holders.insert(id)
        guard let end = wait.end(for: record, allowance: policy.clockAllowance) else { return }
        nextCheck = min(nextCheck ?? end, max(end, now + Self.pause(policy)))
    }

    /// Looks at everybody who is left, if it is time to.
    mutating func check(table: HolderTable, now: Timestamp, policy: AuthorityPolicy) {
        guard let nextCheck, now >= nextCheck else { return }
        let wait = wait
        holders = holders.filter { id in
            table[id].map { wait.want(of: $0, now: now, allowance: policy.clockAllowance) != nil } ?? false
        }
        schedule(table: table, now: now, policy: policy)
    }

    private mutating func schedule(table: HolderTable, now: Timestamp, policy: AuthorityPolicy) {
        var first: Timestamp?
        for id in holders {
            guard let end = table[id].flatMap({ wait.end(for: $0, allowance: policy.clockAllowance) }) else { continue }
            first = min(first ?? end, end)
        }
        nextCheck = first.map { max($0, now + Self.pause(policy)) }
    }

    /// Between two walks: some hundred in a leaf's life, however many holders there are.
    private static func pause(_ policy: AuthorityPolicy) -> Duration { policy.leafValidity / 256 }
}
