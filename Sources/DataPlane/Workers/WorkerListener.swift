import Forwarding
import Reactor
import Time

/// A listener at one worker: where it accepts, what its chains do, and the connections that are open.
final class WorkerListener: ConnectionTracker {
    unowned let worker: Worker
    private(set) var served: ServedListener
    private var accepting: [ListenerID] = []
    /// One for each address; none for a listener that others hand connections to.
    private(set) var sockets: [ListeningSocket]
    /// What its chains do, made when the first connection comes.
    private var services: [ObjectIdentifier: HTTPService] = [:]
    private var streamServices: [ObjectIdentifier: TCPService] = [:]
    /// Of the configuration's filters that check tokens: they stay while the configuration does.
    private var keyRings: [ObjectIdentifier: TokenKeyRing] = [:]
    private var connections: [ConnectionID: Place] = [:]
    let counters: ListenerCounters
    private var refusals: (of: ListenerConfiguration, logger: AccessLogger)?

    /// What a connection has here.
    private struct Place {
        /// Nil: it is not chosen yet.
        var chain: FilterChain?
        /// Those that count it.
        var limits: [ConnectionLimit] = []
    }

    var name: String { served.name }
    var configuration: ListenerConfiguration { served.configuration }
    var connectionCount: Int { connections.count }
    var httpServices: [HTTPService] { services.values.sorted { $0.listener < $1.listener } }

    init(_ worker: Worker, _ served: ServedListener, _ sockets: [ListeningSocket]) throws(ReactorError) {
        (self.worker, self.served, self.sockets) = (worker, served, sockets)
        counters = worker.counters.listener(WorkerCounters.address(of: served))
        super.init()
        for socket in sockets {
            let listener = try worker.loop.listen(on: socket) { [unowned self] _, id, _ in
                counters.connections += 1
                return SocketHandler(user: Arrival(worker, id, self))
            }
            accepting.append(listener)
        }
        makeKeyRings()
    }

    /// Another configuration on the same socket: connections of chains that are gone go on under the rules that took their
    /// place, or come to an end; the others go on.
    func update(_ new: ServedListener) {
        let old = served
        served = new
        guard old.configuration !== new.configuration else {
            // Other certificates, for new connections alone.
            services = [:]
            streamServices = [:]
            return
        }
        let kept = Set(new.configuration.allChains.map { ObjectIdentifier($0) })
        // What services have gathered goes on as well.
        let isSame = old.configuration.bufferLimit == new.configuration.bufferLimit
        services = services.filter { isSame && kept.contains($0.key) && $0.value.ownURI == ownURI(of: $0.key) }
        streamServices = streamServices.filter {
            kept.contains($0.key) && $0.value.ownURI == ownURI(of: $0.key)
        }
        makeKeyRings()
        for (id, place) in connections {
            guard let chain = place.chain, !kept.contains(ObjectIdentifier(chain)),
                let next = new.configuration.successor(of: chain, in: old.configuration)
            else { continue }
            if move(id, to: next) { connections[id]?.chain = next }
        }
        drainConnections(.superseded) { chain in chain.map { !kept.contains(ObjectIdentifier($0)) } ?? false }
    }

    /// - Returns: false if the connection cannot go on under that chain.
    private func move(_ id: ConnectionID, to chain: FilterChain) -> Bool {
        guard case .http(let settings) = chain.terminal else { return false }
        return worker.loop.withHandler(id) { handler in
            guard let connection = handler.user as? HTTPDownstream, admits(connection.facts, chain) else {
                return false
            }
            return connection.move(to: service(of: chain, settings))
        } ?? false
    }

    /// Whether a chain's network filters let a connection pass that is there already. What counts connections would count
    /// it twice.
    private func admits(_ facts: ConnectionFacts, _ chain: FilterChain) -> Bool {
        chain.filters.allSatisfy { filter in
            guard case .access(let control) = filter else { return false }
            return control.decide(facts, metadata: FilterMetadata()).isAllowed
        }
    }

    private func ownURI(of chain: ObjectIdentifier) -> String? {
        configuration.allChains.first { ObjectIdentifier($0) == chain }.flatMap { ownURI(of: $0) }
    }

    private func ownURI(of chain: FilterChain) -> String? {
        served.tls(of: chain)?.configuration.identity?.leaf.uris.first
    }

    /// Keys that are wanted before anybody asks for them are fetched from now on.
    private func makeKeyRings() {
        let old = keyRings
        keyRings = [:]
        for chain in configuration.allChains {
            guard case .http(let settings) = chain.terminal else { continue }
            for case .tokens(let tokens, _) in settings.filters.entries.map(\.filter) {
                if let known = old[ObjectIdentifier(tokens)] {
                    keyRings[ObjectIdentifier(tokens)] = known
                    continue
                }
                let ring = TokenKeyRing(worker, tokens, listener: name)
                keyRings[ObjectIdentifier(tokens)] = ring
                // The clusters may not have been brought up to date yet.
                worker.later { [weak ring] in ring?.fetchDue() }
            }
        }
    }

    func service(of chain: FilterChain, _ settings: HTTPConnectionSettings) -> HTTPService {
        let key = ObjectIdentifier(chain)
        if let service = services[key] { return service }
        let made = HTTPService(
            worker, settings, listener: name, bufferLimit: configuration.bufferLimit, ownURI: ownURI(of: chain),
            keyRings: keyRings)
        services[key] = made
        return made
    }

    func service(of chain: FilterChain, _ settings: TCPProxySettings) -> TCPService {
        let key = ObjectIdentifier(chain)
        if let service = streamServices[key] { return service }
        let made = TCPService(worker, settings, listener: name, ownURI: ownURI(of: chain))
        streamServices[key] = made
        return made
    }

    /// A connection that no chain takes.
    func refused(_ facts: ConnectionFacts) {
        guard !configuration.accessLogs.isEmpty else { return }
        if refusals?.of !== configuration {
            refusals = (configuration, worker.logs.logger(configuration.accessLogs))
        }
        let now = worker.loop.now
        let entry = AccessRecord(.connection, facts, start: .systemClock(), began: now, ended: now)
        entry.flags = .noRoute
        entry.details = "filter_chain_not_found"
        entry.hostName = worker.hostName
        refusals?.logger.log(entry)
    }

    enum Admission {
        /// - Parameter cluster: where filters lead it; nil: where the chain does.
        case admitted(cluster: String?, metadata: FilterMetadata)
        case refused(after: Duration)
    }

    /// A connection that a policy refuses, in the log of what it was for. Of HTTP there is no request to log.
    /// Source: Envoy, network RBAC filter, connection termination details.
    private func denied(_ facts: ConnectionFacts, _ chain: FilterChain, by policy: String?) {
        guard case .stream(let settings) = chain.terminal else { return }
        let logger = service(of: chain, settings).logger
        guard !logger.isEmpty else { return }
        let now = worker.loop.now
        let entry = AccessRecord(.connection, facts, start: .systemClock(), began: now, ended: now)
        entry.terminationDetails = "rbac_access_denied_matched_policy[\(policy ?? "none")]"
        entry.hostName = worker.hostName
        logger.log(entry)
    }

    /// What a chain's network filters say of a connection.
    func admit(_ id: ConnectionID, _ facts: ConnectionFacts, _ chain: FilterChain) -> Admission {
        var cluster: String?
        var metadata = FilterMetadata()
        for filter in chain.filters {
            switch filter {
            case .access(let control):
                let verdict = control.decide(facts, metadata: metadata)
                if !verdict.metadata.isEmpty { metadata.merge(AccessControl.networkFilter, verdict.metadata) }
                if let isLogged = verdict.isLogged {
                    metadata.merge(AccessControl.hintFilter, AccessControl.hint(isLogged))
                }
                guard verdict.isAllowed else {
                    counters.denied += 1
                    denied(facts, chain, by: verdict.policy)
                    return .refused(after: .zero)
                }
            case .connectionLimit(let limit):
                guard limit.tryAcquire() else {
                    counters.limited += 1
                    return .refused(after: limit.delay)
                }
                connections[id, default: Place(chain: chain)].limits.append(limit)
            case .rateLimit(let limit):
                guard limit.admits(now: worker.loop.now) else {
                    counters.limited += 1
                    return .refused(after: .zero)
                }
            case .clusterByServerName: cluster = facts.serverName
            }
        }
        return .admitted(cluster: cluster, metadata: metadata)
    }

    // MARK: Connections

    override func began(_ id: ConnectionID) {
        connections[id] = Place()
    }

    /// A connection belongs to a chain from now on.
    func chose(_ chain: FilterChain, for id: ConnectionID) {
        connections[id]?.chain = chain
    }

    override func ended(_ id: ConnectionID) {
        for limit in connections.removeValue(forKey: id)?.limits ?? [] { limit.release() }
    }

    /// No new connections.
    func stopAccepting() {
        for listener in accepting { worker.loop.stopListening(listener) }
        accepting = []
    }

    /// Open, they would go on to take connections that nobody answers.
    func closeSockets() { sockets = [] }

    /// Asks connections to end when they can; after the drain time they are ended.
    /// - Parameter isLeaving: by their chain.
    func drainConnections(_ reason: DrainReason, where isLeaving: (FilterChain?) -> Bool = { _ in true }) {
        let leaving = connections.filter { isLeaving($0.value.chain) }.map(\.key)
        for id in leaving { _ = worker.loop.withHandler(id) { $0.user.drain(reason) } }
        guard !leaving.isEmpty else { return }
        worker.loop.schedule(after: worker.drainTime) { loop in
            for id in leaving { loop.close(id) }
        }
    }
}

/// Who counts connections.
class ConnectionTracker {
    func began(_ id: ConnectionID) {}
    func ended(_ id: ConnectionID) {}
}

/// What happened at a listener at one worker, under the names of Envoy's `listener.ADDRESS.` statistics.
final class ListenerCounters {
    var connections: UInt64 = 0
    var noChain: UInt64 = 0
    var detectionTimeouts: UInt64 = 0
    var badProxyHeaders: UInt64 = 0
    var tls = HandshakeCounters()
    var denied: UInt64 = 0
    var limited: UInt64 = 0
}

// The listeners of a worker follow the configuration.
extension Worker {
    func serveListeners(
        _ new: ProxyConfiguration, before old: ProxyConfiguration, sockets: [String: [ListeningSocket]]
    ) {
        for (name, listener) in listeners {
            let next = new.listeners[name]
            if let next, next === listener.served { continue }
            if let next, (sockets[name] ?? []).elementsEqual(listener.sockets, by: ===) {
                listener.update(next)
                continue
            }
            leave(listener)
            listeners[name] = nil
        }
        for (name, served) in new.listeners where listeners[name] == nil {
            // Without a socket it could not be bound, which its owner has been told.
            guard sockets[name] != nil || !served.configuration.bindsToPort else { continue }
            do {
                listeners[name] = try WorkerListener(self, served, sockets[name] ?? [])
            } catch {
                logger.error("listener \(name): \(error)")
            }
        }
    }

    private func leave(_ listener: WorkerListener) {
        listener.stopAccepting()
        listener.closeSockets()
        listener.drainConnections(.superseded)
        // Its connections refer to it until they have ended.
        leavingListeners.append(listener)
        leavingListeners.removeAll { $0.connectionCount == 0 && $0 !== listener }
    }

    /// The listener for where a connection was meant to go, as `use_original_dst` has it: the address itself, else any
    /// address with that port.
    func listener(for destination: NetworkAddress) -> WorkerListener? {
        var any: WorkerListener?
        for listener in listeners.values {
            for address in listener.configuration.addresses {
                if address == destination { return listener }
                guard let port = destination.port, address.port == port, let ip = address.ip,
                    ip.isUnspecified, ip.isIPv4 == destination.ip?.isIPv4 || !ip.isIPv4
                else { continue }
                any = listener
            }
        }
        return any
    }

    /// Stops accepting everywhere and lets connections end.
    func drain() {
        for listener in listeners.values {
            listener.stopAccepting()
            listener.drainConnections(.ending)
        }
        drainUpstreams()
    }

    /// Connections to hosts that no request uses end too: again and again, since requests under way may make new ones.
    private func drainUpstreams() {
        for cluster in usedClusters {
            for host in cluster.state.hosts { (host.attachment as? HostPools)?.drain() }
        }
        loop.schedule(after: .milliseconds(250)) { [weak self] _ in self?.drainUpstreams() }
    }
}
