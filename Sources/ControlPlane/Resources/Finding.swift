import XDS

/// Something that does not fit together: legal, as configurations may be partial, but seldom meant.
public struct Finding: Hashable, Sendable {
    public enum Kind: Hashable, Sendable {
        /// Something refers to ``Finding/target``, which is not there.
        case missing
        /// ``Finding/target`` is there, and nothing refers to it.
        case unused
    }

    public var kind: Kind
    public var target: ResourceReference
    /// The proxies that see it: those of this scope. What is wrong for all is not told again for each scope.
    public var scope: Scope
    /// What refers to the missing target, or the unused one itself.
    public var resource: ScopedReference
    /// Where that is written.
    public var origin: ResourceOrigin
    /// Where in its message, empty for an unused one.
    public var path: String
    /// How many more refer to the missing target.
    public var others: Int
    /// Where else the missing target is: in scopes that these proxies are not in.
    public var elsewhere: [String]

    /// Whether both tell of one thing, though perhaps from another line.
    func isAlike(_ other: Finding) -> Bool { identity == other.identity }

    var identity: Identity { Identity(kind: kind, target: target, scope: scope) }

    /// What makes a finding the same after its file was edited.
    struct Identity: Hashable {
        var kind: Kind
        var target: ResourceReference
        var scope: Scope
    }
}

extension Finding: Comparable, CustomStringConvertible {
    public static func < (left: Finding, right: Finding) -> Bool {
        if left.resource != right.resource { return left.resource < right.resource }
        if left.target.type != right.target.type { return left.target.type < right.target.type }
        if left.target.name != right.target.name { return left.target.name < right.target.name }
        return left.scope < right.scope
    }

    /// `routes.yaml:12: RDS "shop": virtual_hosts[0].routes[0].route.cluster: CDS "reviews" is not there; …`
    public var description: String {
        let about = "\(origin): \(resource.key.type) \"\(resource.key.name)\""
        let view = scope == .all ? "" : " for \(scope)"
        switch kind {
        case .missing:
            let more = others == 0 ? "" : " (\(others) more refer to it)"
            return "\(about): \(path): \(target.type) \"\(target.name)\" is not there\(view)\(more); \(mend)"
        case .unused:
            return "\(about): \(Self.user(of: target.type)) uses it\(view); \(mend)"
        }
    }

    /// What to do about it.
    public var mend: String {
        switch kind {
        case .missing where !elsewhere.isEmpty: "it is in \(elsewhere.joined(separator: ", ")): move it, or add one"
        case .missing where target.type == .endpoints: "add a ClusterLoadAssignment with that cluster_name"
        case .missing: "add it, or correct the name"
        case .unused: "refer to it, or remove it"
        }
    }

    /// The types of which every resource should be used, and by what.
    static func isWatchedForUse(_ type: ResourceType) -> Bool { type == .endpoints || type == .route }

    private static func user(of type: ResourceType) -> String {
        type == .endpoints ? "no cluster" : "no listener"
    }
}
