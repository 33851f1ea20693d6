import Mesh
import Store

/// What a user asks of the objects of the mesh: all of it happens, or nothing.
public struct MeshRequest: Sendable {
    /// A text of objects.
    public struct Document: Sendable {
        /// The name that the user gave for it; nil: none.
        public var file: String?
        public var bytes: [UInt8]

        public init(file: String? = nil, bytes: [UInt8]) {
            self.file = file
            self.bytes = bytes
        }
    }

    /// What is put.
    public var documents: [Document] = []
    /// What is put and was read before.
    public var objects: [MeshObject] = []
    /// Of objects in ``documents`` that name none.
    public var namespace = "default"
    public var removing: [ObjectKey] = []
    /// Whether it is no error that something in ``removing`` is not there.
    public var ignoresMissing = false
    /// Whether every object goes that is not put.
    public var prunes = false
    /// The revision that the user has looked at; nil: whatever is in force.
    public var base: Int64?
    public var author = ""
    /// Why.
    public var message = ""
    /// Whether a reference to something that is not there is an error.
    public var isStrict = false
    /// Whether to tell what would change, and change nothing.
    public var isDryRun = false
    /// How it comes to the proxies; nil: to all, after one of each class has tried it.
    public var rollout: RolloutOrder?
    /// Whether this is the end of the roll-out under way, which keeps all other requests out.
    var isUndoing = false

    public init() {}

    /// - Parameter text: YAML or JSON.
    public init(applying text: String, file: String? = nil) {
        documents = [Document(file: file, bytes: Array(text.utf8))]
    }

    /// Bytes of an author or a message.
    public static let longestWords = 4_096
}

/// Why a request was refused; nothing has changed.
public enum MeshRequestError: Error, Sendable {
    /// Another revision than the one that the user looked at is in force.
    /// - Parameter changes: what changed since and by whom, in words.
    case stale(base: Int64, current: Int64, changes: [String])
    /// Something is wrong with the objects.
    case refused(ObjectErrors)
    /// An older state is not valid any more.
    case rollbackRefused(Int64, ObjectErrors)
    case missing([ObjectKey])
    case noObjects
    case tooManyObjects(limit: Int)
    case wordsTooLong(String, limit: Int)
    case noSuchRevision(Int64, kept: ClosedRange<Int64>?)
    /// The objects come from a directory.
    case ownedByDirectory(String)
    /// A revision comes to the proxies share by share, and another one would come between.
    case rolloutUnderWay(Int64)
    /// A revision that nobody asked to roll out has not come to all proxies, and what rolls out another one would undo
    /// both. `isHeld`: it was rejected.
    case trialUnderWay(Int64, isHeld: Bool)
    case store(StoreError)
}

extension MeshRequestError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .stale(let base, let current, let changes):
            (["the mesh is at revision \(current), and this is based on revision \(base)"] + changes)
                .joined(separator: "\n")
        case .refused(let errors): "\(errors)"
        case .rollbackRefused(let revision, let errors):
            "the state of revision \(revision) is not valid any more:\n\(errors)"
        case .missing(let keys): keys.map { "there is no \($0)" }.joined(separator: "\n")
        case .noObjects: "there are no objects in this"
        case .tooManyObjects(let limit): "a mesh has at most \(limit) objects"
        case .wordsTooLong(let field, let limit): "the \(field) has more than \(limit) bytes"
        case .noSuchRevision(let revision, nil): "there is no revision \(revision): nothing was applied yet"
        case .noSuchRevision(let revision, let kept?):
            "there is no revision \(revision): \(kept.lowerBound) to \(kept.upperBound) are kept"
        case .ownedByDirectory(let directory):
            "the objects of this mesh are the files in \(directory), and cannot be changed otherwise"
        case .rolloutUnderWay(let revision):
            "revision \(revision) is being rolled out, and nothing else is changed meanwhile"
        case .trialUnderWay(let revision, isHeld: true):
            "revision \(revision) was rejected and is kept from the proxies: no other is rolled out over it"
        case .trialUnderWay(let revision, isHeld: false):
            "the first proxies have not answered to revision \(revision): no other is rolled out over it"
        case .store(let error): "\(error)"
        }
    }

    /// The mend.
    public var hint: String {
        switch self {
        case .stale: "look at what changed (`martinet history`, `martinet diff -f`), and try again with the new base"
        case .refused: "correct what is named above; nothing was changed"
        case .rollbackRefused: "roll back to another revision, or apply a corrected state; nothing was changed"
        case .missing: "look up names and namespaces with `martinet get`; nothing was changed"
        case .noObjects: "check the files"
        case .tooManyObjects: "split the mesh; nothing was changed"
        case .wordsTooLong: "write less; nothing was changed"
        case .noSuchRevision: "`martinet history` lists what there is"
        case .ownedByDirectory: "change the files there; `martinet serve` without --config takes objects by apply"
        case .rolloutUnderWay:
            "`martinet rollout` shows how far it is; wait for it, or end it with `martinet rollout promote` or "
                + "`martinet rollout abort`; nothing was changed"
        case .trialUnderWay(_, isHeld: true):
            "apply what mends it without --canary, or end it with `martinet rollout promote` or `martinet rollout "
                + "abort`; nothing was changed"
        case .trialUnderWay(_, isHeld: false): "try again in a moment; nothing was changed"
        case .store(let error): error.hint
        }
    }
}
