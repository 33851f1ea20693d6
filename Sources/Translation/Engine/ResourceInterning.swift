import XDS

/// Equal resources are one object in memory, however many sections made them.
struct ResourceInterning: Sendable {
    private struct Key: Hashable, Sendable {
        var type: ResourceType
        var name: String
        var version: String
    }

    private var known: [Key: Resource] = [:]
    private var nextSweep = 1024

    var count: Int { known.count }

    /// The one object that is equal to this.
    mutating func interned(_ resource: Resource) -> Resource {
        let key = Key(type: resource.type, name: resource.name, version: resource.version)
        if let one = known[key], one.dependencies == resource.dependencies { return one }
        known[key] = resource
        return resource
    }

    /// Forgets what nobody else has any more; costs little as long as little was added since the last time.
    mutating func sweepIfGrown() {
        guard known.count >= nextSweep else { return }
        sweep()
        nextSweep = max(1024, known.count * 2)
    }

    mutating func sweep() {
        var unused: [Key] = []
        var index = known.startIndex
        while index != known.endIndex {
            if isKnownUniquelyReferenced(&known.values[index]) { unused.append(known[index].key) }
            known.formIndex(after: &index)
        }
        for key in unused { known[key] = nil }
    }
}
