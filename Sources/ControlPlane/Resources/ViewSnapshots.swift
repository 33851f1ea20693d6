import HashTreeCollections
import XDS

/// What each view shows: a value that follows a catalog. Types of which a scope has nothing are shared by identity
/// with the view of all proxies, so that what changes for all is compared and encoded once.
public struct ViewSnapshots: Sendable {
    fileprivate struct View: Sendable {
        var scopes: ViewScopes
        var snapshot: Snapshot
        /// The types of which its scopes have something.
        var ownTypes: Set<ResourceType>
    }

    /// Whose names are of all views but that of all proxies: those of one scope, and those of two that were asked for.
    private var overlays: TreeDictionary<ViewName, View> = [:]
    /// The views of two scopes, by each of them.
    private var combined: TreeDictionary<Scope, TreeSet<ViewName>> = [:]
    /// What proxies see that are in no scope.
    public private(set) var base = Snapshot.empty

    public static let baseName = ViewScopes().name

    /// Shows nothing.
    public init() {}

    /// Made from nothing; the work grows with the catalog.
    public init(showing catalog: ResourceCatalog) throws(PublishError) {
        let all = ViewScopes()
        let types = Set(catalog.holdings[.all]?.types ?? [])
        base = try base.applying(
            setting: ResourceType.all.flatMap { catalog.ownResources(.all, $0) },
            labels: catalog.labels(of: types, for: all))
        for scope in catalog.scopes where scope != .all {
            let scopes = ViewScopes(scope)
            overlays[scopes.name] = try Self.made(scopes, on: base, of: catalog)
        }
    }

    /// The names of all views, in order.
    public var names: [ViewName] { ([Self.baseName] + overlays.keys).sorted() }

    /// - Returns: nil for a view that is not there.
    public func snapshot(of name: ViewName) -> Snapshot? {
        name == Self.baseName ? base : overlays[name]?.snapshot
    }

    // MARK: Following

    /// Makes the snapshots of every view that a change concerns; the work grows with the change and with the number of
    /// these views.
    /// - Parameter catalog: after the change.
    /// - Throws: ``PublishError`` for what the catalog lets through and a snapshot does not.
    public mutating func follow(_ change: CatalogChange, of catalog: ResourceCatalog) throws(PublishError) {
        var steps: [Scope: ScopeStep] = [:]
        for entry in change.entries where entry.kind != .unchanged {
            if let resource = entry.resource?.resource {
                steps[entry.place.scope, default: ScopeStep()].setting.append(resource)
            } else {
                steps[entry.place.scope, default: ScopeStep()].removing.append(entry.place.key)
            }
        }
        var next = self
        let baseStep = steps.removeValue(forKey: .all) ?? ScopeStep()
        next.base = try baseStep.applied(
            to: base, labels: catalog.labels(of: baseStep.types, for: ViewScopes()))
        for scope in change.removedScopes { next.forget(scope) }
        for scope in change.addedScopes where scope != .all {
            let scopes = ViewScopes(scope)
            next.overlays[scopes.name] = try Self.made(scopes, on: next.base, of: catalog)
            steps[scope] = nil
        }
        var concerned: Set<ViewName> = []
        if baseStep.types.isEmpty {
            for scope in steps.keys {
                concerned.insert(ViewScopes(scope).name)
                concerned.formUnion(next.combined[scope] ?? [])
            }
        } else {
            concerned.formUnion(next.overlays.keys)
        }
        for name in concerned.sorted() {
            guard let view = next.overlays[name] else { continue }
            next.overlays[name] = try view.followed(base: next.base, baseStep, steps, of: catalog)
        }
        self = next
    }

    /// Makes the view of a cluster's and an ID's scope, if both are there and it is not.
    public mutating func demand(_ scopes: ViewScopes, of catalog: ResourceCatalog) throws(PublishError) {
        guard scopes.overlays.count == 2, overlays[scopes.name] == nil,
            scopes.overlays.allSatisfy({ catalog.holdings[$0] != nil })
        else { return }
        overlays[scopes.name] = try Self.made(scopes, on: base, of: catalog)
        for scope in scopes.overlays { combined[scope, default: []].insert(scopes.name) }
    }

    private static func made(
        _ scopes: ViewScopes, on base: Snapshot, of catalog: ResourceCatalog
    ) throws(PublishError) -> View {
        let types = catalog.types(of: scopes)
        let setting = scopes.overlays.flatMap { scope in types.flatMap { catalog.ownResources(scope, $0) } }
        let snapshot = try base.applying(setting: setting, labels: catalog.labels(of: types, for: scopes))
        return View(scopes: scopes, snapshot: snapshot, ownTypes: types)
    }

    private mutating func forget(_ scope: Scope) {
        guard scope != .all else { return }
        overlays[ViewScopes(scope).name] = nil
        for name in combined[scope] ?? [] {
            guard let view = overlays.removeValue(forKey: name) else { continue }
            for other in view.scopes.overlays where other != scope {
                combined[other]?.remove(name)
                if combined[other]?.isEmpty == true { combined[other] = nil }
            }
        }
        combined[scope] = nil
    }

    /// What changes in one scope.
    fileprivate struct ScopeStep {
        var setting: [Resource] = []
        var removing: [ResourceReference] = []

        var types: Set<ResourceType> { Set(setting.map(\.type)).union(removing.map(\.type)) }

        func applied(to snapshot: Snapshot, labels: [ResourceType: String]) throws(PublishError) -> Snapshot {
            if setting.isEmpty && removing.isEmpty { return snapshot }
            return try snapshot.applying(setting: setting, removing: removing, labels: labels)
        }

        mutating func add(_ other: ScopeStep, types: Set<ResourceType>) {
            setting += other.setting.filter { types.contains($0.type) }
            removing += other.removing.filter { types.contains($0.type) }
        }
    }
}

extension ViewSnapshots.View {
    fileprivate func followed(
        base: Snapshot, _ baseStep: ViewSnapshots.ScopeStep, _ steps: [Scope: ViewSnapshots.ScopeStep],
        of catalog: ResourceCatalog
    ) throws(PublishError) -> Self {
        let types = catalog.types(of: scopes)
        // What is not (or not any more) the view's own is the base's set; what becomes its own starts from that.
        let taken = ResourceType.all.filter { !types.contains($0) || !ownTypes.contains($0) }
        let fresh = types.subtracting(ownTypes)
        let kept = types.intersection(ownTypes)
        var step = ViewSnapshots.ScopeStep()
        for scope in scopes.overlays {
            step.setting += fresh.sorted().flatMap { catalog.ownResources(scope, $0) }
            if let own = steps[scope] { step.add(own, types: kept) }
        }
        step.add(baseStep, types: kept)
        var next = self
        next.ownTypes = types
        next.snapshot = try step.applied(
            to: snapshot.taking(taken, from: base), labels: catalog.labels(of: step.types, for: scopes))
        return next
    }
}

extension ResourceCatalog {
    /// The types of which the scopes of a view have something, what is for all not counted.
    fileprivate func types(of scopes: ViewScopes) -> Set<ResourceType> {
        scopes.overlays.reduce(into: []) { $0.formUnion(holdings[$1]?.types ?? []) }
    }

    fileprivate func ownResources(_ scope: Scope, _ type: ResourceType) -> [Resource] {
        holdings[scope]?.resources(of: type).map(\.resource) ?? []
    }

    /// The versions that users gave to types as a whole: one on which everything that a view shows of the type agrees.
    /// Where two sources each give another, or one gives none, neither tells what the view shows; a hash does.
    fileprivate func labels(of types: Set<ResourceType>, for scopes: ViewScopes) -> [ResourceType: String] {
        var chosen: [ResourceType: String] = [:]
        for type in types {
            var labels: Set<String?> = []
            for scope in [.all] + scopes.overlays { labels.formUnion(holdings[scope]?.labels(of: type) ?? []) }
            if labels.count == 1, let label = labels.first ?? nil { chosen[type] = label }
        }
        return chosen
    }
}
