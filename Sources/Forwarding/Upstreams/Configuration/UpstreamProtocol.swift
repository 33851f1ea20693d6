import HTTP
import Time

/// What a cluster's hosts are spoken to in.
public struct UpstreamProtocol: Sendable {
    public enum Choice: Sendable, Equatable {
        case http1
        case http2
        /// That of the downstream request.
        case downstream
        /// What ALPN agrees on; HTTP/1.1 without it.
        case negotiated
    }

    /// Of HTTP/2 connections to hosts. Source: Envoy, `config.core.v3.Http2ProtocolOptions`.
    public struct HTTP2: Sendable, Equatable {
        public var concurrentStreams: Int?
        public var streamWindow: Int?
        public var connectionWindow: Int?
        public var headerTableSize: Int?
        public var allowsConnect = false
        /// Between PINGs; nil: none.
        public var keepaliveInterval: Duration?
        public var keepaliveTimeout = Duration.seconds(10)
        public var keepaliveJitterPercent = 15.0
        /// A connection that was idle for so long is asked before it is used.
        public var keepaliveIdleInterval: Duration?

        public init() {}
    }

    /// Of HTTP/1 connections to hosts.
    public struct HTTP1: Sendable, Equatable {
        /// Whether trailers go on; else they are left out.
        public var hasTrailers = false
        /// Header names are written with capitals.
        public var capitalises = false

        public init() {}
    }

    public var choice = Choice.http1
    public var http1 = HTTP1()
    public var http2 = HTTP2()
    /// A connection without requests is closed after this; nil: never.
    public var idleTimeout: Duration? = .seconds(3600)
    /// A connection takes no new requests after this.
    public var maximumAge: Duration?
    public var requestsPerConnection: Int?
    /// From the first byte of a request to the last of its response.
    public var maximumStreamDuration: Duration?
    public var headerCount: Int?
    public var responseHeaderKilobytes: Int?
    /// The server name of TLS is the request's host.
    public var takesServerName = false
    /// The certificate must be for the request's host.
    public var takesCertificateName = false
    /// Which header names the host for these two; nil: `:authority`.
    public var serverNameHeader: String?
    /// Which responses are failures to outlier detection; nil: by the status.
    public var failures: ResponseCondition?

    public init() {}

    /// The status that outlier detection sees in place of a response's own.
    public func reportedStatus(_ status: Int, _ head: HeaderList) -> Int {
        guard let failures else { return status }
        return failures.matches(head) ? 500 : 200
    }
}
