import Mesh

/// An object that not all clients see, or that treats clients differently: why two of them may not share what is made
/// of the services that it is about.
struct PartialObject: Hashable, Sendable {
    var key: ObjectKey
    /// The hosts that it is about; wildcards with their star.
    var hosts: [String]
    /// The only namespaces that see it; nil: all do.
    var audience: [String]?
    /// Namespaces that it treats as their own case.
    var namespaces: [String] = []
    /// Labels of clients that it asks about.
    var clientLabels: [String] = []
    /// The only clients that it is for; nil: all.
    var selector: [String: String]?
    /// Whether it prefers endpoints that are near.
    var prefersNear = false

    /// - Parameter root: the namespace whose objects hold for all.
    /// - Returns: nil for an object that is the same to everybody.
    init?(_ object: MeshObject, root: String = "") {
        key = object.key
        hosts = MeshIndex.claimedHosts(object) + MeshService.services(of: object).map(\.host)
        audience = nil
        switch object.body {
        case .service:
            audience = Self.audience(object.exportTargets, of: key.namespace)
        case .serviceEntry(let entry):
            audience = Self.audience(entry.exportTo, of: key.namespace)
        case .virtualService(let service):
            audience = Self.audience(service.exportTo, of: key.namespace)
            var spaces = Set<String>()
            var labels = Set<String>()
            func ask(_ sourceNamespace: String?, _ sourceLabels: [String: String]) {
                if let sourceNamespace { spaces.insert(sourceNamespace) }
                labels.formUnion(sourceLabels.keys)
            }
            for match in service.http.flatMap(\.match) { ask(match.sourceNamespace, match.sourceLabels) }
            for match in service.tls.flatMap(\.match) { ask(match.sourceNamespace, match.sourceLabels) }
            for match in service.tcp.flatMap(\.match) { ask(match.sourceNamespace, match.sourceLabels) }
            (namespaces, clientLabels) = (spaces.sorted(), labels.sorted())
        case .destinationRule(let rule):
            audience = Self.audience(rule.exportTo, of: key.namespace)
            selector = rule.workloadSelector?.labels
            let policies = [rule.trafficPolicy] + rule.subsets.map(\.trafficPolicy)
            for policy in policies.compactMap({ $0 }) {
                for balancer in [policy.loadBalancer] + policy.ports.map(\.loadBalancer) {
                    guard let locality = balancer?.locality else { continue }
                    prefersNear = true
                    clientLabels += locality.failoverPriority.map { String($0.prefix { $0 != "=" }) }
                }
                if policy.outlierDetection != nil || policy.ports.contains(where: { $0.outlierDetection != nil }) {
                    prefersNear = true
                }
            }
            clientLabels = Set(clientLabels).sorted()
        case .envoyFilter(let filter):
            // Listeners are made for each class; clusters and routes are what clients share.
            let shared: Set<Istio.EnvoyFilter.Target> = [.cluster, .routeConfiguration, .virtualHost, .httpRoute]
            guard filter.patches.contains(where: { shared.contains($0.target) }), filter.targets.isEmpty else {
                return nil
            }
            hosts = ["*"]
            audience = key.namespace == root ? nil : [key.namespace]
            selector = filter.workloadSelector.flatMap { $0.labels.isEmpty ? nil : $0.labels }
        default: return nil
        }
        if audience == nil, namespaces.isEmpty, clientLabels.isEmpty, selector == nil, !prefersNear { return nil }
    }

    /// Whether clients of a namespace see it though not all do, or are a case of their own to it.
    func isAbout(_ namespace: String) -> Bool {
        audience?.contains(namespace) == true || namespaces.contains(namespace)
    }

    private static func audience(_ targets: [String], of namespace: String) -> [String]? {
        if targets.isEmpty || targets.contains("*") { return nil }
        return Set(targets.filter { $0 != "~" }.map { $0 == "." ? namespace : $0 }).sorted()
    }
}

extension MeshObject {
    /// A VirtualService without hosts of its own: which hosts it is about, others say.
    var isNamedAsDelegate: Bool {
        if case .virtualService(let service) = body { service.hosts.isEmpty } else { false }
    }

    /// Of a Service, which says it by an annotation.
    fileprivate var exportTargets: [String] {
        metadata.annotations["networking.istio.io/exportTo"]?.split(separator: ",")
            .map { String($0.filter { $0 != " " }) } ?? []
    }
}
