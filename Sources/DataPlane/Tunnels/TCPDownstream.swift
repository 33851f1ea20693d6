import Forwarding
import Reactor
import TLS
import Time

/// One end of bytes that are led on as they are.
class TunnelEnd: SocketUser {
    /// The other end; nil before it is there, and once it is gone.
    final weak var other: TunnelEnd?
    final var isOpen = false
    final var hasEnded = false

    /// Sends what the other end has received.
    func send(_ bytes: UnsafeRawBufferPointer) {
        loop.write(bytes, to: id)
        if !loop.isWritable(id), let other { loop.pauseReading(other.id) }
    }

    override func writable() {
        if let other { loop.resumeReading(other.id) }
    }
}

/// A client's connection whose bytes go to a host as they are, and back.
final class TCPDownstream: TunnelEnd {
    private enum Timer {
        static let idle: UInt64 = 1
        static let age: UInt64 = 2
    }

    private let service: TCPService
    private let facts: ConnectionFacts
    private let tracker: ConnectionTracker
    private var upstream: TCPUpstream?
    /// What the client sends before there is a host; reading stops behind it.
    private var early: [UInt8] = []
    private var cluster: WorkerCluster?
    private var host: UpstreamHost?
    /// By the server name that the client asked for.
    private let clusterName: String?
    private var target: TCPProxySettings.Target?
    private var attempts = 0
    private var retryHosts = RetryHosts(RetryHostPolicy())
    private var lastActivity: Instant
    private(set) var record = TCPRecord()

    init(
        _ worker: Worker, _ id: ConnectionID, _ service: TCPService, _ facts: ConnectionFacts,
        _ tracker: ConnectionTracker,
        cluster: String?, metadata: FilterMetadata
    ) {
        clusterName = cluster
        record.metadata = metadata
        (self.service, self.facts, self.tracker) = (service, facts, tracker)
        lastActivity = worker.loop.now
        super.init(worker, id)
        isOpen = true
        record.start = .systemClock()
        record.began = lastActivity
        record.number = connectionNumber
    }

    override func begin(_ seen: [UInt8]) {
        if let limit = service.idleTimeout { loop.setTimer(after: limit, for: id, token: Timer.idle) }
        if let limit = service.connectionAge { loop.setTimer(after: limit, for: id, token: Timer.age) }
        early = seen
        record.bytesReceived = UInt64(seen.count)
        loop.pauseReading(id)
        let target = service.settings.choose(random: worker.random.next())
        self.target = target
        guard let cluster = worker.cluster(clusterName ?? target.cluster) else {
            record.flags.insert(.noCluster)
            return end(.requested)
        }
        record.cluster = cluster.name
        self.cluster = cluster
        cluster.counters.requests += 1
        connect()
    }

    // MARK: The host

    private func connect() {
        guard let cluster else { return }
        attempts += 1
        let question = PickQuestion(
            hash: service.hash(facts), subset: target?.subset,
            destination: cluster.destination(of: facts), retry: retryHosts)
        guard let host = cluster.pick(question) else {
            record.flags.insert(.noHealthyUpstream)
            return end(.requested)
        }
        if case .unusable = cluster.security(at: host.transport) {
            record.flags.insert(.upstreamConnectionFailure)
            return end(.requested)
        }
        guard cluster.mayConnect(host, .normal, isFirst: false) else {
            record.flags.insert(.upstreamOverflow)
            return end(.requested)
        }
        self.host = host
        retryHosts.note(host)
        record.host = host.address
        cluster.connectionBegan(host)
        cluster.state.begin(host)
        dial([host.address] + host.endpoint.otherAddresses, of: host, in: cluster)
    }

    /// Tries the addresses of the host, one after the other.
    private func dial(_ addresses: [NetworkAddress], of host: UpstreamHost, in cluster: WorkerCluster) {
        let upstream = TCPUpstream(worker, self, others: Array(addresses.dropFirst()))
        self.upstream = upstream
        upstream.id = loop.connect(
            to: SocketAddress(addresses[0]), tls: cluster.security(at: host.transport).settings,
            names: cluster.names(of: host, at: host.transport), options: cluster.connectOptions,
            handler: SocketHandler(user: upstream))
    }

    /// What the connection to the host is secured with.
    fileprivate var upstreamSecurity: TransportSecurity? {
        host.flatMap { cluster?.security(at: $0.transport) }
    }

    fileprivate func connected(_ upstream: TCPUpstream) {
        guard let cluster, let host else { return }
        cluster.counters.connected += 1
        cluster.report(.succeeded, host)
        record.connected = loop.now
        record.upstreamLocal = loop.localAddress(of: upstream.id)
        (other, upstream.other) = (upstream, self)
        if !early.isEmpty {
            early.withUnsafeBytes { upstream.send($0) }
            early = []
        }
        if hasEnded { loop.halfClose(upstream.id) }
        if loop.isWritable(upstream.id) { loop.resumeReading(id) }
    }

    /// The connection to the host has ended, or none was made.
    fileprivate func lost(_ upstream: TCPUpstream, _ reason: CloseReason) {
        guard self.upstream === upstream else { return }
        self.upstream = nil
        let wasConnected = upstream.isOpen
        if !wasConnected, isOpen, !reason.isOwnDoing, !upstream.others.isEmpty, let host, let cluster {
            return dial(upstream.others, of: host, in: cluster)
        }
        if let cluster, let host {
            cluster.connectionEnded(host, .normal)
            cluster.state.end(host, isSuccess: wasConnected)
            if !wasConnected, !reason.isOwnDoing { cluster.connectFailed(host, reason.connectFailure) }
        }
        other = nil
        guard isOpen else { return }
        if !wasConnected {
            record.transportFailure = reason.connectFailure.transportFailure
            if attempts < service.mostAttempts { return connect() }
            record.flags.insert(.upstreamConnectionFailure)
        }
        // What came from the host is still to arrive.
        loop.closeAfterFlush(id)
    }

    // MARK: The socket

    override func received(_ bytes: UnsafeRawBufferPointer) {
        lastActivity = loop.now
        record.bytesReceived += UInt64(bytes.count)
        if let other { other.send(bytes) } else { early += bytes }
    }

    override func send(_ bytes: UnsafeRawBufferPointer) {
        lastActivity = loop.now
        record.bytesSent += UInt64(bytes.count)
        super.send(bytes)
    }

    override func peerEnded() {
        hasEnded = true
        if let other { loop.halfClose(other.id) }
    }

    override func timerFired(_ token: UInt64) {
        guard token == Timer.idle, let limit = service.idleTimeout else { return end(.requested) }
        let due = lastActivity.advanced(by: limit)
        if due <= loop.now { return end(.requested) }
        loop.setTimer(at: due, for: id, token: Timer.idle)
    }

    private func end(_ reason: CloseReason) {
        loop.close(id, reason: reason)
    }

    override func closed(_ reason: CloseReason) {
        isOpen = false
        if let upstream {
            if case .finished = reason {} else if upstream.isOpen { record.flags.insert(.downstreamTermination) }
            // Bytes that the client sent before it went are still to arrive.
            if upstream.isOpen { loop.closeAfterFlush(upstream.id) } else { loop.close(upstream.id) }
        }
        record.ended = loop.now
        service.ended(record, facts)
        tracker.ended(id)
    }

    override func drain(_: DrainReason) {
        // Bytes have no end of their own to wait for: the drain time is all they get.
    }
}

/// The connection to the host.
final class TCPUpstream: TunnelEnd {
    private var downstream: TCPDownstream?
    /// Further addresses of the same host.
    let others: [NetworkAddress]

    init(_ worker: Worker, _ downstream: TCPDownstream, others: [NetworkAddress]) {
        (self.downstream, self.others) = (downstream, others)
        super.init(worker, .none)
    }

    override func established(_ peer: Peer) {
        isOpen = true
        if let security = downstream?.upstreamSecurity { endBeforeCertificates(security, peer) }
        downstream?.connected(self)
    }

    override func received(_ bytes: UnsafeRawBufferPointer) { other?.send(bytes) }

    override func peerEnded() {
        hasEnded = true
        if let other { loop.halfClose(other.id) }
    }

    override func closed(_ reason: CloseReason) {
        downstream?.lost(self, reason)
        downstream = nil
    }
}

/// What is known of a connection when it is over, for logs.
struct TCPRecord {
    /// The connection's.
    var number: UInt64 = 0
    var start = Timestamp(nanoseconds: 0)
    var began = Instant(nanoseconds: 0)
    var connected: Instant?
    var ended: Instant?
    var flags: ResponseFlag = []
    var details = ""
    var cluster = ""
    var host: NetworkAddress?
    /// What the chain's filters left.
    var metadata = FilterMetadata()
    var upstreamLocal: SocketAddress?
    var transportFailure: String?
    var bytesReceived: UInt64 = 0
    var bytesSent: UInt64 = 0
}
