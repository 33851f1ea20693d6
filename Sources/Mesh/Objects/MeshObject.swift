import Documents

/// One object of the mesh: decoded, valid in itself, and with the text that its user wrote.
public struct MeshObject: Sendable {
    public var key: ObjectKey
    public var metadata: ObjectMetadata
    public var body: ObjectBody
    public var source: ObjectSource
    /// What its user should know though it may be applied: fields that nothing acts on.
    public var warnings: [MeshFinding]

    public init(
        key: ObjectKey, metadata: ObjectMetadata, body: ObjectBody, source: ObjectSource, warnings: [MeshFinding] = []
    ) {
        self.key = key
        self.metadata = metadata
        self.body = body
        self.source = source
        self.warnings = warnings
    }

    /// Whether both mean the same: where and how they are written does not count.
    public func isAlike(_ other: MeshObject) -> Bool {
        key == other.key && metadata == other.metadata && body == other.body
    }

    /// A finding about a place in this object: line and column come from its text.
    func finding(
        _ severity: MeshFinding.Severity, _ kind: MeshFinding.Kind, at steps: [DocumentPath.Step],
        _ words: String, mend: String
    ) -> MeshFinding {
        MeshFinding(
            severity, kind, object: key, file: source.file, position: source.position(of: steps),
            path: DocumentPath(steps).description, words, mend: mend)
    }

    /// - Parameter path: `spec.http[0].route[1]`, as findings write it.
    public func finding(
        _ severity: MeshFinding.Severity, _ kind: MeshFinding.Kind, at path: String = "", _ words: String, mend: String
    ) -> MeshFinding {
        finding(severity, kind, at: parsePath(path), words, mend: mend)
    }
}

/// What an object says, by kind.
public enum ObjectBody: Hashable, Sendable {
    case namespace(Kubernetes.Namespace)
    case service(Kubernetes.Service)
    case endpointSlice(Kubernetes.EndpointSlice)
    case serviceAccount(Kubernetes.ServiceAccount)
    case secret(Kubernetes.Secret)
    case pod(Kubernetes.Pod)
    case deployment(Kubernetes.Deployment)
    case virtualService(Istio.VirtualService)
    case destinationRule(Istio.DestinationRule)
    case gateway(Istio.Gateway)
    case serviceEntry(Istio.ServiceEntry)
    case workloadEntry(Istio.WorkloadEntry)
    case workloadGroup(Istio.WorkloadGroup)
    case sidecar(Istio.Sidecar)
    case envoyFilter(Istio.EnvoyFilter)
    case proxyConfig(Istio.ProxyConfig)
    case peerAuthentication(Istio.PeerAuthentication)
    case authorizationPolicy(Istio.AuthorizationPolicy)
    case requestAuthentication(Istio.RequestAuthentication)
    case telemetry(Istio.Telemetry)
    case gatewayClass(GatewayAPI.GatewayClass)
    case kubernetesGateway(GatewayAPI.Gateway)
    case httpRoute(GatewayAPI.HTTPRoute)
    case grpcRoute(GatewayAPI.GRPCRoute)
    case tlsRoute(GatewayAPI.StreamRoute)
    case tcpRoute(GatewayAPI.StreamRoute)
    case backendTLSPolicy(GatewayAPI.BackendTLSPolicy)
    case referenceGrant(GatewayAPI.ReferenceGrant)
    case meshConfig(MeshConfig)
}

extension ObjectBody {
    /// The fields of an object besides `apiVersion`, `kind` and `metadata`.
    init(_ kind: ObjectKind, _ fields: inout ObjectFields) {
        switch kind {
        case .secret: self = .secret(Kubernetes.Secret(&fields))
        case .serviceAccount: self = .serviceAccount(Kubernetes.ServiceAccount(&fields))
        case .endpointSlice: self = .endpointSlice(Kubernetes.EndpointSlice(&fields))
        case .namespace: self = .namespace(Kubernetes.Namespace(&fields))
        case .service: self = .service(Self.spec(&fields))
        case .pod: self = .pod(Self.spec(&fields))
        case .deployment: self = .deployment(Self.spec(&fields))
        case .virtualService: self = .virtualService(Self.spec(&fields))
        case .destinationRule: self = .destinationRule(Self.spec(&fields))
        case .gateway: self = .gateway(Self.spec(&fields))
        case .serviceEntry: self = .serviceEntry(Self.spec(&fields))
        case .workloadEntry: self = .workloadEntry(Self.spec(&fields))
        case .workloadGroup: self = .workloadGroup(Self.spec(&fields))
        case .sidecar: self = .sidecar(Self.spec(&fields))
        case .envoyFilter: self = .envoyFilter(Self.spec(&fields))
        case .proxyConfig: self = .proxyConfig(Self.spec(&fields))
        case .peerAuthentication: self = .peerAuthentication(Self.spec(&fields))
        case .authorizationPolicy: self = .authorizationPolicy(Self.spec(&fields))
        case .requestAuthentication: self = .requestAuthentication(Self.spec(&fields))
        case .telemetry: self = .telemetry(Self.spec(&fields))
        case .gatewayClass: self = .gatewayClass(Self.spec(&fields))
        case .kubernetesGateway: self = .kubernetesGateway(Self.spec(&fields))
        case .httpRoute: self = .httpRoute(Self.spec(&fields))
        case .grpcRoute: self = .grpcRoute(Self.spec(&fields))
        case .tlsRoute: self = .tlsRoute(Self.spec(&fields))
        case .tcpRoute: self = .tcpRoute(Self.spec(&fields))
        case .backendTLSPolicy: self = .backendTLSPolicy(Self.spec(&fields))
        case .referenceGrant: self = .referenceGrant(Self.spec(&fields))
        case .meshConfig: self = .meshConfig(Self.spec(&fields))
        }
        fields.ignore(["status"])
    }

    /// An object without `spec` is one with an empty one: Istio's policies use that (`mtls` for all, deny all).
    private static func spec<P: ObjectPart>(_ fields: inout ObjectFields) -> P {
        if let spec: P = fields.optional("spec") { return spec }
        // Where the spec is there and is no mapping, the error is told; this stands for it.
        let log = fields.has("spec") ? ReadingLog(file: nil) : fields.place.log
        var empty = ObjectFields([], at: ObjectPlace(path: fields.place.field("spec").path, log: log), fields.position)
        return P(&empty)
    }
}
