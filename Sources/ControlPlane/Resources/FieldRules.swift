import Protobuf

import var EnvoyAPI.envoyTypes

/// What Envoy demands of one field, so that a proxy never has to refuse it.
struct FieldRule: Sendable {
    enum Demand: Sendable {
        /// The message, or a member of a oneof, is there.
        case present
        /// A text or list that is not empty.
        case nonEmpty
        /// One of these fields is there; ``FieldRule/field`` is what people call the group.
        case oneOf([String])
        /// A number, also in a wrapper message; one that is not there passes if it is in a wrapper.
        case within(ClosedRange<Int64>)
        /// A `google.protobuf.Duration` over 0; one that is not there passes.
        case positive
    }

    var field: String
    var demand: Demand

    static func present(_ field: String) -> FieldRule { FieldRule(field: field, demand: .present) }
    static func nonEmpty(_ field: String) -> FieldRule { FieldRule(field: field, demand: .nonEmpty) }
    static func positive(_ field: String) -> FieldRule { FieldRule(field: field, demand: .positive) }
    static func within(_ field: String, _ range: ClosedRange<Int64>) -> FieldRule {
        FieldRule(field: field, demand: .within(range))
    }
    static func oneOf(_ group: String, _ fields: String...) -> FieldRule {
        FieldRule(field: group, demand: .oneOf(fields))
    }
}

/// A field that Envoy would refuse.
struct Violation: Hashable {
    /// In the resource.
    var path: String
    var problem: String
    var mend: String
}

/// A rule about several fields: nil, or the field, what is wrong and the mend.
typealias MessageCheck = @Sendable (DynamicMessage) -> (field: String, problem: String, mend: String)?

/// A modest part of the rules by which Envoy refuses a message; Envoy 1.40 (`--mode validate`) was seen to refuse a
/// message for each of them.
/// Source: the `validate.rules` of envoyproxy/envoy's api/ folder, and the words of Envoy's own checks.
let fieldRulesByName: [String: [FieldRule]] = [
    "envoy.config.core.v3.Address": [.oneOf("address", "socket_address", "pipe", "envoy_internal_address")],
    "envoy.config.core.v3.SocketAddress": [
        .nonEmpty("address"), .oneOf("port_specifier", "port_value", "named_port"), .within("port_value", 0...65535),
    ],
    "envoy.config.core.v3.Pipe": [.nonEmpty("path"), .within("mode", 0...511)],
    "envoy.config.core.v3.CidrRange": [.nonEmpty("address_prefix"), .within("prefix_len", 0...128)],
    "envoy.config.core.v3.ConfigSource": [
        .oneOf("config_source_specifier", "path", "path_config_source", "api_config_source", "ads", "self")
    ],
    "envoy.config.core.v3.ExtensionConfigSource": [.present("config_source"), .nonEmpty("type_urls")],
    "envoy.config.core.v3.TypedExtensionConfig": [.nonEmpty("name"), .present("typed_config")],
    "envoy.config.core.v3.TransportSocket": [.nonEmpty("name")],
    "envoy.config.core.v3.HeaderValue": [.nonEmpty("key")],
    "envoy.config.core.v3.HeaderValueOption": [.present("header")],
    "envoy.config.core.v3.GrpcService": [.oneOf("target_specifier", "envoy_grpc", "google_grpc")],
    "envoy.config.core.v3.GrpcService.EnvoyGrpc": [.nonEmpty("cluster_name")],
    "envoy.config.core.v3.HttpUri": [.nonEmpty("uri"), .nonEmpty("cluster"), .present("timeout")],
    "envoy.config.core.v3.HealthCheck": [
        .present("timeout"), .positive("timeout"), .present("interval"), .positive("interval"),
        .present("unhealthy_threshold"), .present("healthy_threshold"),
        .oneOf(
            "health_checker", "http_health_check", "tcp_health_check", "grpc_health_check", "custom_health_check"),
    ],
    "envoy.config.core.v3.HealthCheck.HttpHealthCheck": [.nonEmpty("path")],

    "envoy.config.cluster.v3.Cluster": [.positive("connect_timeout"), .positive("dns_refresh_rate")],
    "envoy.config.cluster.v3.OutlierDetection": [
        .positive("interval"), .positive("base_ejection_time"), .within("max_ejection_percent", 0...100),
    ],

    "envoy.config.endpoint.v3.ClusterLoadAssignment": [.nonEmpty("cluster_name")],
    "envoy.config.endpoint.v3.LocalityLbEndpoints": [
        .within("load_balancing_weight", 1...Int64(UInt32.max)), .within("priority", 0...128),
    ],
    "envoy.config.endpoint.v3.LbEndpoint": [.within("load_balancing_weight", 1...Int64(UInt32.max))],
    "envoy.config.endpoint.v3.Endpoint.HealthCheckConfig": [.within("port_value", 0...65535)],
    "envoy.config.endpoint.v3.ClusterLoadAssignment.Policy": [
        .within("overprovisioning_factor", 1...Int64(UInt32.max))
    ],
    "envoy.config.endpoint.v3.ClusterLoadAssignment.Policy.DropOverload": [.nonEmpty("category")],

    "envoy.config.listener.v3.Filter": [.nonEmpty("name")],
    "envoy.config.listener.v3.ListenerFilter": [.nonEmpty("name")],
    "envoy.config.listener.v3.FilterChainMatch": [.within("destination_port", 1...65535)],

    "envoy.config.route.v3.VirtualHost": [.nonEmpty("name"), .nonEmpty("domains")],
    "envoy.config.route.v3.Route": [
        .present("match"),
        .oneOf("action", "route", "redirect", "direct_response", "filter_action", "non_forwarding_action"),
    ],
    "envoy.config.route.v3.RouteMatch": [
        .oneOf(
            "path_specifier", "prefix", "path", "safe_regex", "connect_matcher", "path_separated_prefix",
            "path_match_policy")
    ],
    "envoy.config.route.v3.RouteAction": [
        .oneOf(
            "cluster_specifier", "cluster", "cluster_header", "weighted_clusters", "cluster_specifier_plugin",
            "inline_cluster_specifier_plugin")
    ],
    "envoy.config.route.v3.WeightedCluster": [.nonEmpty("clusters")],
    "envoy.config.route.v3.DirectResponseAction": [.within("status", 200...599)],
    "envoy.config.route.v3.HeaderMatcher": [.nonEmpty("name")],
    "envoy.config.route.v3.QueryParameterMatcher": [.nonEmpty("name")],
    "envoy.config.route.v3.ScopedRouteConfiguration": [.present("key")],
    "envoy.config.route.v3.ScopedRouteConfiguration.Key": [.nonEmpty("fragments")],
    "envoy.config.route.v3.Vhds": [.present("config_source")],

    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager": [
        .nonEmpty("stat_prefix"), .oneOf("route_specifier", "rds", "route_config", "scoped_routes"),
    ],
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter": [.nonEmpty("name")],
    "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy": [
        .nonEmpty("stat_prefix"), .oneOf("cluster_specifier", "cluster", "weighted_clusters"),
    ],
    "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster": [.nonEmpty("clusters")],
    "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster.ClusterWeight": [
        .nonEmpty("name"), .within("weight", 1...Int64(UInt32.max)),
    ],
    "envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig": [.nonEmpty("name")],
    "envoy.type.matcher.v3.RegexMatcher": [.nonEmpty("regex")],
]

/// Rules that take more than one field; seen in Envoy 1.40 as well.
let messageChecksByName: [String: [MessageCheck]] = [
    "envoy.config.cluster.v3.Cluster": [
        { cluster in
            let config = cluster.message("eds_cluster_config")
            let isNamedInFull = isNamedInFull(config?.string("service_name"))
            guard isEndpointDiscovery(cluster), config?.has("eds_config") != true, !isNamedInFull else { return nil }
            return (
                "eds_cluster_config", "a cluster of type EDS does not say where its endpoints come from",
                "add eds_cluster_config: { eds_config: { ads: {}, resource_api_version: V3 } }"
            )
        }
    ],
    "envoy.config.listener.v3.Listener": [
        { listener in
            guard !listener.has("address"), !listener.has("api_listener"), !listener.has("internal_listener") else {
                return nil
            }
            return (
                "address", "a listener without an address",
                "add address: { socket_address: { address: 0.0.0.0, port_value: PORT } }"
            )
        },
        { listener in
            let hasChains = ["filter_chains", "default_filter_chain", "fcds_config", "api_listener"]
                .contains { listener.has($0) }
            // UDP listeners may do with listener filters.
            guard !hasChains, !listener.has("udp_listener_config") else { return nil }
            return ("filter_chains", "a listener without filter chains", "add at least one filter chain")
        },
    ],
    "envoy.config.route.v3.WeightedCluster": [
        { weighted in
            let clusters = weighted.messages("clusters")
            guard !clusters.isEmpty else { return nil }
            let sum = clusters.reduce(0) { $0 + ($1.message("weight")?.integer("value") ?? 0) }
            if sum == 0 { return ("clusters", "the weights add up to 0", "give at least one cluster a weight over 0") }
            guard sum > Int64(UInt32.max) else { return nil }
            return ("clusters", "the weights add up to more than \(UInt32.max)", "take smaller weights")
        }
    ],
    "envoy.config.route.v3.WeightedCluster.ClusterWeight": [
        { cluster in
            guard cluster.has("name") == cluster.has("cluster_header") else { return nil }
            return (
                "name", "a weighted cluster needs either a name or a cluster_header", "give it one of the two"
            )
        }
    ],
    "envoy.config.route.v3.RouteAction": [
        { action in
            guard action.has("cluster"), action.string("cluster") == "" else { return nil }
            return ("cluster", "must not be empty", "name a cluster")
        }
    ],
    "envoy.extensions.filters.network.http_connection_manager.v3.Rds": [
        { rds in
            guard !rds.has("config_source"), !isNamedInFull(rds.string("route_config_name")) else { return nil }
            return ("config_source", "is required", "add config_source: { ads: {}, resource_api_version: V3 }")
        }
    ],
    "envoy.config.route.v3.RouteConfiguration": [
        { configuration in
            var owners: [String: Int] = [:]
            for (index, host) in configuration.messages("virtual_hosts").enumerated() {
                for domain in host.strings("domains") {
                    guard let other = owners.updateValue(index, forKey: domain.lowercased()) else { continue }
                    return (
                        "virtual_hosts[\(index)].domains",
                        "the domain \"\(domain)\" is that of virtual_hosts[\(other)] too",
                        "let each domain be in one virtual host, once"
                    )
                }
            }
            return nil
        }
    ],
]

/// A name with its authority says itself where it is asked for. Source: xDS, TP1.
private func isNamedInFull(_ name: String?) -> Bool { name?.hasPrefix("xdstp:") ?? false }

private struct MessageRules {
    var fields: [FieldRule] = []
    var checks: [MessageCheck] = []
}

private let messageRules: [MessageDescriptor: MessageRules] = {
    var rules: [MessageDescriptor: MessageRules] = [:]
    func descriptor(_ name: String) -> MessageDescriptor {
        guard let descriptor = envoyTypes[name] else { preconditionFailure("no message \(name)") }
        return descriptor
    }
    for (name, fields) in fieldRulesByName { rules[descriptor(name), default: MessageRules()].fields = fields }
    for (name, checks) in messageChecksByName { rules[descriptor(name), default: MessageRules()].checks = checks }
    return rules
}()

/// What Envoy would refuse in one message, without those in it.
func violations(in message: DynamicMessage, at path: String) -> [Violation] {
    guard let rules = messageRules[message.descriptor] else { return [] }
    var found: [Violation] = []
    // gRPC takes its listeners this way, reads no statistics' prefix, and its users write none.
    let isForGRPC = path.hasSuffix("api_listener.api_listener")
    for rule in rules.fields where !(isForGRPC && rule.field == "stat_prefix") {
        guard let (problem, mend) = rule.breach(in: message) else { continue }
        // A group is no field: it is the message that lacks one.
        if case .oneOf = rule.demand {
            found.append(Violation(path: path, problem: problem, mend: mend))
        } else {
            found.append(Violation(path: join(path, rule.field), problem: problem, mend: mend))
        }
    }
    for check in rules.checks {
        guard let (field, problem, mend) = check(message) else { continue }
        found.append(Violation(path: join(path, field), problem: problem, mend: mend))
    }
    return found
}

extension FieldRule {
    func breach(in message: DynamicMessage) -> (problem: String, mend: String)? {
        switch demand {
        case .present:
            return message.has(field) ? nil : ("is required", "add \(field)")
        case .nonEmpty:
            // A member of a oneof is there even if its text is empty.
            if message.has(field), message.string(field) != "" { return nil }
            return ("must not be empty", "give \(field) a value")
        case .oneOf(let fields):
            if fields.contains(where: { message.has($0) }) { return nil }
            return ("needs a \(field)", "add one of \(fields.joined(separator: ", "))")
        case .within(let range):
            let number: Int64
            if let wrapper = message.message(field) {
                number = wrapper.integer("value") ?? .max
            } else if let plain = message.integer(field) {
                number = plain
            } else {
                return nil
            }
            if range.contains(number) { return nil }
            let bounds =
                range.upperBound == Int64(UInt32.max)
                ? "at least \(range.lowerBound)" : "between \(range.lowerBound) and \(range.upperBound)"
            return ("is \(number)", "write a number \(bounds)")
        case .positive:
            guard let duration = message.message(field) else { return nil }
            let (seconds, nanos) = (duration.integer("seconds") ?? 0, duration.integer("nanos") ?? 0)
            if seconds > 0 || seconds == 0 && nanos > 0 { return nil }
            return ("must be longer than 0s", "write a duration like 5s or 0.25s")
        }
    }
}
