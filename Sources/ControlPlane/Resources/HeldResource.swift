import Documents
import Protobuf
import XDS

/// Where a raw resource was written.
public enum ResourceOrigin: Hashable, Sendable {
    case file(path: String, line: Int)
    /// Through the control service.
    case applied
}

extension ResourceOrigin: CustomStringConvertible {
    /// `routes.yaml:12`, or `applied`.
    public var description: String {
        switch self {
        case .file(let path, let line): "\(path):\(line)"
        case .applied: "applied"
        }
    }

    /// The file's path; nil for what was applied.
    public var path: String? {
        switch self {
        case .file(let path, _): path
        case .applied: nil
        }
    }

    /// Whether both come from one file, or both were applied: then one replaces the other.
    func isOfSameUnit(as other: ResourceOrigin) -> Bool { path == other.path }
}

/// One raw resource, checked and packed, with where it comes from and what it refers to.
public struct HeldResource: Sendable {
    public var scope: Scope
    public var origin: ResourceOrigin
    /// What proxies get.
    public var resource: Resource
    /// The version that the user gave to this very resource; nil takes the hash of its bytes.
    public var label: String?
    /// `version_info` of the file that it is in.
    public var fileLabel: String?
    /// In the order in which they are in the message; one for each target.
    public var references: [Reference]

    public init(
        scope: Scope, origin: ResourceOrigin, resource: Resource, label: String? = nil, fileLabel: String? = nil,
        references: [Reference] = []
    ) {
        self.scope = scope
        self.origin = origin
        self.resource = resource
        self.label = label
        self.fileLabel = fileLabel
        self.references = references
    }

    public var key: ResourceReference { ResourceReference(resource.type, resource.name) }
    var place: ScopedReference { ScopedReference(scope: scope, key: key) }

    /// The names under which it can be asked for.
    var names: [ResourceReference] {
        [key] + resource.aliases.map { ResourceReference(resource.type, $0) }
    }

    /// Whether a proxy would see no difference.
    func isServedLike(_ other: HeldResource) -> Bool {
        resource === other.resource
            || resource.version == other.resource.version && hasContent(of: other)
    }

    /// Whether nothing at all has changed, not even the line.
    func isSame(as other: HeldResource) -> Bool {
        scope == other.scope && origin == other.origin && label == other.label && fileLabel == other.fileLabel
            && references == other.references && isServedLike(other)
    }

    /// Whether they differ in their version at most.
    func hasContent(of other: HeldResource) -> Bool {
        resource.body == other.resource.body && resource.timeToLive == other.resource.timeToLive
            && resource.aliases == other.resource.aliases
    }
}

/// A resource of one scope.
public struct ScopedReference: Hashable, Comparable, Sendable {
    public var scope: Scope
    public var key: ResourceReference

    public init(scope: Scope, key: ResourceReference) {
        self.scope = scope
        self.key = key
    }

    public static func < (left: ScopedReference, right: ScopedReference) -> Bool {
        (left.scope, left.key.type, left.key.name) < (right.scope, right.key.type, right.key.name)
    }
}

/// What a resource refers to: one name, and where it says so.
public struct Reference: Hashable, Sendable {
    public enum Strength: Hashable, Sendable {
        /// It will be asked for on this very stream: it must be there.
        case required
        /// It will be asked for at a server that may be this one.
        case possible
        /// What the resource is a part of: it must be there, but is not used by this.
        case owner
    }

    public var target: ResourceReference
    public var strength: Strength
    /// In the referring message: `virtual_hosts[0].routes[2].route.cluster`.
    public var path: String
    /// Of the file, counted from 1; nil for what was applied.
    public var line: Int?

    public init(_ target: ResourceReference, _ strength: Strength, path: String, line: Int? = nil) {
        self.target = target
        self.strength = strength
        self.path = path
        self.line = line
    }
}

/// What is wrong with a resource, a file or a directory, in words.
public struct ResourceProblem: Error, Hashable, Sendable {
    /// The file or directory; nil for what came through the control service.
    public var file: String?
    public var position: SourcePosition?
    /// The place in the document, `resources[0].connect_timeout`; may be empty.
    public var path: String
    public var problem: String
    public var mend: String

    public init(
        file: String? = nil, position: SourcePosition? = nil, path: String = "", _ problem: String, mend: String
    ) {
        self.file = file
        self.position = position
        self.path = path
        self.problem = problem
        self.mend = mend
    }

    init(_ error: TextFormatError) {
        var bare = error
        (bare.file, bare.position, bare.path) = (nil, nil, "")
        self.init(
            file: error.file, position: error.position, path: error.path, bare.description, mend: error.hint)
    }

    /// - Parameter path: where in the document the bytes are.
    init(_ error: ProtobufError, path: String) {
        self.init(path: path, "\(error)", mend: error.hint)
    }
}

extension ResourceProblem: CustomStringConvertible {
    /// `file:line:column: path: problem; mend`
    public var description: String {
        var text = file ?? ""
        if let position { text += (file == nil ? "line " : ":") + "\(position.line):\(position.column)" }
        if !text.isEmpty { text += ": " }
        if !path.isEmpty { text += path + ": " }
        return text + problem + "; " + mend
    }
}

/// Several problems at once.
public struct ResourceProblems: Error, Hashable, Sendable, CustomStringConvertible {
    /// At least one, in the order of the document; not more than ``limit``.
    public var problems: [ResourceProblem]
    /// How many are told at once.
    public static let limit = 20

    public init(_ problems: [ResourceProblem]) {
        precondition(!problems.isEmpty, "no problem is no error")
        self.problems = Array(problems.prefix(Self.limit))
    }

    public var description: String { problems.map(\.description).joined(separator: "\n") }
}
