import Time

/// How a cluster's requests are spread over its hosts.
public struct BalancingSettings: Sendable {
    public enum Policy: Sendable, Equatable {
        case roundRobin
        case leastRequest(LeastRequest)
        case random
        case ring(Ring)
        /// A Maglev table with that many slots, a prime number.
        case maglev(slots: Int)
        /// The cluster's type says it: the original destination.
        case clusterProvided

        /// Whether a hash of the request decides.
        public var hashes: Bool {
            switch self {
            case .ring, .maglev: true
            case .roundRobin, .leastRequest, .random, .clusterProvided: false
            }
        }
    }

    public struct LeastRequest: Sendable, Equatable {
        /// Of how many hosts, drawn at random, the one with the fewest requests is taken.
        public var choices = 2
        /// How much active requests lower a weight: weight / (active + 1) ^ bias.
        public var bias = 1.0
        /// Looks at all hosts instead of drawing some.
        public var scansAll = false
    }

    public struct Ring: Sendable, Equatable {
        public enum Function: Sendable { case xx, murmur }
        public var minimumSize = 1024
        public var maximumSize = 8 << 20
        public var function = Function.xx
    }

    /// Hosts that are new get their share little by little.
    public struct SlowStart: Sendable, Equatable {
        /// After this a host has its whole share.
        public var window: Duration
        /// 1: the share grows evenly; more: faster at first.
        public var aggression = 1.0
        /// Of the weight, from 0 to 1: a new host gets at least so much.
        public var minimumShare = 0.1
    }

    /// How the localities of one priority share its requests.
    public enum Localities: Sendable, Equatable {
        /// They do not matter.
        case ignored
        /// By their weights and the share of their hosts that is healthy.
        case weighted
        /// The proxy's own first, as far as that is fair.
        case nearest(Nearest)
    }

    public struct Nearest: Sendable, Equatable {
        /// Percent of requests for which it holds.
        public var enabledPercent = 100
        /// With fewer healthy hosts than these, localities do not matter.
        public var minimumHosts = 6
        public var failsInPanic = false
        /// Stays in the own locality while it has a healthy host.
        public var staysLocal = false
    }

    public var policy = Policy.roundRobin
    public var slowStart: SlowStart?
    public var localities = Localities.ignored
    /// With a smaller share of healthy hosts than this, in percent, all are used: better some than none.
    public var panicThreshold = 50
    /// Whether a table's places are hashed from a host's name rather than its address.
    public var hashesHostname = false
    /// Percent of the average load that a host of a table may have before its keys go elsewhere.
    public var hashBalanceFactor: UInt32?
    /// Where a host's address may be written in a request that asks for it: a header's name, in lower case.
    public var overrideHeaders: [String] = []
    /// The states in which a host that a request asks for is used.
    public var overrideStates: Set<HostState> = [.unknown, .healthy, .degraded]

    public init() {}
}

/// What is known of a host's health, as its resource or checks say.
/// Source: Envoy, `config.core.v3.HealthStatus`.
public enum HostState: String, Sendable, CaseIterable {
    case unknown, healthy, unhealthy, draining, timeout, degraded
}
