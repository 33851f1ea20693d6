import HashTreeCollections

/// All objects of a mesh, and what they are looked up by. A value: a change makes a new one that shares with the old one
/// what did not change, so its cost grows with the change and not with the mesh.
public struct MeshIndex: Sendable {
    public enum Change: Sendable {
        case put(MeshObject)
        case remove(ObjectKey)
        /// A proxy is there, and with it a workload; the same name replaces.
        case connect(Workload)
        case disconnect(Workload.ID)
        /// Who checks a workload has found it healthy or not; nil: nobody checks it.
        case judge(Workload.ID, isHealthy: Bool?)
    }

    struct Place: Hashable, Sendable {
        var kind: ObjectKind
        var namespace: String
    }

    /// The suffix of names within a Kubernetes cluster.
    public static let clusterDomain = "svc.cluster.local"

    var objects = TreeDictionary<ObjectKey, MeshObject>()
    var places = TreeDictionary<Place, TreeSet<ObjectKey>>()
    var kinds = TreeDictionary<ObjectKind, TreeSet<ObjectKey>>()
    /// Services and ServiceEntries by each full host, wildcards by what follows their star.
    var hosts = TreeDictionary<String, TreeSet<ObjectKey>>()
    var wildcardHosts = TreeDictionary<String, TreeSet<ObjectKey>>()
    /// VirtualServices and DestinationRules by each full host that they are about, stars included.
    var claims = TreeDictionary<String, TreeSet<ObjectKey>>()
    /// Objects by what they name: a delegate, a Gateway, a parent, a Secret.
    var references = TreeDictionary<ObjectKey, TreeSet<ObjectKey>>()
    var connected = TreeDictionary<Workload.ID, Workload>()
    /// Workloads that are checked, and whether they are healthy.
    var judgements = TreeDictionary<Workload.ID, Bool>()
    /// Workloads by namespace, and by each of their labels.
    var workloads = TreeDictionary<String, TreeSet<WorkloadSource>>()
    var labelled = TreeDictionary<Label, TreeSet<WorkloadSource>>()
    /// Services by the first label of their selector: who asks for the Services of a workload looks at few others.
    var selectors = TreeDictionary<Label, TreeSet<ObjectKey>>()

    public init() {}

    public init(_ objects: some Sequence<MeshObject>) {
        for object in objects { apply(.put(object)) }
    }

    public func applying(_ changes: some Sequence<Change>) -> MeshIndex {
        var result = self
        for change in changes { result.apply(change) }
        return result
    }

    public mutating func apply(_ change: Change) {
        switch change {
        case .put(let object):
            if let old = objects[object.key] { forget(old) }
            objects[object.key] = object
            remember(object)
        case .remove(let key):
            if let old = objects[key] { forget(old) }
            objects[key] = nil
        case .connect(let workload):
            if let old = connected[workload.id] { forget(old, .proxy(workload.id)) }
            connected[workload.id] = workload
            remember(workload, .proxy(workload.id))
        case .disconnect(let id):
            if let old = connected[id] { forget(old, .proxy(id)) }
            connected[id] = nil
        case .judge(let id, let isHealthy): judgements[id] = isHealthy
        }
    }

    private mutating func remember(_ object: MeshObject) {
        let key = object.key
        places[Place(kind: key.kind, namespace: key.namespace), default: []].insert(key)
        kinds[key.kind, default: []].insert(key)
        for host in Self.servedHosts(object) {
            if host.hasPrefix("*") {
                wildcardHosts[String(host.dropFirst()), default: []].insert(key)
            } else {
                hosts[host, default: []].insert(key)
            }
        }
        for host in Self.claimedHosts(object) { claims[host, default: []].insert(key) }
        for target in object.namedObjects { references[target, default: []].insert(key) }
        if let workload = Workload(object) { remember(workload, .object(key)) }
        if let label = Self.firstSelectorLabel(object) { selectors[label, default: []].insert(key) }
    }

    private mutating func forget(_ object: MeshObject) {
        let key = object.key
        places.drop(key, from: Place(kind: key.kind, namespace: key.namespace))
        kinds.drop(key, from: key.kind)
        for host in Self.servedHosts(object) {
            if host.hasPrefix("*") {
                wildcardHosts.drop(key, from: String(host.dropFirst()))
            } else {
                hosts.drop(key, from: host)
            }
        }
        for host in Self.claimedHosts(object) { claims.drop(key, from: host) }
        for target in object.namedObjects { references.drop(key, from: target) }
        if let workload = Workload(object) { forget(workload, .object(key)) }
        if let label = Self.firstSelectorLabel(object) { selectors.drop(key, from: label) }
    }

    // MARK: Asking for objects

    public var count: Int { objects.count }

    public subscript(key: ObjectKey) -> MeshObject? { objects[key] }

    /// Every key, sorted.
    public var keys: [ObjectKey] { objects.keys.sorted() }

    /// All of a kind, by namespace and name.
    public func objects(of kind: ObjectKind) -> [MeshObject] { objects(kinds[kind]) }

    public func objects(of kind: ObjectKind, in namespace: String) -> [MeshObject] {
        objects(places[Place(kind: kind, namespace: namespace)])
    }

    func objects(_ keys: TreeSet<ObjectKey>?) -> [MeshObject] { (keys ?? []).sorted().compactMap { objects[$0] } }

    /// The objects that name this one as delegate, gateway, parent, backend or Secret.
    public func objects(naming key: ObjectKey) -> [MeshObject] { objects(references[key]) }

    /// What holds where no object says otherwise.
    public var config: MeshConfig {
        if case .meshConfig(let config) = objects[MeshConfig.key]?.body { config } else { .standard }
    }
}

extension TreeDictionary {
    /// Takes one out of a set, and the set with the last of its members.
    mutating func drop<Member: Hashable>(_ member: Member, from key: Key) where Value == TreeSet<Member> {
        guard var set = self[key] else { return }
        set.remove(member)
        self[key] = set.isEmpty ? nil : set
    }
}
