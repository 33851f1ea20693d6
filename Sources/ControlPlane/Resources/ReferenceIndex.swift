import HashTreeCollections
import XDS

/// Who refers to what, over all scopes: a value that shares its storage with the one that it was copied from.
struct ReferenceIndex: Sendable {
    /// Target, scope of the referrers, referrers: those that need the target.
    private var needs: TreeDictionary<ResourceReference, TreeDictionary<Scope, TreeSet<ResourceReference>>> = [:]
    /// Target, scope, number of the referrers that may use the target.
    private var uses: TreeDictionary<ResourceReference, TreeDictionary<Scope, Int>> = [:]

    mutating func add(_ references: [Reference], of referrer: ScopedReference) {
        for reference in references {
            let target = reference.target
            if reference.strength != .possible {
                needs[target, default: [:]][referrer.scope, default: []].insert(referrer.key)
            }
            if reference.strength != .owner { uses[target, default: [:]][referrer.scope, default: 0] += 1 }
        }
    }

    mutating func remove(_ references: [Reference], of referrer: ScopedReference) {
        for reference in references {
            let target = reference.target
            if reference.strength != .possible {
                needs[target]?[referrer.scope]?.remove(referrer.key)
                if needs[target]?[referrer.scope]?.isEmpty == true { needs[target]?[referrer.scope] = nil }
                if needs[target]?.isEmpty == true { needs[target] = nil }
            }
            if reference.strength != .owner, let count = uses[target]?[referrer.scope] {
                uses[target]?[referrer.scope] = count == 1 ? nil : count - 1
                if uses[target]?.isEmpty == true { uses[target] = nil }
            }
        }
    }

    /// The scopes with referrers that need the target.
    func scopesNeeding(_ target: ResourceReference) -> [Scope] { needs[target].map { $0.keys.sorted() } ?? [] }

    /// The first of the referrers of a scope, and how many there are.
    func referrers(of target: ResourceReference, in scope: Scope) -> (first: ResourceReference, count: Int)? {
        guard let all = needs[target]?[scope],
            let first = all.min(by: { ($0.type, $0.name) < ($1.type, $1.name) })
        else { return nil }
        return (first, all.count)
    }

    func needs(_ target: ResourceReference, by referrer: ScopedReference) -> Bool {
        needs[target]?[referrer.scope]?.contains(referrer.key) ?? false
    }

    /// Whether something that meets the scope uses the target.
    func isUsed(_ target: ResourceReference, in scope: Scope) -> Bool {
        uses[target]?.keys.contains { $0.mayMeet(scope) } ?? false
    }
}
