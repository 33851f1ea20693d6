import Addresses
import EnvoyAPI
import Protobuf
import Time

/// What clusters say of where their hosts are and how connections to them are made.
enum ClusterReading {
    static func discovery(
        _ message: Cluster, _ name: String, in arena: Arena
    ) throws(ConfigurationError) -> ClusterConfiguration.Discovery {
        switch message.cluster_discovery_type {
        case .cluster_type(let custom):
            return try at("cluster_type") { () throws(ConfigurationError) in
                try forwardProxy(custom.pointee, in: arena)
            }
        case .type(.EDS):
            let service = message.eds_cluster_config?.pointee.service_name.string ?? ""
            return .told(name: service.isEmpty ? name : service)
        case .type(.STRICT_DNS), .type(.LOGICAL_DNS):
            let isLogical = message.cluster_discovery_type.isLogical
            var resolution = try resolution(message)
            resolution.takesFirst = isLogical
            let set = try assignment(message, allowsNames: true)
            guard !isLogical || set.count == 1 else {
                throw .invalid(
                    path: "load_assignment", message: "LOGICAL_DNS needs one endpoint, this has \(set.count)")
            }
            return .names(set, resolution)
        case .type(.ORIGINAL_DST): return .originalDestination(try originalDestination(message))
        case .type(.STATIC), nil: return .fixed(try assignment(message, allowsNames: false))
        case .type: throw .unsupported(path: "type", message: "not known in this version")
        }
    }

    private static func assignment(
        _ message: Cluster, allowsNames: Bool
    ) throws(ConfigurationError) -> EndpointSet {
        try message.load_assignment.read("load_assignment") { (assignment) throws(ConfigurationError) in
            try EndpointSet(assignment, allowsNames: allowsNames)
        } ?? EndpointSet(name: message.name.string, levels: [])
    }

    private static func resolution(
        _ message: Cluster
    ) throws(ConfigurationError) -> ClusterConfiguration.NameResolution {
        var resolution = ClusterConfiguration.NameResolution()
        resolution.interval = try message.dns_refresh_rate.time("dns_refresh_rate") ?? resolution.interval
        guard resolution.interval >= .milliseconds(1) else {
            throw .invalid(path: "dns_refresh_rate", message: "must be more than 0")
        }
        resolution.jitter = try message.dns_jitter.time("dns_jitter") ?? .zero
        resolution.respectsTimeToLive = message.respect_dns_ttl != 0
        resolution.failureInterval = try message.dns_failure_refresh_rate.read("dns_failure_refresh_rate") {
            (rate) throws(ConfigurationError) in try interval(rate)
        }
        resolution.family = try family(message.dns_lookup_family)
        return resolution
    }

    private static func interval(_ rate: ClusterRefreshRate) throws(ConfigurationError) -> ClosedRange<Duration> {
        guard let base = try rate.base_interval.time("base_interval"), base > .zero else {
            throw .invalid(path: "base_interval", message: "must be more than 0")
        }
        let most = try rate.max_interval.time("max_interval") ?? base * 10
        guard most >= base else { throw .invalid(path: "max_interval", message: "less than `base_interval`") }
        return base...most
    }

    private static func family(
        _ value: ClusterDnsLookupFamily
    ) throws(ConfigurationError) -> ClusterConfiguration.NameResolution.Family {
        switch value {
        case .AUTO: .any
        case .V4_ONLY: .onlyIPv4
        case .V6_ONLY: .onlyIPv6
        case .V4_PREFERRED: .preferIPv4
        case .ALL: .both
        default: throw .unsupported(path: "dns_lookup_family", message: "not known in this version")
        }
    }

    private static func originalDestination(
        _ message: Cluster
    ) throws(ConfigurationError) -> ClusterConfiguration.OriginalDestination {
        var result = ClusterConfiguration.OriginalDestination()
        guard message.load_assignment == nil else {
            throw .invalid(path: "load_assignment", message: "ORIGINAL_DST has no endpoints of its own")
        }
        result.cleanupInterval = try message.cleanup_interval.time("cleanup_interval") ?? result.cleanupInterval
        guard result.cleanupInterval > .zero else {
            throw .invalid(path: "cleanup_interval", message: "must be more than 0")
        }
        guard case .original_dst_lb_config(let settings)? = message.lb_config else { return result }
        if settings.pointee.use_http_header != 0 {
            let name = settings.pointee.http_header_name.string.lowercased()
            result.header = name.isEmpty ? "x-envoy-original-dst-host" : name
        }
        if let port = settings.pointee.upstream_port_override.number {
            guard let port = UInt16(exactly: port) else {
                throw .invalid(
                    path: "original_dst_lb_config.upstream_port_override", message: "\(port) is no port")
            }
            result.port = port
        }
        return result
    }

    private static func forwardProxy(
        _ custom: ClusterCustomClusterType, in arena: Arena
    ) throws(ConfigurationError) -> ClusterConfiguration.Discovery {
        guard let any = custom.typed_config else { throw .invalid(path: "typed_config", message: "missing") }
        let content = try at("typed_config") { () throws(ConfigurationError) in
            try FieldAudit.decode(DynamicForwardProxyClusterConfig.self, any.pointee, in: arena, .clusters)
        }
        guard case .dns_cache_config(let cache)? = content.pointee.cluster_implementation_specifier else {
            throw .invalid(path: "typed_config.dns_cache_config", message: "missing")
        }
        return try at("typed_config.dns_cache_config") { () throws(ConfigurationError) in
            .forwardProxy(try ClusterConfiguration.ForwardProxy(cache.pointee))
        }
    }

    static func source(_ message: Cluster) throws(ConfigurationError) -> NetworkAddress? {
        try message.upstream_bind_config.read("upstream_bind_config") { (bind) throws(ConfigurationError) in
            try bind.source_address.read("source_address") { (socket) throws(ConfigurationError) in
                let port = if case .port_value(let port)? = socket.port_specifier { port } else { UInt32(0) }
                guard let ip = IPAddress(socket.address.string), let port = UInt16(exactly: port) else {
                    throw .invalid(path: "address", message: "`\(socket.address.string)` is no IP address")
                }
                return NetworkAddress.ip(ip, port: port)
            }
        } ?? nil
    }

    static func transports(
        _ message: Cluster
    ) throws(ConfigurationError) -> ([ClusterConfiguration.Transport], [ClusterConfiguration.TransportMatch]) {
        var transports = [message.transport_socket.map { transport($0.pointee) } ?? .plain]
        var matches: [ClusterConfiguration.TransportMatch] = []
        for (index, match) in message.transport_socket_matches_list.enumerated() {
            guard let socket = match.pointee.transport_socket else {
                throw .invalid(path: "transport_socket_matches[\(index)].transport_socket", message: "missing")
            }
            let transport = transport(socket.pointee)
            let place = transports.firstIndex(of: transport) ?? transports.count
            if place == transports.count { transports.append(transport) }
            let labels = match.pointee.match.map { StructureValue.fields($0.pointee) } ?? []
            matches.append(ClusterConfiguration.TransportMatch(labels: labels, transport: place))
        }
        return (transports, matches)
    }

    private static func transport(_ socket: TransportSocket) -> ClusterConfiguration.Transport {
        guard case .typed_config(let any)? = socket.config_type else {
            return ClusterConfiguration.Transport(name: socket.name.string, type: "", bytes: [])
        }
        let type = FieldAudit.typeName(any.pointee)
        if type == RawBuffer.descriptor.fullName { return .plain }
        return ClusterConfiguration.Transport(
            name: socket.name.string, type: type, bytes: Array(any.pointee.value_bytes))
    }
}

extension Optional where Wrapped == Cluster.ClusterDiscoveryTypeChoice {
    fileprivate var isLogical: Bool {
        if case .type(.LOGICAL_DNS) = self { true } else { false }
    }
}

extension ClusterConfiguration.ForwardProxy {
    fileprivate init(_ cache: DnsCacheConfig) throws(ConfigurationError) {
        self.init()
        resolution.interval = try cache.dns_refresh_rate.time("dns_refresh_rate") ?? .seconds(60)
        resolution.family =
            switch cache.dns_lookup_family {
            case .V4_ONLY: .onlyIPv4
            case .V6_ONLY: .onlyIPv6
            case .V4_PREFERRED: .preferIPv4
            case .ALL: .both
            default: .any
            }
        hostLifetime = try cache.host_ttl.time("host_ttl") ?? hostLifetime
        maximumHosts = Int(cache.max_hosts.number ?? 1024)
        queryTimeout = try cache.dns_query_timeout.time("dns_query_timeout") ?? queryTimeout
        guard maximumHosts > 0 else { throw .invalid(path: "max_hosts", message: "must be more than 0") }
    }
}

extension Optional where Wrapped == UnsafeMutablePointer<ProtobufDuration> {
    /// The duration, at most ten years: what is longer never ends here, and must not overflow a moment in time.
    func time(_ field: String) throws(ConfigurationError) -> Duration? {
        try duration(field).map { min($0, .seconds(315_360_000)) }
    }
}
