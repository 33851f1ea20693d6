import EnvoyAPI
import Protobuf

/// Policies as extensions, some of which hold others.
extension BalancingReading {
    /// Takes the first policy of the list that is known.
    static func choose(
        _ list: LoadBalancingPolicy, _ settings: inout BalancingSettings, _ subsets: inout SubsetSettings?,
        in arena: Arena, depth: Int
    ) throws(ConfigurationError) {
        guard depth < 8 else { throw .invalid(path: "policies", message: "nested deeper than 8 levels") }
        var names: [String] = []
        for (index, policy) in list.policies_list.enumerated() {
            guard let any = policy.pointee.typed_extension_config?.pointee.typed_config?.pointee else { continue }
            let isKnown = try at("policies[\(index)].typed_extension_config.typed_config") {
                () throws(ConfigurationError) in
                try take(any, &settings, &subsets, in: arena, depth: depth)
            }
            if isKnown { return }
            names.append(FieldAudit.typeName(any))
        }
        let tried = names.isEmpty ? "it names none" : "these are not: " + names.joined(separator: ", ")
        throw .unsupported(path: "policies", message: "no policy that is known; \(tried)")
    }

    /// - Returns: whether the type is known.
    private static func take(
        _ any: ProtobufAny, _ settings: inout BalancingSettings, _ subsets: inout SubsetSettings?, in arena: Arena,
        depth: Int
    ) throws(ConfigurationError) -> Bool {
        func content<M: ProtobufMessage>(_ type: M.Type = M.self) throws(ConfigurationError) -> M {
            try FieldAudit.decode(M.self, any, in: arena, .balancingExtensions).pointee
        }
        switch FieldAudit.typeName(any) {
        case RoundRobin.descriptor.fullName:
            let own = try content(RoundRobin.self)
            settings.policy = .roundRobin
            try takeSlowStart(own.slow_start_config, &settings)
            try takeLocalities(own.locality_lb_config, &settings)
        case LeastRequest.descriptor.fullName:
            let own = try content(LeastRequest.self)
            var least = BalancingSettings.LeastRequest()
            least.choices = try choices(own.choice_count.number)
            least.bias = try bias(own.active_request_bias)
            least.scansAll = own.selection_method == .FULL_SCAN || own.enable_full_scan.flag ?? false
            settings.policy = .leastRequest(least)
            try takeSlowStart(own.slow_start_config, &settings)
            try takeLocalities(own.locality_lb_config, &settings)
        case EnvoyAPI.Random.descriptor.fullName:
            settings.policy = .random
            try takeLocalities(try content(EnvoyAPI.Random.self).locality_lb_config, &settings)
        case RingHash.descriptor.fullName:
            let own = try content(RingHash.self)
            settings.policy = .ring(
                try BalancingSettings.Ring(
                    own.minimum_ring_size.number, own.maximum_ring_size.number,
                    isMurmur: own.hash_function == .MURMUR_HASH_2))
            settings.hashesHostname = own.use_hostname_for_hashing != 0
            settings.hashBalanceFactor = try factor(own.hash_balance_factor.number, "hash_balance_factor")
            try takeHashing(own.consistent_hashing_lb_config, &settings)
            if own.locality_weighted_lb_config != nil { settings.localities = .weighted }
        case Maglev.descriptor.fullName:
            let own = try content(Maglev.self)
            settings.policy = try maglev(own.table_size.number)
            try takeHashing(own.consistent_hashing_lb_config, &settings)
            if own.locality_weighted_lb_config != nil { settings.localities = .weighted }
        case ClusterProvided.descriptor.fullName: settings.policy = .clusterProvided
        default: return try takeWrapper(any, &settings, &subsets, in: arena, depth: depth)
        }
        return true
    }

    /// Policies that add something to another.
    private static func takeWrapper(
        _ any: ProtobufAny, _ settings: inout BalancingSettings, _ subsets: inout SubsetSettings?, in arena: Arena,
        depth: Int
    ) throws(ConfigurationError) -> Bool {
        func inner(_ list: UnsafeMutablePointer<LoadBalancingPolicy>?, _ field: String) throws(ConfigurationError) {
            let list = try list.required(field)
            try at(field) { () throws(ConfigurationError) in
                try choose(list, &settings, &subsets, in: arena, depth: depth + 1)
            }
        }
        switch FieldAudit.typeName(any) {
        case WrrLocality.descriptor.fullName:
            let own = try FieldAudit.decode(WrrLocality.self, any, in: arena, .balancingExtensions)
            try inner(own.pointee.endpoint_picking_policy, "endpoint_picking_policy")
            settings.localities = .weighted
        case OverrideHost.descriptor.fullName:
            let own = try FieldAudit.decode(OverrideHost.self, any, in: arena, .balancingExtensions)
            settings.overrideHeaders = try own.pointee.override_host_sources_list.read("override_host_sources") {
                (source) throws(ConfigurationError) in
                let name = source.pointee.header.string.lowercased()
                guard !name.isEmpty else { throw .invalid(path: "header", message: "missing") }
                return name
            }
            try inner(own.pointee.fallback_policy, "fallback_policy")
        case Subset.descriptor.fullName:
            let own = try FieldAudit.decode(Subset.self, any, in: arena, .balancingExtensions)
            guard subsets == nil else { throw .unsupported(path: "", message: "subsets of subsets") }
            subsets = try SubsetSettings(DynamicMessage(own))
            try inner(own.pointee.subset_lb_policy, "subset_lb_policy")
        default: return false
        }
        return true
    }

    private static func takeSlowStart(
        _ message: UnsafeMutablePointer<LbPolicySlowStartConfig>?, _ settings: inout BalancingSettings
    ) throws(ConfigurationError) {
        settings.slowStart = try message.read("slow_start_config") { (slow) throws(ConfigurationError) in
            try BalancingSettings.SlowStart(slow)
        }
    }

    private static func takeLocalities(
        _ message: UnsafeMutablePointer<LocalityLbConfig>?, _ settings: inout BalancingSettings
    ) throws(ConfigurationError) {
        switch message?.pointee.locality_config_specifier {
        case .locality_weighted_lb_config: settings.localities = .weighted
        case .zone_aware_lb_config(let zones):
            settings.localities = .nearest(
                BalancingSettings.Nearest(
                    enabledPercent: try percent(
                        zones.pointee.routing_enabled, "locality_lb_config.zone_aware_lb_config.routing_enabled")
                        ?? 100,
                    minimumHosts: Int(clamping: zones.pointee.min_cluster_size.number ?? 6),
                    failsInPanic: zones.pointee.fail_traffic_on_panic != 0,
                    staysLocal: zones.pointee.force_locality_direct_routing != 0))
        case nil: break
        }
    }

    private static func takeHashing(
        _ message: UnsafeMutablePointer<ConsistentHashingLbConfig>?, _ settings: inout BalancingSettings
    ) throws(ConfigurationError) {
        guard let own = message?.pointee else { return }
        settings.hashesHostname = own.use_hostname_for_hashing != 0
        settings.hashBalanceFactor = try factor(
            own.hash_balance_factor.number, "consistent_hashing_lb_config.hash_balance_factor")
    }
}
