/// What it takes to get from one set to another: names in ascending order.
final class SetDifference: Sendable {
    /// In the newer set, and new or different there.
    let changed: [String]
    /// In the older set alone.
    let removed: [String]

    static let none = SetDifference(changed: [], removed: [])

    init(changed: [String], removed: [String]) {
        self.changed = changed
        self.removed = removed
    }
}

extension ResourceSet {
    /// Computed once for each older set. Where the two share a past, the work grows with what happened since;
    /// otherwise with the sizes of both.
    func difference(from older: ResourceSet) -> SetDifference {
        if older === self { return .none }
        return memos.withLock { memos in
            if let known = memos.differences[older.id] { return known }
            memos.statistics.differences += 1
            let names = namesTouched(since: older)
            if names == nil { memos.statistics.fullComparisons += 1 }
            let difference = names.map { compare($0, with: older) } ?? compareAll(with: older)
            memos.differences.insert(difference, for: older.id)
            return difference
        }
    }

    /// The names that may differ, from the histories of both sets; nil when those do not meet.
    private func namesTouched(since older: ResourceSet) -> Set<String>? {
        let ours = [id] + history.map(\.olderID)
        let theirs = [older.id] + older.history.map(\.olderID)
        for (ourSteps, meeting) in ours.enumerated() {
            guard let theirSteps = theirs.firstIndex(of: meeting) else { continue }
            var names: Set<String> = []
            for step in history.prefix(ourSteps) { names.formUnion(step.names) }
            for step in older.history.prefix(theirSteps) { names.formUnion(step.names) }
            return names
        }
        return nil
    }

    /// Whether the histories meet, so that the difference costs no full comparison.
    func sharesPast(with older: ResourceSet) -> Bool {
        let theirs = [older.id] + older.history.map(\.olderID)
        return ([id] + history.map(\.olderID)).contains(where: theirs.contains)
    }

    private func compare(_ names: some Sequence<String>, with older: ResourceSet) -> SetDifference {
        var changed: [String] = []
        var removed: [String] = []
        for name in names {
            let was = older.resources[name]
            if let now = resources[name] {
                if was !== now, was?.fingerprint != now.fingerprint { changed.append(name) }
            } else if was != nil {
                removed.append(name)
            }
        }
        return SetDifference(changed: changed.sorted(), removed: removed.sorted())
    }

    private func compareAll(with older: ResourceSet) -> SetDifference {
        let here = compare(resources.keys, with: older)
        let there = older.resources.keys.filter { resources[$0] == nil }
        return SetDifference(changed: here.changed, removed: there.sorted())
    }
}
