import Mesh

/// The one door through which what is made of the mesh sees the mesh: it notes what was asked, so that a change makes
/// anew what asked for something that changed, and nothing else.
public final class MeshReader {
    /// Everything, unnoticed: for ``MeshReader`` and its extensions alone, which note what they look at.
    let index: MeshIndex
    /// What the answers so far depend on.
    private(set) var facts = Set<Fact>()
    /// What users should know of their objects, as it came up.
    public private(set) var warnings: [MeshFinding] = []

    public init(_ index: MeshIndex) {
        self.index = index
    }

    /// Tells users about an object of theirs: it is shown beside the object.
    public func warn(_ finding: MeshFinding) { warnings.append(finding) }

    private func note(_ fact: Fact) { facts.insert(fact) }

    public var config: MeshConfig {
        note(.object(MeshConfig.key))
        return index.config
    }

    // MARK: Objects

    public func object(_ key: ObjectKey) -> MeshObject? {
        note(.object(key))
        return index[key]
    }

    /// Whether it is there: cheaper to ask than ``object(_:)``, as no change of what it says matters.
    public func has(_ key: ObjectKey) -> Bool {
        note(.existence(key))
        return index[key] != nil
    }

    /// Every change of such an object matters then: ask for less where that is enough.
    public func objects(of kind: ObjectKind) -> [MeshObject] {
        note(.kind(kind))
        return index.objects(of: kind)
    }

    public func objects(of kind: ObjectKind, in namespace: String) -> [MeshObject] {
        note(.place(kind, namespace: namespace))
        return index.objects(of: kind, in: namespace)
    }

    /// As ``MeshIndex/objects(naming:)``. With a kind, changes of other kinds do not matter: who asks for routes of a
    /// Service is not made anew when its EndpointSlices change.
    public func objects(of kind: ObjectKind? = nil, naming key: ObjectKey) -> [MeshObject] {
        note(.naming(key, kind))
        let all = index.objects(naming: key)
        return kind.map { kind in all.filter { $0.key.kind == kind } } ?? all
    }

    // MARK: Hosts

    /// As ``MeshIndex/fullHost(_:in:)``.
    public func fullHost(_ host: String, in namespace: String) -> String {
        let parts = host.split(separator: ".", maxSplits: 4)
        if parts.count == 2 || parts.count == 3 {
            note(.existence(ObjectKey(.service, parts[1].lowercased(), parts[0].lowercased())))
        }
        return index.fullHost(host, in: namespace)
    }

    /// As ``MeshIndex/services(matching:from:)``.
    public func services(matching host: String, from namespace: String) -> [MeshService] {
        let full = fullHost(host, in: namespace)
        let found = index.services(matching: host, from: namespace)
        if full.hasPrefix("*") {
            note(Fact.below(String(full.dropFirst())))
        } else {
            note(.host(full))
            // Wildcards are looked at where nothing has the host itself, up to the one that has it.
            if found.first?.host != full {
                for suffix in MeshIndex.suffixes(of: full) {
                    note(.wildcardHost(suffix))
                    if found.first?.host == "*" + suffix { break }
                }
            }
        }
        return found.compactMap { found in
            index[found.key].flatMap { MeshService.services(of: $0).first { $0.host == found.host } }
        }
    }

    /// As ``MeshIndex/virtualServices(for:gateway:from:)``.
    public func virtualServices(for host: String, gateway: String, from namespace: String) -> [MeshObject] {
        noteClaims(.virtualService, on: host, from: namespace)
        return index.virtualServices(for: host, gateway: gateway, from: namespace)
    }

    /// As ``MeshIndex/destinationRules(for:from:)``.
    public func destinationRules(for host: String, from namespace: String) -> [MeshObject] {
        noteClaims(.destinationRule, on: host, from: namespace)
        let found = index.destinationRules(for: host, from: namespace)
        // Whose rules count depends on whose service it is, and on which namespace is the root.
        note(.object(MeshConfig.key))
        _ = services(matching: host, from: namespace)
        return found
    }

    private func noteClaims(_ kind: ObjectKind, on host: String, from namespace: String) {
        let full = fullHost(host, in: namespace)
        note(.claim(kind, full))
        if full.hasPrefix("*") { return }
        for suffix in MeshIndex.suffixes(of: full) { note(.claim(kind, "*" + suffix)) }
    }

    public func gateway(named name: String, from namespace: String) -> MeshObject? {
        let parts = index.fullGateway(name, in: namespace).split(separator: "/").map(String.init)
        if parts.count == 2 { note(.object(ObjectKey(.gateway, parts[0], parts[1]))) }
        return index.gateway(named: name, from: namespace)
    }

    // MARK: Workloads

    /// As ``MeshIndex/policies(_:selecting:in:)``.
    public func policies(
        _ kind: ObjectKind, selecting labels: [String: String], in namespace: String
    ) -> [MeshObject] {
        let root = config.rootNamespace
        for place in Set([root, namespace]) {
            note(.widePolicies(kind, namespace: place))
            for (key, value) in labels {
                note(.narrowPolicies(kind, namespace: place, key: key, value: value))
            }
        }
        return index.policies(kind, selecting: labels, in: namespace)
    }

    /// As ``MeshIndex/workloads(with:in:)``.
    public func workloads(with labels: [String: String], in namespace: String) -> [Workload] {
        if let rarest = index.rarestLabel(of: labels, in: namespace) {
            note(.labelled(namespace: namespace, key: rarest, value: labels[rarest] ?? ""))
        } else {
            note(.workloads(namespace: namespace))
        }
        return index.workloads(with: labels, in: namespace)
    }

    /// As ``MeshIndex/isHealthy(_:)``, of a workload that was asked for: what was noted then holds for this too.
    public func isHealthy(_ id: Workload.ID) -> Bool? { index.isHealthy(id) }

    /// As ``MeshIndex/services(selecting:in:)``.
    public func services(selecting labels: [String: String], in namespace: String) -> [MeshObject] {
        for (key, value) in labels { note(.selecting(namespace: namespace, key: key, value: value)) }
        return index.services(selecting: labels, in: namespace)
    }

    // MARK: For the engine

    /// Everything that clients do not all see alike, sorted.
    func partialObjects() -> [PartialObject] {
        note(.partial)
        var found: [PartialObject] = []
        let root = config.rootNamespace
        for kind in [ObjectKind.service, .serviceEntry, .virtualService, .destinationRule, .envoyFilter] {
            for object in index.objects(of: kind) {
                guard var partial = PartialObject(object, root: root) else { continue }
                if partial.hosts.isEmpty {
                    partial.hosts = objects(of: .virtualService, naming: object.key).flatMap(MeshIndex.claimedHosts)
                }
                found.append(partial)
            }
        }
        return found
    }
}
