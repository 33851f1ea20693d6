import HashTreeCollections

/// Something that runs, or is expected to: what labels select.
public struct Workload: Hashable, Sendable, Codable {
    public struct ID: Hashable, Sendable, Comparable, Codable {
        public var namespace: String
        public var name: String

        public init(namespace: String, name: String) {
            self.namespace = namespace
            self.name = name
        }

        public static func < (left: ID, right: ID) -> Bool {
            (left.namespace, left.name) < (right.namespace, right.name)
        }
    }

    public var id: ID
    public var labels: [String: String]
    public var serviceAccount: String
    /// Of its containers, by name where they have one.
    public var ports: [Kubernetes.ContainerPort]
    public var addresses: [String]
    /// The object that tells of it; nil for one that only its proxy tells of.
    public var source: ObjectKey?
    /// `region/zone/sub-zone`, the later parts may be missing; nil is unknown.
    public var locality: String?
    /// Its share among the endpoints of a service.
    public var weight: Int
    /// Whether a proxy of the mesh takes its calls: certain of one that its proxy tells of, and of an object as far as
    /// its labels say so.
    public var hasSidecar: Bool
    /// Whether it speaks xDS itself: it has one kind of transport, and takes mutual TLS where nothing else is taken.
    public var isProxyless: Bool

    /// The label that says of a workload whether it takes mutual TLS: `istio` or `disabled`.
    public static let modeLabel = "security.istio.io/tlsMode"
    /// The label that says where a Pod is: `region.zone.sub-zone`.
    public static let localityLabel = "istio-locality"

    public init(
        id: ID, labels: [String: String], serviceAccount: String, ports: [Kubernetes.ContainerPort] = [],
        addresses: [String] = [], source: ObjectKey? = nil, locality: String? = nil, weight: Int = 1,
        hasSidecar: Bool = true, isProxyless: Bool = false
    ) {
        self.id = id
        self.labels = labels
        self.serviceAccount = serviceAccount
        self.ports = ports
        self.addresses = addresses
        self.source = source
        self.locality = locality
        self.weight = weight
        self.hasSidecar = hasSidecar
        self.isProxyless = isProxyless
    }

    /// What a Pod, a Deployment or a WorkloadEntry tells of.
    public init?(_ object: MeshObject) {
        id = ID(namespace: object.key.namespace, name: object.key.name)
        source = object.key
        isProxyless = false
        weight = 1
        var place: String?
        switch object.body {
        case .pod(let pod):
            (labels, serviceAccount, ports) = (object.metadata.labels, pod.serviceAccount, pod.ports)
            addresses = []
        case .deployment(let deployment):
            let template = deployment.template
            (labels, serviceAccount, ports) = (template.labels, template.serviceAccount, template.ports)
            addresses = []
        case .workloadEntry(let entry):
            labels = entry.labels.merging(object.metadata.labels) { own, _ in own }
            serviceAccount = entry.serviceAccount ?? "default"
            ports = []
            addresses = entry.address.isEmpty ? [] : [entry.address]
            (place, weight) = (entry.locality, entry.weight)
        default: return nil
        }
        locality = place ?? labels[Self.localityLabel].map { String($0.map { $0 == "." ? "/" : $0 }) }
        hasSidecar = labels[Self.modeLabel] == "istio"
    }
}

/// Where a workload is known from.
enum WorkloadSource: Hashable, Sendable, Comparable {
    case object(ObjectKey)
    case proxy(Workload.ID)
}

/// One label of a namespace.
struct Label: Hashable, Sendable {
    var namespace: String
    var key: String
    var value: String
}

extension MeshIndex {
    mutating func remember(_ workload: Workload, _ source: WorkloadSource) {
        let namespace = workload.id.namespace
        workloads[namespace, default: []].insert(source)
        for (key, value) in workload.labels {
            labelled[Label(namespace: namespace, key: key, value: value), default: []].insert(source)
        }
    }

    mutating func forget(_ workload: Workload, _ source: WorkloadSource) {
        let namespace = workload.id.namespace
        workloads.drop(source, from: namespace)
        for (key, value) in workload.labels {
            labelled.drop(source, from: Label(namespace: namespace, key: key, value: value))
        }
    }

    static func firstSelectorLabel(_ object: MeshObject) -> Label? {
        guard case .service(let service) = object.body, let key = service.selector.keys.min() else { return nil }
        return Label(namespace: object.key.namespace, key: key, value: service.selector[key] ?? "")
    }

    private func workload(_ source: WorkloadSource) -> Workload? {
        switch source {
        case .object(let key): objects[key].flatMap { Workload($0) }
        case .proxy(let id): connected[id]
        }
    }

    /// What is expected and what is connected in a namespace, sorted: objects first.
    public func workloads(in namespace: String) -> [Workload] {
        (workloads[namespace] ?? []).sorted().compactMap { workload($0) }
    }

    /// What was found where the workload is checked; nil: nobody checks it.
    public func isHealthy(_ id: Workload.ID) -> Bool? { judgements[id] }

    /// The workloads that go by a name: of a connected proxy, and of objects.
    public func workloads(named id: Workload.ID) -> [Workload] {
        let written = [ObjectKind.pod, .deployment, .workloadEntry].compactMap { kind in
            objects[ObjectKey(kind, id.namespace, id.name)].flatMap { Workload($0) }
        }
        return (connected[id].map { [$0] } ?? []) + written
    }

    /// The workload that a connected proxy told of.
    public func connectedWorkload(_ id: Workload.ID) -> Workload? { connected[id] }

    /// The label of these that the fewest workloads have: every workload with all of them has it.
    public func rarestLabel(of labels: [String: String], in namespace: String) -> String? {
        labels.keys.min { left, right in
            func count(_ key: String) -> Int {
                labelled[Label(namespace: namespace, key: key, value: labels[key] ?? "")]?.count ?? 0
            }
            return (count(left), left) < (count(right), right)
        }
    }

    /// The workloads with all of these labels; no labels are all workloads.
    public func workloads(with labels: [String: String], in namespace: String) -> [Workload] {
        let sets = labels.map { labelled[Label(namespace: namespace, key: $0.key, value: $0.value)] ?? [] }
        guard let fewest = sets.min(by: { $0.count < $1.count }) else { return workloads(in: namespace) }
        let selector = Istio.WorkloadSelector(labels: labels)
        return fewest.sorted().compactMap { workload($0) }.filter { selector.selects($0.labels) }
    }

    /// The Services of a namespace that select a workload with these labels.
    public func services(selecting labels: [String: String], in namespace: String) -> [MeshObject] {
        var candidates = TreeSet<ObjectKey>()
        for (key, value) in labels {
            candidates.formUnion(selectors[Label(namespace: namespace, key: key, value: value)] ?? [])
        }
        return objects(candidates).filter { object in
            guard case .service(let service) = object.body, !service.selector.isEmpty else { return false }
            return Istio.WorkloadSelector(labels: service.selector).selects(labels)
        }
    }

    /// The policies of a kind for a workload: those of the root namespace that are for all, then those of its namespace
    /// that are for all, then those that select it, or the Gateway whose proxy it is.
    public func policies(
        _ kind: ObjectKind, selecting labels: [String: String], in namespace: String
    ) -> [MeshObject] {
        let root = config.rootNamespace
        var wide: [MeshObject] = []
        var narrow: [MeshObject] = []
        for place in root == namespace ? [namespace] : [root, namespace] {
            for object in objects(of: kind, in: place) {
                guard let scope = object.policyScope else { continue }
                if scope.isWide {
                    wide.append(object)
                } else if scope.selects(labels) {
                    narrow.append(object)
                }
            }
        }
        return wide + narrow
    }
}

extension MeshObject {
    /// What a policy is for; nil for other kinds.
    public var policyScope: Istio.PolicyScope? {
        switch body {
        case .peerAuthentication(let policy): Istio.PolicyScope(selector: policy.selector)
        case .authorizationPolicy(let policy): policy.scope
        case .requestAuthentication(let policy): policy.scope
        case .telemetry(let telemetry): telemetry.scope
        case .proxyConfig(let config): Istio.PolicyScope(selector: config.selector)
        case .sidecar(let sidecar): Istio.PolicyScope(selector: sidecar.workloadSelector)
        case .envoyFilter(let filter): Istio.PolicyScope(selector: filter.workloadSelector, targets: filter.targets)
        default: nil
        }
    }

    /// Other objects that this one names, whether they are there or not.
    public var namedObjects: Set<ObjectKey> {
        var keys: Set<ObjectKey> = []
        func refer(_ object: GatewayAPI.ObjectReference) {
            guard let kind = ObjectKind(group: object.group, name: object.kind) else { return }
            keys.insert(ObjectKey(kind, object.namespace ?? key.namespace, object.name))
        }
        func parents(_ parents: [GatewayAPI.ParentReference]) {
            for parent in parents {
                guard let kind = ObjectKind(group: parent.group, name: parent.kind) else { continue }
                keys.insert(ObjectKey(kind, parent.namespace ?? key.namespace, parent.name))
            }
        }
        switch body {
        case .virtualService(let service):
            for gateway in service.gateways where gateway != Istio.VirtualService.meshGateway {
                let parts = gateway.split(separator: "/").map(String.init)
                keys.insert(ObjectKey(.gateway, parts.count == 2 ? parts[0] : key.namespace, parts.last ?? ""))
            }
            for route in service.http {
                guard case .delegate(let name, let namespace) = route.action else { continue }
                keys.insert(ObjectKey(.virtualService, namespace ?? key.namespace, name))
            }
        case .gateway(let gateway):
            for name in gateway.servers.flatMap({ $0.tls?.credentialNames ?? [] }) {
                keys.insert(ObjectKey(.secret, key.namespace, name))
            }
        case .kubernetesGateway(let gateway):
            for certificate in gateway.listeners.flatMap({ $0.tls?.certificates ?? [] }) { refer(certificate) }
            keys.insert(ObjectKey(.gatewayClass, "", gateway.className))
        case .httpRoute(let route):
            parents(route.parents)
            for backend in route.rules.flatMap(\.backends) { refer(backend.object) }
        case .grpcRoute(let route):
            parents(route.parents)
            for backend in route.rules.flatMap(\.backends) { refer(backend.object) }
        case .tlsRoute(let route), .tcpRoute(let route):
            parents(route.parents)
            for backend in route.rules.flatMap(\.backends) { refer(backend.object) }
        case .endpointSlice:
            if let name = metadata.labels[Kubernetes.EndpointSlice.serviceLabel] {
                keys.insert(ObjectKey(.service, key.namespace, name))
            }
        case .backendTLSPolicy(let policy):
            for target in policy.targets { keys.insert(ObjectKey(.service, key.namespace, target.name)) }
        default: break
        }
        return keys
    }
}
