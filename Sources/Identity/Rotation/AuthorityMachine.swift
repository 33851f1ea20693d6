import Time

/// What of the machine outlives a restart, besides the records of the holders. Small: kept after every event that
/// changes it (``AuthorityMachine/revision`` grows), before the actions are done.
public struct AuthorityState: Hashable, Codable, Sendable {
    public internal(set) var authorities: [Authority] = []
    public internal(set) var rootRotation: Rotation?
    public internal(set) var intermediateRotation: Rotation?
    public internal(set) var crossSignatures: [CrossSignature] = []
    /// After an abort: the schedule begins nothing before these moments.
    public internal(set) var postponed: [AuthorityTier: Timestamp] = [:]
    /// Whose keys are to be destroyed, until that is known to be done.
    public internal(set) var toForget: Set<AuthorityID> = []

    public init() {}
}

/// Decides when authorities are made, trusted, used and given up, so that no handshake breaks. A value without clock,
/// keys or certificates: it takes what happened and returns what is to be done.
///
/// What it promises, as long as no step is forced: **any two workloads whose certificates both take for valid, each by
/// its own clock, off by at most ``AuthorityPolicy/clockAllowance``, can complete a handshake in both directions.**
/// That holds for those that are connected to Martinet, and for those that are away too: a workload that slept through
/// steps is waited for while its certificate is valid. Once that is past, it cannot take part until it comes back and
/// gets the bundle first and a certificate then (``mayReceiveLeaf(_:)``). A forced step breaks the promise for those it
/// went on without, and only for them, until they have taken what the step gave out.
///
/// What follows from it: while a root rotates, a workload that is away delays it by at most the rest of its
/// certificate's life; one that is connected and refuses a bundle delays it until an operator decides.
///
/// The caller keeps ``state`` before it does the actions, and does them in order. After a restart
/// ``pendingActions(now:)`` says again what is to be done; every action may be done twice.
public struct AuthorityMachine: Sendable {
    public let policy: AuthorityPolicy
    public internal(set) var state: AuthorityState {
        didSet { if state != oldValue { revision += 1 } }
    }
    /// Grows with each change of ``state``.
    public private(set) var revision: UInt64 = 0

    var table = HolderTable()
    /// What was asked for and has not been answered.
    var asked: Set<Making> = []
    /// Of what could not be made: when to ask again.
    var retries: [Making: Retry] = [:]
    var awaitedForRoot: AwaitedSet?
    var awaitedForIntermediate: AwaitedSet?
    /// Nobody is waited for any more, and from then on the old root may be trusted no longer.
    var retiresAt: Timestamp?
    /// How urgent the last warning about each authority was: the remaining time is halved between two.
    var warned: [AuthorityID: Timestamp] = [:]
    var warnedOfWaiting: [AuthorityTier: Timestamp] = [:]
    var nextSweep: Timestamp?

    struct Retry: Hashable, Sendable {
        var attempts: Int
        var at: Timestamp
        var reason: String
    }

    /// A machine at its first start: the first ``handle(_:now:)`` asks for a root.
    public init(policy: AuthorityPolicy) {
        self.policy = policy
        state = AuthorityState()
    }

    /// A machine that goes on where it was. Do ``pendingActions(now:)`` next.
    public init(policy: AuthorityPolicy, restoring state: AuthorityState, holders: [HolderRecord]) {
        self.policy = policy
        self.state = state
        table.restore(holders, published: bundle)
    }

    /// Takes what happened, and says what is to be done.
    public mutating func handle(_ event: Event, now: Timestamp) -> [Action] {
        var actions: [Action] = []
        take(event, now: now, into: &actions)
        settle(now: now, into: &actions)
        return actions
    }

    /// All that is to be done in the present state, for the start of the process.
    public mutating func pendingActions(now: Timestamp) -> [Action] {
        asked = []
        var actions: [Action] = []
        if !bundle.isEmpty { actions.append(.publishBundle(bundle)) }
        if let issuer { actions.append(.issueUnder(issuer.id, crossSignature: crossSignature)) }
        let outdated = authoritiesToLeave
        if !outdated.isEmpty { actions.append(.renewLeaves(of: outdated)) }
        actions += state.toForget.sorted().map { .forget($0) }
        settle(now: now, into: &actions)
        return actions
    }

    /// Records of holders that changed since the last call, and holders whose records may go: to be kept, in one
    /// transaction with what else belongs to the event.
    public mutating func takeChangedHolders() -> (kept: [HolderRecord], dropped: [HolderID]) { table.takeChanged() }

    private mutating func take(_ event: Event, now: Timestamp, into actions: inout [Action]) {
        switch event {
        case .tick: break
        case .madeRoot(let id, let validity): takeRoot(id, validity, now: now, into: &actions)
        case .madeIntermediate(let id, let root, let validity):
            takeIntermediate(id, under: root, validity, now: now, into: &actions)
        case .crossSigned(let signature): takeCrossSignature(signature, now: now)
        case .makingFailed(let making, let reason):
            takeFailure(of: making, reason: reason, now: now, into: &actions)
        case .forgotten(let id): state.toForget.remove(id)
        case .connected(let id):
            let published = bundle
            note(id, now: now) {
                $0.isConnected = true
                $0.mayHaveGot(published)
            }
        case .disconnected(let id): note(id, now: now) { $0.isConnected = false }
        case .bundleRequested(let id):
            let published = bundle
            note(id, now: now) { $0.askedForBundle(published: published) }
        case .bundleAcknowledged(let id, let roots):
            let published = bundle
            note(id, now: now) { $0.acknowledged(roots, published: published) }
        case .leafIssued(let id, let leaf):
            if state.authorities.first(where: { $0.id == leaf.issuer })?.state != .active {
                actions.append(.warn(.leafUnderUnknownIssuer(id, leaf.issuer)))
            }
            note(id, now: now) { $0.issued(leaf) }
        case .leafInstalled(let id, let serial): note(id, now: now) { _ = $0.installed(serial: serial) }
        }
    }

    private mutating func note(_ id: HolderID, now: Timestamp, _ change: (inout HolderRecord) -> Void) {
        table.update(id, now: now, change)
        awaitedForRoot?.update(id, table: table, now: now, policy: policy)
        awaitedForIntermediate?.update(id, table: table, now: now, policy: policy)
    }
}

extension AuthorityMachine {
    /// The roots that peers are told to trust.
    public var bundle: Set<AuthorityID> { Set(state.authorities.lazy.filter(\.isInBundle).map(\.id)) }

    /// The intermediate that signs leaves; `nil` until the first one is made.
    public var issuer: Authority? { state.authorities.first { $0.tier == .intermediate && $0.state == .active } }

    /// The root in force.
    public var activeRoot: Authority? { state.authorities.first { $0.tier == .root && $0.state == .active } }

    /// What chains carry after the intermediate: the root in force, certified by the old one. Until nobody is left who
    /// knows the old one alone.
    public var crossSignature: CrossSignature? {
        let root = activeRoot?.id
        return state.crossSignatures.last { $0.root == root }
    }

    /// The root for a client that keeps only one (Istio's agents take the last certificate of the answer): the old one
    /// while others may show certificates of it, since chains of the new one lead to the old one too.
    public var rootForSingleRootHolders: AuthorityID? {
        guard let rotation = state.rootRotation, let old = rotation.old else { return activeRoot?.id }
        switch rotation.phase {
        case .making, .preparing: return old
        case .activating: return crossSignature?.by == old ? old : activeRoot?.id
        case .retiring: return activeRoot?.id
        }
    }

    /// Whether a certificate may go to this holder now. One that takes its trust bundle by SDS and came back with a
    /// bundle that lacks the root in force gets its certificate after the ACK of the bundle: before, it could show
    /// itself to others and not know them.
    public func mayReceiveLeaf(_ id: HolderID) -> Bool {
        guard let root = activeRoot?.id, let record = table[id], record.bundle != nil else { return true }
        return record.certainRoots.contains(root)
    }

    /// Whether a holder of a leaf of `issuer` should get another now: it is not the one that signs.
    public func wantsRenewal(of issuer: AuthorityID) -> Bool { self.issuer.map { $0.id != issuer } ?? false }

    /// The validity of a leaf that is issued now. `nil`: the issuer has ended, or there is none.
    public func leafValidity(_ wanted: Duration? = nil, now: Timestamp) -> LeafValidity? {
        guard let issuer, let root = activeRoot else { return nil }
        return LeafValidity.clamped(
            min(wanted ?? policy.leafValidity, policy.leafValidity), backdate: policy.clockAllowance,
            within: [issuer.validity, root.validity], now: now)
    }

    /// What is known of a holder.
    public func record(of id: HolderID) -> HolderRecord? { table[id] }

    /// Intermediates whose leaves are to be replaced.
    var authoritiesToLeave: Set<AuthorityID> {
        Set(state.authorities.lazy.filter { $0.tier == .intermediate && $0.state == .retiring }.map(\.id))
    }
}
