import Certificates
import Discovery
import EnvoyAPI
import GRPC
import Glibc
import Identity
import Logging
import Reactor
import TLS
import Time
import XDS

/// Gets a workload its certificate, keeps it fresh, and hands it out: over the SPIFFE Workload API and as files.
///
/// The key is made here. The certificate comes from the control plane's CSR service, first upon a join token and later
/// upon the certificate itself; trust bundles come over SDS. What was good stays in force until something better is
/// there. Everything happens on the thread of ``run()``, except serving the Workload API.
public final class Agent {
    let configuration: Configuration
    let logger: Logger
    private let link: ControlPlaneLink
    private let given: GivenFiles
    private let service: WorkloadService
    private let tokens = TokenDesk()
    private let directory: SVIDDirectory?
    private let command: ChangeCommand?
    private var runner: DiscoveryClientRunner?

    // MARK: State, of the thread of `run`

    private var holdings = Holdings()
    private var plan = RenewalPlan()
    /// The anchors in the file: until the control plane has pushed some.
    private var givenAnchors: [Certificate] = []
    /// Whether the control plane has pushed a bundle since the start.
    private var hasPushedAnchors = false
    /// The subject key identifier of the authority that issues now.
    private var authority: String?
    private var isAsking = false
    /// The control plane did not take our certificate: the token's turn.
    private var prefersToken = false
    private var isSubscribed = false
    /// Counts what ``setAlarm()`` set.
    private var alarm = 0
    private var isPublishing = false
    private var written: SVIDDirectory.Contents?
    private var lastProblem: String?
    private var outcome: AgentError?
    private var isDone = false

    /// - Throws: ``AgentError`` for files that cannot be used.
    public init(_ configuration: Configuration) throws(AgentError) {
        self.configuration = configuration
        logger = configuration.logger
        link = ControlPlaneLink(address: configuration.control, serverName: configuration.serverName)
        if let path = configuration.outputDirectory {
            directory = try SVIDDirectory(path)
        } else {
            directory = nil
        }
        command = configuration.command.map { ChangeCommand($0, logger: configuration.logger) }
        service = WorkloadService(
            trustDomain: configuration.spiffeID.trustDomain, callers: CallerPolicy(selectors: configuration.selectors),
            tokens: tokens, logger: configuration.logger)
        given = GivenFiles(rootCertificate: configuration.rootCertificateFile, token: configuration.tokenFile)
        givenAnchors = try given.anchors()
        resume()
        if holdings.certificate == nil, try given.joinToken() == nil {
            throw .badConfiguration(
                "there is no certificate yet, and no join token to get one with",
                hint: "make a token with `martinet token create`, and name its file with --token-file")
        }
    }

    // MARK: Running

    /// Works until SIGTERM or SIGINT, or with `onceWithin` until the files are there. SIGHUP renews at once.
    /// - Parameter begun: called before anything else, with what ends the run from any thread.
    public func run(begun: (@escaping @Sendable () -> Void) -> Void = { _ in }) throws(AgentError) {
        let runner: DiscoveryClientRunner
        do {
            runner = try makeRunner()
            if configuration.takesSignals {
                try runner.onSignals([SIGTERM, SIGINT, SIGHUP]) { [unowned self] signal in
                    if signal == SIGHUP { renewNow(because: "SIGHUP") } else { runner.stop() }
                }
            }
        } catch {
            throw .cannotServe("\(error)", hint: "check the limits of open files")
        }
        self.runner = runner
        begun(runner.stopper)
        let server = try service.serve(configuration)
        let ring = runner.doorbell { [box = OnAgentThread(self)] in box.value.signTokens() }
        tokens.open(ring)
        if let limit = configuration.onceWithin {
            runner.schedule(after: limit) { [unowned self] in
                guard !isDone else { return }
                outcome = .notInTime(seconds: limit.components.seconds, last: lastProblem)
                runner.stop()
            }
        }
        publish()
        tick()
        runner.run()
        server?.drain(grace: .milliseconds(500))
        self.runner = nil
        // A half-done reload is worse than a late end.
        command?.wait()
        if let outcome { throw outcome }
    }

    private func makeRunner() throws -> DiscoveryClientRunner {
        var discovery = DiscoveryClient.Configuration(node: configuration.node, servers: ["\(configuration.control)"])
        discovery.backoff = Backoff(initial: .milliseconds(500), maximum: .seconds(15))
        discovery.limits = DiscoveryClient.Limits(resources: 10_000, bytes: 32 << 20, names: 16)
        return try DiscoveryClientRunner(
            discovery, servers: [ServerAddress(configuration.control)], seed: .random(in: .min ... .max),
            validate: PushedSecret.validator(trustDomain: configuration.spiffeID.trustDomain)
        ) { [unowned self] in note($0) }
    }

    // MARK: Files

    /// Goes on with what an earlier run has left in the directory: a token may be used up by now.
    private func resume() {
        guard let directory else { return }
        do throws(CertificateError) {
            guard let held = try directory.held(by: configuration.spiffeID, now: .systemClock()) else { return }
            let leaf = held.certificate.leaf
            holdings.certificate = held.certificate
            holdings.anchors = held.anchors
            written = held.contents
            plan.obtained(issuedAt: leaf.notBefore, notAfter: leaf.notAfter, chance: .random(in: 0...1))
            logger.info("going on with the certificate of an earlier run", metadata: ["certificate": "\(leaf)"])
        } catch {
            logger.warning(
                "what an earlier run has left is not usable",
                metadata: ["directory": "\(directory.path)", "reason": "\(error)"])
        }
    }

    // MARK: Certificates

    /// The anchors that the control plane is believed by. What is given counts until something was pushed in this run:
    /// it is the way back for an agent that was away while the root was rotated.
    private var anchors: [Certificate] {
        hasPushedAnchors ? holdings.anchors : givenAnchors + holdings.anchors.filter { !givenAnchors.contains($0) }
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
        runner?.schedule(after: wait) { [unowned self] in
            if number == alarm { tick() }
        }
    }

    private func warnOfExpiry(_ now: Timestamp) {
        guard let warning = plan.warning(now: now), let leaf = holdings.certificate?.leaf else { return }
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
        if let certificate = holdings.certificate, now < certificate.leaf.notAfter {
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
            let server = try link.server(proof, anchors: anchors)
            runner?.replaceServer(at: 0, with: server)
            let order = try CertificateOrder(
                configuration.spiffeID, node: configuration.nodeID, algorithm: configuration.keyAlgorithm,
                life: configuration.certificateLife)
            isAsking = true
            runner?.call(
                IstioCertificateService.createCertificate, order.request, at: server, stamp: ControlPlaneLink.stateClock
            ) { [unowned self] in answered($0, order) }
        } catch {
            failed(OrderProblem("\(error)"), now)
        }
    }

    private func answered(_ result: Result<[UInt8], GRPCStatus>, _ order: CertificateOrder) {
        isAsking = false
        let now = Timestamp.systemClock()
        do throws(OrderProblem) {
            switch result {
            case .success(let answer): obtained(try order.certificate(in: answer, anchors: anchors, now: now), now)
            case .failure(let status):
                throw OrderProblem(
                    "\(status)", isRefusal: [.unauthenticated, .permissionDenied].contains(status.code))
            }
        } catch {
            failed(error, now)
        }
        setAlarm()
    }

    private func obtained(_ certificate: HeldCertificate, _ now: Timestamp) {
        holdings.certificate = certificate
        plan.obtained(issuedAt: now, notAfter: certificate.leaf.notAfter, chance: .random(in: 0...1))
        (prefersToken, lastProblem) = (false, nil)
        logger.info(
            "certificate issued",
            metadata: [
                "certificate": "\(certificate.leaf)", "serial": "\(certificate.leaf.serial)",
                "seconds": "\((certificate.leaf.notAfter - now).components.seconds)",
            ])
        do throws(TLSError) {
            runner?.replaceServer(at: 0, with: try link.server(.certificate(certificate), anchors: anchors))
        } catch {
            logger.error("the new certificate is not usable for TLS", metadata: ["reason": "\(error)"])
        }
        subscribe()
        checkIssuer()
        schedulePublication()
    }

    private func failed(_ problem: OrderProblem, _ now: Timestamp) {
        lastProblem = problem.description
        if problem.isRefusal { prefersToken = configuration.tokenFile != nil && !prefersToken }
        plan.failed(now: now, chance: .random(in: 0...1))
        logger.log(
            level: plan.isLate(now: now) ? .critical : .error,
            holdings.certificate == nil ? "no certificate yet" : "the certificate could not be renewed; trying again",
            metadata: [
                "reason": "\(problem)", "control": "\(configuration.control)",
                "seconds left": "\(plan.secondsLeft(now: now))",
            ])
    }

    private func renewNow(because reason: String) {
        logger.info("renewing the certificate", metadata: ["reason": "\(reason)"])
        plan.hasten(now: .systemClock())
        setAlarm()
    }

    /// A leaf of an authority that is being retired is replaced at once, not at half its life.
    private func checkIssuer() {
        guard let authority, let leaf = holdings.certificate?.leaf, let issuer = leaf.authorityKeyIdentifier else {
            return
        }
        guard "\(issuer)" != authority else { return plan.issuerSettled() }
        guard let pause = plan.pauseForForeignIssuer() else { return }
        runner?.schedule(after: pause) { [unowned self] in
            guard let current = self.authority, "\(issuer)" != current,
                holdings.certificate?.leaf.authorityKeyIdentifier == issuer
            else { return }
            renewNow(because: "another authority issues now")
        }
    }

    // MARK: What the control plane pushes

    private func subscribe() {
        guard !isSubscribed else { return }
        isSubscribed = true
        do throws(DiscoveryClientError) {
            // The wildcard is for the bundles of other trust domains, whose names nobody here knows.
            try runner?.subscribe(
                .secret,
                to: [PushedSecret.anchorsName, PushedSecret.tokenKeysName, PushedSecret.authorityName, "*"])
        } catch {
            logger.error("cannot subscribe to secrets", metadata: ["reason": "\(error)"])
        }
    }

    private func note(_ action: DiscoveryClient.Action) {
        switch action {
        case .update(_, let resource):
            guard
                let secret = try? PushedSecret(
                    resource.name, body: resource.body, trustDomain: configuration.spiffeID.trustDomain)
            else { return }
            take(secret)
        case .removed(_, let name, .removedByServer):
            guard holdings.forget(name, own: configuration.spiffeID.trustDomain) else { return }
            logger.info("a secret of another trust domain is not given any more", metadata: ["name": "\(name)"])
            schedulePublication()
        case .rejected(_, let name, _, let reason):
            logger.error(
                "a pushed secret is not usable; what was before stays in force",
                metadata: ["name": "\(name ?? "")", "reason": "\(reason)"])
        case .receivedError(_, let name, let detail):
            logger.warning("no secret", metadata: ["name": "\(name)", "reason": "\(detail.message)"])
        case .connectionFailed(_, let reason), .unreachable(let reason):
            lastProblem = reason
            logger.warning("no stream to the control plane; trying again", metadata: ["reason": "\(reason)"])
        case .doesNotExist(_, let name):
            logger.warning("the control plane has no such secret", metadata: ["name": "\(name)"])
        case .removed, .openStream, .closeStream, .send, .sendDelta, .ackSent, .nackSent, .ignoredResponse,
            .streamEnded,
            .serverInUse:
            break
        }
    }

    private func take(_ secret: PushedSecret) {
        switch secret {
        case .anchors(let anchors):
            if anchors != holdings.anchors {
                logger.info(
                    "trust bundle pushed",
                    metadata: ["anchors": "\(anchors.map(\.shortName).joined(separator: ", "))"])
            }
            holdings.anchors = anchors
            hasPushedAnchors = true
            if let certificate = holdings.certificate,
                let server = try? link.server(.certificate(certificate), anchors: anchors)
            {
                runner?.replaceServer(at: 0, with: server)
            }
        case .federated(let domain, let anchors): holdings.federated[domain] = anchors
        case .tokenKeys(let keys) where keys.trustDomain != configuration.spiffeID.trustDomain:
            holdings.federatedKeys[keys.trustDomain] = keys
        case .tokenKeys(let keys):
            if keys != holdings.tokenKeys { tokens.forgetTokens() }
            holdings.tokenKeys = keys
        case .authority(let id):
            guard id != authority else { return }
            authority = id
            plan.issuerSettled()
            checkIssuer()
            return
        case .other: return
        }
        schedulePublication()
    }

    // MARK: What goes out

    /// Once per turn: several secrets come in one response.
    private func schedulePublication() {
        guard !isPublishing else { return }
        isPublishing = true
        runner?.schedule(after: .zero) { [unowned self] in
            isPublishing = false
            publish()
        }
    }

    private func publish() {
        service.publish(holdings)
        guard let certificate = holdings.certificate, !holdings.anchors.isEmpty else { return }
        let mayEnd = configuration.onceWithin != nil && hasPushedAnchors
        guard let directory else { return }
        do {
            let contents = SVIDDirectory.Contents(
                chain: certificate.chain.flatMap(\.pem), key: try certificate.key.pem(),
                bundle: holdings.anchors.flatMap(\.pem))
            if contents != written {
                try directory.write(contents)
                written = contents
                logger.info("files written", metadata: ["directory": "\(directory.path)"])
                runCommand(mayEnd: mayEnd)
            } else if mayEnd {
                finish(nil)
            }
        } catch {
            lastProblem = "\(error)"
            logger.error("the files could not be written; trying again", metadata: ["reason": "\(error)"])
            runner?.schedule(after: .seconds(5)) { [unowned self] in schedulePublication() }
        }
    }

    private func runCommand(mayEnd: Bool) {
        guard let command else {
            if mayEnd { finish(nil) }
            return
        }
        guard mayEnd, let runner else { return command.trigger() }
        let failure = CommandOutcome()
        let ring = runner.doorbell { [box = OnAgentThread(self)] in
            box.value.finish(failure.problem.map { .commandFailed($0) })
        }
        command.trigger { problem in
            failure.set(problem)
            ring()
        }
    }

    /// The end of a run that was to be done once.
    private func finish(_ problem: AgentError?) {
        isDone = true
        outcome = problem
        runner?.stop()
    }

    // MARK: Tokens

    private func signTokens() {
        for audience in tokens.takeOrders() { sign(audience) }
    }

    private func sign(_ audience: [String]) {
        let now = Timestamp.systemClock()
        guard let runner, let certificate = holdings.certificate, now < certificate.leaf.notAfter,
            let server = try? link.server(.certificate(certificate), anchors: anchors)
        else {
            return tokens.answer(
                audience, .failure(GRPCStatus(.unavailable, "the agent has no valid certificate; try again")))
        }
        runner.call(
            WorkloadIdentity.signJWT, TokenOrder.request(audience), at: server, timeout: .seconds(5)
        ) { [unowned self] result in
            tokens.answer(audience, result.flatMap { TokenOrder.token(in: $0, now: now) })
        }
    }
}
