import EnvoyAPI
import Protobuf
import Time

/// A cluster as its resource says: where its hosts come from, how they are balanced, protected and reached. Immutable,
/// shared by all workers; each has an ``UpstreamCluster`` of its own for what changes.
/// Source: Envoy, `config.cluster.v3.Cluster`.
public final class ClusterConfiguration: Sendable {
    public enum Discovery: Sendable {
        /// The control plane tells them, under this name.
        case told(name: String)
        case fixed(EndpointSet)
        /// The world looks names up; then the cluster is given ``EndpointSet/resolved(_:takesFirst:)``.
        case names(EndpointSet, NameResolution)
        /// Each connection goes where its client meant it to go.
        case originalDestination(OriginalDestination)
        /// Each request goes to the host that it names, which the world looks up.
        case forwardProxy(ForwardProxy)
    }

    /// How often, and how, the world looks names up.
    public struct NameResolution: Sendable, Equatable {
        public enum Family: Sendable { case any, onlyIPv4, onlyIPv6, preferIPv4, both }
        /// One address of a name serves, the one that was found last (`LOGICAL_DNS`).
        public var takesFirst = false
        public var interval = Duration.seconds(5)
        public var jitter = Duration.zero
        /// The answers' own time to live takes the place of the interval.
        public var respectsTimeToLive = false
        /// After failures; nil: the interval.
        public var failureInterval: ClosedRange<Duration>?
        public var family = Family.any

        public init() {}

        /// How long names live whose time to live is to be respected: the system's resolver does not tell it.
        static let assumedLife = Duration.seconds(5)

        /// Until a name is looked up again.
        /// - Parameter failures: how often in a row there was no answer.
        public func pause(afterFailures failures: Int, random: inout SeededRandom) -> Duration {
            if failures > 0, let failureInterval {
                let grown = failureInterval.lowerBound * (1 << min(failures - 1, 20))
                return min(grown, failureInterval.upperBound)
            }
            let usual = respectsTimeToLive ? min(interval, Self.assumedLife) : interval
            return max(usual, .milliseconds(100)) + random.jitter(jitter)
        }
    }

    public struct OriginalDestination: Sendable, Equatable {
        /// A header that names the address: its name in lower case.
        public var header: String?
        /// Instead of the destination's.
        public var port: UInt16?
        /// Hosts that nobody used for so long are let go.
        public var cleanupInterval = Duration.seconds(5)

        public init() {}
    }

    public struct ForwardProxy: Sendable, Equatable {
        public var resolution = NameResolution()
        public var maximumHosts = 1024
        public var hostLifetime = Duration.seconds(300)
        public var queryTimeout = Duration.seconds(5)

        public init() {}
    }

    /// A transport socket as its resource has it; listeners' and routes' readers know what TLS settings mean.
    public struct Transport: Sendable, Hashable {
        public var name: String
        /// The full name of the message; empty: plain text.
        public var type: String
        public var bytes: [UInt8]

        /// Bytes as they are.
        public static let plain = Transport(name: "envoy.transport_sockets.raw_buffer", type: "", bytes: [])
    }

    struct TransportMatch: Sendable {
        var labels: [StructureValue.Field]
        var transport: Int
    }

    public struct Keepalive: Sendable, Equatable {
        public var probes: Int?
        public var idleSeconds: Int?
        public var intervalSeconds: Int?
    }

    public let name: String
    public let discovery: Discovery
    public let balancing: BalancingSettings
    public let subsets: SubsetSettings?
    /// By ``RequestPriority``.
    public let breakers: [BreakerSettings]
    /// What all workers have under way, by ``RequestPriority``.
    let loads = RequestPriority.allCases.map { _ in SharedLoad() }
    /// Connections that one host may have; nil: any number.
    public let hostConnections: Int?
    public let outlierDetection: OutlierSettings?
    public let check: CheckSettings?
    public let http: UpstreamProtocol
    /// After which a TCP connection without bytes is closed; nil: never, as the proxy says.
    public let idleTimeout: Duration?
    public let connectTimeout: Duration
    /// Bytes that a connection buffers before it stops reading.
    public let bufferLimit: Int
    public let keepalive: Keepalive?
    /// The local address of connections.
    public let source: NetworkAddress?
    /// The first is what hosts use that no match says otherwise of.
    public let transports: [Transport]
    let transportMatches: [TransportMatch]
    /// Connections of hosts end when checks or outlier detection find them unhealthy.
    public let closesUnhealthyConnections: Bool
    /// Connections end whenever the set of hosts changes.
    public let closesOnChange: Bool
    /// A host that its resource no longer names goes at once, whatever checks say of it.
    public let removesAtOnce: Bool
    /// New hosts do not count as unhealthy before their first check.
    public let ignoresUnchecked: Bool
    /// Whether load is reported to the control plane.
    public let reportsLoad: Bool
    public let metadata: FilterMetadata

    /// - Throws: the first thing that is wrong or not supported, with its path.
    public convenience init(_ bytes: [UInt8]) throws(ConfigurationError) {
        let arena = Arena()
        try self.init(try FieldAudit.decode(Cluster.self, bytes, in: arena, .clusters).pointee, in: arena)
    }

    /// - Parameter message: looked through by ``FieldAudit`` with the table `clusters`.
    init(_ message: Cluster, in arena: Arena) throws(ConfigurationError) {
        let name = message.name.string
        guard !name.isEmpty else { throw .invalid(path: "name", message: "a cluster needs a name") }
        self.name = name
        let discovery = try ClusterReading.discovery(message, name, in: arena)
        self.discovery = discovery
        var (balancing, subsets) = try BalancingReading.settings(message, in: arena)
        switch discovery {
        case .originalDestination, .forwardProxy:
            guard subsets == nil else {
                throw .invalid(path: "lb_subset_config", message: "nothing can be divided where hosts are not known")
            }
            guard balancing.policy == .clusterProvided else {
                throw .invalid(path: "lb_policy", message: "this type of cluster needs CLUSTER_PROVIDED")
            }
        case .told, .fixed, .names:
            guard balancing.policy != .clusterProvided else {
                throw .invalid(path: "lb_policy", message: "this type of cluster provides no balancing")
            }
        }
        if balancing.policy.hashes { balancing.slowStart = nil }
        self.balancing = balancing
        self.subsets = subsets
        (breakers, hostConnections) = try at("circuit_breakers") { () throws(ConfigurationError) in
            try ProtectionReading.breakers(message.circuit_breakers)
        }
        outlierDetection = try message.outlier_detection.read("outlier_detection") {
            (detection) throws(ConfigurationError) in try OutlierSettings(detection)
        }
        let http = try ProtocolReading.http(message, in: arena)
        self.http = http
        idleTimeout = try ProtocolReading.idleTimeout(message, in: arena)
        let timeout = try message.connect_timeout.time("connect_timeout") ?? .seconds(5)
        guard timeout > .zero else { throw .invalid(path: "connect_timeout", message: "must be more than 0") }
        connectTimeout = timeout
        bufferLimit = Int(message.per_connection_buffer_limit_bytes.number ?? 1 << 20)
        keepalive = (message.upstream_connection_options?.pointee.tcp_keepalive?.pointee).map { options in
            Keepalive(
                probes: options.keepalive_probes.number.map { Int($0) },
                idleSeconds: options.keepalive_time.number.map { Int($0) },
                intervalSeconds: options.keepalive_interval.number.map { Int($0) })
        }
        source = try ClusterReading.source(message)
        let (transports, matches) = try ClusterReading.transports(message)
        self.transports = transports
        transportMatches = matches
        check = try ProtectionReading.check(message, http, matches)
        closesUnhealthyConnections = message.close_connections_on_host_health_failure != 0
        closesOnChange = (message.common_lb_config?.pointee.close_connections_on_host_set_change ?? 0) != 0
        removesAtOnce = message.ignore_health_on_host_removal != 0
        ignoresUnchecked = (message.common_lb_config?.pointee.ignore_new_hosts_until_first_hc ?? 0) != 0
        reportsLoad = message.lrs_server != nil
        metadata = message.metadata.map { FilterMetadata($0.pointee) } ?? FilterMetadata()
    }

    /// The transport settings of an endpoint: the first whose labels are all among its metadata, else the cluster's.
    func transport(for endpoint: UpstreamEndpoint) -> Int {
        guard !transportMatches.isEmpty else { return 0 }
        let own = endpoint.metadata["envoy.transport_socket_match"] ?? []
        let places = endpoint.localityMetadata["envoy.transport_socket_match"] ?? []
        return transport(for: own) ?? transport(for: places) ?? 0
    }

    func transport(for labels: [StructureValue.Field]) -> Int? {
        transportMatches.first { match in match.labels.allSatisfy { labels.value($0.name) == $0.value } }?.transport
    }
}
