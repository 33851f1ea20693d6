import HTTP

/// Which end of a connection this is.
public enum HTTP1Role: Sendable {
    /// Receives requests.
    case server
    /// Receives responses.
    case client
}

/// What a peer said, in the order in which it did.
public enum HTTP1Event {
    /// The head of a request or of a final response, pseudo-header fields first, without what concerns this connection
    /// alone (`connection` and the fields that it names, `keep-alive`, `proxy-connection`, `transfer-encoding`,
    /// `upgrade`, `expect`; `te` unless it says trailers): that is in `HTTP1Head`.
    case head(HeaderList, HTTP1Head)
    /// An informational response other than 101; the final one follows.
    case informational(HeaderList)
    /// A part of a body, or of what follows an upgrade: at least one byte, valid while the bytes given to `receive` are.
    case data(UnsafeRawBufferPointer)
    /// The message is whole. On a server nothing more is taken until `startNext`.
    case end(trailers: HeaderList?)
    /// The last event: the connection is of no further use, what follows on it is discarded.
    case failed(HTTP1Failure)
}

extension [HTTP1Event] {
    /// The event at a place, which is nobody else's from now on: what it brings is changed without a copy.
    @inlinable
    public mutating func takeOut(at place: Int) -> HTTP1Event {
        var taken = HTTP1Event.end(trailers: nil)
        swap(&taken, &self[place])
        return taken
    }
}

/// How the end of a body is found. Source: RFC 9112, section 6.3.
public enum HTTP1Framing: Equatable, Sendable {
    /// There is no body.
    case none
    /// So many bytes.
    case length(UInt64)
    /// Chunks, and trailers.
    case chunked
    /// All until the peer closes: responses alone, and what follows an upgrade or CONNECT.
    case untilClose
}

/// What a head says about its connection and body.
public struct HTTP1Head: Equatable, Sendable {
    public var framing = HTTP1Framing.none
    /// Whether the connection may carry another message.
    public var keepsAlive = true
    /// The protocol to change to, in lower case: in a request what is asked for (never with a body, never `h2c`), in a
    /// response with status 101 what follows.
    public var upgrade: String?
    /// The client waits for `100 Continue` before it sends its body.
    public var expectsContinue = false
    public var method = HTTP1Method.other
    /// The sender speaks HTTP/1.0: it understands no chunks and no informational responses.
    public var isHTTP10 = false
    /// The status code of a response; 0 for requests.
    public var status = 0

    public init() {}

    public var isConnect: Bool { method == .connect }
}

/// What of a request's method changes how messages are framed.
public enum HTTP1Method: Sendable {
    case head, connect, other

    public init(_ method: UnsafeRawBufferPointer) {
        self =
            method.equals(StaticString("HEAD").bytes)
            ? .head : method.equals(StaticString("CONNECT").bytes) ? .connect : .other
    }
}

/// What a peer may ask of us at most.
public struct HTTP1Limits: Sendable, Equatable {
    /// The request or status line and all fields of a head, or all trailers: 431.
    public var headBytes = 60 * 1024
    /// Fields of a head, or trailers: 431.
    public var fields = 100
    /// One line: 414 for a request line, else 431.
    public var lineBytes = 60 * 1024
    /// The extensions of all chunks of a body, which nobody reads.
    public var chunkExtensionBytes = 4096
    /// Names in `connection`.
    public var connectionOptions = 16
    /// Informational responses before the final one.
    public var informationalResponses = 16
    /// Whether methods that no registry knows are taken; 400 if not, as Envoy's `allow_custom_methods` has it.
    public var acceptsAnyMethod = false
    /// Whether HTTP/1.0 requests are taken; 426 if not, as Envoy's `accept_http_10` has it.
    public var acceptsHTTP10 = false
    /// The `:authority` of HTTP/1.0 requests that name none; 400 if nil.
    public var hostForHTTP10: String?

    public init() {}
}
