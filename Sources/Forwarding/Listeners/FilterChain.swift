import CEnvoyAPI
import EnvoyAPI
import Protobuf

/// What is done with the connections that match: transport, filters, and who takes the bytes.
/// Source: Envoy, `config.listener.v3.FilterChain`.
public final class FilterChain: Sendable {
    public enum Terminal: Sendable {
        case http(HTTPConnectionSettings)
        case stream(TCPProxySettings)
        /// These bytes, then the end.
        case answer([UInt8])
        /// Back what comes.
        case echo
    }

    /// A filter that comes before the terminal one.
    public enum NetworkFilter: Sendable {
        case access(AccessControl)
        case rateLimit(ConnectionRateLimit)
        case connectionLimit(ConnectionLimit)
        /// The cluster is the one that is named like the server that the client names.
        case clusterByServerName
    }

    public let name: String
    /// Nil: plaintext.
    public let tls: DownstreamTLS?
    /// How long TLS may take; nil: as long as it wants.
    public let transportTimeout: Duration?
    public let filters: [NetworkFilter]
    public let terminal: Terminal
    /// As its resource has it.
    let bytes: [UInt8]
    /// Whether it holds what stood in a file, which the bytes do not tell.
    let hasRead: Bool

    init(
        _ message: EnvoyAPI.FilterChain, _ bytes: [UInt8], isOutbound: Bool, in arena: Arena,
        _ files: (GivenBytes) throws(ConfigurationError) -> [UInt8]
    ) throws(ConfigurationError) {
        self.bytes = bytes
        var hasRead = false
        func noting(_ given: GivenBytes) throws(ConfigurationError) -> [UInt8] {
            if case .inline = given {} else { hasRead = true }
            return try files(given)
        }
        name = message.name.string
        tls =
            try message.transport_socket.read("transport_socket") {
                (socket) throws(ConfigurationError) in try Self.tls(socket, in: arena)
            } ?? nil
        let timeout = try message.transport_socket_connect_timeout.duration("transport_socket_connect_timeout")
        transportTimeout = timeout.flatMap { $0 > .zero ? $0 : nil }
        var filters: [NetworkFilter] = []
        var terminal: Terminal?
        for (index, filter) in message.filters_list.enumerated() {
            do throws(ConfigurationError) {
                guard terminal == nil else {
                    throw .invalid(path: "", message: "a filter after the one that takes the bytes")
                }
                guard case .typed_config(let any) = filter.pointee.config_type else {
                    throw .unsupported(path: "", message: "a filter without typed_config")
                }
                switch try Self.read(any.pointee, isOutbound, in: arena, noting) {
                case .filter(let filter): filters.append(filter)
                case .terminal(let found): terminal = found
                }
            } catch {
                throw error.under("filters[\(index)]")
            }
        }
        guard let terminal else {
            throw .invalid(path: "filters", message: "no filter takes the bytes: end with a manager or a TCP proxy")
        }
        (self.filters, self.terminal, self.hasRead) = (filters, terminal, hasRead)
    }

    private static func tls(_ socket: TransportSocket, in arena: Arena) throws(ConfigurationError) -> DownstreamTLS? {
        guard case .typed_config(let any) = socket.config_type else {
            guard socket.name.string == "envoy.transport_sockets.raw_buffer" else {
                throw .unsupported(path: "", message: "the transport `\(socket.name.string)` is not supported")
            }
            return nil
        }
        switch FieldAudit.typeName(any.pointee) {
        case "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer": return nil
        case DownstreamTlsContext.descriptor.fullName:
            return try at("typed_config") { () throws(ConfigurationError) in try DownstreamTLS(any.pointee) }
        case let other: throw .unsupported(path: "", message: "the transport `\(other)` is not supported")
        }
    }

    private enum Read {
        case filter(NetworkFilter)
        case terminal(Terminal)
    }

    private static func read(
        _ any: ProtobufAny, _ isOutbound: Bool, in arena: Arena,
        _ files: (GivenBytes) throws(ConfigurationError) -> [UInt8]
    ) throws(ConfigurationError) -> Read {
        try at("typed_config") { () throws(ConfigurationError) in
            switch FieldAudit.typeName(any) {
            case HttpConnectionManager.descriptor.fullName:
                return .terminal(.http(try HTTPConnectionSettings(any, isOutbound: isOutbound, files: files)))
            case TcpProxy.descriptor.fullName: return .terminal(.stream(try TCPProxySettings(any)))
            case DirectResponseConfig.descriptor.fullName:
                let message = try FieldAudit.decode(DirectResponseConfig.self, any, in: arena, .streams)
                let body = try message.pointee.response.read("response") {
                    (source) throws(ConfigurationError) -> [UInt8] in try files(try GivenBytes(source))
                }
                return .terminal(.answer(body ?? []))
            case Echo.descriptor.fullName: return .terminal(.echo)
            case SniCluster.descriptor.fullName: return .filter(.clusterByServerName)
            case EnvoyAPI.ConnectionLimit.descriptor.fullName:
                let limit = try FieldAudit.decode(EnvoyAPI.ConnectionLimit.self, any, in: arena, .streams).pointee
                guard let most: UInt64 = limit.max_connections.number, most > 0 else {
                    throw .invalid(path: "max_connections", message: "at least 1")
                }
                let isOn = limit.runtime_enabled?.pointee.default_value.flag ?? true
                let delay = try limit.delay.duration("delay") ?? .zero
                return .filter(.connectionLimit(ConnectionLimit(most: isOn ? most : .max, delay: delay)))
            case NetworkLocalRateLimit.descriptor.fullName:
                let message = try FieldAudit.decode(
                    NetworkLocalRateLimit.self, any, in: arena, ConnectionRateLimit.fields)
                return .filter(.rateLimit(try ConnectionRateLimit(message.pointee)))
            case NetworkRBAC.descriptor.fullName:
                let message = try FieldAudit.decode(NetworkRBAC.self, any, in: arena, AccessControl.fields)
                return .filter(.access(try AccessControl(message.pointee, in: arena)))
            case let other: throw .unsupported(path: "", message: "the network filter `\(other)` is not supported")
            }
        }
    }
}

/// Where the bytes of a connection go as they are. Source: Envoy, `filters.network.tcp_proxy.v3.TcpProxy`.
public final class TCPProxySettings: Sendable {
    public struct Target: Sendable {
        public let cluster: String
        public let weight: UInt32
        /// Under `envoy.lb`.
        public let metadataMatch: [StructureValue.Field]
        /// What that asks of hosts.
        public let subset: SubsetCriteria?

        init(cluster: String, weight: UInt32, metadataMatch: [StructureValue.Field]) {
            (self.cluster, self.weight, self.metadataMatch) = (cluster, weight, metadataMatch)
            subset = SubsetCriteria(metadataMatch)
        }
    }

    /// What its statistics are counted under.
    public let statPrefix: String
    public let targets: [Target]
    private let totalWeight: UInt64
    /// Without a byte either way; nil: no limit.
    public let idleTimeout: Duration?
    public let longestConnection: Duration?
    /// How many endpoints are tried.
    public let connectAttempts: UInt32
    public let hashesSource: Bool
    public let accessLogs: [AccessLogRule]

    init(_ any: ProtobufAny) throws(ConfigurationError) {
        let arena = Arena()
        let message = try FieldAudit.decode(TcpProxy.self, any, in: arena, .streams).pointee
        statPrefix = message.stat_prefix.string
        let all = message.metadata_match.flatMap { FilterMetadata($0.pointee)["envoy.lb"] } ?? []
        switch message.cluster_specifier {
        case .cluster(let name): targets = [Target(cluster: name, weight: 1, metadataMatch: all)]
        case .weighted_clusters(let weighted):
            targets = weighted.pointee.clusters_list.map { cluster in
                var fields = all
                let own = cluster.pointee.metadata_match.flatMap { FilterMetadata($0.pointee)["envoy.lb"] } ?? []
                for field in own {
                    fields.removeAll { $0.name == field.name }
                    fields.append(field)
                }
                return Target(
                    cluster: cluster.pointee.name.string, weight: cluster.pointee.weight, metadataMatch: fields)
            }
        case nil: throw .invalid(path: "", message: "no cluster is given")
        }
        totalWeight = targets.reduce(0) { $0 + UInt64($1.weight) }
        guard totalWeight > 0, targets.allSatisfy({ !$0.cluster.isEmpty }) else {
            throw .invalid(path: "weighted_clusters", message: "no cluster with a weight")
        }
        let idle = try message.idle_timeout.duration("idle_timeout") ?? .seconds(3_600)
        idleTimeout = idle > .zero ? idle : nil
        longestConnection = try message.max_downstream_connection_duration.duration(
            "max_downstream_connection_duration")
        connectAttempts = max(1, message.max_connect_attempts.number ?? 1)
        hashesSource = message.n_hash_policy > 0
        accessLogs = try AccessLogRule.rules(message.access_log_list, in: arena)
    }

    /// The target of one connection.
    public func choose(random: UInt64) -> Target {
        targets.chosen(by: random, of: totalWeight) { $0.weight }
    }
}
