/// The kinds of objects that a mesh is made of.
public enum ObjectKind: String, CaseIterable, Hashable, Sendable, Codable {
    // Kubernetes.
    case namespace, service, endpointSlice, serviceAccount, secret, pod, deployment
    // Istio.
    case virtualService, destinationRule, gateway, serviceEntry, workloadEntry, workloadGroup, sidecar, envoyFilter
    case proxyConfig, peerAuthentication, authorizationPolicy, requestAuthentication, telemetry
    // Gateway API.
    case gatewayClass, kubernetesGateway, httpRoute, grpcRoute, tlsRoute, tcpRoute, backendTLSPolicy, referenceGrant
    // Our own.
    case meshConfig

    /// The API group: empty for the core of Kubernetes.
    public var group: String {
        switch self {
        case .namespace, .service, .serviceAccount, .secret, .pod: ""
        case .endpointSlice: "discovery.k8s.io"
        case .deployment: "apps"
        case .virtualService, .destinationRule, .gateway, .serviceEntry, .workloadEntry, .workloadGroup, .sidecar,
            .envoyFilter, .proxyConfig:
            "networking.istio.io"
        case .peerAuthentication, .authorizationPolicy, .requestAuthentication: "security.istio.io"
        case .telemetry: "telemetry.istio.io"
        case .gatewayClass, .kubernetesGateway, .httpRoute, .grpcRoute, .tlsRoute, .tcpRoute, .backendTLSPolicy,
            .referenceGrant:
            "gateway.networking.k8s.io"
        case .meshConfig: "martinet.dev"
        }
    }

    /// The versions that are read, the one to write first; they have the same fields.
    public var versions: [String] {
        switch self {
        case .namespace, .service, .serviceAccount, .secret, .pod, .deployment, .endpointSlice: ["v1"]
        case .virtualService, .destinationRule, .gateway, .serviceEntry, .workloadEntry, .workloadGroup, .sidecar:
            ["v1", "v1beta1", "v1alpha3"]
        case .envoyFilter: ["v1alpha3"]
        case .proxyConfig: ["v1beta1"]
        case .peerAuthentication, .authorizationPolicy, .requestAuthentication: ["v1", "v1beta1"]
        case .telemetry: ["v1", "v1alpha1"]
        case .gatewayClass, .kubernetesGateway, .httpRoute: ["v1", "v1beta1"]
        case .grpcRoute: ["v1", "v1alpha2"]
        case .tlsRoute, .backendTLSPolicy: ["v1", "v1alpha3", "v1alpha2"]
        case .tcpRoute: ["v1", "v1alpha2"]
        case .referenceGrant: ["v1", "v1beta1", "v1alpha2"]
        case .meshConfig: ["v1"]
        }
    }

    /// As it is written in `kind:`.
    public var name: String {
        switch self {
        case .kubernetesGateway: "Gateway"
        case .httpRoute: "HTTPRoute"
        case .grpcRoute: "GRPCRoute"
        case .tlsRoute: "TLSRoute"
        case .tcpRoute: "TCPRoute"
        default: rawValue.prefix(1).uppercased() + rawValue.dropFirst()
        }
    }

    public var isNamespaced: Bool {
        switch self {
        case .namespace, .gatewayClass, .meshConfig: false
        default: true
        }
    }

    /// `networking.istio.io/v1`
    public var apiVersion: String { group.isEmpty ? versions[0] : group + "/" + versions[0] }

    /// - Returns: nil if there is no such kind in that group.
    public init?(group: String, name: String) {
        guard let kind = Self.byName[name]?.first(where: { $0.group == group }) else { return nil }
        self = kind
    }

    /// The kinds of a name: two are called Gateway.
    static let byName = Dictionary(grouping: allCases, by: \.name)
}

/// What names an object.
public struct ObjectKey: Hashable, Sendable, Comparable, Codable, CustomStringConvertible {
    public var kind: ObjectKind
    /// Empty for kinds that have none.
    public var namespace: String
    public var name: String

    public init(_ kind: ObjectKind, _ namespace: String, _ name: String) {
        self.kind = kind
        self.namespace = namespace
        self.name = name
    }

    /// `VirtualService default/reviews`
    public var description: String {
        let kind = kind == .kubernetesGateway ? "Gateway (Gateway API)" : kind.name
        return kind + " " + (namespace.isEmpty ? name : namespace + "/" + name)
    }

    public static func < (left: ObjectKey, right: ObjectKey) -> Bool {
        if left.kind != right.kind { return left.kind.rawValue < right.kind.rawValue }
        return (left.namespace, left.name) < (right.namespace, right.name)
    }
}
