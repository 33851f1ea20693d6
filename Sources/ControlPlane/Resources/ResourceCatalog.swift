import HashTreeCollections
import XDS

/// Every raw resource in force, with where it comes from, and what does not fit together. A value that shares its
/// storage with its copies: each step makes a copy, and takes its place only if nothing is wrong.
public struct ResourceCatalog: Sendable {
    /// How much the catalog has looked at so far: what the tests count.
    public struct Work: Hashable, Sendable {
        public var resourcesPut = 0
        public var targetsChecked = 0
    }

    public let limit: Int
    public internal(set) var work = Work()

    var holdings: TreeDictionary<Scope, ScopeHoldings> = [:]
    /// Name or alias to the scopes that have it.
    var scopesByName: TreeDictionary<ResourceReference, TreeSet<Scope>> = [:]
    var files: TreeDictionary<String, FileUnit> = [:]
    var references = ReferenceIndex()
    var findingsByTarget: TreeDictionary<ResourceReference, [Finding]> = [:]
    public internal(set) var count = 0

    struct FileUnit: Sendable {
        var scope: Scope
        var keys: [ResourceReference]
    }

    public init(limits: ResourceLimits = .standard) {
        limit = limits.resources
    }

    // MARK: Reading

    /// The scopes with resources, in order.
    public var scopes: [Scope] { holdings.keys.sorted() }
    /// The files in force, in order.
    public var filePaths: [String] { files.keys.sorted() }
    public func holdsFile(_ path: String) -> Bool { files[path] != nil }

    /// - Parameter key: with the name or an alias.
    public func resource(_ key: ResourceReference, in scope: Scope) -> HeldResource? { holdings[scope]?[key] }

    /// By scope, type and name. nil stands for any.
    public func resources(scope: Scope? = nil, type: ResourceType? = nil) -> [HeldResource] {
        var found: [HeldResource] = []
        for (holder, resources) in holdings where scope == nil || holder == scope {
            for each in type.map({ [$0] }) ?? ResourceType.all { found += resources.resources(of: each) }
        }
        return found.sorted { $0.place < $1.place }
    }

    /// Everything that does not fit together, in order. Costs a sort.
    public var findings: [Finding] { findingsByTarget.values.flatMap { $0 }.sorted() }
    public var findingCount: Int { findingsByTarget.values.reduce(0) { $0 + $1.count } }

    /// What does not fit together in which a resource has a part: it refers to what is not there, or is not used.
    public func findings(about place: ScopedReference) -> [Finding] {
        guard let resource = holdings[place.scope]?[place.key] else { return [] }
        let targets = Set(resource.references.map(\.target) + [place.key])
        return targets.flatMap { findingsByTarget[$0] ?? [] }
            .filter {
                switch $0.kind {
                case .missing: references.needs($0.target, by: place)
                case .unused: $0.resource == place
                }
            }
            .sorted()
    }

    // MARK: Steps

    /// Puts a file's resources in the place of those that it had.
    /// - Throws: ``CatalogError/duplicate(_:_:_:)``, ``CatalogError/tooManyResources(limit:)``; nothing changes then.
    public mutating func replaceFile(_ file: ParsedFile) throws(CatalogError) -> CatalogChange {
        var step = CatalogStep(self)
        step.clearOldFile(file)
        try step.putFile(file)
        return adopt(&step)
    }

    /// Removes a file's resources; a file that is not there has none.
    public mutating func removeFile(_ path: String) -> CatalogChange {
        var step = CatalogStep(self)
        step.removeFile(path)
        return adopt(&step)
    }

    /// Changes several files in one step. A file that cannot be had with the others keeps what it had.
    /// - Returns: the change, and what is wrong with the files left out, by path.
    public mutating func replaceFiles(
        _ replacing: [ParsedFile], removing: [String]
    ) -> (change: CatalogChange, refused: [String: CatalogError]) {
        let ordered = replacing.sorted { $0.path < $1.path }
        var refused: [String: CatalogError] = [:]
        while true {
            var step = CatalogStep(self)
            for path in removing { step.removeFile(path) }
            for file in ordered where refused[file.path] == nil { step.clearOldFile(file) }
            var mustStartAgain = false
            for file in ordered where refused[file.path] == nil {
                do throws(CatalogError) {
                    try step.putFile(file)
                } catch {
                    refused[file.path] = error
                    // What it had before comes back, and may stand in the way of those that were taken already.
                    if holdsFile(file.path) {
                        mustStartAgain = true
                        break
                    }
                    step.removeFile(file.path)
                }
            }
            if !mustStartAgain { return (adopt(&step), refused) }
        }
    }

    /// Changes what was applied for one scope.
    /// - Throws: any ``CatalogError``; nothing changes then.
    public mutating func apply(_ application: Application) throws(CatalogError) -> CatalogChange {
        var step = CatalogStep(self)
        try step.apply(application)
        return adopt(&step)
    }

    private mutating func adopt(_ step: inout CatalogStep) -> CatalogChange {
        let change = step.finish(from: self)
        self = step.catalog
        return change
    }

    /// Puts back the versions that were kept with applied resources.
    public mutating func restoreAppliedLabel(_ label: String, of type: ResourceType, in scope: Scope) {
        holdings[scope]?.setAppliedLabel(label, of: type)
    }
}

/// A change of what was applied for one scope.
public struct Application: Sendable {
    public var scope: Scope
    /// Added, or put in the place of the one with the same type and name.
    public var setting: [HeldResource]
    public var removing: [ResourceReference]
    /// Whether what was applied for the scope before and is not in ``setting`` goes.
    public var replacesAll: Bool
    /// The version that proxies see of the types that change; nil: a hash of the content.
    public var label: String?

    public init(
        scope: Scope, setting: [HeldResource] = [], removing: [ResourceReference] = [], replacesAll: Bool = false,
        label: String? = nil
    ) {
        self.scope = scope
        self.setting = setting
        self.removing = removing
        self.replacesAll = replacesAll
        self.label = label
    }
}
