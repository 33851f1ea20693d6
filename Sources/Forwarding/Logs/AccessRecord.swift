import HTTP
import Time

/// All that is told of one request, or of one connection that carries none: filled by who serves it. Logs are told once
/// it is over: text, JSON and the entries of the access log service are made of it. Values of headers are made of what is
/// there when they are written.
public final class AccessRecord {
    /// What is logged.
    public enum Kind: Sendable {
        case request
        /// Bytes that were led on as they are, or a connection that fits no filter chain.
        case connection
    }

    /// What is known of the downstream TLS session beyond `ConnectionFacts`.
    public struct Session: Sendable {
        /// `TLSv1.3`.
        public var version = ""
        public var cipher = ""
        /// In IANA's registry; 0: none.
        public var cipherNumber: UInt16 = 0
        /// The first URI of the certificate that this side showed.
        public var localURI = ""

        public init(version: String = "", cipher: String = "", localURI: String = "") {
            (self.version, self.cipher, self.localURI) = (version, cipher, localURI)
        }
    }

    public var kind: Kind
    public var connection: ConnectionFacts
    public var session = Session()
    public var connectionNumber: UInt64 = 0
    /// Who called, as far as `x-forwarded-for` is believed.
    public var remote: NetworkAddress
    /// `HTTP/1.1`, `HTTP/2`; empty for connections.
    public var protocolName = ""
    public var upstreamProtocolName = ""

    /// As the route left it.
    public var request = HeaderList()
    public var response = HeaderList()
    public var trailers: HeaderList?
    /// 0: there was no response.
    public var status = 0
    public var flags: ResponseFlag = []
    /// Why there is this response. Source: Envoy, `%RESPONSE_CODE_DETAILS%`.
    public var details = ""
    /// Why the connection was ended, where a policy did.
    public var terminationDetails = ""
    /// Of bodies.
    public var bytesReceived: UInt64 = 0
    public var bytesSent: UInt64 = 0

    public var routeName = ""
    public var virtualHost = ""
    public var cluster = ""
    public var upstream: NetworkAddress?
    public var upstreamLocal: NetworkAddress?
    /// Why the connection to the host failed.
    public var transportFailure = ""
    public var attempts = 0
    /// The endpoint's own; empty: it has none.
    public var upstreamName = ""
    public var metadata = FilterMetadata()
    /// What stands in the route.
    public var routeMetadata = FilterMetadata()
    /// What stands in the endpoint.
    public var upstreamMetadata = FilterMetadata()
    /// Of this machine.
    public var hostName = ""
    /// Whether, and why, it is traced.
    public var traceReason = TraceReason.notTraced
    /// Its place in the trace that it belongs to; nil: nobody here makes spans.
    public var trace: TraceContext?

    /// When it came, by the calendar.
    public var start: Timestamp
    /// When it came: what the other moments are measured from.
    public var began: Instant
    public var requestEnded: Instant?
    /// The head went out to the host.
    public var sendingBegan: Instant?
    public var sendingEnded: Instant?
    /// The host's first byte came.
    public var responseBegan: Instant?
    public var responseEnded: Instant?
    /// The first byte went out to the client.
    public var replyBegan: Instant?
    /// Nil: it is not over.
    public var ended: Instant?

    public init(_ kind: Kind, _ connection: ConnectionFacts, start: Timestamp, began: Instant, ended: Instant? = nil) {
        (self.kind, self.connection, remote) = (kind, connection, connection.source)
        (self.start, self.began, self.ended) = (start, began, ended)
        if let agreed = connection.session {
            session = Session(version: agreed.version, cipher: agreed.cipher)
            session.cipherNumber = agreed.cipherNumber
        }
    }

    /// Of a gRPC response, from its trailers or, if there is nothing else, its head.
    public var grpcStatus: Int? {
        func read(_ list: HeaderList) -> Int? {
            list.withValue(of: "grpc-status") { Int(String(decoding: $0, as: UTF8.self)) } ?? nil
        }
        return trailers.flatMap(read) ?? read(response)
    }
}
