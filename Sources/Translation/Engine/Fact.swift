import Mesh

/// Something about a mesh that a question's answer depends on: whoever asked the question noted it, and a change of the
/// mesh names the facts that it touched. A fact stands for all that an answer of its kind may show, so that a fact
/// which no change touched means answers that did not change.
enum Fact: Hashable, Sendable {
    case object(ObjectKey)
    /// Whether it is there, whatever it says.
    case existence(ObjectKey)
    case kind(ObjectKind)
    case place(ObjectKind, namespace: String)
    /// What serves exactly this host.
    case host(String)
    /// What serves the wildcard before this suffix.
    case wildcardHost(String)
    /// What serves any host that ends so.
    case hostsBelow(String)
    /// What is about this host, or this wildcard with its star.
    case claim(ObjectKind, String)
    /// Objects that name this one; nil: of any kind.
    case naming(ObjectKey, ObjectKind?)
    case workloads(namespace: String)
    case labelled(namespace: String, key: String, value: String)
    /// Services that select by this label.
    case selecting(namespace: String, key: String, value: String)
    /// Policies for all of a namespace.
    case widePolicies(ObjectKind, namespace: String)
    /// Policies that select by this label.
    case narrowPolicies(ObjectKind, namespace: String, key: String, value: String)
    /// Objects that only some clients see, or that treat clients differently.
    case partial
}

extension Fact {
    /// The facts that differ between two meshes which these changes lie between.
    static func touched(by changes: [MeshIndex.Change], from old: MeshIndex, to new: MeshIndex) -> Set<Fact> {
        var facts = Set<Fact>()
        var seenObjects = Set<ObjectKey>()
        var seenWorkloads = Set<Workload.ID>()
        for change in changes {
            switch change {
            case .put(let object):
                if seenObjects.insert(object.key).inserted { add(old[object.key], new[object.key], &facts) }
            case .remove(let key):
                if seenObjects.insert(key).inserted { add(old[key], new[key], &facts) }
            case .connect(let workload):
                guard seenWorkloads.insert(workload.id).inserted else { continue }
                add(old.connectedWorkload(workload.id), new.connectedWorkload(workload.id), &facts)
            case .disconnect(let id):
                guard seenWorkloads.insert(id).inserted else { continue }
                add(old.connectedWorkload(id), new.connectedWorkload(id), &facts)
            case .judge(let id, _):
                if old.isHealthy(id) == new.isHealthy(id) { continue }
                for workload in new.workloads(named: id) { add(workload, &facts) }
            }
        }
        return facts
    }

    private static func add(_ old: MeshObject?, _ new: MeshObject?, _ facts: inout Set<Fact>) {
        if let old, let new, old.isAlike(new) { return }
        guard let key = (old ?? new)?.key else { return }
        if old == nil || new == nil { facts.insert(.existence(key)) }
        for object in [old, new] {
            if let object { add(object, &facts) }
        }
    }

    private static func add(_ old: Workload?, _ new: Workload?, _ facts: inout Set<Fact>) {
        if old == new { return }
        for workload in [old, new] {
            if let workload { add(workload, &facts) }
        }
    }

    private static func add(_ workload: Workload, _ facts: inout Set<Fact>) {
        let namespace = workload.id.namespace
        facts.insert(.workloads(namespace: namespace))
        for (key, value) in workload.labels {
            facts.insert(.labelled(namespace: namespace, key: key, value: value))
        }
    }

    private static func add(_ object: MeshObject, _ facts: inout Set<Fact>) {
        let key = object.key
        facts.insert(.object(key))
        facts.insert(.kind(key.kind))
        facts.insert(.place(key.kind, namespace: key.namespace))
        for service in MeshService.services(of: object) { addHost(service.host, &facts) }
        for host in MeshIndex.claimedHosts(object) { facts.insert(.claim(key.kind, host)) }
        for target in object.namedObjects {
            facts.insert(.naming(target, nil))
            facts.insert(.naming(target, key.kind))
        }
        if let workload = Workload(object) { add(workload, &facts) }
        if case .service(let service) = object.body {
            for (label, value) in service.selector {
                facts.insert(.selecting(namespace: key.namespace, key: label, value: value))
            }
        }
        if let scope = object.policyScope {
            if let labels = scope.selector?.labels, !labels.isEmpty {
                for (label, value) in labels {
                    facts.insert(.narrowPolicies(key.kind, namespace: key.namespace, key: label, value: value))
                }
            } else {
                facts.insert(.widePolicies(key.kind, namespace: key.namespace))
            }
        }
        if PartialObject(object) != nil || object.isNamedAsDelegate { facts.insert(.partial) }
    }

    private static func addHost(_ host: String, _ facts: inout Set<Fact>) {
        var name = host
        if host.hasPrefix("*") {
            name = String(host.dropFirst())
            facts.insert(.wildcardHost(name))
        } else {
            facts.insert(.host(host))
        }
        for suffix in MeshIndex.suffixes(of: name) { facts.insert(.hostsBelow(suffix)) }
    }

    /// The fact about hosts below a suffix, which a wildcard may cut anywhere in a label.
    static func below(_ suffix: String) -> Fact {
        .hostsBelow(suffix.firstIndex(of: ".").map { String(suffix[$0...]) } ?? "")
    }
}
