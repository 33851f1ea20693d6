import Agent
import Certificates
import Discovery
import Forwarding
import Glibc
import Logging
import Reactor
import Time
import XDS

/// A data plane: takes listeners, routes, clusters, endpoints and secrets of a control plane, and carries traffic by
/// them. What it decides about configuration happens on the thread of ``run(begun:)``; traffic has threads of its own.
public final class Proxy {
    enum Phase: String {
        case initializing = "INITIALIZING"
        case live = "LIVE"
        case draining = "DRAINING"
    }

    let configuration: Configuration
    let logger: Logger
    let jobs = JobQueue()
    let compiler: ResourceCompiler
    let enrolment: Enrolment?
    let cache: ResourceCache?

    // MARK: State, of the thread of `run`

    var store: ResourceStore<CompiledResource>
    var assembly = ServedAssembly()
    private(set) var runner: DiscoveryClientRunner?
    private(set) var carrier: Carrier?
    var admin: AdminServer?
    /// Where another proxy asks for the place of this one.
    var door: HandOverDoor?
    /// What the proxy before this one has given, until its place is taken.
    var legacy: Legacy?
    private(set) var phase = Phase.initializing
    /// An operator has ended the listeners.
    private(set) var hasDrainedListeners = false
    /// An operator has said that health checks are to fail.
    var failsHealthChecks = false
    /// Why a listener could not be opened, by name.
    private(set) var listenerFailures: [String: String] = [:]
    /// Listeners that were opened, and changes of them.
    private(set) var listenersCreated = 0
    private var createdNumbers: Set<UInt64> = []
    private(set) var startedAt = Timestamp.systemClock()
    /// Responses of the control plane that were taken, and those that were refused in part.
    var updates = UpdateCounts()
    private var loads: LoadReporter?
    private var (isSubscribed, isSettling) = (false, false)
    var memoryReturn = MemoryReturn()
    /// Subscriptions to make and to take back in the next turn, in order.
    private var wishes: [ResourceStore<CompiledResource>.Action] = []
    var (hasTriedCache, isCacheDue) = (false, false)
    private var alarm: Instant?
    private var lastServed: ProxyConfiguration?
    /// Another attempt to open listeners is to come.
    private var isRetrying = false

    /// - Throws: ``ProxyError`` for what cannot be used.
    public init(_ configuration: Configuration) throws(ProxyError) {
        var configuration = configuration
        if case .enrolled(let terms) = configuration.control,
            !configuration.fixed.contains(where: { $0.type == .cluster && $0.name == ControlPlaneCluster.name })
        {
            configuration.fixed.append(try ControlPlaneCluster.make(terms))
        }
        self.configuration = configuration
        logger = configuration.logger
        compiler = ResourceCompiler(fixed: configuration.fixed.map { ($0.type, $0.name) })
        cache = configuration.cacheDirectory.map { ResourceCache(directory: $0, nodeID: configuration.node.id) }
        let nodeID = configuration.node.id
        let legacy = try configuration.handOverDirectory.flatMap { directory throws(ProxyError) in
            try Legacy.ask(in: directory, nodeID: nodeID)
        }
        self.legacy = legacy
        switch configuration.control {
        case .enrolled(let terms):
            do throws(AgentError) {
                let enrolment = try Enrolment(terms, logger: configuration.logger)
                if let (held, anchors) = legacy?.certificate(of: terms.spiffeID) {
                    enrolment.resume(held, anchors: anchors)
                }
                try enrolment.requireProof()
                self.enrolment = enrolment
            } catch {
                throw .cannotStart("\(error)", hint: error.hint)
            }
        case .given, .none: enrolment = nil
        }
        store = ResourceStore(ownSecrets: enrolment == nil ? [] : OwnSecret.watched.union([OwnSecret.name]))
    }

    var certificate: HeldCertificate? { enrolment?.certificate }
    var anchors: [Certificate] { enrolment?.anchors ?? [] }

    // MARK: Running

    /// Works until SIGTERM, SIGINT or ``stop()``, and then until what is under way has ended.
    /// - Parameter begun: called once the proxy takes orders, with what ends it from any thread.
    public func run(begun: (@escaping @Sendable () -> Void) -> Void = { _ in }) throws(ProxyError) {
        do {
            let runner = try makeRunner()
            self.runner = runner
            let ring = runner.doorbell { [box = OnProxyThread(self)] in
                for job in box.value.jobs.take() { job(box.value) }
            }
            jobs.open(ring)
            if configuration.takesSignals {
                try runner.onSignals([SIGTERM, SIGINT, SIGHUP, SIGUSR1]) { [unowned self] signal in
                    switch signal {
                    case SIGHUP: enrolment?.renewNow(because: "SIGHUP")
                    // As Envoy has it: log files were moved away.
                    case SIGUSR1: carrier?.reopenLogs()
                    default: drain()
                    }
                }
            }
            carrier = try Carrier(configuration, inherited: legacy?.sockets ?? [])
            // The ports of a proxy before this one are its own as long as it is the one that serves.
            if legacy == nil {
                admin = try openAdmin()
                openDoor()
            }
        } catch let error as ReactorError {
            throw .cannotStart("\(error)", hint: error.hint)
        } catch {
            throw .cannotStart("\(error)", hint: "check the limits of open files and threads")
        }
        begun { [jobs] in jobs.add { $0.drain() } }
        try begin()
        runner?.run()
        jobs.close()
        door?.close()
        admin?.stop()
        carrier?.stop()
        (carrier, runner, admin, door, legacy) = (nil, nil, nil, nil, nil)
    }

    private func makeRunner() throws -> DiscoveryClientRunner {
        let (server, name): (ServerAddress, String) =
            switch configuration.control {
            case .enrolled(let terms): (ServerAddress(terms.control), "\(terms.control)")
            case .given(let server, let name): (server, name)
            // Nothing is subscribed to, so nothing is ever connected to.
            case .none: (ServerAddress(.loopback(port: 1)), "none")
            }
        var discovery = DiscoveryClient.Configuration(
            node: configuration.node, variant: configuration.variant, servers: [name])
        discovery.backoff = Backoff(initial: .milliseconds(500), maximum: .seconds(15))
        return try DiscoveryClientRunner(
            discovery, servers: [server], seed: .random(in: .min ... .max),
            validate: { [compiler] type, resource in compiler.judge(type, resource) },
            listener: { [unowned self] in note($0) })
    }

    private func begin() throws(ProxyError) {
        guard let runner else { return }
        for resource in configuration.fixed {
            do throws(ConfigurationProblem) {
                try take(resource.type, HeldResource(name: resource.name, version: "", body: resource.body))
            } catch {
                throw .badResource("static \(resource.type) \(resource.name): \(error.description)")
            }
        }
        switch configuration.control {
        case .enrolled:
            enrolment?.begin(on: runner) { [unowned self] change in
                switch change {
                case .certificate: takeOwnCertificate()
                case .anchors: break
                }
            }
        case .given: subscribe()
        case .none:
            store.noteAnswer(.cluster, now: runner.now)
            store.noteAnswer(.listener, now: runner.now)
        }
        if cache != nil {
            runner.schedule(after: .seconds(2)) { [unowned self] in startFromCache(because: "no answer") }
        }
        settleSoon()
    }

    private func takeOwnCertificate() {
        guard let held = enrolment?.certificate, let runner else { return }
        do {
            store.update(
                .secret, name: OwnSecret.name, version: "\(held.leaf.serial)", references: ResourceReferences(),
                value: .secret(try OwnSecret.material(held)), now: runner.now)
        } catch {
            logger.error("the new certificate is not usable for TLS", metadata: ["reason": "\(error)"])
        }
        subscribe()
        settle()
        settleSoon()
    }

    private func subscribe() {
        guard !isSubscribed, let runner else { return }
        isSubscribed = true
        do throws(DiscoveryClientError) {
            if enrolment != nil { try runner.subscribe(.secret, to: Enrolment.secretNames) }
            try runner.subscribe(.cluster, to: ["*"])
            try runner.subscribe(.listener, to: ["*"])
        } catch {
            logger.error("cannot subscribe", metadata: ["reason": "\(error)"])
        }
    }

    // MARK: Ending

    /// Lets the control plane know, takes connections until others have heard of it, lets those that are there finish,
    /// and ends.
    func drain() {
        guard phase != .draining else { return stopNow() }
        // Nobody comes by a control plane that does not know of this proxy, or to a proxy that does not listen.
        let isKnown = updates.isConnected && !hasDrainedListeners && !store.served.listeners.isEmpty
        finish(notice: isKnown ? configuration.noticeTime : .zero)
    }

    func finish(notice: Duration) {
        guard let runner else { return }
        phase = .draining
        door?.close()
        logger.notice("draining", metadata: ["seconds": "\(configuration.drainTime.components.seconds)"])
        runner.leave()
        carrier?.announceEnd()
        loads?.report()
        runner.schedule(after: notice) { [unowned self] in
            loads?.end()
            carrier?.drain(configuration.drainTime - notice) { [jobs] in jobs.add { $0.stopNow() } }
        }
        runner.schedule(after: configuration.drainTime) { [unowned self] in stopNow() }
    }

    func stopNow() { runner?.stop() }

    /// Ends without waiting for anybody, once what is said now is out.
    func quit() {
        phase = .draining
        runner?.schedule(after: .milliseconds(100)) { [unowned self] in stopNow() }
    }

    /// Stops listening and lets connections end; the proxy goes on.
    func drainListeners() {
        hasDrainedListeners = true
        carrier?.drainListeners()
    }

    // MARK: What the control plane says

    private func note(_ action: DiscoveryClient.Action) {
        guard let runner else { return }
        switch action {
        case .update(let type, let resource):
            updates.note(type, resource.name) { $0.taken += 1 }
            do throws(ConfigurationProblem) {
                try take(type, resource)
            } catch {
                logger.error(
                    "an accepted resource cannot be used",
                    metadata: ["type": "\(type)", "name": "\(resource.name)", "reason": "\(error.description)"])
            }
        case .removed(let type, let name, .unsubscribed): return updates.forget(type, name)
        // Static resources are not the control plane's to take away.
        case .removed(let type, let name, _) where compiler.isFixed(type, name): return
        case .removed(let type, let name, _):
            store.remove(type, name: name)
            isCacheDue = isCacheDue || ResourceCache.types.contains(type)
        case .doesNotExist(let type, let name) where compiler.isFixed(type, name): return
        case .doesNotExist(let type, let name):
            logger.warning("the control plane has no such resource", metadata: ["type": "\(type)", "name": "\(name)"])
            store.noteAbsent(type, name: name)
            isCacheDue = isCacheDue || ResourceCache.types.contains(type)
        case .rejected(let type, let name, _, let reason):
            if let name { updates.note(type, name) { $0.refused += 1 } }
            logger.error(
                "a resource is refused; what was before stays in force",
                metadata: ["type": "\(type)", "name": "\(name ?? "")", "reason": "\(reason)"])
        case .receivedError(let type, let name, let detail):
            logger.warning(
                "the control plane cannot send a resource",
                metadata: ["type": "\(type)", "name": "\(name)", "reason": "\(detail.message)"])
        case .ackSent(let type, _, _):
            updates.accepted[type, default: 0] += 1
            updates.isConnected = true
            store.noteAnswer(type, now: runner.now)
            // The ACK goes out at the end of the turn: the workers have what it is for before. Who rotates roots
            // waits for it.
            settle()
        case .nackSent(let type, _, _, _):
            updates.refused[type, default: 0] += 1
            store.noteAnswer(type, now: runner.now)
        case .connectionFailed(_, let reason), .unreachable(let reason):
            logger.warning("no stream to the control plane; trying again", metadata: ["reason": "\(reason)"])
            updates.failedConnections += 1
            updates.isConnected = false
            startFromCache(because: reason)
        case .ignoredResponse(let url, _, let reason):
            logger.warning("a response is ignored", metadata: ["type": "\(url)", "reason": "\(reason)"])
        case .streamEnded(_, let reason):
            updates.isConnected = false
            logger.info("the stream to the control plane has ended", metadata: ["reason": "\(reason)"])
        case .openStream, .closeStream, .send, .sendDelta, .serverInUse: return
        }
        settleSoon()
    }

    /// Asks for what the store wants, and no longer for what it does not.
    private func tellWishes() {
        let new = wishes
        wishes = []
        for wish in new {
            switch wish {
            case .subscribe(let type, let names): subscribe(type, names)
            case .unsubscribe(let type, let names):
                runner?.unsubscribe(type, from: names.filter { type != .secret || !OwnSecret.watched.contains($0) })
            case .servesWithout, .serve: break
            }
        }
    }

    func take(_ type: ResourceType, _ resource: HeldResource, isCached: Bool = false)
        throws(ConfigurationProblem)
    {
        if type == .secret, OwnSecret.watched.contains(resource.name) { enrolment?.take(resource) }
        let compiled: ResourceCompiler.Compiled
        do {
            compiled = try compiler.take(type, resource)
        } catch {
            throw ConfigurationProblem(description: "\(error)")
        }
        store.update(
            type, name: resource.name, version: resource.version, references: compiled.references,
            value: compiled.value, isCached: isCached, now: runner?.now ?? Instant(nanoseconds: 0))
        isCacheDue = isCacheDue || (!isCached && type != .secret)
    }

    // MARK: What is served

    /// Once per turn: several resources come in one response.
    func settleSoon() {
        guard !isSettling else { return }
        isSettling = true
        runner?.schedule(after: .zero) { [unowned self] in
            isSettling = false
            compiler.forget()
            settle()
            tellWishes()
        }
    }

    private func settle() {
        guard let runner else { return }
        for action in store.settle(now: runner.now) {
            switch action {
            // Not from within what the client tells: its own requests come first.
            case .subscribe, .unsubscribe: wishes.append(action)
            case .servesWithout(let type, let name, let missing):
                logger.warning(
                    "what a resource needs has not come in time; it serves without",
                    metadata: [
                        "type": "\(type)", "name": "\(name)", "missing": "\(missing.joined(separator: ", "))",
                    ])
            case .serve(let table): serve(table)
            }
        }
        if phase == .initializing, store.isWhole {
            phase = .live
            takePlace()
            logger.info("every listener serves", metadata: ["listeners": "\(store.served.listeners.count)"])
        }
        setAlarm()
        keepInCache()
    }

    private func subscribe(_ type: ResourceType, _ names: [String]) {
        if case .none = configuration.control { return }
        do throws(DiscoveryClientError) {
            try runner?.subscribe(type, to: names.filter { !$0.isEmpty })
        } catch {
            logger.error("cannot subscribe", metadata: ["type": "\(type)", "reason": "\(error)"])
        }
    }

    private func serve(_ table: ResourceTable<CompiledResource>) {
        let numbers = Set(table.listeners.values.map(\.number))
        listenersCreated += numbers.subtracting(createdNumbers).count
        createdNumbers = numbers
        returnMemorySoon()
        let (served, problems) = assembly.assemble(table)
        for problem in problems {
            logger.error("a resource cannot be served whole", metadata: ["reason": "\(problem)"])
        }
        guard phase != .draining, let carrier else { return }
        lastServed = served
        noteListeners(carrier.serve(served))
        if loads == nil, served.clusters.values.contains(where: \.configuration.reportsLoad) { reportLoads() }
    }

    private func reportLoads() {
        guard let runner, let carrier, updates.isConnected else { return }
        let answers = LoadAnswers()
        loads = LoadReporter(runner, node: configuration.node, logger: logger) { [jobs] answer in
            let number = answers.add(answer)
            carrier.loads { loads in jobs.add { _ in answers.take(number)?(loads) } }
        }
        loads?.begin()
    }

    private func noteListeners(_ failures: [ListenerFailure]) {
        let new = Dictionary(failures.map { ($0.listener, "\($0.error)") }) { first, _ in first }
        for (name, reason) in new.sorted(by: { $0.key < $1.key }) where listenerFailures[name] != reason {
            logger.error("a listener cannot be opened", metadata: ["name": "\(name)", "reason": "\(reason)"])
        }
        listenerFailures = new
        // Whoever has the address may let it go.
        guard !new.isEmpty, !isRetrying, let runner else { return }
        isRetrying = true
        runner.schedule(after: .seconds(1)) { [unowned self] in
            isRetrying = false
            guard phase != .draining, let carrier, let lastServed, !listenerFailures.isEmpty else { return }
            noteListeners(carrier.serve(lastServed))
        }
    }

    private func setAlarm() {
        guard let deadline = store.nextDeadline, deadline != alarm, let runner else { return }
        alarm = deadline
        // One that is far away is looked at again in an hour.
        runner.schedule(after: min(.seconds(3600), max(.zero, runner.now.duration(to: deadline)))) { [unowned self] in
            alarm = nil
            settleSoon()
        }
    }
}

/// Carries the proxy through closures that run on its own thread.
///
/// Unchecked, because the compiler cannot see the rule that makes it sound: a doorbell's action runs on the thread of
/// the runner's loop only, and nothing else opens the box.
private struct OnProxyThread: @unchecked Sendable {
    private(set) unowned var value: Proxy

    init(_ value: Proxy) { self.value = value }
}
