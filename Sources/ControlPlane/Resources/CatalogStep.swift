import HashTreeCollections
import XDS

/// A catalog on its way from one state to the next.
struct CatalogStep {
    var catalog: ResourceCatalog
    /// The state before, of what was touched or named.
    private var before: [ScopedReference: HeldResource?] = [:]

    init(_ catalog: ResourceCatalog) {
        self.catalog = catalog
    }
}

extension ResourceCatalog {
    mutating func hold(_ resource: HeldResource) {
        var resource = resource
        let old = holdings[resource.scope]?.resources[resource.key]
        // One object for what proxies see alike, so that its bytes are in memory once.
        if let old, old.isServedLike(resource) { resource.resource = old.resource }
        if let old { for name in old.names { forgetName(name, in: resource.scope) } } else { count += 1 }
        holdings[resource.scope, default: ScopeHoldings()].put(resource)
        for name in resource.names { scopesByName[name, default: []].insert(resource.scope) }
        work.resourcesPut += 1
    }

    mutating func drop(_ place: ScopedReference) {
        guard let old = holdings[place.scope]?.resources[place.key] else { return }
        holdings[place.scope]?.remove(place.key)
        if holdings[place.scope]?.isEmpty == true { holdings[place.scope] = nil }
        for name in old.names { forgetName(name, in: place.scope) }
        count -= 1
    }

    private mutating func forgetName(_ name: ResourceReference, in scope: Scope) {
        scopesByName[name]?.remove(scope)
        if scopesByName[name]?.isEmpty == true { scopesByName[name] = nil }
    }

    /// A resource that some proxy would see beside `resource` under one of its names.
    func rival(of resource: HeldResource) -> (name: ResourceReference, HeldResource)? {
        for name in resource.names {
            guard let scopes = scopesByName[name] else { continue }
            if let own = holdings[resource.scope]?[name],
                own.key != resource.key || !own.origin.isOfSameUnit(as: resource.origin)
            {
                return (name, own)
            }
            // Scopes that meet exclude each other in `scopes`: either it is `all` alone, or all are of one kind, so
            // that one of them tells for all but the resource's own.
            guard let other = scopes.first(where: { $0 != resource.scope }), other.mayMeet(resource.scope) else {
                continue
            }
            let first = scopes.filter { $0 != resource.scope }.min() ?? other
            if let held = holdings[first]?[name] { return (name, held) }
        }
        return nil
    }

    func fileKeys(_ path: String) -> (scope: Scope, keys: [ResourceReference])? {
        files[path].map { ($0.scope, $0.keys) }
    }

    mutating func setFile(_ path: String, _ scope: Scope, _ keys: [ResourceReference]?) {
        files[path] = keys.map { FileUnit(scope: scope, keys: $0) }
    }

    mutating func setAppliedLabel(_ label: String?, of type: ResourceType, in scope: Scope) {
        holdings[scope]?.setAppliedLabel(label, of: type)
    }
}

extension CatalogStep {
    private mutating func remember(_ place: ScopedReference) {
        if before[place] == nil { before[place] = .some(catalog.holdings[place.scope]?.resources[place.key]) }
    }

    private mutating func put(_ resource: HeldResource) throws(CatalogError) {
        remember(resource.place)
        if let (name, rival) = catalog.rival(of: resource) {
            let places = [rival, resource].map {
                CatalogError.Place(scope: $0.scope, origin: $0.origin, name: $0.resource.name)
            }
            throw .duplicate(name, places[0], places[1])
        }
        catalog.hold(resource)
        guard catalog.count <= catalog.limit else { throw .tooManyResources(limit: catalog.limit) }
    }

    private mutating func drop(_ place: ScopedReference) {
        remember(place)
        catalog.drop(place)
    }

    // MARK: Files

    /// Makes room: what the file had and has no more. All files of a step make room before any is put, so that
    /// resources may move between files.
    mutating func clearOldFile(_ file: ParsedFile) {
        guard let (scope, keys) = catalog.fileKeys(file.path) else { return }
        let stays = scope == file.scope ? Set(file.resources.map(\.key)) : []
        for key in keys where !stays.contains(key) { drop(ScopedReference(scope: scope, key: key)) }
        catalog.setFile(file.path, scope, keys.filter(stays.contains))
    }

    mutating func putFile(_ file: ParsedFile) throws(CatalogError) {
        // Known from the start, so that a file that fails half way can be removed.
        catalog.setFile(file.path, file.scope, file.resources.map(\.key))
        for resource in file.resources {
            if let held = catalog.holdings[file.scope]?.resources[resource.key], held.isSame(as: resource) { continue }
            try put(resource)
        }
    }

    mutating func removeFile(_ path: String) {
        guard let (scope, keys) = catalog.fileKeys(path) else { return }
        for key in keys where catalog.holdings[scope]?.resources[key]?.origin.path == path {
            drop(ScopedReference(scope: scope, key: key))
        }
        catalog.setFile(path, scope, nil)
    }

    // MARK: What is applied

    mutating func apply(_ application: Application) throws(CatalogError) {
        let scope = application.scope
        var set: [ResourceReference: HeldResource] = [:]
        for resource in application.setting {
            precondition(resource.scope == scope && resource.origin == .applied, "a resource of another scope")
            guard let first = set.updateValue(resource, forKey: resource.key) else { continue }
            let place = CatalogError.Place(scope: scope, origin: .applied, name: first.resource.name)
            throw .duplicate(resource.key, place, place)
        }
        for key in application.removing {
            let place = ScopedReference(scope: scope, key: key)
            if set[key] != nil { throw .setAndRemoved(place) }
            guard let held = catalog.holdings[scope]?.resources[key] else { throw .notApplied(place) }
            guard held.origin == .applied else { throw .heldByFile(place, held.origin) }
            drop(place)
        }
        if application.replacesAll {
            for held in catalog.resources(scope: scope) where held.origin == .applied && set[held.key] == nil {
                drop(held.place)
            }
        }
        for resource in application.setting {
            remember(resource.place)
            let held = catalog.holdings[scope]?.resources[resource.key]
            // What is in force with this content keeps its version, whoever asks for what.
            if let held, held.origin == .applied, held.hasContent(of: resource) { continue }
            try put(resource)
        }
        for type in changedTypes { catalog.setAppliedLabel(application.label, of: type, in: scope) }
    }

    private var changedTypes: [ResourceType] {
        let types = before.filter { place, old in
            guard let new = catalog.holdings[place.scope]?.resources[place.key] else { return old != nil }
            return old.map { !$0.isServedLike(new) } ?? true
        }
        return Set(types.map(\.key.key.type)).sorted()
    }

    // MARK: The outcome

    /// Brings the index and the findings up to date, and tells what has changed.
    mutating func finish(from older: ResourceCatalog) -> CatalogChange {
        var entries: [CatalogChange.Entry] = []
        var targets: Set<ResourceReference> = []
        for (place, old) in before.sorted(by: { $0.key < $1.key }) {
            let new = catalog.holdings[place.scope]?.resources[place.key]
            guard let shown = new ?? old else { continue }
            entries.append(
                CatalogChange.Entry(
                    kind: Self.kind(from: old, to: new), place: place, version: shown.resource.version, resource: new))
            targets.formUnion(catalog.follow(place, from: old, to: new))
        }
        var change = CatalogChange(
            entries: entries, addedScopes: catalog.scopesMissing(in: older), removedScopes: older.scopesMissing(in: catalog),
            newFindings: [], mendedFindings: [])
        for target in targets.union(targets.flatMap { catalog.canonicalNames(of: $0) }) {
            let (new, mended) = catalog.check(target)
            change.newFindings += new
            change.mendedFindings += mended
        }
        change.newFindings.sort()
        change.mendedFindings.sort()
        return change
    }

    private static func kind(from old: HeldResource?, to new: HeldResource?) -> CatalogChange.Kind {
        switch (old, new) {
        case (nil, nil): .unchanged
        case (nil, _?): .added
        case (_?, nil): .removed
        case (let old?, let new?): old.isServedLike(new) ? .unchanged : .changed
        }
    }
}
