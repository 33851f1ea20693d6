import Synchronization

/// What one stream wants of one type. Immutable, and interned: streams with equal subscriptions share one object,
/// so that its identity is enough to find what was prepared for it.
final class Subscription: Sendable {
    let isWildcard: Bool
    /// In ascending order, without `*`. May be aliases.
    let names: [String]
    /// The names' UTF-8 bytes in all.
    let byteCount: Int
    /// Hash of the names: part of the version of a subset.
    let nameDigest: ContentHash

    private init(isWildcard: Bool, names: [String]) {
        self.isWildcard = isWildcard
        self.names = names
        byteCount = names.reduce(0) { $0 + $1.utf8.count }
        nameDigest = names.isEmpty ? .zero : ContentHash(ofFields: names.map { Array($0.utf8) })
    }

    var isEmpty: Bool { !isWildcard && names.isEmpty }

    func contains(_ name: String) -> Bool { names.containsSorted(name) }

    /// Whether the resource is subscribed to by its name, by an alias or by the wildcard.
    func covers(_ resource: Resource) -> Bool {
        isWildcard || contains(resource.name) || resource.aliases.contains(where: contains)
    }

    // MARK: The table of all subscriptions

    private struct Entry {
        weak var subscription: Subscription?
    }

    private struct Table {
        var entries: [Int: [Entry]] = [:]
        var count = 0
        /// How many entries there may be before the dead ones are swept out.
        var limit = 1024
    }

    private static let table = Mutex(Table())

    /// Live and dead entries of the table: never more than twice the live ones, or 1,024.
    static var tableCount: Int { table.withLock { $0.count } }

    /// - Parameter names: in ascending order, each once.
    static func interned(isWildcard: Bool, names: [String]) -> Subscription {
        var hasher = Hasher()
        hasher.combine(isWildcard)
        hasher.combine(names)
        let key = hasher.finalize()
        return table.withLock { table in
            for entry in table.entries[key, default: []] {
                if let found = entry.subscription, found.isWildcard == isWildcard, found.names == names {
                    return found
                }
            }
            if table.count >= table.limit { sweep(&table) }
            let new = Subscription(isWildcard: isWildcard, names: names)
            table.entries[key, default: []].append(Entry(subscription: new))
            table.count += 1
            return new
        }
    }

    private static func sweep(_ table: inout Table) {
        table.entries = table.entries.compactMapValues { entries in
            let live = entries.filter { $0.subscription != nil }
            return live.isEmpty ? nil : live
        }
        table.count = table.entries.values.reduce(0) { $0 + $1.count }
        table.limit = max(1024, 2 * table.count)
    }
}

/// What a stream was asked for by name and has not answered yet. Usually empty.
struct Owed: Hashable, Sendable {
    /// The wildcard itself was subscribed to: everything in the set, or an empty answer.
    var wildcard = false
    /// In ascending order, each once.
    var names: [String] = []

    var isEmpty: Bool { !wildcard && names.isEmpty }

    /// - Parameter added: in ascending order, each once.
    mutating func insert(_ added: [String]) {
        if added.isEmpty { return }
        names = names.isEmpty ? added : names.mergedSorted(with: added)
    }
}

extension [String] {
    /// Binary search in an ascending array.
    func containsSorted(_ name: String) -> Bool {
        var (low, high) = (0, count)
        while low < high {
            let middle = (low + high) / 2
            if self[middle] < name { low = middle + 1 } else { high = middle }
        }
        return low < count && self[low] == name
    }

    /// Ascending, each once.
    func sortedUnique() -> [String] {
        var result: [String] = []
        result.reserveCapacity(count)
        for name in sorted() where result.last != name { result.append(name) }
        return result
    }

    /// Union of two ascending arrays.
    func mergedSorted(with other: [String]) -> [String] {
        var result: [String] = []
        result.reserveCapacity(count + other.count)
        var (mine, theirs) = (0, 0)
        while mine < count && theirs < other.count {
            if self[mine] == other[theirs] {
                theirs += 1
            } else if self[mine] < other[theirs] {
                result.append(self[mine])
                mine += 1
            } else {
                result.append(other[theirs])
                theirs += 1
            }
        }
        result.append(contentsOf: self[mine...])
        result.append(contentsOf: other[theirs...])
        return result
    }

    /// What this ascending array has and the other lacks.
    func subtractingSorted(_ other: [String]) -> [String] {
        if other.isEmpty { return self }
        return filter { !other.containsSorted($0) }
    }
}
