import Forwarding
import HTTP1
import HTTP2
import Reactor
import TLS
import Time

/// Which protocol a request wants of its host.
enum UpstreamWish: Int, CaseIterable {
    case http1, http2, negotiated
    /// None: the bytes of a tunnel, as they are.
    case raw
}

/// All connections of this worker to one host, kept with it.
final class HostPools {
    /// By wish, and of each by priority: those of high priority have bounds of their own.
    private var pools = [HostConnections?](
        repeating: nil, count: UpstreamWish.allCases.count * RequestPriority.allCases.count)
    /// Of servers that requests name; the last used is the last.
    private var named: [HostConnections] = []
    /// Names are the clients' to choose: the connections of the one that was used longest ago go, when there are more.
    static let mostNames = 32
    /// Nobody keeps it: what is made serves who asked for it, and ends.
    private let isPassing: Bool

    init(isPassing: Bool) { self.isPassing = isPassing }

    /// - Parameter asked: the server that the request names, where that matters.
    func pool(
        _ wish: UpstreamWish, _ priority: RequestPriority, asked: String?, of host: UpstreamHost,
        in cluster: WorkerCluster
    ) -> HostConnections {
        let pool = keptPool(wish, priority, asked: asked, of: host, in: cluster)
        if isPassing { pool.drain() }
        return pool
    }

    private func keptPool(
        _ wish: UpstreamWish, _ priority: RequestPriority, asked: String?, of host: UpstreamHost,
        in cluster: WorkerCluster
    ) -> HostConnections {
        func isCurrent(_ pool: HostConnections) -> Bool {
            pool.security.isSame(as: cluster.security(at: host.transport))
                && (pool.endpointName == nil || pool.endpointName == host.endpoint.hostname)
                && pool.configuration === cluster.served.configuration
        }
        guard let asked else {
            let place = wish.rawValue * RequestPriority.allCases.count + priority.rawValue
            if let pool = pools[place] {
                // Other certificates: what is open serves to its end, new requests go over new connections.
                if isCurrent(pool) { return pool }
                pool.drain()
            }
            let made = HostConnections(cluster, host, wish, priority)
            pools[place] = made
            return made
        }
        if let place = named.lastIndex(where: { $0.wish == wish && $0.priority == priority && $0.asked == asked }) {
            let pool = named.remove(at: place)
            if isCurrent(pool) {
                named.append(pool)
                return pool
            }
            pool.drain()
        }
        while named.count >= Self.mostNames { named.removeFirst().drain() }
        let made = HostConnections(cluster, host, wish, priority, asked: asked)
        named.append(made)
        return made
    }

    /// Whether a name's first connection may go past the breakers: for the host's only one, or in place of an idle one
    /// of another name, which is closed. Else whoever thinks of names would have as many connections.
    func mayForce(_ pool: HostConnections) -> Bool {
        connectionCount == 0 || named.contains { $0 !== pool && $0.closeIdle() }
    }

    /// The host is gone, or its connections are to go.
    func drain() {
        for pool in pools { pool?.drain() }
        for place in pools.indices { pools[place] = nil }
        for pool in named { pool.drain() }
        named = []
    }

    var connectionCount: Int {
        pools.reduce(0) { $0 + ($1?.connectionCount ?? 0) } + named.reduce(0) { $0 + $1.connectionCount }
    }
}

/// The connections to one host in one protocol with the same TLS settings, and who waits for one.
final class HostConnections {
    let cluster: WorkerCluster
    let host: UpstreamHost
    let security: TransportSecurity
    let configuration: ClusterConfiguration
    let wish: UpstreamWish
    let priority: RequestPriority
    /// The server that its requests name; nil: they name none, or it does not matter.
    let asked: String?
    private let names: TLSServerNames
    /// The endpoint's host name, where it is sent.
    let endpointName: String?
    private unowned let worker: Worker

    /// HTTP/1 connections without a request; the last used is the last.
    private var idle: [HTTP1Upstream] = []
    private var multiplexed: [HTTP2Upstream] = []
    /// Those that carry one request at a time.
    private var singles: [ObjectIdentifier: HTTPUpstream] = [:]
    private var connecting = 0
    private var waiting: [UpstreamUser] = []
    private var isDraining = false
    /// What ALPN agreed on last: a connection of HTTP/2 serves all who wait.
    private var speaksHTTP2: Bool

    init(
        _ cluster: WorkerCluster, _ host: UpstreamHost, _ wish: UpstreamWish, _ priority: RequestPriority,
        asked: String? = nil
    ) {
        (self.cluster, self.host, self.wish, self.priority, self.asked) = (cluster, host, wish, priority, asked)
        security = cluster.security(at: host.transport)
        names = cluster.names(of: host, at: host.transport, asked: asked)
        if case .tls(_, let naming) = security, naming.sendsEndpointName {
            endpointName = host.endpoint.hostname
        } else {
            endpointName = nil
        }
        configuration = cluster.served.configuration
        worker = cluster.worker
        speaksHTTP2 = wish == .http2
    }

    var idleTimeout: Duration? { configuration.http.idleTimeout }
    var requestsPerConnection: Int? { configuration.http.requestsPerConnection }
    var passesTrailers: Bool { configuration.http.http1.hasTrailers }
    var connectionCount: Int { singles.count + multiplexed.count + connecting }

    enum Answer {
        /// The user has a connection: its `upstreamReady` is the caller's to call.
        case ready
        /// `upstreamReady` or `upstreamFailed` comes.
        case waits
        case refused(UpstreamFailure)
    }

    /// Finds a connection for a user, or opens one.
    func acquire(_ user: UpstreamUser) -> Answer {
        while let connection = idle.popLast() {
            guard connection.hasRoom, !isExpired(connection) else { continue }
            lend(connection, to: user)
            return .ready
        }
        if let connection = multiplexed.first(where: \.hasRoom) {
            lend(connection, to: user)
            return .ready
        }
        if case .unusable = security { return .refused(.tlsFailed("a certificate or roots are missing")) }
        guard cluster.state.tryAcquire(.pending, user.breakerPriority) else { return .refused(.overflow) }
        if !(speaksHTTP2 && connecting > 0) {
            if cluster.mayConnect(host, priority, isFirst: mayForce(hasNone: connectionCount == 0)) {
                connect()
            } else if connectionCount == 0 {
                cluster.state.release(.pending, user.breakerPriority)
                return .refused(.overflow)
            }
        }
        waiting.append(user)
        user.waitingIn = self
        return .waits
    }

    /// Whether a connection may be made past the breakers: the first, without which nothing would move.
    private func mayForce(hasNone: Bool) -> Bool {
        guard hasNone else { return false }
        guard asked != nil, cluster.state.breaker(priority).isOpen(.connections) else { return true }
        return cluster.pools(of: host).mayForce(self)
    }

    /// Closes a connection that nobody uses.
    /// - Returns: false if there is none.
    func closeIdle() -> Bool {
        if let connection = idle.popLast() {
            connection.drain()
            return true
        }
        guard let connection = multiplexed.first(where: \.isIdle) else { return false }
        connection.drain()
        return true
    }

    private func lend(_ connection: HTTPUpstream, to user: UpstreamUser) {
        // As Envoy has it: each request that gets a connection is a success of connecting.
        cluster.report(.connected, host)
        if let single = connection as? HTTP1Upstream {
            single.lend(to: user)
        } else if let raw = connection as? RawUpstream {
            raw.lend(to: user)
        } else {
            (user.upstream, user.upstreamStream) = (connection, 0)
        }
    }

    private func isExpired(_ connection: HTTP1Upstream) -> Bool {
        guard let age = configuration.http.maximumAge, connection.opened.advanced(by: age) <= worker.loop.now else {
            return false
        }
        connection.drain()
        return true
    }

    /// A user that waits no longer wants a connection.
    func forget(_ user: UpstreamUser) {
        guard let index = waiting.firstIndex(where: { $0 === user }) else { return }
        waiting.remove(at: index)
        user.waitingIn = nil
        cluster.state.release(.pending, user.breakerPriority)
    }

    private func connect() {
        connecting += 1
        cluster.connectionBegan(host)
        dial([host.address] + host.endpoint.otherAddresses)
    }

    /// Tries the addresses of the host, one after the other.
    private func dial(_ addresses: [NetworkAddress]) {
        let attempt = ConnectingUpstream(worker, self, others: Array(addresses.dropFirst()))
        attempt.id = worker.loop.connect(
            to: SocketAddress(addresses[0]), tls: security.settings, names: names, options: cluster.connectOptions,
            handler: SocketHandler(user: attempt))
    }

    // MARK: What connections tell

    /// The connection is there.
    fileprivate func connected(_ attempt: ConnectingUpstream, _ peer: Peer) {
        connecting -= 1
        cluster.counters.connected += 1
        attempt.endBeforeCertificates(security, peer)
        if peer.secure != nil { cluster.counters.tls.handshakes += 1 }
        let speaks: Bool
        switch wish {
        case .http1, .raw: speaks = false
        case .http2: speaks = true
        case .negotiated: speaks = peer.secure?.alpn == "h2"
        }
        speaksHTTP2 = speaks
        if speaks {
            let connection = HTTP2Upstream(
                worker, attempt.id, self, limits: cluster.http2Limits,
                mostStreams: configuration.http.http2.concurrentStreams ?? 1024)
            attempt.successor = connection
            multiplexed.append(connection)
            connection.established(peer)
            // Who waits here has nowhere else to wait, also when the pool takes nobody any more.
            gotRoom(connection)
            if isDraining { connection.drain() }
        } else {
            let connection: HTTPUpstream =
                if wish == .raw {
                    RawUpstream(worker, attempt.id, self)
                } else {
                    HTTP1Upstream(worker, attempt.id, self, limits: cluster.http1Limits)
                }
            attempt.successor = connection
            singles[ObjectIdentifier(connection)] = connection
            connection.established(peer)
            gotRoom(connection)
            if isDraining { connection.isDraining = true }
        }
        connectForWaiting()
    }

    /// There is none. As with Envoy all who wait are told, unless another attempt is under way.
    fileprivate func failed(_ attempt: ConnectingUpstream, _ reason: CloseReason) {
        if !attempt.others.isEmpty, !reason.isOwnDoing { return dial(attempt.others) }
        connecting -= 1
        cluster.connectionEnded(host, priority)
        cluster.counters.connectFailed += 1
        cluster.counters.tls.note(failure: reason)
        let failure = reason.connectFailure
        if !reason.isOwnDoing { cluster.connectFailed(host, failure) }
        let told = connecting > 0 ? Array(waiting.prefix(1)) : waiting
        waiting.removeFirst(told.count)
        for user in told {
            user.waitingIn = nil
            cluster.state.release(.pending, user.breakerPriority)
            user.upstreamFailed(failure)
        }
    }

    /// A connection takes another request.
    func gotRoom(_ connection: HTTPUpstream) {
        while connection.hasRoom, !waiting.isEmpty {
            let user = waiting.removeFirst()
            user.waitingIn = nil
            cluster.state.release(.pending, user.breakerPriority)
            lend(connection, to: user)
            user.upstreamReady()
        }
        guard connection.hasRoom else { return }
        // A host that speaks first would speak to nobody.
        if connection is RawUpstream { return connection.drain() }
        guard let single = connection as? HTTP1Upstream else { return }
        if isDraining { single.drain() } else { idle.append(single) }
    }

    /// It takes no more requests, and lives on with those that it has.
    func left(_ connection: HTTPUpstream) {
        if let single = connection as? HTTP1Upstream {
            idle.removeAll { $0 === single }
        } else {
            multiplexed.removeAll { $0 === connection }
            connectForWaiting()
        }
    }

    /// Those who wait may have counted on a connection that takes no more requests.
    private func connectForWaiting() {
        guard !waiting.isEmpty, connecting == 0, !multiplexed.contains(where: \.hasRoom) else { return }
        // What is left by the pool carries nobody who waits.
        let hasNone = singles.isEmpty && multiplexed.isEmpty
        if cluster.mayConnect(host, priority, isFirst: mayForce(hasNone: hasNone)) { connect() }
    }

    func closed(_ connection: HTTPUpstream) {
        left(connection)
        singles[ObjectIdentifier(connection)] = nil
        cluster.connectionEnded(host, priority)
        connectForWaiting()
    }

    /// No new requests; connections end with those that they have.
    func drain() {
        guard !isDraining else { return }
        isDraining = true
        for connection in idle { connection.drain() }
        idle = []
        for connection in singles.values { connection.isDraining = true }
        for connection in multiplexed { connection.drain() }
        connectForWaiting()
    }
}

/// A connection that is not there yet.
private final class ConnectingUpstream: SocketUser {
    private var pool: HostConnections?
    /// Further addresses of the same host.
    let others: [NetworkAddress]

    init(_ worker: Worker, _ pool: HostConnections, others: [NetworkAddress]) {
        (self.pool, self.others) = (pool, others)
        super.init(worker, .none)
    }

    override func established(_ peer: Peer) {
        let pool = pool
        self.pool = nil
        pool?.connected(self, peer)
    }

    override func closed(_ reason: CloseReason) { pool?.failed(self, reason) }
}
