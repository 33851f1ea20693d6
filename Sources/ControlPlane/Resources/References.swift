import Protobuf
import XDS

import var EnvoyAPI.envoyTypes

/// Collects what one resource refers to while its messages are walked.
struct ReferenceCollection {
    private(set) var references: [Reference] = []
    private var positions: [ResourceReference: Int] = [:]

    /// - Parameters:
    ///   - name: an empty one is no reference.
    ///   - strength: nil is none either.
    mutating func add(_ type: ResourceType, _ name: String, _ strength: Reference.Strength?, _ path: String) {
        guard let strength, !name.isEmpty else { return }
        let target = ResourceReference(type, name)
        if let known = positions[target] {
            // The demanding one stays.
            if references[known].strength != .required && strength == .required {
                references[known] = Reference(target, strength, path: path)
            }
            return
        }
        positions[target] = references.count
        references.append(Reference(target, strength, path: path))
    }

    /// Takes what one message, without those in it, refers to.
    mutating func visit(_ message: DynamicMessage, at path: String) {
        referenceRules[message.descriptor]?(message, path, &self)
    }
}

private typealias ReferenceRule = @Sendable (DynamicMessage, String, inout ReferenceCollection) -> Void

/// Every message of the Envoy API that names a resource of another kind.
private let referenceRules: [MessageDescriptor: ReferenceRule] = {
    var rules: [MessageDescriptor: ReferenceRule] = [:]
    func rule(_ name: String, _ body: @escaping ReferenceRule) {
        guard let descriptor = envoyTypes[name] else { preconditionFailure("no message \(name)") }
        rules[descriptor] = body
    }
    let hcm = "envoy.extensions.filters.network.http_connection_manager.v3."
    let tcp = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
    let route = "envoy.config.route.v3."

    rule("envoy.config.cluster.v3.Cluster") { message, path, found in
        guard isEndpointDiscovery(message) else { return }
        let config = message.message("eds_cluster_config")
        let service = config?.string("service_name") ?? ""
        let field = service.isEmpty ? "name" : "eds_cluster_config.service_name"
        found.add(
            .endpoints, service.isEmpty ? message.string("name") ?? "" : service,
            strength(config?.message("eds_config")), join(path, field))
    }
    rule("envoy.extensions.clusters.aggregate.v3.ClusterConfig") { message, path, found in
        for (index, name) in message.strings("clusters").enumerated() {
            found.add(.cluster, name, .required, join(path, "clusters[\(index)]"))
        }
    }
    rule(hcm + "Rds") { message, path, found in
        found.add(
            .route, message.string("route_config_name") ?? "", strength(message.message("config_source")),
            join(path, "route_config_name"))
    }
    rule(route + "ScopedRouteConfiguration") { message, path, found in
        found.add(
            .route, message.string("route_configuration_name") ?? "", .required,
            join(path, "route_configuration_name"))
    }
    for name in [
        route + "RouteAction", route + "RouteAction.RequestMirrorPolicy", tcp,
    ] {
        rule(name) { message, path, found in
            found.add(.cluster, message.string("cluster") ?? "", .required, join(path, "cluster"))
        }
    }
    for name in [route + "WeightedCluster.ClusterWeight", tcp + ".WeightedCluster.ClusterWeight"] {
        rule(name) { message, path, found in
            found.add(.cluster, message.string("name") ?? "", .required, join(path, "name"))
        }
    }
    rule("envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig") { message, path, found in
        // Without a source it is a static secret of the proxy's own bootstrap; some names are for the authority to give.
        let name = message.string("name") ?? ""
        guard !SecretDirectory.isReserved(name) else { return }
        found.add(.secret, name, strength(message.message("sds_config")), join(path, "name"))
    }
    for name in [
        hcm + "HttpFilter", "envoy.config.listener.v3.Filter", "envoy.config.listener.v3.ListenerFilter",
        "envoy.config.cluster.v3.Filter",
    ] {
        rule(name) { message, path, found in
            let source = message.message("config_discovery")?.message("config_source")
            found.add(.extensionConfig, message.string("name") ?? "", strength(source), join(path, "name"))
        }
    }
    return rules
}()

/// Whether a cluster takes its endpoints from EDS.
func isEndpointDiscovery(_ cluster: DynamicMessage) -> Bool {
    cluster.has("type") && cluster.integer("type") == 3
}

/// What a `ConfigSource` says of where the name is asked for: nil for a file, or for nothing.
private func strength(_ source: DynamicMessage?) -> Reference.Strength? {
    guard let source else { return nil }
    if source.has("ads") || source.has("self") { return .required }
    return source.has("api_config_source") ? .possible : nil
}

func join(_ path: String, _ field: String) -> String { path.isEmpty ? field : path + "." + field }
