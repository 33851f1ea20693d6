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
/// An ``Enrolment`` has the certificate; trust bundles come over SDS. What was good stays in force until something
/// better is there. Everything happens on the thread of ``run()``, except serving the Workload API.
public final class Agent {
    let configuration: Configuration
    let logger: Logger
    private let enrolment: Enrolment
    private let service: WorkloadService
    private let tokens = TokenDesk()
    private let directory: SVIDDirectory?
    private let command: ChangeCommand?
    private var runner: DiscoveryClientRunner?

    // MARK: State, of the thread of `run`

    private var holdings = Holdings()
    private var isSubscribed = false
    private var isPublishing = false
    private var written: SVIDDirectory.Contents?
    private var outcome: AgentError?
    private var isDone = false

    /// - Throws: ``AgentError`` for files that cannot be used.
    public init(_ configuration: Configuration) throws(AgentError) {
        self.configuration = configuration
        logger = configuration.logger
        enrolment = try Enrolment(configuration.terms, logger: configuration.logger)
        if let path = configuration.outputDirectory {
            directory = try SVIDDirectory(path)
        } else {
            directory = nil
        }
        command = configuration.command.map { ChangeCommand($0, logger: configuration.logger) }
        service = WorkloadService(
            trustDomain: configuration.spiffeID.trustDomain, callers: CallerPolicy(selectors: configuration.selectors),
            tokens: tokens, logger: configuration.logger)
        resume()
        try enrolment.requireProof()
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
                    if signal == SIGHUP { enrolment.renewNow(because: "SIGHUP") } else { runner.stop() }
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
                outcome = .notInTime(seconds: limit.components.seconds, last: enrolment.lastProblem)
                runner.stop()
            }
        }
        publish()
        enrolment.begin(on: runner) { [unowned self] change in
            switch change {
            case .certificate: subscribe()
            case .anchors: break
            }
            schedulePublication()
        }
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
            enrolment.resume(held.certificate, anchors: held.anchors)
            written = held.contents
            logger.info(
                "going on with the certificate of an earlier run", metadata: ["certificate": "\(held.certificate.leaf)"]
            )
        } catch {
            logger.warning(
                "what an earlier run has left is not usable",
                metadata: ["directory": "\(directory.path)", "reason": "\(error)"])
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
            enrolment.lastProblem = reason
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
        case .anchors, .authority: return enrolment.take(secret)
        case .federated(let domain, let anchors): holdings.federated[domain] = anchors
        case .tokenKeys(let keys) where keys.trustDomain != configuration.spiffeID.trustDomain:
            holdings.federatedKeys[keys.trustDomain] = keys
        case .tokenKeys(let keys):
            if keys != holdings.tokenKeys { tokens.forgetTokens() }
            holdings.tokenKeys = keys
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
        (holdings.certificate, holdings.anchors) = (enrolment.certificate, enrolment.anchors)
        service.publish(holdings)
        guard let certificate = holdings.certificate, !holdings.anchors.isEmpty else { return }
        let mayEnd = configuration.onceWithin != nil && enrolment.hasPushedAnchors
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
            enrolment.lastProblem = "\(error)"
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
        guard let runner, let server = enrolment.server(now: now)
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
