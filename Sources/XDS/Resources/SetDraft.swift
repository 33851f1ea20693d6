import HashTreeCollections

/// A resource set in the making: a copy of another's content that shares its storage, and the changes so far.
struct SetDraft {
    let type: ResourceType
    private(set) var resources: TreeDictionary<String, Resource>
    private(set) var aliases: TreeDictionary<String, String>
    private(set) var expiring: TreeDictionary<String, Duration>
    private(set) var digest: ContentHash
    private var changed: Set<String> = []
    private let olderID: UInt64?
    private let olderHistory: [ResourceSet.HistoryStep]

    init(type: ResourceType) {
        self.type = type
        resources = [:]
        aliases = [:]
        expiring = [:]
        digest = .zero
        olderID = nil
        olderHistory = []
    }

    init(from older: ResourceSet) {
        type = older.type
        resources = older.resources
        aliases = older.aliases
        expiring = older.expiring
        digest = older.digest
        olderID = older.id
        olderHistory = older.history
    }

    var changedNames: [String] { changed.sorted() }

    /// Newest first; as long as walking it costs less than comparing everything.
    func history() -> [ResourceSet.HistoryStep] {
        guard let olderID else { return [] }
        var steps = [ResourceSet.HistoryStep(olderID: olderID, names: changedNames)]
        var total = changed.count
        for step in olderHistory.prefix(ResourceSet.historyLimit - 1) {
            total += step.names.count
            if total > max(256, resources.count) { break }
            steps.append(step)
        }
        return steps
    }

    /// Adds or replaces resources after checking them against each other and against what is there.
    mutating func set(_ new: [Resource]) throws(PublishError) {
        var positions: [String: Int] = [:]
        positions.reserveCapacity(new.count)
        for (position, resource) in new.enumerated() {
            precondition(resource.type == type, "a \(resource.type) resource in a set of \(type)")
            try check(resource, position)
            for name in [resource.name] + resource.aliases {
                if let first = positions.updateValue(position, forKey: name) {
                    throw .duplicateName(
                        type, name: name, first: place(new[first], first), second: place(resource, position))
                }
            }
        }
        let different = new.filter { resources[$0.name]?.fingerprint != $0.fingerprint }
        for resource in different { remove(resource.name) }
        for (position, resource) in different.enumerated() {
            for name in [resource.name] + resource.aliases {
                if let other = resources[name] ?? aliases[name].flatMap({ resources[$0] }) {
                    throw .duplicateName(
                        type, name: name, first: other.origin ?? "the published \(type) \"\(other.name)\"",
                        second: place(resource, position))
                }
            }
            keep(resource)
        }
    }

    /// Puts a resource whose name and aliases are known to be free, or replaces the one of that name.
    mutating func keep(_ resource: Resource) {
        remove(resource.name)
        resources[resource.name] = resource
        for alias in resource.aliases { aliases[alias] = resource.name }
        if let timeToLive = resource.timeToLive { expiring[resource.name] = timeToLive }
        digest = digest + resource.fingerprint
        changed.insert(resource.name)
    }

    /// Does nothing when there is no such resource.
    mutating func remove(_ name: String) {
        guard let old = resources.removeValue(forKey: name) else { return }
        for alias in old.aliases where aliases[alias] == name { aliases[alias] = nil }
        if old.timeToLive != nil { expiring[name] = nil }
        digest = digest - old.fingerprint
        changed.insert(name)
    }

    private func check(_ resource: Resource, _ position: Int) throws(PublishError) {
        for name in [resource.name] + resource.aliases
        where name.isEmpty || name == "*" || name.utf8.contains(0) {
            throw .invalidName(type, name: name, place: place(resource, position))
        }
        if let timeToLive = resource.timeToLive, timeToLive < .milliseconds(100) {
            throw .timeToLiveTooShort(type, name: resource.name, place: place(resource, position))
        }
    }

    private func place(_ resource: Resource, _ position: Int) -> String {
        resource.origin ?? "position \(position + 1) of the list"
    }
}
