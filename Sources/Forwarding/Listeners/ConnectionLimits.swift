import CEnvoyAPI
import EnvoyAPI
import Synchronization

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
    /// How long a connection that is to be closed may take to send its last bytes and hear the client's end; zero: the
    /// end is not waited for.
    public let closingTimeout: Duration
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
        closingTimeout = try message.delayed_close_timeout.duration("delayed_close_timeout") ?? .seconds(1)
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
    public let passesTrailers: Bool

    public init(_ message: Http1ProtocolOptions?) throws(ConfigurationError) {
        acceptsHTTP10 = message.map { $0.accept_http_10 != 0 } ?? false
        hostForHTTP10 = message?.default_host_for_http_10.string ?? ""
        passesTrailers = message.map { $0.enable_trailers != 0 } ?? false
        if message?.allow_absolute_url.flag == false {
            throw .unsupported(path: "allow_absolute_url", message: "targets in absolute form are always taken")
        }
    }
}

/// Source: Envoy, `Http2ProtocolOptions`.
public struct HTTP2Settings: Sendable, Equatable {
    public struct KeepAlive: Sendable, Equatable {
        /// Nil: no pings.
        public let interval: Duration?
        public let timeout: Duration
    }

    public let tableSize: UInt32
    public let concurrentStreams: UInt32
    public let streamWindow: UInt32
    public let connectionWindow: UInt32
    public let keepAlive: KeepAlive?
    /// Clients may ask for other protocols on a stream. Source: RFC 8441.
    public let takesExtendedConnect: Bool

    public init(_ message: Http2ProtocolOptions?) throws(ConfigurationError) {
        takesExtendedConnect = message.map { $0.allow_connect != 0 } ?? false
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
        keepAlive = try message?.connection_keepalive.read("connection_keepalive") {
            (keepAlive) throws(ConfigurationError) in
            KeepAlive(
                interval: try keepAlive.interval.duration("interval"),
                timeout: try keepAlive.timeout.duration("timeout") ?? .seconds(10))
        }
    }
}

/// How many connections a filter chain may have at a time, counted over all workers.
/// Source: Envoy, `filters.network.connection_limit.v3.ConnectionLimit`.
public final class ConnectionLimit: Sendable {
    public let most: UInt64
    /// After which those above are closed.
    public let delay: Duration
    private let count = Atomic<UInt64>(0)

    init(most: UInt64, delay: Duration) {
        (self.most, self.delay) = (most, delay)
    }

    /// Takes a place; each needs a ``release()``.
    /// - Returns: false: there is none.
    public func tryAcquire() -> Bool {
        if count.add(1, ordering: .relaxed).newValue <= most { return true }
        release()
        return false
    }

    public func release() { count.subtract(1, ordering: .relaxed) }
}
