import Mesh

/// How clients treat one port of a service, or one subset there: what DestinationRules say, for what they do not say the
/// Service itself.
struct ClientPolicy {
    /// What decides between endpoints.
    enum Balancing: Hashable {
        case simple(Istio.LoadBalancer.Simple)
        case hash(Istio.ConsistentHash.Key, Istio.ConsistentHash.Algorithm)
    }

    /// Which endpoints come first.
    struct Nearness: Hashable {
        var distribute: [Istio.Locality.Distribution] = []
        var failover: [Istio.Locality.Failover] = []
        var failoverPriority: [String] = []
        /// Nil unless the proxies themselves prefer their zone; then from how many endpoints on.
        var zoneAwareMinimum: Int?
        /// Whether it holds though nothing ejects endpoints.
        var isForced = false
    }

    /// The rule that says it, for people.
    var rule: ObjectKey?
    var balancing = Balancing.simple(.unspecified)
    var warmup: Istio.LoadBalancer.Warmup?
    /// Nil: where endpoints are means nothing.
    var nearness: Nearness?
    var connectionPool: Istio.ConnectionPool?
    var outlierDetection: Istio.OutlierDetection?
    var tls: Istio.ClientTLS?
    var proxyProtocol: Istio.TrafficPolicy.ProxyProtocol?
    var retryBudget: Istio.TrafficPolicy.RetryBudget?

    /// Endpoints of other priorities are called only if something takes the nearer ones out.
    var failsOver: Bool { nearness.map { outlierDetection != nil || $0.isForced } ?? false }
}

/// What all DestinationRules for one host say together to the clients of a scope.
struct ClientRule {
    /// The first of them.
    var key: ObjectKey?
    var trafficPolicy: Istio.TrafficPolicy?
    var subsets: [Istio.Subset] = []
}

extension Translator {
    /// A rule that chooses clients takes the place of those that are for all; rules for the same host are one: the
    /// oldest traffic policy, the subsets of all. Source: Istio, DestinationRule, workloadSelector; traffic management
    /// best practices.
    func clientRule(for host: String, _ scope: OutboundScope) -> ClientRule {
        let rules = mesh.destinationRules(for: host, from: scope.namespace).compactMap {
            object -> (ObjectKey, Istio.DestinationRule, String)? in
            guard case .destinationRule(let rule) = object.body else { return nil }
            return (object.key, rule, mesh.fullHost(rule.host, in: object.key.namespace))
        }
        let chosen = rules.filter {
            $0.1.workloadSelector != nil && $0.0.namespace == scope.namespace && scope.choosers.contains($0.0)
        }
        if let (key, rule, _) = chosen.first {
            return ClientRule(key: key, trafficPolicy: rule.trafficPolicy, subsets: rule.subsets)
        }
        let wide = rules.filter { $0.1.workloadSelector == nil }
        guard let best = wide.first else { return ClientRule() }
        var result = ClientRule(key: best.0)
        for (_, rule, host) in wide where host == best.2 {
            if result.trafficPolicy == nil { result.trafficPolicy = rule.trafficPolicy }
            for subset in rule.subsets where !result.subsets.contains(where: { $0.name == subset.name }) {
                result.subsets.append(subset)
            }
        }
        return result
    }

    /// The parts of a subset's policy take the place of the host's; the settings of a port inherit nothing.
    /// Source: Istio, TrafficPolicy, PortTrafficPolicy.
    func clientPolicy(_ rule: ClientRule, subset: Istio.Subset?, port: Int, of service: MeshService) -> ClientPolicy {
        var policy = ClientPolicy(rule: rule.key)
        var balancer: Istio.LoadBalancer?
        for layer in [rule.trafficPolicy, subset?.trafficPolicy].compactMap({ $0 }) {
            balancer = layer.loadBalancer ?? balancer
            policy.connectionPool = layer.connectionPool ?? policy.connectionPool
            policy.outlierDetection = layer.outlierDetection ?? policy.outlierDetection
            policy.tls = layer.tls ?? policy.tls
            policy.proxyProtocol = layer.proxyProtocol ?? policy.proxyProtocol
            policy.retryBudget = layer.retryBudget ?? policy.retryBudget
            guard let settings = layer.ports.first(where: { $0.port == port }) else { continue }
            balancer = settings.loadBalancer
            policy.connectionPool = settings.connectionPool
            policy.outlierDetection = settings.outlierDetection
            policy.tls = settings.tls
        }
        policy.nearness = nearness(balancer?.locality)
        policy.warmup = balancer?.warmup
        switch balancer?.policy {
        case .simple(let simple): policy.balancing = .simple(simple)
        case .consistentHash(let hash): policy.balancing = .hash(hash.key, hash.algorithm)
        case nil: break
        }
        if case .service(let own)? = mesh.object(service.key)?.body {
            if balancer?.policy == nil, own.affinity == .clientIP {
                policy.balancing = .hash(.sourceAddress, .ringHash(minimumSize: nil))
            }
            if balancer?.locality == nil, let distribution = own.distribution {
                policy.nearness = nearness(distribution)
            }
        }
        return policy
    }

    private func nearness(_ setting: Istio.Locality?) -> ClientPolicy.Nearness? {
        guard let setting else { return ClientPolicy.Nearness() }
        guard setting.isEnabled ?? true else { return nil }
        return ClientPolicy.Nearness(
            distribute: setting.distribute, failover: setting.failover, failoverPriority: setting.failoverPriority,
            zoneAwareMinimum: setting.isZoneAware ? setting.minClusterSize ?? 6 : nil)
    }

    /// Source: Kubernetes, Service, trafficDistribution; Istio, traffic distribution.
    private func nearness(_ distribution: Kubernetes.Service.Distribution) -> ClientPolicy.Nearness {
        let zones = ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"]
        let labels =
            switch distribution {
            case .preferClose, .preferSameZone: zones
            case .preferSameNode: zones + ["topology.istio.io/subzone", "kubernetes.io/hostname"]
            }
        return ClientPolicy.Nearness(failoverPriority: labels, isForced: true)
    }
}

extension MeshObject {
    /// Whether it makes a difference to clients where they are: a scope must tell it then.
    public var prefersNearEndpoints: Bool {
        switch body {
        case .service(let service): service.distribution != nil
        case .destinationRule(let rule):
            Self.policies(rule).contains { balancer, detection in
                detection != nil || (balancer?.locality).map { $0.isEnabled ?? true } ?? false
            }
        default: false
        }
    }

    /// Labels of clients that decide which endpoints they prefer: a scope must tell these of its clients.
    public var preferenceLabels: Set<String> {
        switch body {
        case .service(let service): service.distribution == .preferSameNode ? ["kubernetes.io/hostname"] : []
        case .destinationRule(let rule):
            Set(
                Self.policies(rule).flatMap { $0.0?.locality?.failoverPriority ?? [] }
                    .filter { !$0.contains("=") })
        default: []
        }
    }

    private static func policies(
        _ rule: Istio.DestinationRule
    ) -> [(Istio.LoadBalancer?, Istio.OutlierDetection?)] {
        ([rule.trafficPolicy] + rule.subsets.map(\.trafficPolicy)).compactMap { $0 }.flatMap { policy in
            [(policy.loadBalancer, policy.outlierDetection)]
                + policy.ports.map { ($0.loadBalancer, $0.outlierDetection) }
        }
    }
}
