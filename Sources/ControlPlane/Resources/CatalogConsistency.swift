import HashTreeCollections
import XDS

extension ResourceCatalog {
    /// The scopes that this has and the other has not.
    func scopesMissing(in other: ResourceCatalog) -> [Scope] {
        holdings.keys.filter { other.holdings[$0] == nil }.sorted()
    }

    /// Updates the index after one resource has changed.
    /// - Returns: the targets to check again.
    mutating func follow(
        _ place: ScopedReference, from old: HeldResource?, to new: HeldResource?
    ) -> [ResourceReference] {
        func aims(_ resource: HeldResource?) -> [ResourceReference: Reference.Strength] {
            Dictionary(
                (resource?.references ?? []).map { ($0.target, $0.strength) }, uniquingKeysWith: { first, _ in first })
        }
        let (before, after) = (aims(old), aims(new))
        var targets: [ResourceReference] = []
        if before != after {
            references.remove(old?.references ?? [], of: place)
            references.add(new?.references ?? [], of: place)
            targets = Set(before.keys).union(after.keys).filter { before[$0] != after[$0] }
        }
        let names = (old?.names ?? [], new?.names ?? [])
        if names.0 != names.1 { targets += names.0 + names.1 }
        // Lines may have moved.
        if old?.origin != new?.origin || old?.references != new?.references {
            targets += (Array(after.keys) + names.1).filter { findingsByTarget[$0] != nil }
        }
        return targets
    }

    /// The names of the resources that have `name` as an alias.
    func canonicalNames(of name: ResourceReference) -> [ResourceReference] {
        (scopesByName[name] ?? []).compactMap { holdings[$0]?[name]?.key }
    }

    /// Works out the findings about one target.
    mutating func check(_ target: ResourceReference) -> (new: [Finding], mended: [Finding]) {
        work.targetsChecked += 1
        let old = findingsByTarget[target] ?? []
        let new = missing(target) + unused(target)
        findingsByTarget[target] = new.isEmpty ? nil : new
        let (were, are) = (Set(old.map(\.identity)), Set(new.map(\.identity)))
        return (new.filter { !were.contains($0.identity) }, old.filter { !are.contains($0.identity) })
    }

    /// A proxy of both a cluster's and an ID's scope misses nothing that one of only one of them does not miss, so the
    /// scopes are looked at one by one.
    private func missing(_ target: ResourceReference) -> [Finding] {
        let holders = scopesByName[target] ?? []
        if holders.contains(.all) { return [] }
        let needing = references.scopesNeeding(target)
        let concerned = needing.first == .all ? [.all] : needing.filter { !holders.contains($0) }
        return concerned.compactMap { scope in
            guard let (first, count) = references.referrers(of: target, in: scope),
                let referrer = holdings[scope]?.resources[first],
                let reference = referrer.references.first(where: { $0.target == target })
            else { return nil }
            var origin = referrer.origin
            if case .file(let path, _) = origin, let line = reference.line { origin = .file(path: path, line: line) }
            return Finding(
                kind: .missing, target: target, scope: scope, resource: referrer.place, origin: origin,
                path: reference.path, others: count - 1,
                elsewhere: holders.sorted().prefix(3).compactMap { holder in
                    holdings[holder]?[target].map { "\($0.origin) (for \(holder))" }
                })
        }
    }

    private func unused(_ target: ResourceReference) -> [Finding] {
        guard Finding.isWatchedForUse(target.type) else { return [] }
        return (scopesByName[target] ?? []).sorted().compactMap { scope in
            // An alias is used if the resource is; only the name itself is looked at.
            guard let held = holdings[scope]?.resources[target], !references.isUsed(target, in: scope),
                !held.names.dropFirst().contains(where: { references.isUsed($0, in: scope) })
            else { return nil }
            return Finding(
                kind: .unused, target: target, scope: scope, resource: held.place, origin: held.origin, path: "",
                others: 0, elsewhere: [])
        }
    }
}
