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
        /// Between PINGs; nil: none.
        public var keepaliveInterval: Duration?
        public var keepaliveTimeout = Duration.seconds(10)

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
    public var headerCount: Int?
    public var responseHeaderKilobytes: Int?
    /// The server name of TLS is the request's host.
    public var takesServerName = false
    /// The certificate must be for the request's host.
    public var takesCertificateName = false
    /// Which header names the host for these two; nil, or a request without it: `:authority`.
    public var serverNameHeader: String?
    /// Which responses are failures to outlier detection; nil: by the status.
    public var failures: ResponseCondition?

    public init() {}

    /// The host that a request names for TLS, in lower case and without a port; nil: TLS takes none from requests.
    /// Source: Envoy, `Router::Filter::decodeHeaders`.
    /// - Parameters:
    ///   - head: as the route has rewritten it.
    ///   - received: as it came to the route; the header that is set for it is looked for there.
    public func serverName(_ head: HeaderList, received: HeaderList) -> String? {
        guard takesServerName || takesCertificateName else { return nil }
        if let header = serverNameHeader {
            let given = Array(header.utf8).withUnsafeBytes { name in
                received.withValue(ofBytes: name) { Self.host(of: $0) }
            }
            if let given, !given.isEmpty { return given }
        }
        return head.withValue(of: ":authority") { Self.host(of: $0) } ?? ""
    }

    /// `shop.example:443`, `10.0.0.1`, `[::1]:80`: the host alone.
    private static func host(of authority: UnsafeRawBufferPointer) -> String {
        let text = String(decoding: authority, as: UTF8.self).lowercased()
        if text.hasPrefix("["), let end = text.firstIndex(of: "]") {
            return String(text[text.index(after: text.startIndex)..<end])
        }
        let colon = text.lastIndex(of: ":")
        // More than one colon and no brackets: an address of IPv6 without a port.
        let isBare = colon != text.firstIndex(of: ":")
        let host = isBare ? text[...] : text[..<(colon ?? text.endIndex)]
        return String(host.hasSuffix(".") ? host.dropLast() : host)
    }

    /// The status that outlier detection sees in place of a response's own.
    public func reportedStatus(_ status: Int, _ head: HeaderList) -> Int {
        guard let failures else { return status }
        return failures.matches(head) ? 500 : 200
    }
}
