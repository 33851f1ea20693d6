/// How people and the database write kinds.
extension ObjectKind {
    /// `virtualservice.networking.istio.io`, `service`: as kubectl prints it. It names the kind alone.
    public var resourceName: String {
        let name = name.lowercased()
        return group.isEmpty ? name : name + "." + group
    }

    /// `virtualservices`
    public var plural: String {
        let name = name.lowercased()
        if name.hasSuffix("ay") { return name + "s" }
        if name.hasSuffix("y") { return name.dropLast() + "ies" }
        return name.hasSuffix("s") ? name + "es" : name + "s"
    }

    /// As kubectl abbreviates it; nil: not at all.
    public var shortName: String? {
        switch self {
        case .namespace: "ns"
        case .service: "svc"
        case .serviceAccount: "sa"
        case .pod: "po"
        case .deployment: "deploy"
        case .virtualService: "vs"
        case .destinationRule: "dr"
        case .gateway: "gw"
        case .kubernetesGateway: "gtw"
        case .serviceEntry: "se"
        case .workloadEntry: "we"
        case .workloadGroup: "wg"
        case .peerAuthentication: "pa"
        case .authorizationPolicy: "ap"
        case .requestAuthentication: "ra"
        case .gatewayClass: "gc"
        case .referenceGrant: "refgrant"
        case .backendTLSPolicy: "btlspolicy"
        case .secret, .endpointSlice, .sidecar, .envoyFilter, .proxyConfig, .telemetry, .httpRoute, .grpcRoute,
            .tlsRoute, .tcpRoute, .meshConfig:
            nil
        }
    }

    /// - Parameter resourceName: as ``resourceName`` writes it.
    public init?(resourceName: String) {
        guard let kind = Self.byResourceName[resourceName] else { return nil }
        self = kind
    }

    /// The kinds that a person means: `vs`, `virtualservice`, `VirtualServices`, `virtualservices.networking.istio.io`,
    /// `gateway.v1.networking.istio.io`. `gateway` alone is two of them.
    /// - Returns: none for a word that names no kind.
    public static func kinds(written text: String) -> [ObjectKind] {
        let parts = text.lowercased().split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
        guard let word = parts.first else { return [] }
        let kinds = allCases.filter { kind in
            word == kind.name.lowercased() || word == kind.plural || kind.shortName.map { word == $0 } ?? false
        }
        guard parts.count == 2 else { return kinds }
        return kinds.filter { kind in
            parts[1] == kind.group || kind.versions.contains { parts[1] == $0 + "." + kind.group }
        }
    }

    private static let byResourceName = Dictionary(uniqueKeysWithValues: allCases.map { ($0.resourceName, $0) })
}

extension ObjectKey {
    /// `virtualservice.networking.istio.io/reviews`, as kubectl prints it.
    public var resourceText: String { kind.resourceName + "/" + name }
}
