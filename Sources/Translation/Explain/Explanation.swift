import Mesh

/// What becomes of a request, and which words of which object say so.
public struct Explanation: Hashable, Sendable {
    /// A place in an object that a user wrote.
    public struct Place: Hashable, Sendable {
        public var object: ObjectKey
        /// `spec.http[0].match[1]`; empty for the object itself.
        public var path: String
        public var file: String?
        public var line: Int?
    }

    /// The words that decide, and their name; the place is nil where no object says it.
    public struct Rule: Hashable, Sendable {
        public var name: String
        public var place: Place?
    }

    public enum Outcome: Hashable, Sendable {
        /// To one of the shares.
        case forwarded
        case redirected(status: Int, to: String)
        /// By the caller's own sidecar.
        case answered(status: Int)
        /// Where the caller meant it to go, unknown to the mesh.
        case passedThrough
        /// Refused by the caller's own sidecar, with the reason.
        case refused(status: Int, String)
    }

    /// One of the places that requests are divided among.
    public struct Share: Hashable, Sendable {
        public var cluster: String
        public var host: String
        public var port: Int
        public var subset: String
        public var percent: Double
        /// The DestinationRule that says how it is called.
        public var destinationRule: Place?
        /// Where the subset is defined.
        public var subsetPlace: Place?
        /// Empty: nobody serves it, and callers get 503.
        public var servers: [Server]
    }

    /// What a connection is between the two sides.
    public enum Security: String, Hashable, Sendable {
        case mutualTLS = "mutual TLS"
        case tls = "TLS"
        case plaintext
    }

    public struct Server: Hashable, Sendable {
        /// Nil: it is expected, and has not come.
        public var address: String?
        public var port: Int
        public var workload: String
        public var hasSidecar: Bool
        public var security: Security
        /// What its sidecar takes, and who says so; nil without a sidecar.
        public var mode: Istio.PeerAuthentication.Mode?
        public var modePlace: Place?
        public var verdict: Verdict
        public var health = Health.unknown
    }

    public enum Health: String, Hashable, Sendable {
        /// Nobody checks it.
        case unknown
        case healthy
        /// Callers avoid it as long as others are healthy.
        case unhealthy
        /// It ends, and gets no new requests while others are there.
        case draining
    }

    /// What the rule breaks on purpose, in percent of the requests.
    public struct Fault: Hashable, Sendable {
        /// Of HTTP, or of gRPC by name; nil aborts nothing.
        public var abortStatus: String?
        public var abortPercent = 0.0
        public var delay: Duration?
        public var delayPercent = 0.0
    }

    public enum Verdict: Hashable, Sendable {
        /// By a rule, or because none asks.
        case allowed(Rule?)
        /// By a rule, or because none of the ALLOW policies allows it.
        case denied(Rule?)
        /// No connection comes about, for this reason.
        case noConnection(String)
        /// By a service that this rule has asked, under the name of its provider; policies before and after it agree.
        case asked(Rule?, provider: String)
        /// No sidecar asks.
        case unasked
    }

    public var question: TrafficQuestion
    /// `spiffe://…`; nil: the caller has none.
    public var identity: String?
    /// What is called, in full.
    public var host: String
    public var port: Int
    /// The Service or ServiceEntry; nil if nothing visible has the host.
    public var service: Place?
    /// Of the caller's sidecar.
    public var listener: String?
    /// The route configuration; nil for what is no HTTP.
    public var routes: String?
    public var virtualHost: String?
    public var rule: Rule?
    /// What else the rule does: timeout, retries, faults, rewrites, mirrors.
    public var effects: [String] = []
    public var fault: Fault?
    public var outcome: Outcome
    public var shares: [Share] = []
    /// What could not be known, or surprises.
    public var notes: [String] = []

    /// Whether every server would take it, as far as the mesh decides.
    public var isAllowed: Bool {
        shares.flatMap(\.servers).allSatisfy {
            switch $0.verdict {
            case .allowed, .asked, .unasked: true
            case .denied, .noConnection: false
            }
        }
    }
}
