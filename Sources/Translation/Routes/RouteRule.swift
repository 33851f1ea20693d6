import Mesh

/// One rule of a virtual host, whichever kind of object says it: what requests it takes and what becomes of them. Rules
/// are tried in order, and the first that takes a request decides.
public struct RouteRule: Hashable, Sendable {
    /// The object that says it, and where in it.
    public struct Origin: Hashable, Sendable {
        public var object: ObjectKey
        /// `spec.http[0].match[1]`, as findings write it.
        public var path: String

        public init(_ object: ObjectKey, _ path: String) {
            self.object = object
            self.path = path
        }
    }

    public enum Action: Hashable, Sendable {
        case forward(Forwarding)
        case redirect(Redirection)
        case respond(status: Int, body: [UInt8]?)
    }

    public enum Retries: Hashable, Sendable {
        /// The mesh's own.
        case standard
        case none
        case policy(RetryRule)
    }

    /// Nil for what no object says: the way to a service that nobody routes.
    public var origin: Origin?
    /// In access logs, and what EnvoyFilters name.
    public var name: String
    public var match: RequestMatch
    public var action: Action
    /// Of the whole exchange; nil or zero is no limit.
    public var timeout: Duration?
    public var retries: Retries
    public var fault: Istio.HTTPFault?
    public var cors: CrossOriginRule?
    public var requestHeaders: HeaderRule
    public var responseHeaders: HeaderRule
    public var statPrefix: String?
    /// In traces: `reviews.default.svc.cluster.local:9080/*`.
    public var operation: String

    public init(
        origin: Origin?, name: String, match: RequestMatch = .everything, action: Action, timeout: Duration? = nil,
        retries: Retries = .standard, operation: String = ""
    ) {
        self.origin = origin
        self.name = name
        self.match = match
        self.action = action
        self.timeout = timeout
        self.retries = retries
        self.operation = operation
        requestHeaders = HeaderRule()
        responseHeaders = HeaderRule()
    }
}

/// Where requests go, and as what.
public struct Forwarding: Hashable, Sendable {
    public enum PathRewrite: Hashable, Sendable {
        /// Replaces what matched: a prefix, or the whole path.
        case matched(String)
        /// RE2, with `\1` for groups.
        case regex(pattern: String, substitution: String)
    }

    public struct Target: Hashable, Sendable {
        public var cluster: String
        /// In full; empty for a backend that is none.
        public var host: String
        public var port: Int
        public var subset: String
        /// A share of the sum; a lone target has all.
        public var weight: Int
        public var authority: String?
        public var requestHeaders = HeaderRule()
        public var responseHeaders = HeaderRule()

        /// Of a backend that does not exist or may not be used: its share of the requests fails with 500.
        public var isInvalid: Bool { host.isEmpty }
    }

    public struct Mirror: Hashable, Sendable {
        public var cluster: String
        /// Percent of requests.
        public var percentage: Double
    }

    /// Those without weight beside others are left out.
    public var targets: [Target]
    public var path: PathRewrite?
    public var authority: String?
    public var mirrors: [Mirror] = []
    /// What requests of one client have in common, so that they stay with an endpoint.
    public var hash: [Istio.ConsistentHash.Key] = []
}

public struct Redirection: Hashable, Sendable {
    public enum Path: Hashable, Sendable {
        case full(String)
        case prefix(String)
        case regex(pattern: String, substitution: String)
    }

    public var scheme: String?
    public var authority: String?
    /// Nil leaves it to the scheme, or to the request.
    public var port: Int?
    public var path: Path?
    /// 301, 302, 303, 307 or 308.
    public var code: Int
}

/// Changes to headers: set, then added, then removed, each in this order.
public struct HeaderRule: Hashable, Sendable {
    public struct Header: Hashable, Sendable {
        public var name: String
        public var value: String
    }

    public var set: [Header] = []
    public var add: [Header] = []
    public var remove: [String] = []

    public var isEmpty: Bool { self.set.isEmpty && add.isEmpty && remove.isEmpty }
}

public struct RetryRule: Hashable, Sendable {
    public var attempts: Int
    public var perTryTimeout: Duration?
    /// Envoy's conditions with commas between; nil is the mesh's own.
    public var conditions: String?
    public var statusCodes: [Int] = []
    public var triesRemoteLocalities = false
    /// Nil avoids them unless requests are bound to an endpoint by a hash.
    public var avoidsPreviousHosts: Bool?
    public var backoff: Duration?
}

public struct CrossOriginRule: Hashable, Sendable {
    public var origins: [TextCondition]
    public var methods: [String]
    public var requestHeaders: [String]
    public var exposedHeaders: [String]
    public var maxAge: Duration?
    public var allowsCredentials: Bool?
    public var forwardsUnmatchedPreflights: Bool?
}
