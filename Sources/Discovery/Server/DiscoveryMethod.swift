import EnvoyAPI
import GRPC
import XDS

/// Which xDS service and variant a path asks for.
struct DiscoveryMethod: Sendable {
    var service: DiscoveryService
    var isDelta: Bool

    /// - Returns: nil for a path that is no streaming xDS method.
    init?(path: String) {
        guard let method = Self.byPath[path] else { return nil }
        self = method
    }

    private init(_ service: DiscoveryService, isDelta: Bool) {
        self.service = service
        self.isDelta = isDelta
    }

    /// What gRPC must know of the methods.
    static let all = byPath.keys.sorted().map { GRPCMethod($0, clientStreams: true, serverStreams: true) }

    /// Full names of the xDS services, sorted.
    static let services = Set(byPath.keys.map { String($0.dropFirst().prefix { $0 != "/" }) }).sorted()

    private static let byPath: [String: DiscoveryMethod] = {
        var methods: [String: DiscoveryMethod] = [
            AggregatedDiscoveryService.streamAggregatedResources: DiscoveryMethod(.aggregated, isDelta: false),
            AggregatedDiscoveryService.deltaAggregatedResources: DiscoveryMethod(.aggregated, isDelta: true),
        ]
        let single: [(ResourceType, stateOfTheWorld: String?, delta: String)] = [
            (.cluster, ClusterDiscoveryService.streamClusters, ClusterDiscoveryService.deltaClusters),
            (.endpoints, EndpointDiscoveryService.streamEndpoints, EndpointDiscoveryService.deltaEndpoints),
            (.listener, ListenerDiscoveryService.streamListeners, ListenerDiscoveryService.deltaListeners),
            (.route, RouteDiscoveryService.streamRoutes, RouteDiscoveryService.deltaRoutes),
            (
                .scopedRoute, ScopedRoutesDiscoveryService.streamScopedRoutes,
                ScopedRoutesDiscoveryService.deltaScopedRoutes
            ),
            (.virtualHost, nil, VirtualHostDiscoveryService.deltaVirtualHosts),
            (.secret, SecretDiscoveryService.streamSecrets, SecretDiscoveryService.deltaSecrets),
            (.runtime, RuntimeDiscoveryService.streamRuntime, RuntimeDiscoveryService.deltaRuntime),
            (
                .extensionConfig, ExtensionConfigDiscoveryService.streamExtensionConfigs,
                ExtensionConfigDiscoveryService.deltaExtensionConfigs
            ),
        ]
        for (type, stateOfTheWorld, delta) in single {
            if let stateOfTheWorld { methods[stateOfTheWorld] = DiscoveryMethod(.single(type), isDelta: false) }
            methods[delta] = DiscoveryMethod(.single(type), isDelta: true)
        }
        return methods
    }()
}
