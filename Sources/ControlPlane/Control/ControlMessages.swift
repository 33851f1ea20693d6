import EnvoyAPI
import GRPC
import Protobuf
import XDS

/// A resource as it travels: its type URL and its bytes.
public struct RawResource: Hashable, Sendable {
    public var typeURL: String
    /// The packed message.
    public var body: [UInt8]

    public init(typeURL: String, body: [UInt8]) {
        self.typeURL = typeURL
        self.body = body
    }
}

/// What an apply changed, or would change. Source: martinet.control.v1.ApplyResponse.
public struct ApplyReport: Hashable, Sendable {
    public enum Kind: String, Hashable, Sendable {
        case unchanged, added, changed, removed
    }

    public struct Change: Hashable, Sendable {
        public var kind: Kind
        public var typeURL: String
        public var name: String
        public var version: String

        public init(_ kind: Kind, typeURL: String, name: String, version: String) {
            self.kind = kind
            self.typeURL = typeURL
            self.name = name
            self.version = version
        }
    }

    public var changes: [Change]
    /// In words.
    public var warnings: [String]

    public init(changes: [Change] = [], warnings: [String] = []) {
        self.changes = changes
        self.warnings = warnings
    }

    init(_ outcome: ApplyOutcome) {
        changes = outcome.change.entries.map { entry in
            Change(
                Kind(entry.kind), typeURL: entry.place.key.type.typeURL, name: entry.place.key.name,
                version: entry.version)
        }
        warnings = outcome.warnings.map(\.description)
    }
}

/// Which resources to show. Source: martinet.control.v1.ListRequest.
public struct ListOrder: Hashable, Sendable {
    /// Empty for all types.
    public var typeURL = ""
    /// Empty for all names.
    public var name = ""
    /// As in ``ApplyRequest/scope``; `*` for every scope.
    public var scope = "*"

    public init() {}
}

/// One resource in force, and where it comes from. Source: martinet.control.v1.HeldResource.
public struct ListedResource: Hashable, Sendable {
    public var scope: String
    public var name: String
    public var version: String
    public var resource: RawResource
    /// The file that it comes from; empty when it was applied.
    public var file: String
    public var warnings: [String]

    public init(
        scope: String, name: String, version: String, resource: RawResource, file: String, warnings: [String] = []
    ) {
        self.scope = scope
        self.name = name
        self.version = version
        self.resource = resource
        self.file = file
        self.warnings = warnings
    }
}

// MARK: - Bytes

/// What one request or answer of the control service may hold: resources are large, and there may be many.
private let controlLimits = DecodingLimits(depth: 100, elements: 4_000_000, memory: 512 << 20)

extension ApplyRequest {
    public init(decoding bytes: [UInt8]) throws(ProtobufError) {
        let arena = Arena()
        let request = try arena.decode(ControlApplyRequest.self, from: bytes, limits: controlLimits).pointee
        self.init(
            scope: request.scope.string,
            resources: request.resources_list.map {
                PackedResource(typeURL: $0.pointee.type_url.string, bytes: Array($0.pointee.value_bytes))
            },
            removing: request.remove_list.map {
                NamedResource(typeURL: $0.pointee.type_url.string, name: $0.pointee.name.string)
            },
            replacesAll: request.replace_all != 0, version: request.version.string, isStrict: request.strict != 0,
            isDryRun: request.dry_run != 0)
    }

    public func encoded() -> [UInt8] {
        let arena = Arena()
        let message = arena.make(ControlApplyRequest.self) { request in
            request.scope = arena(scope.withoutNUL)
            (request.n_resources, request.resources) = arena.list(
                resources.map { arena.any(typeURL: $0.typeURL, arena.bytes($0.bytes)) })
            (request.n_remove, request.remove) = arena.list(
                removing.map { name in
                    arena.make(ControlResourceName.self) {
                        $0.type_url = arena(name.typeURL.withoutNUL)
                        $0.name = arena(name.name.withoutNUL)
                    }
                })
            request.set(replace_all: replacesAll)
            request.version = arena(version.withoutNUL)
            request.set(strict: isStrict)
            request.set(dry_run: isDryRun)
        }
        return encode(message)
    }
}

extension ApplyReport {
    public init(decoding bytes: [UInt8]) throws(ProtobufError) {
        let arena = Arena()
        let response = try arena.decode(ControlApplyResponse.self, from: bytes, limits: controlLimits).pointee
        changes = response.changes_list.map { change in
            Change(
                Kind(change.pointee.kind), typeURL: change.pointee.type_url.string, name: change.pointee.name.string,
                version: change.pointee.version.string)
        }
        warnings = Array(response.warnings_list)
    }

    public func encoded() -> [UInt8] {
        let arena = Arena()
        let message = arena.make(ControlApplyResponse.self) { response in
            (response.n_changes, response.changes) = arena.list(
                changes.map { change in
                    arena.make(ControlChange.self) {
                        $0.kind = change.kind.wire
                        $0.type_url = arena(change.typeURL)
                        $0.name = arena(change.name)
                        $0.version = arena(change.version)
                    }
                })
            (response.n_warnings, response.warnings) = arena.strings(warnings.map(\.withoutNUL))
        }
        return encode(message)
    }
}

extension ApplyReport.Kind {
    fileprivate init(_ wire: ControlChangeKind) {
        switch wire {
        case .ADDED: self = .added
        case .CHANGED: self = .changed
        case .REMOVED: self = .removed
        default: self = .unchanged
        }
    }

    fileprivate init(_ kind: CatalogChange.Kind) {
        switch kind {
        case .unchanged: self = .unchanged
        case .added: self = .added
        case .changed: self = .changed
        case .removed: self = .removed
        }
    }

    fileprivate var wire: ControlChangeKind {
        switch self {
        case .unchanged: .UNCHANGED
        case .added: .ADDED
        case .changed: .CHANGED
        case .removed: .REMOVED
        }
    }
}

extension ListOrder {
    public init(decoding bytes: [UInt8]) throws(ProtobufError) {
        let arena = Arena()
        let request = try arena.decode(ControlListRequest.self, from: bytes).pointee
        typeURL = request.type_url.string
        name = request.name.string
        scope = request.scope.string
    }

    public func encoded() -> [UInt8] {
        let arena = Arena()
        let message = arena.make(ControlListRequest.self) {
            $0.type_url = arena(typeURL)
            $0.name = arena(name)
            $0.scope = arena(scope)
        }
        return encode(message)
    }
}

extension ListedResource {
    init(_ held: HeldResource, warnings: [Finding]) {
        self.init(
            scope: held.scope.text, name: held.resource.name, version: held.resource.version,
            resource: RawResource(typeURL: held.resource.type.typeURL, body: held.resource.body).redacted,
            file: held.origin == .applied ? "" : "\(held.origin)", warnings: warnings.map(\.description))
    }

    /// The resources of a `ListResponse`.
    public static func list(decoding bytes: [UInt8]) throws(ProtobufError) -> [ListedResource] {
        let arena = Arena()
        let response = try arena.decode(ControlListResponse.self, from: bytes, limits: controlLimits).pointee
        return response.resources_list.map { held in
            ListedResource(
                scope: held.pointee.scope.string, name: held.pointee.name.string,
                version: held.pointee.version.string,
                resource: held.pointee.resource.map(RawResource.init) ?? RawResource(typeURL: "", body: []),
                file: held.pointee.file.string, warnings: Array(held.pointee.warnings_list))
        }
    }

    /// A `ListResponse` of them.
    public static func encode(_ list: [ListedResource]) -> [UInt8] {
        let arena = Arena()
        let message = arena.make(ControlListResponse.self) { response in
            (response.n_resources, response.resources) = arena.list(
                list.map { held in
                    arena.make(ControlHeldResource.self) {
                        $0.scope = arena(held.scope)
                        $0.name = arena(held.name)
                        $0.version = arena(held.version)
                        $0.resource = held.resource.any(in: arena)
                        $0.file = arena(held.file)
                        ($0.n_warnings, $0.warnings) = arena.strings(held.warnings.map(\.withoutNUL))
                    }
                })
        }
        return Protobuf.encode(message)
    }
}

extension RawResource {
    fileprivate init(_ any: UnsafeMutablePointer<ProtobufAny>) {
        self.init(typeURL: any.pointee.type_url.string, body: Array(any.pointee.value_bytes))
    }

    fileprivate func any(in arena: Arena) -> UnsafeMutablePointer<ProtobufAny> {
        arena.any(typeURL: typeURL, arena.bytes(body))
    }
}

extension String {
    /// Words may quote what a peer or a file said; protobuf's C strings end at a NUL.
    var withoutNUL: String { utf8.contains(0) ? replacing("\0", with: "\u{FFFD}") : self }
}
