import Synchronization

/// What a class of proxies sees at one moment: one consistent set of resources for each type. Immutable; a snapshot
/// made from another by a change shares the untouched sets with it.
public final class Snapshot: Sendable {
    /// Greater than that of every snapshot made before in this process.
    public let generation: UInt64
    private let sets: [ResourceSet]

    private static let lastGeneration = Atomic<UInt64>(0)

    init(sets: [ResourceSet]) {
        precondition(sets.count == ResourceType.all.count)
        self.sets = sets
        generation = Self.lastGeneration.wrappingAdd(1, ordering: .relaxed).newValue
    }

    /// No resources at all.
    public static let empty = Snapshot(sets: ResourceType.all.map(ResourceSet.empty))

    /// - Parameters:
    ///   - resources: of any types, in any order.
    ///   - labels: the publisher's versions, by type; a type without one takes the hash of its content, so that a
    ///     restart of the control plane pushes nothing.
    /// - Throws: ``PublishError`` for a name that is used twice or is not allowed.
    public convenience init(
        _ resources: [Resource], labels: [ResourceType: String] = [:]
    ) throws(PublishError) {
        self.init(sets: try Self.sets(from: .empty, setting: resources, removing: [], labels: labels))
    }

    /// The resources of one type; an empty set for a type that was not published.
    public subscript(type: ResourceType) -> ResourceSet { sets[type.order] }

    /// This snapshot with some resources set and others removed; the work grows with the change alone.
    /// - Parameters:
    ///   - removing: names that are not there are no error.
    ///   - labels: versions for the types that change; a changed type without one takes the hash of its content.
    /// - Returns: this very snapshot when nothing differs.
    /// - Throws: ``PublishError``; nothing is half done.
    public func applying(
        setting: [Resource] = [], removing: [ResourceReference] = [], labels: [ResourceType: String] = [:]
    ) throws(PublishError) -> Snapshot {
        let changed = try Self.sets(from: self, setting: setting, removing: removing, labels: labels)
        if zip(changed, sets).allSatisfy({ $0 === $1 }) { return self }
        return Snapshot(sets: changed)
    }

    /// This snapshot with the sets of some types taken from another, shared by identity: what many views show alike is
    /// then compared and encoded once for all of them. Show it by ``SnapshotCache/adopt(_:as:)``.
    /// - Returns: this very snapshot when it has these sets already.
    public func taking(_ types: some Sequence<ResourceType>, from other: Snapshot) -> Snapshot {
        var taken = sets
        for type in types { taken[type.order] = other.sets[type.order] }
        return zip(taken, sets).allSatisfy { $0 === $1 } ? self : Snapshot(sets: taken)
    }

    /// A snapshot with this one's content that shares what it can with `older`, and knows what differs.
    func continuing(_ older: Snapshot) throws(PublishError) -> Snapshot {
        var continued: [ResourceSet] = []
        for (set, olderSet) in zip(sets, older.sets) { continued.append(try set.continuing(olderSet)) }
        if zip(continued, older.sets).allSatisfy({ $0 === $1 }) { return older }
        return Snapshot(sets: continued)
    }

    /// Forgets what was prepared for the sets that `newer` has replaced.
    func retire(for newer: Snapshot) {
        for (set, newSet) in zip(sets, newer.sets) where set !== newSet { set.retire() }
    }

    private static func sets(
        from older: Snapshot, setting: [Resource], removing: [ResourceReference], labels: [ResourceType: String]
    ) throws(PublishError) -> [ResourceSet] {
        var settingByType = Array(repeating: [Resource](), count: ResourceType.all.count)
        var removingByType = Array(repeating: [String](), count: ResourceType.all.count)
        for resource in setting { settingByType[resource.type.order].append(resource) }
        for reference in removing { removingByType[reference.type.order].append(reference.name) }
        var sets = older.sets
        for type in ResourceType.all {
            let (set, remove) = (settingByType[type.order], removingByType[type.order])
            if set.isEmpty && remove.isEmpty && labels[type] == nil { continue }
            sets[type.order] = try older[type].applying(setting: set, removing: remove, label: labels[type])
        }
        return sets
    }
}
