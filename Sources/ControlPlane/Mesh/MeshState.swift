import HashTreeCollections
import Mesh
import Store
import Time
import Translation

/// The objects of a mesh at one revision: a value, so that what a change would do is asked without doing it.
public struct MeshState: Sendable {
    /// 0: nothing was applied yet.
    public internal(set) var revision: Int64
    /// All objects, and the workloads that proxies have announced.
    public internal(set) var index: MeshIndex
    /// The revision that last changed each object.
    var revisions: TreeDictionary<ObjectKey, Int64>
    /// Objects that this program does not understand: kept as they are, and in no index.
    public internal(set) var unreadable: [UnreadableObject]
    /// The most objects of one mesh.
    var objectLimit = 200_000

    /// An object in the store that could be read once.
    public struct UnreadableObject: Sendable {
        public var key: StoredObjectKey
        public var spelling: ObjectSpelling
        /// What is wrong with it, in words.
        public var problem: String
    }

    public init() {
        revision = 0
        index = MeshIndex()
        revisions = [:]
        unreadable = []
    }

    /// What a store has.
    /// - Parameter revision: the newest.
    public init(revision: Int64, _ objects: [StoredObject]) {
        self.init()
        self.revision = revision
        for stored in objects {
            do throws(UnreadableReason) {
                let object = try MeshObject(stored.key, stored.spelling)
                index.apply(.put(object))
                revisions[object.key] = stored.revision
            } catch {
                unreadable.append(
                    UnreadableObject(key: stored.key, spelling: stored.spelling, problem: error.words))
            }
        }
    }

    /// The revision that last changed an object; nil: it is not there.
    public func revision(of key: ObjectKey) -> Int64? { revisions[key] }

    // MARK: Planning

    /// Says what a request would change.
    /// - Parameter now: the time of the revision.
    /// - Throws: everything that is wrong with it; then nothing of it may happen.
    public func planning(_ request: MeshRequest, now: Timestamp) throws(MeshRequestError) -> MeshPlan {
        if let base = request.base, base != revision {
            throw .stale(base: base, current: revision, changes: [])
        }
        for (field, words) in [("author", request.author), ("message", request.message)]
        where words.utf8.count > MeshRequest.longestWords {
            throw .wordsTooLong(field, limit: MeshRequest.longestWords)
        }
        let objects = try Self.objects(of: request)
        var plan = MeshPlan(
            base: revision, time: now, author: request.author, message: request.message, changes: [], findings: [],
            indexChanges: [], respelled: [], next: index)
        for object in objects { put(object, &plan) }
        for key in try removals(request, keeping: objects) {
            plan.changes.append(MeshPlan.Change(.removed, key, before: source(of: key), after: nil))
            plan.indexChanges.append(.remove(key))
            plan.next.apply(.remove(key))
        }
        guard plan.next.count <= objectLimit else { throw .tooManyObjects(limit: objectLimit) }
        plan.findings = try findings(request, plan)
        return plan
    }

    private func put(_ object: MeshObject, _ plan: inout MeshPlan) {
        let old = source(of: object.key)
        let isAlike = index[object.key]?.isAlike(object) ?? false
        if isAlike {
            plan.changes.append(MeshPlan.Change(.unchanged, object.key, before: old, after: object.source))
            guard old.map({ !$0.isSpelled(as: object.source) }) ?? true else { return }
            plan.respelled.append(object)
        } else {
            let kind: MeshPlan.Kind = old == nil ? .created : .configured
            plan.changes.append(MeshPlan.Change(kind, object.key, before: old, after: object.source))
            plan.indexChanges.append(.put(object))
        }
        plan.next.apply(.put(object))
    }

    private func source(of key: ObjectKey) -> ObjectSource? {
        index[key]?.source ?? unreadable.first { $0.key == key.stored }.map { ObjectSource($0.spelling) }
    }

    /// What goes, sorted.
    private func removals(
        _ request: MeshRequest, keeping objects: [MeshObject]
    ) throws(MeshRequestError) -> [ObjectKey] {
        let put = Set(objects.map(\.key))
        let odd = unreadable.compactMap { ObjectKey($0.key) }
        let missing = Set(request.removing).filter { index[$0] == nil && !odd.contains($0) }
        guard missing.isEmpty || request.ignoresMissing else { throw .missing(missing.sorted()) }
        var removed = Set(request.removing).subtracting(missing)
        if request.prunes { removed.formUnion(index.keys + odd) }
        return removed.subtracting(put).sorted()
    }

    /// Reads what is put.
    /// - Throws: all that is wrong in all documents, up to ``ObjectErrors/limit``.
    private static func objects(of request: MeshRequest) throws(MeshRequestError) -> [MeshObject] {
        var objects: [MeshObject] = []
        var errors = ObjectErrors([])
        for document in request.documents {
            do throws(ObjectErrors) {
                objects += try ObjectText(document.bytes, file: document.file, namespace: request.namespace)
                    .objectsOfTheirOwn
            } catch {
                errors.add(error)
            }
        }
        objects += request.objects
        errors.add(ObjectErrors(objects.compactMap(\.redactionFinding) + repeated(objects)))
        guard errors.findings.isEmpty else { throw .refused(errors) }
        return objects
    }

    /// Objects that an earlier one has the name of: which of them is meant?
    public static func repeated(_ objects: [MeshObject]) -> [MeshFinding] {
        var first: [ObjectKey: MeshObject] = [:]
        return objects.compactMap { object in
            guard let other = first.updateValue(object, forKey: object.key) else { return nil }
            first[object.key] = other
            let place = "\(other.source.file ?? "another text"):\(other.source.line)"
            return object.finding(
                .error, .duplicateObject, "there is another one at \(place)", mend: "remove or rename one")
        }
    }

    /// - Throws: errors of the objects of the request, and those that it brings to others.
    private func findings(_ request: MeshRequest, _ plan: MeshPlan) throws(MeshRequestError) -> [MeshFinding] {
        let concerned = Set(plan.changes.map(\.key))
        var affected = index.objects(affectedBy: concerned).union(plan.next.objects(affectedBy: concerned))
        // Routes lead to hosts that they do not claim: whoever served one may be missed by any of them.
        if plan.changes.contains(where: { $0.kind == .removed && Self.servesHosts.contains($0.key.kind) }) {
            affected.formUnion(plan.next.objects(of: .virtualService).map(\.key))
        }
        let older = Set(affected.flatMap { index.allFindings(about: $0) }.map(FindingIdentity.init))
        var findings = affected.flatMap { plan.next.allFindings(about: $0) }.filter { finding in
            finding.object.map(concerned.contains) ?? true || !older.contains(FindingIdentity(finding))
        }.sorted()
        if request.isStrict {
            for index in findings.indices where findings[index].kind.isReference { findings[index].severity = .error }
        }
        let errors = findings.filter { $0.severity == .error }
        guard errors.isEmpty else {
            var told = ObjectErrors([])
            told.add(ObjectErrors(errors))
            throw .refused(told)
        }
        return findings
    }

    private static let servesHosts: Set<ObjectKind> = [.service, .serviceEntry]

    // MARK: Following

    /// The state after a plan.
    /// - Parameter number: of the revision that it became.
    func adopting(_ plan: MeshPlan, as number: Int64) -> MeshState {
        precondition(plan.base == revision, "a plan is for the state that it was made of")
        var next = self
        next.index = plan.next
        next.revision = number
        for change in plan.indexChanges {
            switch change {
            case .put(let object):
                next.revisions[object.key] = number
                next.unreadable.removeAll { $0.key == object.key.stored }
            case .remove(let key):
                next.revisions[key] = nil
                next.unreadable.removeAll { $0.key == key.stored }
            case .connect, .disconnect, .judge: preconditionFailure("a plan is about objects")
            }
        }
        return next
    }
}

extension MeshIndex {
    /// What there is to tell about an object, patches of Envoy's own messages included.
    func allFindings(about key: ObjectKey) -> [MeshFinding] {
        findings(about: key) + (self[key].map { EnvoyFilterCheck.findings($0) } ?? [])
    }
}

/// What makes a finding the same after its text was edited.
private struct FindingIdentity: Hashable {
    var kind: MeshFinding.Kind
    var object: ObjectKey?
    var path: String
    var words: String

    init(_ finding: MeshFinding) {
        (kind, object, path, words) = (finding.kind, finding.object, finding.path, finding.words)
    }
}

extension ObjectErrors {
    /// Both, with as many told one by one as the limit allows.
    mutating func add(_ more: ObjectErrors) {
        let room = max(0, Self.limit - findings.count)
        findings += more.findings.prefix(room)
        omitted += more.omitted + max(0, more.findings.count - room)
    }
}
