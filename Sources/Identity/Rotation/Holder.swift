import Time

/// One proxy or agent that certificates were given to.
public struct HolderID: Hashable, Comparable, Codable, Sendable, CustomStringConvertible {
    /// The node id of its xDS streams, or what stands for it with clients of the CSR service.
    public let node: String
    public let identity: SPIFFEID

    public init(node: String, identity: SPIFFEID) {
        self.node = node
        self.identity = identity
    }

    public var description: String { "\(node) (\(identity))" }
    public static func < (left: HolderID, right: HolderID) -> Bool {
        (left.node, left.identity) < (right.node, right.identity)
    }
}

/// A workload certificate that was issued and may be in use.
public struct OutstandingLeaf: Hashable, Codable, Sendable {
    public var serial: String
    /// The intermediate that signed it.
    public let issuer: AuthorityID
    public var notAfter: Timestamp
    /// The roots that came with it, for a holder that takes its trust from the same answer (a client of the CSR
    /// service that has no stream). `nil`: its trust bundle comes by SDS and is acknowledged there.
    public let roots: Set<AuthorityID>?

    public init(serial: String, issuer: AuthorityID, notAfter: Timestamp, roots: Set<AuthorityID>? = nil) {
        self.serial = serial
        self.issuer = issuer
        self.notAfter = notAfter
        self.roots = roots
    }
}

/// What one holder has, as far as is known. Records outlive a restart: the caller keeps them
/// (``AuthorityMachine/takeChangedHolders()``); a lost acknowledgement only makes a step wait longer, but a leaf must
/// be on record before it is handed out.
public struct HolderRecord: Hashable, Codable, Sendable {
    public let id: HolderID
    /// Not kept: after a restart everybody is away until it connects.
    public var isConnected = false
    /// The trust bundle that it acknowledged last; empty: it asked for one and has acknowledged none; `nil`: it never
    /// asked, and has its trust from elsewhere.
    public private(set) var bundle: Set<AuthorityID>?
    /// Roots that it has for certain: those of `bundle` that are in every bundle that may have reached it since, too. An
    /// acknowledgement can be lost.
    public private(set) var certainRoots: Set<AuthorityID> = []
    /// From the oldest to the newest. When one is known to be installed, those before it are gone.
    public private(set) var leaves: [OutstandingLeaf] = []
    public var lastSeen: Timestamp

    private enum CodingKeys: String, CodingKey { case id, bundle, certainRoots, leaves, lastSeen }

    public init(id: HolderID, lastSeen: Timestamp) {
        self.id = id
        self.lastSeen = lastSeen
    }

    mutating func askedForBundle(published: Set<AuthorityID>) {
        bundle = bundle ?? []
        mayHaveGot(published)
    }

    /// A bundle was published while it is connected, or it connected.
    mutating func mayHaveGot(_ published: Set<AuthorityID>) { certainRoots.formIntersection(published) }

    mutating func acknowledged(_ roots: Set<AuthorityID>, published: Set<AuthorityID>) {
        bundle = roots
        // Of another than the present one: it may be anywhere between the two.
        if roots == published { certainRoots = roots } else { certainRoots.formIntersection(roots) }
    }

    /// Leaves of one issuer that follow each other count as one, so a holder that asks every second stays small.
    mutating func issued(_ leaf: OutstandingLeaf) {
        if let last = leaves.last, last.issuer == leaf.issuer, last.roots == leaf.roots {
            leaves[leaves.count - 1].serial = leaf.serial
            leaves[leaves.count - 1].notAfter = max(last.notAfter, leaf.notAfter)
            return
        }
        leaves.append(leaf)
        guard leaves.count > Self.mostRuns else { return }
        // Orders and aborts alternate: an old run joins the later one of its kind, which can only prolong a wait.
        for (index, old) in leaves.enumerated() {
            let twin = leaves.lastIndex { $0.issuer == old.issuer && $0.roots == old.roots } ?? index
            guard twin > index else { continue }
            leaves[twin].notAfter = max(leaves[twin].notAfter, old.notAfter)
            leaves.remove(at: index)
            return
        }
    }

    /// Runs that are kept before equal ones are joined.
    static let mostRuns = 8

    mutating func installed(serial: String) -> Bool {
        guard let index = leaves.lastIndex(where: { $0.serial == serial }), index > 0 else { return false }
        leaves.removeFirst(index)
        return true
    }

    /// Forgets what no clock within the allowance takes for valid.
    mutating func dropPast(now: Timestamp, allowance: Duration) {
        leaves.removeAll { $0.notAfter + allowance <= now }
    }

    func hasLiveLeaf(now: Timestamp, allowance: Duration) -> Bool {
        leaves.contains { $0.notAfter + allowance > now }
    }
}
