import Store
import XDS

/// What a user asks of the control service.
public struct ApplyRequest: Sendable {
    /// As ``Scope/init(text:)`` reads it.
    public var scope: String
    /// Added, or put in the place of those with the same type and name.
    public var resources: [PackedResource]
    public var removing: [NamedResource]
    /// Whether what was applied for this scope before and is not in ``resources`` goes.
    public var replacesAll: Bool
    /// What proxies see as the version of what changes; empty: a hash of the content.
    public var version: String
    /// Whether something new that does not fit together is an error.
    public var isStrict: Bool
    /// Whether to tell what would change, and change nothing.
    public var isDryRun: Bool

    public struct PackedResource: Hashable, Sendable {
        public var typeURL: String
        /// A message of one of the served types, or an envoy.service.discovery.v3.Resource around one.
        public var bytes: [UInt8]

        public init(typeURL: String, bytes: [UInt8]) {
            self.typeURL = typeURL
            self.bytes = bytes
        }
    }

    public struct NamedResource: Hashable, Sendable {
        public var typeURL: String
        public var name: String

        public init(typeURL: String, name: String) {
            self.typeURL = typeURL
            self.name = name
        }
    }

    public init(
        scope: String = "", resources: [PackedResource] = [], removing: [NamedResource] = [],
        replacesAll: Bool = false, version: String = "", isStrict: Bool = false, isDryRun: Bool = false
    ) {
        self.scope = scope
        self.resources = resources
        self.removing = removing
        self.replacesAll = replacesAll
        self.version = version
        self.isStrict = isStrict
        self.isDryRun = isDryRun
    }
}

/// What a request has done, or would do.
public struct ApplyOutcome: Sendable {
    public var change: CatalogChange
    /// What does not fit together and has to do with the resources of the request.
    public var warnings: [Finding]
}

/// Why a request was refused; nothing has changed.
public enum ApplyError: Error, Sendable {
    case invalid(ResourceProblems)
    case refused(CatalogError)
    /// By `strict`.
    case dangling([Finding])
    case store(StoreError)
    case unpublishable(PublishError)
}

extension ApplyError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .invalid(let problems): problems.description
        case .refused(let error): "\(error)"
        case .dangling(let findings): findings.prefix(20).map(\.description).joined(separator: "\n")
        case .store(let error): "\(error)"
        case .unpublishable(let error): "\(error)"
        }
    }

    /// The mend.
    public var hint: String {
        switch self {
        case .invalid: "correct what is named above; nothing was changed"
        case .refused(let error): error.hint
        case .dangling: "add what is missing in the same step, or leave out --strict; nothing was changed"
        case .store(let error): error.hint
        case .unpublishable: "correct the resource; nothing was changed"
        }
    }
}

extension Application {
    /// Reads and checks a request.
    /// - Throws: everything that is wrong with it, up to ``ResourceProblems/limit``.
    init(_ request: ApplyRequest) throws(ResourceProblems) {
        guard let scope = Scope(text: request.scope) else {
            throw ResourceProblems([ResourceProblem("`\(request.scope)` is no scope", mend: Scope.mend)])
        }
        var reader = ResourceReader(scope: scope)
        if let mend = versionMend(request.version) {
            reader.note(ResourceProblem(path: "version", "not fit to print", mend: mend))
        }
        reader.givenLabel = request.version.isEmpty ? nil : request.version
        var setting: [HeldResource] = []
        for (index, resource) in request.resources.enumerated() where reader.problems.count < ResourceProblems.limit {
            if let held = reader.read(typeURL: resource.typeURL, bytes: resource.bytes, at: "resources[\(index)]") {
                setting.append(held)
            }
        }
        var removing: [ResourceReference] = []
        for (index, resource) in request.removing.enumerated() {
            guard let type = ResourceType(typeURL: resource.typeURL) else {
                let words = "`\(resource.typeURL)` is no type that is served"
                reader.note(ResourceProblem(path: "remove[\(index)]", words, mend: "write the type URL in full"))
                continue
            }
            removing.append(ResourceReference(type, resource.name))
        }
        guard reader.problems.isEmpty else { throw ResourceProblems(reader.problems) }
        self.init(
            scope: scope, setting: setting, removing: removing, replacesAll: request.replacesAll,
            label: request.version.isEmpty ? nil : request.version)
    }
}
