import EnvoyAPI
import Protobuf
import Time

/// What clusters say of balancing: by `lb_policy` and the fields beside it, or by `load_balancing_policy`.
enum BalancingReading {
    static func settings(
        _ message: Cluster, in arena: Arena
    ) throws(ConfigurationError) -> (BalancingSettings, SubsetSettings?) {
        var settings = BalancingSettings()
        var subsets: SubsetSettings?
        try message.common_lb_config.read("common_lb_config") { (common) throws(ConfigurationError) in
            try read(common, into: &settings)
        }
        if let policy = message.load_balancing_policy {
            // Localities are then for the policy to say.
            settings.localities = .ignored
            try at("load_balancing_policy") { () throws(ConfigurationError) in
                try choose(policy.pointee, &settings, &subsets, in: arena, depth: 0)
            }
            return (settings, subsets)
        }
        try readPolicy(message, into: &settings)
        subsets = try message.lb_subset_config.read("lb_subset_config") { (subset) throws(ConfigurationError) in
            try withUnsafePointer(to: subset) { (pointer) throws(ConfigurationError) in
                try SubsetSettings(DynamicMessage(pointer))
            }
        }
        if subsets?.selectors.isEmpty == true { subsets = nil }
        return (settings, subsets)
    }

    private static func read(
        _ common: ClusterCommonLbConfig, into settings: inout BalancingSettings
    ) throws(ConfigurationError) {
        if let percent = try percent(common.healthy_panic_threshold, "healthy_panic_threshold") {
            settings.panicThreshold = percent
        }
        switch common.locality_config_specifier {
        case .locality_weighted_lb_config: settings.localities = .weighted
        case .zone_aware_lb_config(let zones):
            settings.localities = .nearest(
                BalancingSettings.Nearest(
                    enabledPercent: try percent(zones.pointee.routing_enabled, "zone_aware_lb_config.routing_enabled")
                        ?? 100,
                    minimumHosts: Int(clamping: zones.pointee.min_cluster_size.number ?? 6),
                    failsInPanic: zones.pointee.fail_traffic_on_panic != 0))
        case nil: break
        }
        if let hashing = common.consistent_hashing_lb_config?.pointee {
            settings.hashesHostname = hashing.use_hostname_for_hashing != 0
            settings.hashBalanceFactor = try factor(
                hashing.hash_balance_factor.number, "consistent_hashing_lb_config.hash_balance_factor")
        }
        guard let states = common.override_host_status else { return }
        // A packed list of numbers: read by name.
        let numbers = states.pointee
        settings.overrideStates = []
        for index in 0..<numbers.n_statuses {
            settings.overrideStates.insert(try HostState(numbers.statuses[index]))
        }
    }

    /// A whole percentage; nil where nothing is written.
    static func percent(
        _ message: UnsafeMutablePointer<Percent>?, _ path: String
    ) throws(ConfigurationError) -> Int? {
        guard let value = message?.pointee.value else { return nil }
        guard (0...100).contains(value) else { throw .invalid(path: path, message: "\(value) is no percentage") }
        return Int(value.rounded())
    }

    static func factor(_ number: UInt32?, _ path: String) throws(ConfigurationError) -> UInt32? {
        guard let number, number > 0 else { return nil }
        guard number >= 100 else { throw .invalid(path: path, message: "must be 100 or more") }
        return number
    }

    private static func readPolicy(
        _ message: Cluster, into settings: inout BalancingSettings
    ) throws(ConfigurationError) {
        switch message.lb_policy {
        case .ROUND_ROBIN:
            settings.policy = .roundRobin
            if case .round_robin_lb_config(let own)? = message.lb_config {
                settings.slowStart = try own.pointee.slow_start_config.read("round_robin_lb_config.slow_start_config") {
                    (slow) throws(ConfigurationError) in try BalancingSettings.SlowStart(slow)
                }
            }
        case .LEAST_REQUEST:
            var least = BalancingSettings.LeastRequest()
            if case .least_request_lb_config(let own)? = message.lb_config {
                try at("least_request_lb_config") { () throws(ConfigurationError) in
                    least.choices = try choices(own.pointee.choice_count.number)
                    least.bias = try bias(own.pointee.active_request_bias)
                }
                settings.slowStart = try own.pointee.slow_start_config.read(
                    "least_request_lb_config.slow_start_config"
                ) { (slow) throws(ConfigurationError) in try BalancingSettings.SlowStart(slow) }
            }
            settings.policy = .leastRequest(least)
        case .RANDOM: settings.policy = .random
        case .RING_HASH:
            var ring = BalancingSettings.Ring()
            if case .ring_hash_lb_config(let own)? = message.lb_config {
                ring = try at("ring_hash_lb_config") { () throws(ConfigurationError) in
                    try BalancingSettings.Ring(
                        own.pointee.minimum_ring_size.number, own.pointee.maximum_ring_size.number,
                        isMurmur: own.pointee.hash_function == .MURMUR_HASH_2)
                }
            }
            settings.policy = .ring(ring)
        case .MAGLEV:
            var size: UInt64?
            if case .maglev_lb_config(let own)? = message.lb_config { size = own.pointee.table_size.number }
            settings.policy = try at("maglev_lb_config") { () throws(ConfigurationError) in try maglev(size) }
        case .CLUSTER_PROVIDED: settings.policy = .clusterProvided
        case .LOAD_BALANCING_POLICY_CONFIG:
            throw .invalid(path: "load_balancing_policy", message: "missing, where `lb_policy` says that it is there")
        default: throw .unsupported(path: "lb_policy", message: "not known in this version")
        }
    }

    static func choices(_ number: UInt32?) throws(ConfigurationError) -> Int {
        let number = number ?? 2
        guard number >= 2 else { throw .invalid(path: "choice_count", message: "must be 2 or more") }
        return Int(min(number, 1024))
    }

    static func bias(_ message: UnsafeMutablePointer<RuntimeDouble>?) throws(ConfigurationError) -> Double {
        let bias = message?.pointee.default_value ?? 1
        guard bias >= 0, bias.isFinite else {
            throw .invalid(path: "active_request_bias", message: "must be 0 or more")
        }
        return bias
    }

    static func maglev(_ size: UInt64?) throws(ConfigurationError) -> BalancingSettings.Policy {
        let size = size ?? 65_537
        guard size >= 2, size <= 5_000_011 else {
            throw .invalid(path: "table_size", message: "\(size) where 2 to 5000011 is possible")
        }
        var divisor: UInt64 = 2
        while divisor * divisor <= size {
            guard size % divisor != 0 else { throw .invalid(path: "table_size", message: "\(size) is no prime number") }
            divisor += 1
        }
        return .maglev(slots: Int(size))
    }
}

extension BalancingSettings.Ring {
    init(_ minimum: UInt64?, _ maximum: UInt64?, isMurmur: Bool) throws(ConfigurationError) {
        let largest: UInt64 = 8 << 20
        let (minimum, maximum) = (minimum ?? 1024, maximum ?? largest)
        guard minimum <= largest else { throw .invalid(path: "minimum_ring_size", message: "more than \(largest)") }
        guard maximum <= largest else { throw .invalid(path: "maximum_ring_size", message: "more than \(largest)") }
        guard minimum <= maximum, maximum > 0 else {
            throw .invalid(path: "minimum_ring_size", message: "\(minimum), more than the maximum of \(maximum)")
        }
        self.init(minimumSize: Int(minimum), maximumSize: Int(maximum), function: isMurmur ? .murmur : .xx)
    }
}

extension BalancingSettings.SlowStart {
    init(_ message: ClusterSlowStartConfig) throws(ConfigurationError) {
        try self.init(
            message.slow_start_window.time("slow_start_window"), message.aggression,
            message.min_weight_percent?.pointee.value)
    }

    init(_ message: LbPolicySlowStartConfig) throws(ConfigurationError) {
        try self.init(
            message.slow_start_window.time("slow_start_window"), message.aggression,
            message.min_weight_percent?.pointee.value)
    }

    private init(
        _ window: Duration?, _ aggression: UnsafeMutablePointer<RuntimeDouble>?, _ minimum: Double?
    ) throws(ConfigurationError) {
        guard let window, window > .zero else {
            throw .invalid(path: "slow_start_window", message: "must be more than 0")
        }
        let aggression = aggression?.pointee.default_value ?? 1
        guard aggression > 0, aggression.isFinite else {
            throw .invalid(path: "aggression", message: "must be more than 0")
        }
        let minimum = minimum ?? 10
        guard (0...100).contains(minimum) else {
            throw .invalid(path: "min_weight_percent", message: "\(minimum) is no percentage")
        }
        self.init(window: window, aggression: aggression, minimumShare: minimum / 100)
    }
}

extension SubsetSettings {
    /// Either of the two messages that say the same: that of clusters and that of the extension.
    init(_ message: DynamicMessage) throws(ConfigurationError) {
        func flag(_ name: String) -> Bool { message.integer(name) ?? 0 != 0 }
        switch message.integer("fallback_policy") {
        case 1: fallback = .any
        case 2: fallback = .standard
        default: fallback = .none
        }
        if let structure: UnsafeMutablePointer<ProtobufStruct> = message.message("default_subset")?.cast() {
            standard = StructureValue.fields(structure.pointee)
        }
        keepsLocalityWeights = flag("locality_weight_aware")
        scalesLocalityWeights = flag("scale_locality_weight")
        panicsToAny = flag("panic_mode_any")
        listsAreAny = flag("list_as_any")
        ignoresFurtherKeys = flag("allow_redundant_keys")
        takesFallbackList = message.integer("metadata_fallback_policy") == 1
        for (index, selector) in message.messages("subset_selectors").enumerated() {
            selectors.append(
                try at("subset_selectors[\(index)]") { () throws(ConfigurationError) in try Selector(selector) })
        }
    }
}

extension SubsetSettings.Selector {
    fileprivate init(_ message: DynamicMessage) throws(ConfigurationError) {
        keys = Set(message.strings("keys")).sorted()
        isSingle = message.integer("single_host_per_subset") ?? 0 != 0
        guard !keys.isEmpty else { throw .invalid(path: "keys", message: "missing") }
        let others = Set(message.strings("fallback_keys_subset")).sorted()
        switch message.integer("fallback_policy") {
        case 1: otherwise = .none
        case 2: otherwise = .any
        case 3: otherwise = .standard
        case 4:
            guard !others.isEmpty, others.count < keys.count, others.allSatisfy(keys.contains) else {
                throw .invalid(path: "fallback_keys_subset", message: "must be some of `keys`, and not all")
            }
            otherwise = .keys(others)
        default: otherwise = .settings
        }
    }
}
