import Time

/// What the owner of a stream must do, or may want to know. To be carried out in order.
public enum StreamAction: Sendable {
    /// Encode the response (see ``PreparedResponse/encoded(by:)``) and write it.
    case send(PreparedResponse)
    /// The first request came. Find the node's view and call `publish` with its snapshot.
    case opened(Node)
    /// The client applied a response.
    case acknowledged(ResourceType, version: String, nonce: String)
    /// The client refused a response, and why. It runs what it had.
    case rejected(ResourceType, version: String, nonce: String, detail: ErrorDetail)
    /// A request for another response than the one under way: it counts neither as ACK nor as NACK.
    case ignoredStale(ResourceType, nonce: String, detail: ErrorDetail?)
    /// A removal went out before everything that may refer to it was acknowledged.
    case removalForced(ResourceType, count: Int, waited: Duration)
    /// Resources went out before the clusters or endpoints that they may refer to.
    case additionForced(ResourceType, waited: Duration)
    /// End the stream with this status. The machine takes nothing more.
    case fail(StreamError)
}

/// Why a stream is ended, as a gRPC status.
public struct StreamError: Error, Hashable, Sendable {
    /// The gRPC status codes that a stream may end with.
    public enum Code: Int32, Sendable {
        /// The request breaks the protocol.
        case invalidArgument = 3
        /// The client asks for more than ``StreamLimits`` allows.
        case resourceExhausted = 8
    }

    /// The status code.
    public var code: Code
    /// What is wrong, where, and the mend.
    public var message: String

    /// An error with a code and words for the client.
    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }
}

/// Which service the client called.
public enum DiscoveryService: Hashable, Sendable {
    /// AggregatedDiscoveryService: every request names its type.
    case aggregated
    /// ClusterDiscoveryService and the like: the type is implied.
    case single(ResourceType)
}

/// Bounds on what a client may make a stream hold, and on how long order is kept.
public struct StreamLimits: Hashable, Sendable {
    /// Names subscribed to, for each type.
    public var namesPerType = 100_000
    /// UTF-8 bytes of those names, for each type.
    public var nameBytesPerType = 16 << 20
    /// UTF-8 bytes of a node id: every log line and report of the stream has it.
    public var nodeIDBytes = 1024
    /// UTF-8 bytes of an error detail that are kept; longer ones are cut.
    public var errorDetailBytes = 4096
    /// How long removals wait for the ACKs of what may refer to them.
    public var removalWait: Duration = .seconds(30)
    /// How long removals wait, from the first request of a stream, for a client that came back with resources to
    /// subscribe to what may refer to them.
    public var reconnectWait: Duration = .milliseconds(250)
    /// How long listeners and routes wait for the clusters and endpoints before them, while those wait for an ACK.
    public var additionWait: Duration = .seconds(5)

    /// The limits of a server that nobody has tuned.
    public init() {}
}
