import Mesh
import Time

/// What a request would change: decided, and not done.
public struct MeshPlan: Sendable {
    public enum Kind: String, Hashable, Sendable {
        case unchanged, created, configured, removed
    }

    /// What happens to one object.
    public struct Change: Sendable {
        public var kind: Kind
        public var key: ObjectKey
        /// nil: it is not there.
        public var before: ObjectSource?
        /// nil: it goes.
        public var after: ObjectSource?

        public init(_ kind: Kind, _ key: ObjectKey, before: ObjectSource?, after: ObjectSource?) {
            self.kind = kind
            self.key = key
            self.before = before
            self.after = after
        }
    }

    /// The revision that this changes.
    public var base: Int64
    public var time: Timestamp
    public var author: String
    public var message: String
    /// What is put in the order of the request, then what goes, sorted. Each is of another object.
    public var changes: [Change]
    /// Warnings about the objects of the request, and those that the change brings to others.
    public var findings: [MeshFinding]
    /// What leads to ``next``: objects that say something else, and not those of which only the text is another.
    public var indexChanges: [MeshIndex.Change]
    /// Objects whose text is another, and who say the same as before.
    public var respelled: [MeshObject]
    /// All objects and workloads after it.
    public var next: MeshIndex

    /// Whether no object says anything else afterwards: then there is no revision.
    public var isEmpty: Bool { indexChanges.isEmpty }

    public func count(of kind: Kind) -> Int { changes.count { $0.kind == kind } }
}
