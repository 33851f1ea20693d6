import EnvoyAPI
import Protobuf
import XDS

extension ResourceType {
    /// The message of a type that a proxy takes; nil for the others.
    var descriptor: MessageDescriptor? {
        switch self {
        case .secret: Secret.descriptor
        case .cluster: Cluster.descriptor
        case .endpoints: ClusterLoadAssignment.descriptor
        case .listener: EnvoyAPI.Listener.descriptor
        case .route: RouteConfiguration.descriptor
        default: nil
        }
    }

    /// The field that has a resource's name.
    var nameField: String { self == .endpoints ? "cluster_name" : "name" }
}

extension ResourceReferences {
    /// Reads what a resource names, wherever in it, contents of `Any` included.
    /// - Throws: what is wrong with the content of an `Any`.
    init(of message: DynamicMessage) throws(ProtobufError) {
        var references = ResourceReferences()
        try walk(message, types: envoyTypes) { _, message in references.note(message) }
        references.clusters.remove("")
        self = references
    }

    private mutating func noteSource(_ message: DynamicMessage) {
        guard let timeout = message.message("initial_fetch_timeout") else {
            hasDefaultPatience = true
            return
        }
        let given = Duration(
            secondsComponent: min(max(0, timeout.integer("seconds") ?? 0), Self.forever.components.seconds),
            attosecondsComponent: max(0, timeout.integer("nanos") ?? 0) * 1_000_000_000)
        patience = max(patience ?? .zero, given == .zero ? Self.forever : given)
    }

    private mutating func note(_ message: DynamicMessage) {
        switch message.descriptor.fullName {
        case "envoy.config.core.v3.ConfigSource": noteSource(message)
        case "envoy.config.cluster.v3.Cluster":
            // `type` is a member of a oneof; EDS is 3.
            guard message.integer("type") == 3 else { return }
            let given = message.message("eds_cluster_config")?.string("service_name") ?? ""
            endpoints.insert(given.isEmpty ? message.string("name") ?? "" : given)
        case "envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig": secrets.insert(message.string("name") ?? "")
        case "envoy.extensions.filters.network.http_connection_manager.v3.Rds":
            routes.insert(message.string("route_config_name") ?? "")
        case "envoy.config.route.v3.RouteAction", "envoy.config.route.v3.RouteAction.RequestMirrorPolicy",
            "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", "envoy.config.core.v3.HttpUri":
            clusters.insert(message.string("cluster") ?? "")
        case "envoy.config.route.v3.WeightedCluster.ClusterWeight",
            "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster.ClusterWeight":
            clusters.insert(message.string("name") ?? "")
        case "envoy.config.core.v3.GrpcService.EnvoyGrpc": clusters.insert(message.string("cluster_name") ?? "")
        case "envoy.config.trace.v3.ZipkinConfig": clusters.insert(message.string("collector_cluster") ?? "")
        default: break
        }
    }
}
