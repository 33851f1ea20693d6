import Addresses
import CEnvoyAPI
import EnvoyAPI
import HTTP
import Protobuf

/// How connections with HTTP are served. Source: Envoy, `HttpConnectionManager`.
public final class HTTPConnectionSettings: Sendable {
    public enum Codec: Sendable { case detected, http1, http2 }

    public enum Routes: Sendable {
        case table(RouteTable)
        /// A route configuration of that name, which the control plane gives.
        case named(String)
    }

    public enum ServerHeader: Sendable { case overwrite, addIfAbsent, pass }

    /// What its statistics are counted under.
    public let statPrefix: String
    public let codec: Codec
    public let routes: Routes
    /// In order; the router, which is the last, is not among them.
    public let filters: HTTPFilterChain
    public let router: RouterSettings
    public let limits: ConnectionLimits
    public let http1: HTTP1Settings
    public let http2: HTTP2Settings
    public let serverName: String
    public let serverHeader: ServerHeader
    public let client: ClientSettings
    public let certificates: ForwardedCertificate
    public let paths: PathNormalisation
    public let host: HostNormalisation
    public let requestID: RequestIDSettings
    public let upgrades: UpgradeRules
    public let tracing: TracingSettings?
    /// Added to `via` both ways; empty: nothing.
    public let via: String
    /// `user-agent` is set, if there is none, to the proxy's service, and `x-envoy-downstream-service-…` with it.
    public let addsUserAgent: Bool
    /// The scheme that requests are given; nil: their own.
    public let scheme: String?
    /// The scheme of the upstream's transport.
    public let matchesUpstreamScheme: Bool
    /// 100 Continue is left to the upstream.
    public let passes100: Bool
    /// An invalid message ends its stream, not its connection.
    public let endsStreamOnly: Bool
    public let accessLogs: [AccessLogRule]
    /// Nil: a line at the end only.
    public let accessLogInterval: Duration?
    public let logsOnNewRequest: Bool

    init(
        _ any: ProtobufAny, files: (GivenBytes) throws(ConfigurationError) -> [UInt8]
    ) throws(ConfigurationError) {
        let arena = Arena()
        let message = try FieldAudit.decode(HttpConnectionManager.self, any, in: arena, .managers).pointee
        statPrefix = message.stat_prefix.string
        switch message.codec_type {
        case .HTTP1: codec = .http1
        case .HTTP2: codec = .http2
        default: codec = .detected
        }
        switch message.route_specifier {
        case .rds(let rds):
            let name = rds.pointee.route_config_name.string
            guard !name.isEmpty else { throw .invalid(path: "rds.route_config_name", message: "missing") }
            routes = .named(name)
        case .route_config(let table):
            routes = .table(
                try at("route_config") { () throws(ConfigurationError) in try RouteTable(table, files: files) })
        case .scoped_routes: throw .unsupported(path: "scoped_routes", message: "scoped routes are not supported")
        case nil: throw .invalid(path: "route_specifier", message: "no routes are given")
        }
        let chain: [ExtensionSetting]
        (chain, router) = try Self.filters(message, in: arena)
        filters = try HTTPFilterChain(chain)
        limits = try ConnectionLimits(message)
        http1 = try HTTP1Settings(message.http_protocol_options?.pointee)
        http2 = try HTTP2Settings(message.http2_protocol_options?.pointee)
        serverName = message.server_name.string.isEmpty ? "envoy" : message.server_name.string
        switch message.server_header_transformation {
        case .OVERWRITE: serverHeader = .overwrite
        case .APPEND_IF_ABSENT: serverHeader = .addIfAbsent
        case .PASS_THROUGH: serverHeader = .pass
        default: throw .invalid(path: "server_header_transformation", message: "unknown value")
        }
        client = try ClientSettings(message, in: arena)
        certificates = try ForwardedCertificate(message)
        let slashes: PathNormalisation.EscapedSlashes
        switch message.path_with_escaped_slashes_action {
        case .IMPLEMENTATION_SPECIFIC_DEFAULT, .KEEP_UNCHANGED: slashes = .keep
        case .REJECT_REQUEST: slashes = .reject
        case .UNESCAPE_AND_REDIRECT: slashes = .redirect
        case .UNESCAPE_AND_FORWARD: slashes = .forward
        default: throw .invalid(path: "path_with_escaped_slashes_action", message: "unknown value")
        }
        paths = PathNormalisation(
            normalises: message.normalize_path.flag ?? false, mergesSlashes: message.merge_slashes != 0,
            escapedSlashes: slashes)
        host = HostNormalisation(message)
        requestID = try RequestIDSettings(message, in: arena)
        var upgrades = UpgradeRules()
        for upgrade in message.upgrade_configs_list {
            upgrades.isEnabled[upgrade.pointee.upgrade_type.string.lowercased()] = upgrade.pointee.enabled.flag ?? true
        }
        self.upgrades = upgrades
        tracing = try message.tracing.read("tracing") { (tracing) throws(ConfigurationError) in
            try TracingSettings(tracing)
        }
        via = message.via.string
        addsUserAgent = message.add_user_agent.flag ?? false
        let scheme = message.scheme_header_transformation?.pointee
        if case .scheme_to_overwrite(let text)? = scheme?.transformation {
            self.scheme = text
        } else {
            self.scheme = nil
        }
        matchesUpstreamScheme = scheme.map { $0.match_upstream != 0 } ?? false
        passes100 = message.proxy_100_continue != 0
        endsStreamOnly = message.stream_error_on_invalid_http_message.flag ?? false
        accessLogs = try AccessLogRule.rules(message.access_log_list, in: arena)
        let options = message.access_log_options?.pointee
        let stated = try options?.access_log_flush_interval.duration("access_log_options.access_log_flush_interval")
        let older = try message.access_log_flush_interval.duration("access_log_flush_interval")
        accessLogInterval = stated ?? older
        logsOnNewRequest =
            options.map { $0.flush_access_log_on_new_request != 0 }
            ?? (message.flush_access_log_on_new_request != 0)
    }
}

/// How much and how long. Source: Envoy, `HttpProtocolOptions` and the manager's own timeouts.
public struct ConnectionLimits: Sendable, Equatable {
    /// All of a head, bytes.
    public let headBytes: Int
    public let headFields: Int
    /// Nil everywhere: no limit.
    public let idleTimeout: Duration?
    public let longestConnection: Duration?
    public let longestStream: Duration?
    public let requestsPerConnection: UInt32?
    public let streamIdleTimeout: Duration?
    public let requestTimeout: Duration?
    public let headTimeout: Duration?
    /// Between GOAWAY (or `connection: close`) and the end.
    public let drainTimeout: Duration
    /// How long the other side may take to close after us; zero: at once.
    public let delayedClose: Duration
    public let underscores: Underscores

    public enum Underscores: Sendable { case allow, reject, drop }

    init(_ message: HttpConnectionManager) throws(ConfigurationError) {
        func positive(
            _ duration: UnsafeMutablePointer<ProtobufDuration>?, _ field: String, else standard: Duration? = nil
        ) throws(ConfigurationError) -> Duration? {
            guard let stated = try duration.duration(field) else { return standard }
            return stated > .zero ? stated : nil
        }
        let common = message.common_http_protocol_options?.pointee
        let place = "common_http_protocol_options."
        headBytes = Int(message.max_request_headers_kb.number ?? 60) * 1_024
        headFields = Int(common?.max_headers_count.number ?? 100)
        guard headBytes > 0, headBytes <= 8192 * 1_024, headFields > 0 else {
            throw .invalid(path: "max_request_headers_kb", message: "from 1 to 8192, and at least 1 header")
        }
        idleTimeout = try positive(common?.idle_timeout, place + "idle_timeout", else: .seconds(3_600))
        longestConnection = try positive(common?.max_connection_duration, place + "max_connection_duration")
        longestStream = try positive(common?.max_stream_duration, place + "max_stream_duration")
        requestsPerConnection = (common?.max_requests_per_connection.number).flatMap { $0 > 0 ? $0 : nil }
        streamIdleTimeout = try positive(message.stream_idle_timeout, "stream_idle_timeout", else: .seconds(300))
        requestTimeout = try positive(message.request_timeout, "request_timeout")
        headTimeout = try positive(message.request_headers_timeout, "request_headers_timeout")
        drainTimeout = try message.drain_timeout.duration("drain_timeout") ?? .seconds(5)
        delayedClose = try message.delayed_close_timeout.duration("delayed_close_timeout") ?? .seconds(1)
        switch common?.headers_with_underscores_action {
        case nil, .ALLOW?: underscores = .allow
        case .REJECT_REQUEST?: underscores = .reject
        case .DROP_HEADER?: underscores = .drop
        default: throw .invalid(path: place + "headers_with_underscores_action", message: "unknown value")
        }
    }
}

/// Source: Envoy, `Http1ProtocolOptions`.
public struct HTTP1Settings: Sendable, Equatable {
    public let acceptsHTTP10: Bool
    /// For HTTP/1.0 requests without a host; empty: such requests are refused.
    public let hostForHTTP10: String
    /// `Content-Type`, not `content-type`, goes out.
    public let writesProperCase: Bool
    public let passesTrailers: Bool
    /// Nil: as the manager says.
    public let endsStreamOnly: Bool?

    public init(_ message: Http1ProtocolOptions?) throws(ConfigurationError) {
        acceptsHTTP10 = message.map { $0.accept_http_10 != 0 } ?? false
        hostForHTTP10 = message?.default_host_for_http_10.string ?? ""
        if case .proper_case_words? = message?.header_key_format?.pointee.header_format {
            writesProperCase = true
        } else {
            writesProperCase = false
        }
        passesTrailers = message.map { $0.enable_trailers != 0 } ?? false
        endsStreamOnly = message?.override_stream_error_on_invalid_http_message.flag
        if message?.allow_absolute_url.flag == false {
            throw .unsupported(path: "allow_absolute_url", message: "targets in absolute form are always taken")
        }
    }
}

/// Source: Envoy, `Http2ProtocolOptions`.
public struct HTTP2Settings: Sendable, Equatable {
    public struct KeepAlive: Sendable, Equatable {
        /// Nil: no pings but those after idleness.
        public let interval: Duration?
        public let timeout: Duration
        /// Percent of the interval.
        public let jitter: Double
        /// A ping goes before a new stream on a connection that was idle so long.
        public let idleInterval: Duration?
    }

    public let tableSize: UInt32
    public let concurrentStreams: UInt32
    public let streamWindow: UInt32
    public let connectionWindow: UInt32
    /// Extended CONNECT. Source: RFC 8441.
    public let allowsConnect: Bool
    public let outboundFrames: UInt32
    public let outboundControlFrames: UInt32
    public let emptyFrames: UInt32
    public let priorityFramesPerStream: UInt32
    public let windowUpdatesPerDataFrame: UInt32
    public let endsStreamOnly: Bool?
    public let keepAlive: KeepAlive?

    public init(_ message: Http2ProtocolOptions?) throws(ConfigurationError) {
        tableSize = message?.hpack_table_size.number ?? 4_096
        concurrentStreams = message?.max_concurrent_streams.number ?? 1_024
        streamWindow = message?.initial_stream_window_size.number ?? 16 << 20
        connectionWindow = message?.initial_connection_window_size.number ?? 24 << 20
        guard (65_535...2_147_483_647).contains(streamWindow), (65_535...2_147_483_647).contains(connectionWindow)
        else {
            throw .invalid(path: "initial_stream_window_size", message: "windows have from 65535 to 2147483647 bytes")
        }
        guard (1...2_147_483_647).contains(concurrentStreams) else {
            throw .invalid(path: "max_concurrent_streams", message: "from 1 to 2147483647")
        }
        allowsConnect = message.map { $0.allow_connect != 0 } ?? false
        outboundFrames = message?.max_outbound_frames.number ?? 10_000
        outboundControlFrames = message?.max_outbound_control_frames.number ?? 1_000
        emptyFrames = message?.max_consecutive_inbound_frames_with_empty_payload.number ?? 1
        priorityFramesPerStream = message?.max_inbound_priority_frames_per_stream.number ?? 100
        windowUpdatesPerDataFrame = message?.max_inbound_window_update_frames_per_data_frame_sent.number ?? 10
        endsStreamOnly =
            message?.override_stream_error_on_invalid_http_message.flag
            ?? message.flatMap { $0.stream_error_on_invalid_http_messaging != 0 ? true : nil }
        keepAlive = try message?.connection_keepalive.read("connection_keepalive") {
            (keepAlive) throws(ConfigurationError) in
            KeepAlive(
                interval: try keepAlive.interval.duration("interval"),
                timeout: try keepAlive.timeout.duration("timeout") ?? .seconds(10),
                jitter: keepAlive.interval_jitter?.pointee.value ?? 15,
                idleInterval: try keepAlive.connection_idle_interval.duration("connection_idle_interval"))
        }
    }
}

/// Who the client is held to be. Source: Envoy, "x-forwarded-for".
public struct ClientSettings: Sendable, Equatable {
    /// The connection's own address counts, and is added to `x-forwarded-for`: for the first proxy of a mesh.
    public let usesRemoteAddress: Bool
    /// So many entries of `x-forwarded-for`, from its end, are of proxies that are believed.
    public let trustedHops: Int
    public let skipsAppend: Bool
    /// `x-forwarded-port` gets the port that the client connected to.
    public let appendsPort: Bool
    /// Addresses that count as inside; nil: loopback and private ones.
    public let internalBlocks: [AddressBlock]?
    public let socketsAreInternal: Bool

    init(_ message: HttpConnectionManager, in arena: Arena) throws(ConfigurationError) {
        usesRemoteAddress = message.use_remote_address.flag ?? false
        var hops = message.xff_num_trusted_hops
        var skips = message.skip_xff_append != 0
        for (index, detection) in message.original_ip_detection_extensions_list.enumerated() {
            let place = "original_ip_detection_extensions[\(index)]"
            let any = try detection.pointee.typed_config.required(place + ".typed_config")
            let config = try at(place + ".typed_config") { () throws(ConfigurationError) in
                try FieldAudit.decode(XffConfig.self, any, in: arena, .managers)
            }
            if usesRemoteAddress {
                throw .invalid(path: place, message: "use_remote_address says already who the client is")
            }
            hops = config.pointee.xff_num_trusted_hops
            skips = config.pointee.skip_xff_append.flag ?? true
        }
        (trustedHops, skipsAppend) = (Int(hops), skips)
        appendsPort = message.append_x_forwarded_port != 0
        internalBlocks = try message.internal_address_config.read("internal_address_config") {
            (config) throws(ConfigurationError) in
            try config.cidr_ranges_list.read("cidr_ranges") { (range) throws(ConfigurationError) in
                try AddressBlock(range.pointee)
            }
        }
        socketsAreInternal = message.internal_address_config.map { $0.pointee.unix_sockets != 0 } ?? false
    }
}

/// What becomes of `x-forwarded-client-cert`. Source: Envoy, "x-forwarded-client-cert".
public struct ForwardedCertificate: Sendable, Equatable {
    public enum Action: Sendable { case remove, forward, append, replace, alwaysForward }

    public let action: Action
    /// What is told of the client's certificate besides the certificate's own hash and our URI.
    public let subject: Bool
    public let certificate: Bool
    public let chain: Bool
    public let dns: Bool
    public let uri: Bool

    init(_ message: HttpConnectionManager) throws(ConfigurationError) {
        switch message.forward_client_cert_details {
        case .SANITIZE: action = .remove
        case .FORWARD_ONLY: action = .forward
        case .APPEND_FORWARD: action = .append
        case .SANITIZE_SET: action = .replace
        case .ALWAYS_FORWARD_ONLY: action = .alwaysForward
        default: throw .invalid(path: "forward_client_cert_details", message: "unknown value")
        }
        let details = message.set_current_client_cert_details?.pointee
        subject = details?.subject.flag ?? false
        certificate = details.map { $0.cert != 0 } ?? false
        chain = details.map { $0.chain != 0 } ?? false
        dns = details.map { $0.dns != 0 } ?? false
        uri = details.map { $0.uri != 0 } ?? false
    }
}

/// What is made of `:authority` before routing.
public struct HostNormalisation: Sendable, Equatable {
    public enum Port: Sendable { case keep, stripListeners, stripAny }
    public let port: Port
    public let stripsTrailingDot: Bool

    init(_ message: HttpConnectionManager) {
        if case .strip_any_host_port(true)? = message.strip_port_mode {
            port = .stripAny
        } else {
            port = message.strip_matching_host_port != 0 ? .stripListeners : .keep
        }
        stripsTrailingDot = message.strip_trailing_host_dot != 0
    }
}

/// Source: Envoy, `HttpConnectionManager.generate_request_id` and what is around it.
public struct RequestIDSettings: Sendable, Equatable {
    public let generates: Bool
    /// One that comes from outside is kept.
    public let keepsExternal: Bool
    public let answersWithIt: Bool

    init(_ message: HttpConnectionManager, in arena: Arena) throws(ConfigurationError) {
        generates = message.generate_request_id.flag ?? true
        keepsExternal = message.preserve_external_request_id != 0
        answersWithIt = message.always_set_request_id_in_response != 0
        _ = try message.request_id_extension.read("request_id_extension") { (extra) throws(ConfigurationError) in
            let any = try extra.typed_config.required("typed_config")
            return try at("typed_config") { () throws(ConfigurationError) in
                try FieldAudit.decode(UuidRequestIdConfig.self, any, in: arena, .managers)
            }
        }
    }
}

/// Source: Envoy, `HttpConnectionManager.Tracing`.
public struct TracingSettings: Sendable, Equatable {
    public struct Tag: Sendable, Equatable {
        public enum Source: Sendable, Equatable {
            case text(String)
            case environment(name: String, standard: String)
            case header(name: [UInt8], standard: String)
            /// With command operators.
            case format(String)
        }
        public let name: String
        public let source: Source
    }

    /// Percent of the requests that ask for it, of all, and of both at most.
    public let client: Double
    public let random: Double
    public let overall: Double
    public let isVerbose: Bool
    public let longestPath: Int
    public let tags: [Tag]
    /// Where spans go; nil: as the proxy is started.
    public let provider: ExtensionSetting?
    public let spansUpstream: Bool

    init(_ message: HttpConnectionManagerTracing) throws(ConfigurationError) {
        client = message.client_sampling?.pointee.value ?? 100
        random = message.random_sampling?.pointee.value ?? 100
        overall = message.overall_sampling?.pointee.value ?? 100
        isVerbose = message.verbose != 0
        longestPath = Int(message.max_path_tag_length.number ?? 256)
        tags = try message.custom_tags_list.read("custom_tags") { (tag) throws(ConfigurationError) in
            let source: Tag.Source
            switch tag.pointee.type {
            case .literal(let text): source = .text(text.pointee.value.string)
            case .environment(let from):
                source = .environment(name: from.pointee.name.string, standard: from.pointee.default_value.string)
            case .request_header(let from):
                source = .header(
                    name: from.pointee.name.string.utf8.map(\.lowerCased), standard: from.pointee.default_value.string)
            case .value(let format): source = .format(format)
            case .metadata: throw .unsupported(path: "metadata", message: "tags from metadata are not supported")
            case nil: throw .invalid(path: "", message: "a tag without a value")
            }
            return Tag(name: tag.pointee.tag.string, source: source)
        }
        provider = message.provider.map { ExtensionSetting($0.pointee.name.string, $0.pointee.typed_config?.pointee) }
        spansUpstream = message.spawn_upstream_span.flag ?? false
    }
}
