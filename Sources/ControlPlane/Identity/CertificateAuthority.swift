import Certificates
import Foundation
import GRPC
import Identity
import Logging
import Reactor
import Store
import Time

/// The certificate authority at work: it owns the keys, does what the rotation decides, issues what holders ask for,
/// and keeps all of it in the database before anybody sees it. Belongs to the control thread.
///
/// One turn takes everything that came since the last one. What the turn changes is committed in one transaction, and
/// only then are actions done and certificates given out. While the database cannot be written nothing new is signed,
/// and what was given out stays in force.
final class CertificateAuthority {
    let configuration: AuthorityConfiguration
    let store: Store
    let files: AuthorityFiles
    let secrets: SecretDirectory
    let desk: AuthorityDesk
    let metrics = AuthorityMetrics()
    let logger: Logger
    let passphrase: [UInt8]?

    var machine: AuthorityMachine
    var kept: [AuthorityID: KeptAuthority] = [:]
    /// What leaves are signed by now, and what goes with them.
    var issuing: Issuing?
    /// The trust bundle in force, PEM.
    var bundle: [UInt8] = []
    /// Bundles by the version that proxies acknowledge: the last few.
    var bundleVersions: [(version: String, roots: Set<AuthorityID>)] = []
    /// The key of a signing request that was not answered yet.
    var requestKey: PrivateKey?

    /// Holders that are connected.
    var served: [HolderID: ServedHolder] = [:]
    var calendar = RenewalCalendar()
    var port: PortCertificate?
    var portSchedule: LeafSchedule?
    var portIssuer: AuthorityID?
    var tokens: TokenSigner
    var federation: Federation
    /// Of those who ask with a CSR.
    var clocks: PeerClocks
    /// What was published as secrets for everybody.
    var shared: [String: [UInt8]] = [:]

    // What one turn collects.
    var actions: [AuthorityMachine.Action] = []
    var events: [AuthorityMachine.Event] = []
    var unsaved = IdentityChange()
    var unsavedHolders: [HolderID: HolderRecord?] = [:]
    var deliveries: [Delivery] = []
    private var savedRevision: UInt64?
    private var storedRevision: Int64 = 0
    /// Since when records of holders wait for the next commit.
    private var holdersChangedAt: Timestamp?
    /// What keeps the database from being written; nothing is signed meanwhile.
    private(set) var storageFailure: StorageFailure?

    private var loop: EventLoop<NoConnections>?
    private var timer: (id: TimerID, deadline: Instant)?
    private var lastPruning: Timestamp?
    /// When the first end of a leaf was looked for last.
    var lastLeafExpiry: Timestamp?

    struct Issuing {
        var id: AuthorityID
        var issuer: Issuer
        /// PEM: what follows the leaf.
        var chain: [UInt8]
    }

    /// What happens once a turn is on disk, or is not.
    struct Delivery {
        var deliver: () -> Void
        var fail: (GRPCStatus) -> Void
    }

    struct StorageFailure {
        var reason: StoreError
        var attempts: Int
        var retryAt: Timestamp
    }

    /// How long changes of holders that nobody waits for are collected.
    static let holderDelay = Duration.seconds(1)
    /// Renewals of one turn: other work comes in between.
    static let renewalsPerTurn = 256
    /// How long past certificates stay in the journal.
    static let journalKept = Duration.seconds(30 * 86_400)

    /// Reads what is there, or makes the first root and intermediate.
    /// - Throws: ``StartProblem`` with the mend.
    init(
        _ configuration: AuthorityConfiguration, store: Store, dataDirectory: String, secrets: SecretDirectory,
        logger: Logger
    ) throws {
        try configuration.policy.validate()
        self.configuration = configuration
        self.store = store
        self.secrets = secrets
        self.logger = logger
        files = try AuthorityFiles(dataDirectory: dataDirectory)
        desk = AuthorityDesk()
        passphrase = try configuration.passphraseFile.map { (path) throws(AuthorityFileError) in
            try AuthorityFiles.passphrase(in: path)
        }
        let start = try AuthorityStart(
            store: store, files: files, passphrase: passphrase, trustDomain: configuration.trustDomain,
            policy: configuration.policy)
        machine = start.machine
        kept = start.kept
        storedRevision = start.revision
        savedRevision = start.isFirst ? nil : machine.revision
        let now = configuration.clock()
        tokens = try TokenSigner(configuration.trustDomain, store: store, files: files, passphrase: passphrase)
        federation = try Federation(
            configuration.federation, own: configuration.trustDomain, stored: try store.federatedBundles(),
            webAnchorsFile: configuration.webAnchorsFile, logger: logger)
        clocks = PeerClocks(tolerance: configuration.policy.clockAllowance / 3)
        unsaved.forgettingBundles = federation.forgotten
        actions = start.isFirst ? machine.handle(.tick, now: now) : machine.pendingActions(now: now)
        settle(now: now)
        if let failure = storageFailure { throw failure.reason }
        updateTokenKeys(now: now)
        do {
            try makePort(now: now)
        } catch let problem as SigningProblem {
            // Operators can still import another authority, over the Unix socket.
            logger.critical("TLS is not served until another start", metadata: ["reason": "\(problem)"])
        }
        settle(now: now)
        if let failure = storageFailure { throw failure.reason }
        removeStrayKeys()
        logger.info(
            start.isFirst ? "certificate authority made" : "certificate authority read",
            metadata: [
                "trust-domain": "\(configuration.trustDomain)", "root": "\(machine.activeRoot?.id.text ?? "none")",
                "issuer": "\(machine.issuer?.id.text ?? "none")",
            ])
    }

    /// Works from now on.
    func start(on loop: EventLoop<NoConnections>) {
        self.loop = loop
        let box = OnControlThread(self)
        desk.open(loop.mailbox) { box.value.work() }
        federation.start(on: loop) { [weak self] changes in self?.federationChanged(changes) }
    }

    /// Answers what waits, and takes nothing more.
    func stop() {
        desk.close()
        federation.stop()
    }

    // MARK: Turns

    /// One turn: everything that came, everything that is due.
    func work() {
        let now = configuration.clock()
        if let failure = storageFailure, now >= failure.retryAt { settle(now: now) }
        let errands = desk.take()
        for errand in errands { note(errand, now: now) }
        events.append(.tick)
        settle(now: now)
        // Under what signs since: an acknowledgement that came together with a request may have changed it.
        for errand in errands { issue(errand, now: now) }
        renewDue(now: now)
        updateTokenKeys(now: now)
        settle(now: now)
        prune(now: now)
        refreshMetrics(now: now)
        schedule(now: now)
    }

    /// Lets events lead to actions, and actions to events, until nothing is left; each step is on disk before the next.
    func settle(now: Timestamp) {
        repeat {
            let taken = events
            events = []
            for event in taken { actions += machine.handle(event, now: now) }
            collectHolders(now: now)
            guard save(now: now) else { return }
            let due = actions
            actions = []
            for action in due { perform(action, now: now) }
            let ready = deliveries
            deliveries = []
            for delivery in ready { delivery.deliver() }
        } while !events.isEmpty || !actions.isEmpty
    }

    private func collectHolders(now: Timestamp) {
        let (changed, dropped) = machine.takeChangedHolders()
        for record in changed { unsavedHolders[record.id] = record }
        for id in dropped { unsavedHolders.updateValue(nil, forKey: id) }
        if !unsavedHolders.isEmpty, holdersChangedAt == nil { holdersChangedAt = now }
    }

    /// Commits what the turn has changed.
    /// - Returns: false if it could not be, and nothing may be done that depends on it.
    private func save(now: Timestamp) -> Bool {
        if let failure = storageFailure, now < failure.retryAt {
            failDeliveries(failure.reason)
            return false
        }
        let isUrgent = machine.revision != savedRevision || !unsaved.isEmpty || !deliveries.isEmpty
        let areHoldersDue = holdersChangedAt.map { now - $0 >= Self.holderDelay } ?? false
        guard isUrgent || areHoldersDue || storageFailure != nil else { return true }
        do throws(StoreError) {
            var change = unsaved
            if machine.revision != savedRevision {
                change.rotation = StoredRotation(revision: storedRevision + 1, body: Self.encode(machine.state))
            }
            for (id, record) in unsavedHolders.sorted(by: { $0.key < $1.key }) {
                if let record {
                    change.holders.append(Self.stored(record))
                } else {
                    change.forgettingHolders.append(
                        StoredHolder.Key(nodeID: id.node, spiffeID: "\(id.identity)"))
                }
            }
            try store.commit(change)
            if change.rotation != nil { storedRevision += 1 }
            metrics.issued(change.issued)
        } catch {
            storageFailed(error, now: now)
            return false
        }
        if storageFailure != nil { logger.notice("the authority's state is on disk again") }
        storageFailure = nil
        savedRevision = machine.revision
        unsaved = IdentityChange()
        unsavedHolders = [:]
        holdersChangedAt = nil
        return true
    }

    private func storageFailed(_ error: StoreError, now: Timestamp) {
        let attempts = (storageFailure?.attempts ?? 0) + 1
        let pause = min(Duration.milliseconds(250) * (1 << min(attempts, 7)), .seconds(30))
        storageFailure = StorageFailure(reason: error, attempts: attempts, retryAt: now + pause)
        metrics.failures.increment()
        logger.error(
            "the authority's state cannot be written: nothing is issued until it can, what was issued stays in force",
            metadata: ["reason": "\(error)", "hint": "\(error.hint)", "attempts": "\(attempts)"])
        // What was signed in this turn reaches nobody, so that the journal need not have it.
        unsaved.issued = []
        failDeliveries(error)
    }

    private func failDeliveries(_ error: StoreError) {
        let failed = deliveries
        deliveries = []
        for delivery in failed {
            delivery.fail(GRPCStatus(.unavailable, "no certificate can be issued: \(error); \(error.hint)"))
        }
    }

    private func prune(now: Timestamp) {
        if let lastPruning, now - lastPruning < .seconds(600) { return }
        do throws(StoreError) {
            let past = Timestamp(nanoseconds: now.nanoseconds - Self.journalKept.nanoseconds)
            let count = try store.pruneIssued(endedBefore: past)
            // More than one call's worth waits: the rest comes with the next turns.
            lastPruning = count < 10_000 ? now : lastPruning
        } catch {
            lastPruning = now
            logger.warning("the journal was not pruned", metadata: ["reason": "\(error)", "hint": "\(error.hint)"])
        }
    }

    // MARK: Time

    /// Sets the timer for what comes next.
    private func schedule(now: Timestamp) {
        guard let loop else { return }
        var next = now + .seconds(5)
        func consider(_ moment: Timestamp?) { if let moment { next = min(next, moment) } }
        consider(machine.nextDeadline(now: now))
        consider(calendar.next)
        consider(portSchedule?.nextAttempt)
        consider(tokens.nextDeadline)
        consider(storageFailure?.retryAt)
        consider(holdersChangedAt.map { $0 + Self.holderDelay })
        // Never in a tight loop, whatever is overdue: a step that waits for others would spin.
        let pause = max(next - now, .milliseconds(20))
        if let timer { loop.cancelTimer(timer.id) }
        let deadline = loop.now.advanced(by: pause)
        timer = (
            loop.schedule(at: deadline) { [weak self] _ in
                self?.timer = nil
                self?.work()
            }, deadline
        )
    }

    /// Soon, and not within the call that asks for it.
    func workSoon() {
        guard let loop else { return }
        loop.later { [weak self] _ in self?.work() }
    }

    // MARK: Records

    static func encode(_ state: AuthorityState) -> Data {
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        // Plain values of ours: there is nothing that cannot be written.
        guard let data = try? encoder.encode(state) else { preconditionFailure("the state is plain values") }
        return data
    }

    private static let encoder = JSONEncoder()

    private static func stored(_ record: HolderRecord) -> StoredHolder {
        guard let body = try? encoder.encode(record) else { preconditionFailure("a record is plain values") }
        let last = record.leaves.last
        return StoredHolder(
            key: StoredHolder.Key(nodeID: record.id.node, spiffeID: "\(record.id.identity)"),
            lastSeen: record.lastSeen, authority: last?.issuer.text ?? "",
            notAfter: last?.notAfter ?? Timestamp(seconds: 0), body: body)
    }
}
