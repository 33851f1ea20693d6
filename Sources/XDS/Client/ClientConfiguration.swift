import Time

extension DiscoveryClient {
    /// The two variants of the xDS transport.
    public enum Variant: Sendable {
        case delta
        case stateOfTheWorld
    }

    /// What becomes of a cached resource when its next version is rejected, or when the server reports NOT_FOUND
    /// or PERMISSION_DENIED for it. Source: gRFC A88, `fail_on_data_errors`.
    public enum DataErrorPolicy: Sendable {
        case keepLastGood
        case drop
    }

    /// What a server can make the client keep, and what the user may ask for, at most.
    public struct Limits: Equatable, Sendable {
        /// Resources kept, all types together. One more is rejected, and the server is told.
        public var resources: Int
        /// Bytes of bodies, names, versions and aliases kept, all types together.
        public var bytes: Int
        /// Names subscribed to, all types together.
        public var names: Int
        /// Replies that wait while the transport cannot send. With one more the stream is closed: a server that
        /// does not read must not make the client grow.
        public var waitingReplies: Int

        public init(
            resources: Int = 100_000, bytes: Int = 256 << 20, names: Int = 100_000, waitingReplies: Int = 64
        ) {
            self.resources = resources
            self.bytes = bytes
            self.names = names
            self.waitingReplies = waitingReplies
        }
    }

    public struct Configuration: Sendable {
        /// Sent in the first request of each stream.
        public var node: Node
        public var variant: Variant
        /// What people call the servers, for example their addresses; the most wanted first. Source: gRFC A71.
        public var servers: [String]
        public var backoff: Backoff
        /// How long a stream may take to be opened. Source: gRPC, "Connection Backoff Protocol".
        public var connectTimeout: Duration
        /// How long a requested resource may take to come before it counts as not existing.
        /// Source: Envoy, "xDS REST and gRPC protocol", "Knowing When a Requested Resource Does Not Exist".
        public var absenceTimeout: Duration
        public var dataErrorPolicy: DataErrorPolicy
        public var limits: Limits

        public init(
            node: Node, variant: Variant = .delta, servers: [String], backoff: Backoff = Backoff(),
            connectTimeout: Duration = .seconds(20), absenceTimeout: Duration = .seconds(15),
            dataErrorPolicy: DataErrorPolicy = .keepLastGood, limits: Limits = Limits()
        ) {
            self.node = node
            self.variant = variant
            self.servers = servers
            self.backoff = backoff
            self.connectTimeout = connectTimeout
            self.absenceTimeout = absenceTimeout
            self.dataErrorPolicy = dataErrorPolicy
            self.limits = limits
        }
    }
}

/// Why a client refuses what its user asks for.
public enum DiscoveryClientError: Error, Equatable, CustomStringConvertible {
    case noServers
    case emptyName(ResourceType)
    case nulInName(ResourceType, name: String)
    case tooManyNames(limit: Int)

    public var description: String {
        switch self {
        case .noServers: "a discovery client needs at least one server"
        case .emptyName(let type): "\(type): a resource name is empty; for all resources name \"*\""
        case .nulInName(let type, let name):
            "\(type): the resource name \(String(reflecting: name)) contains a NUL; remove it"
        case .tooManyNames(let limit):
            "more than \(limit) resource names; unsubscribe from some, subscribe to \"*\", or raise limits.names"
        }
    }
}
