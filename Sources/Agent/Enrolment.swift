import Certificates
import Discovery
import EnvoyAPI
import GRPC
import Identity
import Logging
import Reactor
import TLS
import Time
import XDS

/// Gets a workload its certificate and keeps it fresh, on the thread of a discovery client's runner.
///
/// The key is made here. The certificate comes from the control plane's CSR service, first upon a join token and later
/// upon the certificate itself. What was good stays in force until something better is there. Whoever runs it hands it
/// the secrets that the control plane pushes (``take(_:)``).
public final class Enrolment {
    /// Who is to be certified, by whom.
    public struct Terms: Sendable {
        /// The control plane's TLS port.
        public var control: Reactor.SocketAddress
        /// The name in the control plane's certificate.
        public var serverName: String
        /// PEM: whom to believe about the control plane until it has pushed its trust bundle.
        public var rootCertificateFile: String
        /// The join token. Read again for each attempt that needs it.
        public var tokenFile: String?
        public var spiffeID: SPIFFEID
        /// `node.id`.
        public var nodeID: String
        public var keyAlgorithm = KeyAlgorithm.ecdsaP256
        /// nil leaves it to the authority.
        public var certificateLife: Duration?

        public init(
            control: Reactor.SocketAddress, serverName: String, rootCertificateFile: String, tokenFile: String?,
            spiffeID: SPIFFEID, nodeID: String
        ) {
            self.control = control
            self.serverName = serverName
            self.rootCertificateFile = rootCertificateFile
            self.tokenFile = tokenFile
            self.spiffeID = spiffeID
            self.nodeID = nodeID
        }
    }

    public enum Change: Sendable {
        /// There is a certificate, the first or the next. Streams to the control plane can be opened from now on.
        case certificate
        /// The control plane has pushed another trust bundle.
        case anchors
    }

    public let terms: Terms
    private let logger: Logger
    private let link: ControlPlaneLink
    private let given: GivenFiles
    private weak var runner: DiscoveryClientRunner?
    private var changed: (Change) -> Void = { _ in }

    /// nil: none was issued yet.
    public private(set) var certificate: HeldCertificate?
    /// The anchors of the own trust domain; empty: none were pushed yet.
    public private(set) var anchors: [Certificate] = []
    /// Whether the control plane has pushed a bundle since the start.
    public private(set) var hasPushedAnchors = false
    /// Why there is no certificate, or no newer one.
    public internal(set) var lastProblem: String?

    private var plan = RenewalPlan()
    /// The anchors in the file: until the control plane has pushed some.
    private var givenAnchors: [Certificate] = []
    /// The subject key identifier of the authority that issues now.
    private var authority: String?
    private var isAsking = false
    /// The control plane did not take our certificate: the token's turn.
    private var prefersToken = false
    /// Counts what ``setAlarm()`` set.
    private var alarm = 0

    /// Names of the secrets that ``take(_:)`` is for.
    public static let secretNames = [PushedSecret.anchorsName, PushedSecret.authorityName]

    /// - Throws: ``AgentError`` for files that cannot be used.
    public init(_ terms: Terms, logger: Logger) throws(AgentError) {
        self.terms = terms
        self.logger = logger
        link = ControlPlaneLink(address: terms.control, serverName: terms.serverName)
        given = GivenFiles(rootCertificate: terms.rootCertificateFile, token: terms.tokenFile)
        givenAnchors = try given.anchors()
    }

    /// Goes on with a certificate and anchors of an earlier run. Before it begins.
    public func resume(_ certificate: HeldCertificate, anchors: [Certificate]) {
        self.certificate = certificate
        self.anchors = anchors
        let leaf = certificate.leaf
        plan.obtained(issuedAt: leaf.notBefore, notAfter: leaf.notAfter, chance: .random(in: 0...1))
    }

    /// - Throws: ``AgentError/badConfiguration(_:hint:)`` if there is nothing to get a certificate with.
    public func requireProof() throws(AgentError) {
        guard certificate == nil, try given.joinToken() == nil else { return }
        throw .badConfiguration(
            "there is no certificate yet, and no join token to get one with",
            hint: "make a token with `martinet token create`, and name its file with --token-file")
    }

    /// Begins to work.
    /// - Parameters:
    ///   - runner: its server 0 is the control plane, and is given to it anew with each certificate.
    ///   - changed: called on the runner's thread.
    public func begin(on runner: DiscoveryClientRunner, changed: @escaping (Change) -> Void) {
        self.runner = runner
        self.changed = changed
        if let certificate, Timestamp.systemClock() < certificate.leaf.notAfter,
            let server = try? link.server(.certificate(certificate), anchors: believed)
        {
            runner.replaceServer(at: 0, with: server)
            changed(.certificate)
        }
        tick()
    }

    // MARK: Certificates

    /// The anchors that the control plane is believed by. What is given counts until something was pushed in this run:
    /// it is the way back for a workload that was away while the root was rotated.
    private var believed: [Certificate] {
        hasPushedAnchors ? anchors : givenAnchors + anchors.filter { !givenAnchors.contains($0) }
    }

    /// How to reach the control plane as who we are; nil without a valid certificate.
    func server(now: Timestamp) -> ServerAddress? {
        guard let certificate, now < certificate.leaf.notAfter else { return nil }
        return try? link.server(.certificate(certificate), anchors: believed)
    }

    /// Does what is due, and looks again when the next thing is; at least every 30 s, since the clock of the wall may
    /// jump and the machine may sleep.
    private func tick() {
        let now = Timestamp.systemClock()
        warnOfExpiry(now)
        if !isAsking, now >= plan.nextAttempt { ask(now) }
        setAlarm()
    }

    /// Has ``tick()`` come when the next thing is due: one at a time, the last one set.
    private func setAlarm() {
        alarm += 1
        let number = alarm
        let left = isAsking ? Duration.seconds(1) : plan.nextAttempt - .systemClock()
        let wait = min(max(left, .milliseconds(10)), .seconds(30))
        runner?.schedule(after: wait) { [weak self] in
            guard let self, number == alarm else { return }
            tick()
        }
    }

    private func warnOfExpiry(_ now: Timestamp) {
        guard let warning = plan.warning(now: now), let leaf = certificate?.leaf else { return }
        let metadata: Logger.Metadata = ["certificate": "\(leaf)", "last": "\(lastProblem ?? "")"]
        switch warning {
        case .hasEnded:
            logger.critical("the certificate has expired: workloads cannot make handshakes", metadata: metadata)
        case .nearsEnd(let seconds):
            logger.critical(
                "the certificate nears its end and could not be renewed",
                metadata: metadata.merging(["seconds": "\(seconds)"]) { $1 })
        }
    }

    /// What to prove ourselves with now.
    private func proof(_ now: Timestamp) throws(AgentError) -> ControlPlaneLink.Proof {
        if let certificate, now < certificate.leaf.notAfter {
            guard prefersToken, let token = try given.joinToken() else { return .certificate(certificate) }
            return .token(token)
        }
        guard let token = try given.joinToken() else {
            throw .badConfiguration(
                "the certificate has expired, and there is no join token",
                hint: "make a new one with `martinet token create`, name its file with --token-file, and start again")
        }
        return .token(token)
    }

    private func ask(_ now: Timestamp) {
        do {
            if !hasPushedAnchors { givenAnchors = try given.anchors() }
            let proof = try proof(now)
            let server = try link.server(proof, anchors: believed)
            runner?.replaceServer(at: 0, with: server)
            let order = try CertificateOrder(
                terms.spiffeID, node: terms.nodeID, algorithm: terms.keyAlgorithm, life: terms.certificateLife)
            isAsking = true
            runner?.call(
                IstioCertificateService.createCertificate, order.request, at: server, stamp: ControlPlaneLink.stateClock
            ) { [weak self] in self?.answered($0, order) }
        } catch {
            failed(OrderProblem("\(error)"), now)
        }
    }

    private func answered(_ result: Result<[UInt8], GRPCStatus>, _ order: CertificateOrder) {
        isAsking = false
        let now = Timestamp.systemClock()
        do throws(OrderProblem) {
            switch result {
            case .success(let answer): obtained(try order.certificate(in: answer, anchors: believed, now: now), now)
            case .failure(let status):
                throw OrderProblem(
                    "\(status)", isRefusal: [.unauthenticated, .permissionDenied].contains(status.code))
            }
        } catch {
            failed(error, now)
        }
        setAlarm()
    }

    private func obtained(_ new: HeldCertificate, _ now: Timestamp) {
        certificate = new
        plan.obtained(issuedAt: now, notAfter: new.leaf.notAfter, chance: .random(in: 0...1))
        (prefersToken, lastProblem) = (false, nil)
        logger.info(
            "certificate issued",
            metadata: [
                "certificate": "\(new.leaf)", "serial": "\(new.leaf.serial)",
                "seconds": "\((new.leaf.notAfter - now).components.seconds)",
            ])
        do throws(TLSError) {
            runner?.replaceServer(at: 0, with: try link.server(.certificate(new), anchors: believed))
        } catch {
            logger.error("the new certificate is not usable for TLS", metadata: ["reason": "\(error)"])
        }
        changed(.certificate)
        checkIssuer()
    }

    private func failed(_ problem: OrderProblem, _ now: Timestamp) {
        lastProblem = problem.description
        if problem.isRefusal { prefersToken = terms.tokenFile != nil && !prefersToken }
        plan.failed(now: now, chance: .random(in: 0...1))
        logger.log(
            level: plan.isLate(now: now) ? .critical : .error,
            certificate == nil ? "no certificate yet" : "the certificate could not be renewed; trying again",
            metadata: [
                "reason": "\(problem)", "control": "\(terms.control)",
                "seconds left": "\(plan.secondsLeft(now: now))",
            ])
    }

    /// Renews before it is time.
    public func renewNow(because reason: String) {
        logger.info("renewing the certificate", metadata: ["reason": "\(reason)"])
        plan.hasten(now: .systemClock())
        setAlarm()
    }

    /// A leaf of an authority that is being retired is replaced at once, not at half its life.
    private func checkIssuer() {
        guard let authority, let issuer = certificate?.leaf.authorityKeyIdentifier else { return }
        guard "\(issuer)" != authority else { return plan.issuerSettled() }
        guard let pause = plan.pauseForForeignIssuer() else { return }
        runner?.schedule(after: pause) { [weak self] in
            guard let self, let current = self.authority, "\(issuer)" != current,
                certificate?.leaf.authorityKeyIdentifier == issuer
            else { return }
            renewNow(because: "another authority issues now")
        }
    }

    // MARK: What the control plane pushes

    /// Takes a secret of ``secretNames``; others are left alone.
    public func take(_ resource: HeldResource) {
        guard
            let secret = try? PushedSecret(
                resource.name, body: resource.body, trustDomain: terms.spiffeID.trustDomain)
        else { return }
        take(secret)
    }

    func take(_ secret: PushedSecret) {
        switch secret {
        case .anchors(let new):
            if new != anchors {
                logger.info(
                    "trust bundle pushed",
                    metadata: ["anchors": "\(new.map(\.shortName).joined(separator: ", "))"])
            }
            anchors = new
            hasPushedAnchors = true
            if let certificate, let server = try? link.server(.certificate(certificate), anchors: new) {
                runner?.replaceServer(at: 0, with: server)
            }
            changed(.anchors)
        case .authority(let id):
            guard id != authority else { return }
            authority = id
            plan.issuerSettled()
            checkIssuer()
        case .federated, .tokenKeys, .other: break
        }
    }
}
