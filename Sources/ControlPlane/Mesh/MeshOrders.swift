import EnvoyAPI
import Mesh
import Protobuf
import Time

// What the mesh service is asked, as bytes. Source: Protos/martinet/control/v1/mesh.proto.

/// What one request or answer may hold: texts are large, and there may be many.
let meshMessageLimits = DecodingLimits(depth: 100, elements: 8_000_000, memory: 768 << 20)

extension MeshRequest {
    /// Of an ApplyObjectsRequest.
    init(decodingApply bytes: [UInt8]) throws {
        let arena = Arena()
        let message = try arena.decode(ControlApplyObjectsRequest.self, from: bytes, limits: meshMessageLimits).pointee
        self.init()
        documents = message.documents_list.map { document in
            let file = document.pointee.file.string
            return Document(file: file.isEmpty ? nil : file, bytes: Array(document.pointee.text_bytes))
        }
        let namespace = message.namespace_.string
        if !namespace.isEmpty { self.namespace = namespace }
        prunes = message.prune != 0
        try read(message.order)
    }

    public func encodedAsApply() -> [UInt8] {
        let arena = Arena()
        return encode(
            arena.make(ControlApplyObjectsRequest.self) { message in
                (message.n_documents, message.documents) = arena.list(
                    documents.map { document in
                        arena.make(ControlObjectDocument.self) {
                            $0.file = arena((document.file ?? "").withoutNUL)
                            $0.text = arena.bytes(document.bytes)
                        }
                    })
                message.namespace_ = arena(namespace.withoutNUL)
                message.set(prune: prunes)
                message.order = order(in: arena)
            })
    }

    /// Of a DeleteObjectsRequest.
    init(decodingDelete bytes: [UInt8]) throws {
        let arena = Arena()
        self.init()
        let message = try arena.decode(ControlDeleteObjectsRequest.self, from: bytes, limits: meshMessageLimits)
            .pointee
        for name in message.names_list.map({ ObjectName($0.pointee) }) {
            guard let key = name.key else { throw MeshOrderError.unknownKind(name.kind) }
            removing.append(key)
        }
        ignoresMissing = message.ignore_missing != 0
        try read(message.order)
    }

    public func encodedAsDelete() -> [UInt8] {
        let arena = Arena()
        return encode(
            arena.make(ControlDeleteObjectsRequest.self) { message in
                (message.n_names, message.names) = arena.list(removing.map { ObjectName($0).message(in: arena) })
                message.set(ignore_missing: ignoresMissing)
                message.order = order(in: arena)
            })
    }

    /// Of a RollbackRequest: who, why and on which base.
    static func rollback(decoding bytes: [UInt8]) throws -> (revision: Int64, request: MeshRequest) {
        let arena = Arena()
        let message = try arena.decode(ControlRollbackRequest.self, from: bytes).pointee
        var request = MeshRequest()
        try request.read(message.order)
        return (Int64(clamping: message.revision), request)
    }

    public func encodedAsRollback(to revision: Int64) -> [UInt8] {
        let arena = Arena()
        return encode(
            arena.make(ControlRollbackRequest.self) {
                $0.revision = UInt64(clamping: revision)
                $0.order = order(in: arena)
            })
    }

    private mutating func read(_ order: UnsafeMutablePointer<ControlChangeOrder>?) throws(MeshOrderError) {
        guard let order = order?.pointee else { return }
        base = order.optional_base.map { Int64(clamping: $0) }
        (author, message) = (order.author.string, order.message.string)
        (isDryRun, isStrict) = (order.dry_run != 0, order.strict != 0)
        guard let steps = order.rollout?.pointee else { return }
        guard let order = RolloutOrder(steps) else { throw MeshOrderError.badSteps }
        rollout = order
    }

    private func order(in arena: Arena) -> UnsafeMutablePointer<ControlChangeOrder> {
        arena.make {
            if let base { $0.set(base: UInt64(clamping: base)) }
            $0.author = arena(author.withoutNUL)
            $0.message = arena(message.withoutNUL)
            $0.set(dry_run: isDryRun)
            $0.set(strict: isStrict)
            $0.rollout = rollout?.message(in: arena)
        }
    }
}

/// An order that says nothing that can be done.
enum MeshOrderError: Error {
    case unknownKind(String)
    case badSelector(String)
    case badSteps
}

/// An object by its kind and name, as it travels. Source: martinet.control.v1.ObjectName.
public struct ObjectName: Hashable, Sendable {
    /// `virtualservice.networking.istio.io`
    public var kind: String
    /// Empty for kinds that have none.
    public var namespace: String
    public var name: String

    public init(_ key: ObjectKey) {
        (kind, namespace, name) = (key.kind.resourceName, key.namespace, key.name)
    }

    init(_ message: ControlObjectName) {
        (kind, namespace, name) = (message.kind.string, message.namespace_.string, message.name.string)
    }

    init(kind: String, namespace: String, name: String) {
        (self.kind, self.namespace, self.name) = (kind, namespace, name)
    }

    /// nil for a kind that this program does not know.
    public var key: ObjectKey? { ObjectKind(resourceName: kind).map { ObjectKey($0, namespace, name) } }

    func message(in arena: Arena) -> UnsafeMutablePointer<ControlObjectName> {
        arena.make {
            $0.kind = arena(kind.withoutNUL)
            $0.namespace_ = arena(namespace.withoutNUL)
            $0.name = arena(name.withoutNUL)
        }
    }
}

/// Which objects to show. Source: martinet.control.v1.GetObjectsRequest.
public struct ObjectQuery: Hashable, Sendable {
    /// Empty for all.
    public var kinds: [ObjectKind] = []
    /// Empty for all.
    public var namespace = ""
    /// Empty for all.
    public var names: [String] = []
    /// As kubectl takes it: `app=reviews,version!=v1`; empty for all.
    public var selector = ""
    /// 0: what is in force.
    public var revision: Int64 = 0

    public init() {}

    init(decoding bytes: [UInt8]) throws {
        let arena = Arena()
        let message = try arena.decode(ControlGetObjectsRequest.self, from: bytes, limits: meshMessageLimits)
            .pointee
        for name in message.kinds_list {
            guard let kind = ObjectKind(resourceName: name) else { throw MeshOrderError.unknownKind(name) }
            kinds.append(kind)
        }
        (namespace, names) = (message.namespace_.string, Array(message.names_list))
        (selector, revision) = (message.selector.string, Int64(clamping: message.revision))
    }

    public func encoded() -> [UInt8] {
        let arena = Arena()
        return encode(
            arena.make(ControlGetObjectsRequest.self) { message in
                (message.n_kinds, message.kinds) = arena.strings(kinds.map(\.resourceName))
                message.namespace_ = arena(namespace.withoutNUL)
                (message.n_names, message.names) = arena.strings(names.map(\.withoutNUL))
                message.selector = arena(selector.withoutNUL)
                message.revision = UInt64(clamping: revision)
            })
    }
}

/// How much history to show. Source: martinet.control.v1.HistoryRequest.
public struct HistoryQuery: Hashable, Sendable {
    /// nil: the server's own.
    public var limit: Int?
    /// Only older ones; nil: from the newest.
    public var before: Int64?
    /// Only those that changed this object.
    public var object: ObjectKey?

    public init() {}

    init(decoding bytes: [UInt8]) throws {
        let arena = Arena()
        let message = try arena.decode(ControlHistoryRequest.self, from: bytes).pointee
        limit = message.limit == 0 ? nil : Int(message.limit)
        before = message.before == 0 ? nil : Int64(clamping: message.before)
        guard let name = message.object.map({ ObjectName($0.pointee) }) else { return }
        guard let key = name.key else { throw MeshOrderError.unknownKind(name.kind) }
        object = key
    }

    public func encoded() -> [UInt8] {
        let arena = Arena()
        return encode(
            arena.make(ControlHistoryRequest.self) {
                $0.limit = UInt32(clamping: limit ?? 0)
                $0.before = UInt64(clamping: before ?? 0)
                $0.object = object.map { ObjectName($0).message(in: arena) }
            })
    }
}

/// A revision by its number, as `Show` and `Progress` take it.
public struct RevisionQuery: Hashable, Sendable {
    public var revision: Int64

    public init(_ revision: Int64) { self.revision = revision }

    init(decodingShow bytes: [UInt8]) throws(ProtobufError) {
        let arena = Arena()
        revision = Int64(clamping: try arena.decode(ControlShowRevisionRequest.self, from: bytes).pointee.revision)
    }

    init(decodingProgress bytes: [UInt8]) throws(ProtobufError) {
        let arena = Arena()
        revision = Int64(clamping: try arena.decode(ControlRevisionProgressRequest.self, from: bytes).pointee.revision)
    }

    public func encodedAsShow() -> [UInt8] {
        let arena = Arena()
        return encode(arena.make(ControlShowRevisionRequest.self) { $0.revision = UInt64(clamping: revision) })
    }

    public func encodedAsProgress() -> [UInt8] {
        let arena = Arena()
        return encode(arena.make(ControlRevisionProgressRequest.self) { $0.revision = UInt64(clamping: revision) })
    }
}
