import Documents
import EnvoyAPI
import Mesh
import Protobuf
import Store
import Time

// What the mesh service answers, as bytes. Source: Protos/martinet/control/v1/mesh.proto.

/// What a change has done, or would do. Source: martinet.control.v1.ObjectPlan.
public struct PlanReport: Sendable {
    /// What happens to one object.
    public struct Change: Hashable, Sendable {
        public var kind: MeshPlan.Kind
        public var object: ObjectName
        /// YAML; empty where it was not asked for, or there is none.
        public var before: String
        public var after: String
    }

    /// In force afterwards; the base where nothing changed.
    public var revision: Int64
    public var base: Int64
    public var changes: [Change]
    public var findings: [MeshFinding]
    /// What proxies get, in words; of a diff.
    public var pushes: [String]

    /// - Parameter showsTexts: what objects were and what they are.
    init(_ plan: MeshPlan, revision: Int64, showsTexts: Bool = false, pushes: [String] = []) {
        self.revision = revision
        base = plan.base
        changes = plan.changes.map { change in
            Change(
                kind: change.kind, object: ObjectName(change.key),
                before: showsTexts ? change.before?.shown(as: change.key) ?? "" : "",
                after: showsTexts ? change.after?.shown(as: change.key) ?? "" : "")
        }
        findings = plan.findings
        self.pushes = pushes
    }

    public init(decoding bytes: [UInt8]) throws(ProtobufError) {
        let arena = Arena()
        let message = try arena.decode(ControlObjectPlan.self, from: bytes, limits: meshMessageLimits).pointee
        (revision, base) = (Int64(clamping: message.revision), Int64(clamping: message.base))
        changes = message.changes_list.map { Change($0.pointee) }
        findings = message.findings_list.map { MeshFinding($0.pointee) }
        pushes = Array(message.pushes_list)
    }

    func encoded() -> [UInt8] {
        let arena = Arena()
        return encode(
            arena.make(ControlObjectPlan.self) { message in
                (message.revision, message.base) = (UInt64(clamping: revision), UInt64(clamping: base))
                (message.n_changes, message.changes) = arena.list(changes.map { $0.message(in: arena) })
                (message.n_findings, message.findings) = arena.list(findings.map { $0.message(in: arena) })
                (message.n_pushes, message.pushes) = arena.strings(pushes.map(\.withoutNUL))
            })
    }

    public func count(of kind: MeshPlan.Kind) -> Int { changes.count { $0.kind == kind } }
}

extension PlanReport.Change {
    fileprivate init(_ message: ControlObjectChange) {
        switch message.kind {
        case .CREATED: kind = .created
        case .CONFIGURED: kind = .configured
        case .REMOVED: kind = .removed
        default: kind = .unchanged
        }
        object = message.name.map { ObjectName($0.pointee) } ?? ObjectName(kind: "", namespace: "", name: "")
        (before, after) = (message.before.string, message.after.string)
    }

    init(_ change: StoredObjectChange) {
        kind = change.before == nil ? .created : change.after == nil ? .removed : .configured
        object = ObjectName(kind: change.key.kind, namespace: change.key.namespace, name: change.key.name)
        let key = object.key
        func shown(_ spelling: ObjectSpelling?) -> String {
            guard let spelling else { return "" }
            return key.map { ObjectSource(spelling).shown(as: $0) } ?? spelling.text
        }
        (before, after) = (shown(change.before), shown(change.after))
    }

    fileprivate func message(in arena: Arena) -> UnsafeMutablePointer<ControlObjectChange> {
        arena.make {
            $0.kind =
                switch kind {
                case .unchanged: .UNCHANGED
                case .created: .CREATED
                case .configured: .CONFIGURED
                case .removed: .REMOVED
                }
            $0.name = object.message(in: arena)
            $0.before = arena(before.withoutNUL)
            $0.after = arena(after.withoutNUL)
        }
    }
}

extension MeshFinding {
    fileprivate init(_ message: ControlObjectFinding) {
        let position =
            message.line == 0 ? nil : SourcePosition(line: Int(message.line), column: Int(message.column))
        self.init(
            message.error != 0 ? .error : .warning, Kind(rawValue: message.kind.string) ?? .invalidValue,
            object: message.object.flatMap { ObjectName($0.pointee).key },
            file: message.file.string.isEmpty ? nil : message.file.string, position: position,
            path: message.path.string, message.problem.string, mend: message.mend.string)
    }

    fileprivate func message(in arena: Arena) -> UnsafeMutablePointer<ControlObjectFinding> {
        arena.make {
            $0.set(error: severity == .error)
            $0.kind = arena(kind.rawValue)
            $0.object = object.map { ObjectName($0).message(in: arena) }
            $0.file = arena((file ?? "").withoutNUL)
            $0.line = UInt32(clamping: position?.line ?? 0)
            $0.column = UInt32(clamping: position?.column ?? 0)
            $0.path = arena(path.withoutNUL)
            $0.problem = arena(words.withoutNUL)
            $0.mend = arena(mend.withoutNUL)
        }
    }
}

/// One object as it stands. Source: martinet.control.v1.StandingObject.
public struct StandingObject: Sendable {
    public var name: ObjectName
    /// As its user wrote it, with its namespace.
    public var yaml: String
    /// The one that last changed it; nil: not known any more.
    public var revision: Int64?
    /// When that was, and by whom; nil and empty: not known any more.
    public var changedAt: Timestamp?
    public var author: String
    /// Where its text came from; empty: not known.
    public var file: String
    public var findings: [MeshFinding]
    /// What this controller says of an object of the Gateway API.
    public var conditions: [ObjectCondition]
    /// The same as YAML, what belongs below `status:`; empty where there is none.
    public var status: String

    fileprivate init(_ message: ControlStandingObject) {
        name = message.name.map { ObjectName($0.pointee) } ?? ObjectName(kind: "", namespace: "", name: "")
        yaml = message.yaml.string
        revision = message.revision == 0 ? nil : Int64(clamping: message.revision)
        changedAt = message.changed_at == 0 ? nil : Timestamp(nanoseconds: message.changed_at)
        (author, file) = (message.author.string, message.file.string)
        findings = message.findings_list.map { MeshFinding($0.pointee) }
        conditions = message.conditions_list.map { ObjectCondition($0.pointee) }
        status = message.status.string
    }

    init(
        _ object: MeshObject, revision: Int64?, changedAt: Timestamp?, author: String, findings: [MeshFinding],
        status: ObjectStatus? = nil
    ) {
        name = ObjectName(object.key)
        yaml = object.source.shown(as: object.key)
        (self.revision, self.changedAt, self.author) = (revision, changedAt, author)
        file = object.source.file ?? ""
        self.findings = findings
        conditions = status?.conditions ?? []
        self.status = status?.document.yaml() ?? ""
    }

    fileprivate func message(in arena: Arena) -> UnsafeMutablePointer<ControlStandingObject> {
        arena.make {
            $0.name = name.message(in: arena)
            $0.yaml = arena(yaml.withoutNUL)
            $0.revision = UInt64(clamping: revision ?? 0)
            $0.changed_at = changedAt?.nanoseconds ?? 0
            $0.author = arena(author.withoutNUL)
            $0.file = arena(file.withoutNUL)
            ($0.n_findings, $0.findings) = arena.list(findings.map { $0.message(in: arena) })
            ($0.n_conditions, $0.conditions) = arena.list(conditions.map { $0.message(in: arena) })
            $0.status = arena(status.withoutNUL)
        }
    }
}

/// The objects that were asked for. Source: martinet.control.v1.GetObjectsResponse.
public struct ObjectsReport: Sendable {
    /// By kind, namespace and name.
    public var objects: [StandingObject]
    /// Which revision this is.
    public var revision: Int64
    /// What was written and is not in force, in words.
    public var problems: [String]

    init(objects: [StandingObject], revision: Int64, problems: [String]) {
        (self.objects, self.revision, self.problems) = (objects, revision, problems)
    }

    public init(decoding bytes: [UInt8]) throws(ProtobufError) {
        let arena = Arena()
        let message = try arena.decode(ControlGetObjectsResponse.self, from: bytes, limits: meshMessageLimits).pointee
        objects = message.objects_list.map { StandingObject($0.pointee) }
        (revision, problems) = (Int64(clamping: message.revision), Array(message.problems_list))
    }

    func encoded() -> [UInt8] {
        let arena = Arena()
        return encode(
            arena.make(ControlGetObjectsResponse.self) { message in
                (message.n_objects, message.objects) = arena.list(objects.map { $0.message(in: arena) })
                message.revision = UInt64(clamping: revision)
                (message.n_problems, message.problems) = arena.strings(problems.map(\.withoutNUL))
            })
    }
}

/// A step in the history of the mesh. Source: martinet.control.v1.ObjectRevision.
public struct RevisionEntry: Hashable, Sendable {
    public var number: Int64
    public var time: Timestamp
    public var author: String
    public var message: String
    public var base: Int64
    public var created: Int
    public var configured: Int
    public var removed: Int

    init(_ stored: StoredRevision) {
        (number, time, author, message) = (stored.number, stored.time, stored.author, stored.message)
        (base, created, configured, removed) = (stored.base, stored.created, stored.configured, stored.removed)
    }

    fileprivate init(_ message: ControlObjectRevision) {
        (number, base) = (Int64(clamping: message.number), Int64(clamping: message.base))
        time = Timestamp(nanoseconds: message.time)
        (author, self.message) = (message.author.string, message.message.string)
        (created, configured, removed) = (Int(message.created), Int(message.configured), Int(message.removed))
    }

    fileprivate func message(in arena: Arena) -> UnsafeMutablePointer<ControlObjectRevision> {
        arena.make {
            $0.number = UInt64(clamping: number)
            $0.time = time.nanoseconds
            $0.author = arena(author.withoutNUL)
            $0.message = arena(message.withoutNUL)
            $0.base = UInt64(clamping: base)
            ($0.created, $0.configured) = (UInt32(clamping: created), UInt32(clamping: configured))
            $0.removed = UInt32(clamping: removed)
        }
    }

    /// The revisions of a HistoryResponse, newest first.
    public static func list(decoding bytes: [UInt8]) throws(ProtobufError) -> [RevisionEntry] {
        let arena = Arena()
        let message = try arena.decode(ControlHistoryResponse.self, from: bytes, limits: meshMessageLimits).pointee
        return message.revisions_list.map { RevisionEntry($0.pointee) }
    }

    static func encode(_ list: [RevisionEntry]) -> [UInt8] {
        let arena = Arena()
        return Protobuf.encode(
            arena.make(ControlHistoryResponse.self) { message in
                (message.n_revisions, message.revisions) = arena.list(list.map { $0.message(in: arena) })
            })
    }
}

/// A revision with what it changed. Source: martinet.control.v1.ShowRevisionResponse.
public struct RevisionDetail: Sendable {
    public var revision: RevisionEntry
    /// By kind, namespace and name.
    public var changes: [PlanReport.Change]

    init(_ revision: StoredRevision, _ changes: [StoredObjectChange]) {
        self.revision = RevisionEntry(revision)
        self.changes = changes.map { PlanReport.Change($0) }
    }

    /// - Returns: nil for an answer without a revision.
    public init?(decoding bytes: [UInt8]) throws(ProtobufError) {
        let arena = Arena()
        let message = try arena.decode(ControlShowRevisionResponse.self, from: bytes, limits: meshMessageLimits).pointee
        guard let entry = message.revision else { return nil }
        revision = RevisionEntry(entry.pointee)
        changes = message.changes_list.map { PlanReport.Change($0.pointee) }
    }

    func encoded() -> [UInt8] {
        let arena = Arena()
        return encode(
            arena.make(ControlShowRevisionResponse.self) { message in
                message.revision = revision.message(in: arena)
                (message.n_changes, message.changes) = arena.list(changes.map { $0.message(in: arena) })
            })
    }
}

extension RevisionReport {
    /// - Returns: nil where nobody follows revisions to proxies.
    public init?(decoding bytes: [UInt8]) throws(ProtobufError) {
        let arena = Arena()
        let message = try arena.decode(ControlRevisionProgressResponse.self, from: bytes, limits: meshMessageLimits)
            .pointee
        guard message.followed != 0 else { return nil }
        self.init(
            affected: Int(message.affected), acknowledged: Int(message.acknowledged), rejected: Int(message.rejected),
            rejections: Array(message.rejections_list))
    }

    static func encode(_ report: RevisionReport?) -> [UInt8] {
        let arena = Arena()
        return Protobuf.encode(
            arena.make(ControlRevisionProgressResponse.self) { message in
                guard let report else { return }
                message.set(followed: true)
                message.affected = UInt32(clamping: report.affected)
                message.acknowledged = UInt32(clamping: report.acknowledged)
                message.rejected = UInt32(clamping: report.rejected)
                (message.n_rejections, message.rejections) = arena.strings(report.rejections.map(\.withoutNUL))
            })
    }
}
