import Time

/// The certificate authority as an operator sees it. Source: martinet.control.v1.AuthorityStatusResponse.
public struct AuthorityReport: Hashable, Sendable {
    public var trustDomain: String
    /// When it was made, by the control plane's clock: what expiry is counted from.
    public var now: Timestamp
    /// All that are not gone, roots first, oldest first.
    public var authorities: [Authority] = []
    /// What is under way or comes next, in the order of time.
    public var timeline: [TimelineEvent] = []
    /// Those that are under way: of the root, of the intermediate, or both.
    public var rotations: [Rotation] = []
    /// In words: what has expired or will unrenewed, and renewals that failed. `martinet ca status` exits with 1.
    public var problems: [String] = []
    /// Leaves that are in use: neither replaced nor past.
    public var outstandingLeaves = 0
    /// When the first of them expires; nil: there is none.
    public var earliestLeafExpiry: Timestamp?
    /// When the certificate of the control plane's own TLS port expires; nil: it is not of this authority.
    public var serverExpiry: Timestamp?
    public var federatedBundles: [FederatedBundle] = []
    /// Peers whose clocks differ from ours, in words.
    public var clockSkews: [String] = []

    public init(trustDomain: String, now: Timestamp) {
        self.trustDomain = trustDomain
        self.now = now
    }

    /// A root or an intermediate.
    public struct Authority: Hashable, Sendable {
        /// Hexadecimal subject key identifier.
        public var id: String
        /// `root` or `intermediate`.
        public var tier: String
        /// The id of its issuer; its own for a root.
        public var issuer: String
        /// `prepared`, `active` or `retiring`.
        public var state: String
        public var subject: String
        public var validity: Range<Timestamp>
        /// Whether its key is here.
        public var hasKey: Bool
        /// Leaves issued under it that are neither replaced nor past.
        public var outstandingLeaves: Int

        public init(
            id: String, tier: String, issuer: String, state: String, subject: String, validity: Range<Timestamp>,
            hasKey: Bool, outstandingLeaves: Int = 0
        ) {
            self.id = id
            self.tier = tier
            self.issuer = issuer
            self.state = state
            self.subject = subject
            self.validity = validity
            self.hasKey = hasKey
            self.outstandingLeaves = outstandingLeaves
        }
    }

    /// Something that is due.
    public struct TimelineEvent: Hashable, Sendable {
        public var at: Timestamp
        public var what: String

        public init(at: Timestamp, what: String) {
            self.at = at
            self.what = what
        }
    }

    /// A rotation that is under way.
    public struct Rotation: Hashable, Sendable {
        /// `root` or `intermediate`.
        public var tier: String
        /// `prepare`, `activate` or `retire`.
        public var phase: String
        public var phaseSince: Timestamp
        /// Who has not done what the phase needs: the first ``awaitedLimit`` by name.
        public var awaited: [AwaitedHolder]
        /// All of them.
        public var awaitedCount: Int
        /// When the phase ends without those who are away; nil: it waits for them.
        public var forcedAt: Timestamp?

        /// How many are named.
        public static let awaitedLimit = 1_000

        public init(
            tier: String, phase: String, phaseSince: Timestamp, awaited: [AwaitedHolder] = [], awaitedCount: Int = 0,
            forcedAt: Timestamp? = nil
        ) {
            self.tier = tier
            self.phase = phase
            self.phaseSince = phaseSince
            self.awaited = awaited
            self.awaitedCount = awaitedCount
            self.forcedAt = forcedAt
        }
    }

    /// A node that a rotation waits for.
    public struct AwaitedHolder: Hashable, Sendable {
        public var nodeID: String
        public var spiffeID: String
        public var isConnected: Bool
        /// What it has and should not rely on, in words.
        public var holds: String
        /// When what it holds is past by itself; nil: never.
        public var until: Timestamp?

        public init(nodeID: String, spiffeID: String, isConnected: Bool, holds: String, until: Timestamp? = nil) {
            self.nodeID = nodeID
            self.spiffeID = spiffeID
            self.isConnected = isConnected
            self.holds = holds
            self.until = until
        }
    }

    /// What is known of another trust domain.
    public struct FederatedBundle: Hashable, Sendable {
        public var trustDomain: String
        /// A file or an HTTPS address.
        public var source: String
        public var sequence: UInt64
        public var refreshedAt: Timestamp?
        public var nextRefreshAt: Timestamp?
        public var x509Authorities: Int
        public var jwtAuthorities: Int
        /// Why the last refresh failed; empty: it did not.
        public var problem: String

        public init(
            trustDomain: String, source: String, sequence: UInt64 = 0, refreshedAt: Timestamp? = nil,
            nextRefreshAt: Timestamp? = nil, x509Authorities: Int = 0, jwtAuthorities: Int = 0, problem: String = ""
        ) {
            self.trustDomain = trustDomain
            self.source = source
            self.sequence = sequence
            self.refreshedAt = refreshedAt
            self.nextRefreshAt = nextRefreshAt
            self.x509Authorities = x509Authorities
            self.jwtAuthorities = jwtAuthorities
            self.problem = problem
        }
    }
}
