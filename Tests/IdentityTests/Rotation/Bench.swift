import Testing
import Time

@testable import Identity

/// A machine on a table: its actions are answered at once, and all is written down.
struct Bench {
    var machine: AuthorityMachine
    var now = Timestamp(seconds: 1_800_000_000)
    var published: [Set<AuthorityID>] = []
    var issuers: [AuthorityID] = []
    var renewals: [Set<AuthorityID>] = []
    var forgotten: [AuthorityID] = []
    var warnings: [AuthorityMachine.Warning] = []
    var notes: [AuthorityMachine.Note] = []
    /// Whether what is asked for is made at once.
    var makes = true
    var asked: [AuthorityMachine.Making] = []
    private var lastName = 0
    private var lastSerial = 0

    init(policy: AuthorityPolicy = AuthorityPolicy(), isStarted: Bool = true) {
        machine = AuthorityMachine(policy: policy)
        if isStarted { tell(.tick) }
    }

    mutating func tell(_ event: AuthorityMachine.Event) { perform(machine.handle(event, now: now)) }

    mutating func perform(_ actions: [AuthorityMachine.Action]) {
        for action in actions {
            switch action {
            case .make(let making, let validity):
                asked.append(making)
                if makes { make(making, validity) }
            case .publishBundle(let roots): published.append(roots)
            case .issueUnder(let id, _): issuers.append(id)
            case .renewLeaves(let of): renewals.append(of)
            case .forget(let id):
                forgotten.append(id)
                tell(.forgotten(id))
            case .warn(let warning): warnings.append(warning)
            case .note(let note): notes.append(note)
            }
        }
    }

    mutating func make(_ making: AuthorityMachine.Making, _ validity: Range<Timestamp>) {
        lastName += 1
        switch making {
        case .root: tell(.madeRoot(AuthorityID("R\(lastName)"), validity: validity))
        case .intermediate(let root):
            tell(.madeIntermediate(AuthorityID("I\(lastName)"), under: root, validity: validity))
        case .crossSignature(let root, let by):
            tell(.crossSigned(CrossSignature(root: root, by: by, validity: validity)))
        }
    }

    mutating func pass(_ duration: Duration) {
        now = now + duration
        tell(.tick)
    }

    // MARK: Holders

    static func holder(_ number: Int) -> HolderID {
        HolderID(node: "node\(number)", identity: try! SPIFFEID("spiffe://cluster.local/ns/shop/sa/web"))
    }

    /// A proxy that connects, takes the bundle and a certificate, and says so.
    mutating func join(_ number: Int) {
        tell(.connected(Self.holder(number)))
        tell(.bundleRequested(Self.holder(number)))
        acknowledgeBundle(number)
        renew(number)
    }

    mutating func acknowledgeBundle(_ number: Int) {
        tell(.bundleAcknowledged(Self.holder(number), roots: machine.bundle))
    }

    @discardableResult mutating func issue(_ number: Int, roots: Set<AuthorityID>? = nil) -> String {
        guard let issuer = machine.issuer, let validity = machine.leafValidity(now: now) else { return "" }
        lastSerial += 1
        let leaf = OutstandingLeaf(
            serial: "L\(lastSerial)", issuer: issuer.id, notAfter: validity.validity.upperBound, roots: roots)
        tell(.leafIssued(Self.holder(number), leaf))
        return leaf.serial
    }

    mutating func renew(_ number: Int) {
        let serial = issue(number)
        tell(.leafInstalled(Self.holder(number), serial: serial))
    }

    mutating func leave(_ number: Int) { tell(.disconnected(Self.holder(number))) }

    var phase: Rotation.Phase? { (machine.state.rootRotation ?? machine.state.intermediateRotation)?.phase }
    var root: AuthorityID? { machine.activeRoot?.id }

    var awaited: [String] { machine.status(now: now).progress.flatMap(\.awaited).map(\.id.node) }

    /// The process ends, and begins with what was kept.
    mutating func restart() throws {
        let state = try decoded(machine.state)
        let (records, _) = machine.takeChangedHolders()
        machine = AuthorityMachine(policy: machine.policy, restoring: state, holders: try records.map(decoded))
        perform(machine.pendingActions(now: now))
    }
}
