import XDS

/// What one step did to a catalog.
public struct CatalogChange: Sendable {
    public enum Kind: Hashable, Sendable {
        case unchanged, added, changed, removed
    }

    public struct Entry: Sendable {
        public var kind: Kind
        public var place: ScopedReference
        /// As proxies see it; of a removed resource, the last.
        public var version: String
        /// nil if removed.
        public var resource: HeldResource?
    }

    /// By scope, type and name. Resources that were named and stay what they were are `unchanged`.
    public var entries: [Entry]
    /// Scopes that got their first resource, in order.
    public var addedScopes: [Scope]
    /// Scopes that lost their last, in order.
    public var removedScopes: [Scope]
    /// What does not fit together since.
    public var newFindings: [Finding]
    /// What fits together again.
    public var mendedFindings: [Finding]

    /// Whether proxies see no difference.
    public var isEmpty: Bool { entries.allSatisfy { $0.kind == .unchanged } }

    public func count(of kind: Kind) -> Int { entries.reduce(0) { $0 + ($1.kind == kind ? 1 : 0) } }
}

/// Why a catalog refused a step; it is what it was.
public enum CatalogError: Error, Hashable, Sendable {
    /// Some proxy would see two resources of one name.
    case duplicate(ResourceReference, Place, Place)
    /// What is to be removed is in a file.
    case heldByFile(ScopedReference, ResourceOrigin)
    /// What is to be removed is not there.
    case notApplied(ScopedReference)
    /// One step sets and removes it.
    case setAndRemoved(ScopedReference)
    case tooManyResources(limit: Int)

    /// Where a resource is.
    public struct Place: Hashable, Sendable {
        public var scope: Scope
        public var origin: ResourceOrigin
        public var name: String
    }
}

extension CatalogError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .duplicate(let key, let one, let other):
            let words = one.scope != other.scope
            func place(_ place: Place) -> String { "\(place.origin)" + (words ? " (for \(place.scope))" : "") }
            return "\(key.type) \"\(key.name)\" is defined twice: \(place(one)) and \(place(other))"
        case .heldByFile(let place, let origin):
            return "\(place.key.type) \"\(place.key.name)\" is defined in the file \(origin)"
        case .notApplied(let place):
            return "no \(place.key.type) \"\(place.key.name)\" was applied for \(place.scope)"
        case .setAndRemoved(let place):
            return "\(place.key.type) \"\(place.key.name)\" is to be set and to be removed"
        case .tooManyResources(let limit): return "more than \(limit) resources in all"
        }
    }

    /// The mend.
    public var hint: String {
        switch self {
        case .duplicate(_, let one, let other) where one.scope != other.scope:
            "remove or rename one of them: a proxy may be in both scopes"
        case .duplicate: "remove or rename one of them"
        case .heldByFile: "remove it from the file"
        case .notApplied: "look up names and scopes with `martinet get --raw`"
        case .setAndRemoved: "leave it out of one of the two"
        case .tooManyResources: "remove some, or run several control planes"
        }
    }
}
