import EnvoyAPI
import HTTP
import Time

/// What a route says of a request's importance: each has breakers of its own.
public enum RequestPriority: Int, Sendable, CaseIterable { case normal, high }

/// Bounds on what is under way to one cluster at one priority.
/// Source: Envoy, `config.cluster.v3.CircuitBreakers.Thresholds`, with its defaults.
public struct BreakerSettings: Sendable, Equatable {
    public var connections = 1024
    public var pending = 1024
    public var requests = 1024
    public var retries = 3
    /// Retries as a share of what is under way; takes the place of `retries`.
    public var retryBudget: RetryBudget?

    public struct RetryBudget: Sendable, Equatable {
        public var percent = 20.0
        public var minimum = 3
    }

    public init() {}
}

/// When a host that fails is left alone, and for how long.
/// Source: Envoy, `config.cluster.v3.OutlierDetection`, with its defaults.
public struct OutlierSettings: Sendable, Equatable {
    public var interval = Duration.seconds(10)
    public var baseEjectionTime = Duration.seconds(30)
    public var maximumEjectionTime = Duration.seconds(300)
    public var ejectionJitter = Duration.zero
    public var maximumEjectedPercent = 10
    public var alwaysEjectsOne = false
    public var consecutive5xx = 5
    public var consecutiveGatewayFailures = 5
    public var consecutiveLocalFailures = 5
    public var splitsLocalFailures = false
    public var successRate = SuccessRate()
    public var failurePercentage = FailurePercentage()
    public var checksEndEjections = true

    /// Percent of the cases in which what is detected leads to an ejection.
    public var enforcing5xx = 100
    public var enforcingGatewayFailures = 0
    public var enforcingLocalFailures = 100
    public var enforcingSuccessRate = 100
    public var enforcingLocalSuccessRate = 100
    public var enforcingFailurePercentage = 0
    public var enforcingLocalFailurePercentage = 0

    /// Hosts whose share of successes is far under that of the others.
    public struct SuccessRate: Sendable, Equatable {
        public var minimumHosts = 5
        public var minimumRequests = 100
        /// Thousandths: how many standard deviations under the mean.
        public var deviations = 1900
    }

    /// Hosts that fail more than a share of their requests.
    public struct FailurePercentage: Sendable, Equatable {
        public var threshold = 85
        public var minimumHosts = 5
        public var minimumRequests = 50
    }

    public init() {}
}

/// How hosts are asked whether they are healthy. Source: Envoy, `config.core.v3.HealthCheck`, with its defaults.
public struct CheckSettings: Sendable {
    public enum Kind: Sendable {
        case http(HTTPCheck)
        case grpc(GRPCCheck)
        case tcp(TCPCheck)
    }

    public struct HTTPCheck: Sendable {
        /// Of the request: `:method`, `:scheme` and `:path`, and fields to add; `:authority` depends on the host.
        public var method = "GET"
        public var path = "/"
        /// Empty: the cluster's name.
        public var host = ""
        public var added: [(name: String, value: String)] = []
        public var removed: [String] = []
        public var expected: [Range<Int64>] = [200..<201]
        /// Statuses that count as failures one by one, instead of at once.
        public var retriable: [Range<Int64>] = []
        public var send: [UInt8] = []
        /// Found in the body, one after the other.
        public var receive: [[UInt8]] = []
        /// How much of a body is kept for that, in bytes.
        public var bodyLimit = 1024
        public var usesHTTP2 = false
        /// What `x-envoy-upstream-healthchecked-cluster` must say.
        public var service: TextMatcher?
    }

    public struct GRPCCheck: Sendable {
        public var service = ""
        /// Empty: the cluster's name.
        public var authority = ""
        public var metadata: [(name: String, value: String)] = []
    }

    public struct TCPCheck: Sendable {
        public var send: [UInt8] = []
        /// Found in what comes back, one after the other; none: a connection is enough.
        public var receive: [[UInt8]] = []
    }

    public var kind: Kind
    public var timeout = Duration.seconds(1)
    public var interval = Duration.seconds(1)
    /// Before the first check of a host.
    public var initialJitter = Duration.zero
    public var jitter = Duration.zero
    /// Of the interval.
    public var jitterPercent = 0
    public var unhealthyThreshold = 1
    public var healthyThreshold = 1
    public var unhealthyInterval = Duration.seconds(1)
    /// Between the first failure and the threshold.
    public var unhealthyEdgeInterval = Duration.seconds(1)
    public var healthyEdgeInterval = Duration.seconds(1)
    /// While the cluster has had no connection.
    public var noTrafficInterval = Duration.seconds(60)
    public var noTrafficHealthyInterval = Duration.seconds(60)
    /// 0: the host's own.
    public var port: UInt16 = 0
    public var reusesConnection = true
    /// What ALPN offers on connections of checks; empty: as other connections.
    public var applicationProtocols: [String] = []
    /// An index into ``ClusterConfiguration/transports`` for checks; nil: the host's.
    public var transport: Int?

    public init(kind: Kind) {
        self.kind = kind
    }
}

/// Which responses count as failures of the host.
public indirect enum ResponseCondition: Sendable {
    case any
    case not(ResponseCondition)
    case all([ResponseCondition])
    case either([ResponseCondition])
    /// Every header condition.
    case headers([HeaderCondition])

    public func matches(_ head: HeaderList) -> Bool {
        switch self {
        case .any: true
        case .not(let condition): !condition.matches(head)
        case .all(let conditions): conditions.allSatisfy { $0.matches(head) }
        case .either(let conditions): conditions.contains { $0.matches(head) }
        case .headers(let conditions): conditions.allSatisfy { $0.matches(head) }
        }
    }
}
