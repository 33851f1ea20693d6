import Addresses
import Forwarding
import HTTP
import HTTP1
import HTTP2
import Reactor
import TLS
import Time

/// A cluster as one worker uses it: its hosts, the connections to them, and what is due by the clock.
final class WorkerCluster {
    unowned let worker: Worker
    private(set) var served: ServedCluster
    let state: UpstreamCluster
    let counters: ClusterCounters
    let http1Limits: HTTP1Limits
    let http2Limits: HTTP2Limits
    let connectOptions: ConnectOptions
    /// It was replaced or removed: it serves what it has begun.
    private(set) var isRetired = false
    private var timer: TimerID?
    private var timerAt: Instant?
    private var lastAnswers: [String: [IPAddress]] = [:]

    /// For clusters whose requests name their hosts.
    let namedHosts: NamedHosts?

    var name: String { served.name }
    var configuration: ClusterConfiguration { served.configuration }

    /// - Parameter old: what it replaces: addresses and health that are known of it hold until there is news.
    init(_ worker: Worker, _ served: ServedCluster, after old: WorkerCluster? = nil) {
        self.worker = worker
        self.served = served
        counters = worker.counters.cluster(served.name)
        let configuration = served.configuration
        state = UpstreamCluster(
            configuration, locality: worker.locality, now: worker.loop.now, random: &worker.random)
        var options = ConnectOptions()
        options.timeout = configuration.connectTimeout
        options.handshakeTimeout = configuration.connectTimeout
        if let keepalive = configuration.keepalive {
            options.keepAlive = true
            options.keepAliveIdle = keepalive.idleSeconds.map { Int32(clamping: $0) }
            options.keepAliveInterval = keepalive.intervalSeconds.map { Int32(clamping: $0) }
            options.keepAliveProbes = keepalive.probes.map { Int32(clamping: $0) }
        }
        options.source = configuration.source.map { SocketAddress($0) }
        connectOptions = options
        var http1 = HTTP1Limits()
        if let most = configuration.http.headerCount { http1.fields = most }
        if let most = configuration.http.responseHeaderKilobytes {
            (http1.headBytes, http1.lineBytes) = (most << 10, most << 10)
        }
        http1Limits = http1
        http2Limits = HTTP2Limits(upstream: configuration.http)
        if case .forwardProxy(let settings) = configuration.discovery {
            namedHosts = NamedHosts(worker, settings)
        } else {
            namedHosts = nil
        }
        if let endpoints = served.endpoints { take(endpoints) }
        if let old, case .names(let set, let resolution) = configuration.discovery, !old.lastAnswers.isEmpty {
            let names = Set(set.names)
            lastAnswers = old.lastAnswers.filter { names.contains($0.key) }
            take(set.resolved(lastAnswers, takesFirst: resolution.takesFirst))
        }
        if let old { state.adopt(healthFrom: old.state) }
        resolve()
        setTimer()
    }

    // MARK: Changes

    /// Other endpoints or certificates of the same cluster.
    func update(_ new: ServedCluster) {
        let old = served
        served = new
        if let endpoints = new.endpoints, endpoints !== old.endpoints { take(endpoints) }
        setTimer()
    }

    func take(_ endpoints: EndpointSet) {
        let changes = state.update(endpoints, now: worker.loop.now, random: &worker.random)
        for host in changes.removed { retire(host) }
        if configuration.closesOnChange, !changes.isEmpty {
            for host in state.hosts { (host.attachment as? HostPools)?.drain() }
        }
        setTimer()
    }

    private func resolve() {
        guard case .names(let set, let resolution) = configuration.discovery else { return }
        for name in set.names {
            worker.lookups.watch(name, resolution, for: worker) { [weak self] answer in
                guard let self, !isRetired else { return false }
                // What cannot be looked up now keeps the addresses that it had.
                guard let answer, !answer.isEmpty, answer != lastAnswers[name] else { return true }
                lastAnswers[name] = answer
                take(set.resolved(lastAnswers, takesFirst: resolution.takesFirst))
                return true
            }
        }
    }

    /// Another cluster takes its place, or none.
    func retire() {
        isRetired = true
        if let timer { worker.loop.cancelTimer(timer) }
        timer = nil
        for host in state.hosts { retire(host) }
    }

    private func retire(_ host: UpstreamHost) {
        (host.attachment as? HostPools)?.drain()
        host.attachment = nil
    }

    // MARK: Hosts and connections

    func security(at transport: Int) -> TransportSecurity {
        transport < served.security.count ? served.security[transport] : .plaintext
    }

    /// What a connection to a host asks of its server by name. Source: Envoy, `ClientContextImpl::newSsl`,
    /// `DefaultCertValidator`.
    /// - Parameter asked: the server that the request names, for clusters that take it from there.
    func names(of host: UpstreamHost, at transport: Int, asked: String? = nil) -> TLSServerNames {
        guard case .tls(let settings, let naming) = security(at: transport) else { return TLSServerNames() }
        var names = TLSServerNames()
        if let asked, configuration.http.takesServerName, IPAddress(asked) == nil {
            names.sent = asked
        } else if naming.sendsEndpointName, !host.endpoint.hostname.isEmpty {
            names.sent = host.endpoint.hostname.lowercased()
        }
        if naming.acceptsUntrusted { return names }
        if let asked, configuration.http.takesCertificateName {
            names.required = asked
        } else if naming.checksSentName {
            names.required = names.sent ?? settings.configuration.serverName
            names.requiredAlone = names.required != nil
            // Without a name, and nobody else that it could be, the address is who was called.
            if names.required == nil, settings.configuration.acceptedPeers == .anyTrusted {
                names.required = host.address.ip.map { "\($0)" }
            }
        }
        return names
    }

    func pools(of host: UpstreamHost) -> HostPools {
        if let pools = host.attachment as? HostPools { return pools }
        // What a host keeps that nobody drains again would keep the host, and the cluster.
        let isPassing = host.isGone || isRetired
        let made = HostPools(isPassing: isPassing)
        if !isPassing { host.attachment = made }
        return made
    }

    /// - Parameters:
    ///   - isHTTP2: what the downstream request came in, for clusters that pass it on in the same.
    ///   - isRaw: the connection is for bytes, whatever the cluster says of HTTP.
    ///   - asked: the server that the request names, as `UpstreamProtocol.serverName` says.
    func pool(
        _ host: UpstreamHost, isHTTP2: Bool, isRaw: Bool = false, _ priority: RequestPriority = .normal,
        asked: String? = nil
    ) -> HostConnections {
        var isSecured = false
        if case .tls = security(at: host.transport) { isSecured = true }
        let wish: UpstreamWish
        switch configuration.http.choice {
        case _ where isRaw: wish = .raw
        case .http1: wish = .http1
        case .http2: wish = .http2
        case .downstream: wish = isHTTP2 ? .http2 : .http1
        case .negotiated: wish = isSecured ? .negotiated : .http1
        }
        return pools(of: host).pool(wish, priority, asked: isSecured ? asked : nil, of: host, in: self)
    }

    /// Where a connection was meant to go, for clusters that lead there.
    func destination(of connection: ConnectionFacts) -> NetworkAddress? {
        if case .originalDestination = configuration.discovery { connection.restoredDestination } else { nil }
    }

    /// The same for a request, which may say it itself.
    func destination(of head: HeaderList, on connection: ConnectionFacts) -> NetworkAddress? {
        guard case .originalDestination(let settings) = configuration.discovery else { return nil }
        return settings.header.flatMap { Self.address(in: head, $0) } ?? connection.restoredDestination
    }

    /// The host that a request asks for. Source: Envoy, load balancing policy `override_host`.
    func preferred(by head: HeaderList) -> NetworkAddress? {
        for name in configuration.balancing.overrideHeaders {
            if let address = Self.address(in: head, name) { return address }
        }
        return nil
    }

    private static func address(in head: HeaderList, _ name: String) -> NetworkAddress? {
        let text = Array(name.utf8).withUnsafeBytes { name in
            head.withValue(ofBytes: name) { String(decoding: $0, as: UTF8.self) }
        }
        return text.flatMap { NetworkAddress($0) }
    }

    func pick(_ question: PickQuestion) -> UpstreamHost? {
        state.pick(question, now: worker.loop.now, random: &worker.random)
    }

    /// Whether one more connection may be made; if so, it counts from now on.
    /// - Parameter isFirst: the host has none; without it nothing would move.
    func mayConnect(_ host: UpstreamHost, _ priority: RequestPriority, isFirst: Bool) -> Bool {
        guard state.canConnect(host) else { return false }
        return state.tryAcquire(.connections, priority, isForced: isFirst)
    }

    func connectionBegan(_ host: UpstreamHost) {
        state.connectionBegan(host)
        counters.connections += 1
        counters.activeConnections += 1
    }

    func connectionEnded(_ host: UpstreamHost, _ priority: RequestPriority) {
        state.connectionEnded(host)
        state.release(.connections, priority)
        counters.activeConnections -= 1
    }

    // MARK: Outcomes

    func connectFailed(_ host: UpstreamHost, _ failure: UpstreamFailure) {
        state.connectFailed(host)
        report(failure == .connectTimedOut ? .timedOut : .connectFailed, host)
    }

    func responded(_ host: UpstreamHost, _ status: Int, _ head: HeaderList) {
        counters.responses.count(status)
        var seen = configuration.http.reportedStatus(status, head)
        if seen == 200, let code = head.withValue(of: "grpc-status", { Int(String(decoding: $0, as: UTF8.self)) }) {
            seen = HostOutcome.status(ofGRPC: code ?? 0)
        }
        report(.response(status: seen), host)
        if head.contains("x-envoy-immediate-health-check-fail") {
            state.failAtOnce(host, now: worker.loop.now, random: &worker.random)
        }
    }

    /// A try that had a connection, or waited for one, has failed. Connections report their own failures.
    func failed(_ host: UpstreamHost, _ failure: UpstreamFailure) {
        switch failure {
        case .connectFailed, .connectTimedOut, .tlsFailed, .overflow, .unsent: break
        case .terminated, .stale, .reset, .refused: report(.connectFailed, host)
        case .protocolError: report(.failed, host)
        }
    }

    func timedOut(_ host: UpstreamHost) {
        state.timedOut(host)
        report(.timedOut, host)
    }

    func report(_ outcome: HostOutcome, _ host: UpstreamHost) {
        state.report(outcome, of: host, now: worker.loop.now, random: &worker.random)
        if state.hasEvents { takeEvents() }
    }

    // MARK: Time

    private func setTimer() {
        guard !isRetired, let next = state.nextEvent else { return }
        if let timer, let timerAt {
            guard next < timerAt else { return }
            worker.loop.cancelTimer(timer)
        }
        timerAt = next
        timer = worker.loop.schedule(at: next) { [self] _ in tick() }
    }

    private func tick() {
        timer = nil
        timerAt = nil
        guard !isRetired else { return }
        for host in state.tick(now: worker.loop.now, random: &worker.random) { retire(host) }
        for probe in state.probes(now: worker.loop.now, random: &worker.random) {
            HealthProbe.make(probe, self)
        }
        takeEvents()
        setTimer()
    }

    func probed(_ outcome: ProbeOutcome, _ probe: Probe) {
        state.report(outcome, of: probe, now: worker.loop.now, random: &worker.random)
        takeEvents()
        setTimer()
    }

    private func takeEvents() {
        for event in state.takeEvents() {
            switch event {
            case .ejected(let host, let reason):
                worker.logger.info("cluster \(name): \(host.address) is ejected: \(reason.rawValue)")
                if configuration.closesUnhealthyConnections { (host.attachment as? HostPools)?.drain() }
            case .returned(let host): worker.logger.info("cluster \(name): \(host.address) is admitted again")
            case .notEjected: break
            case .checkPassed(let host): worker.logger.info("cluster \(name): \(host.address) passes its checks")
            case .checkFailed(let host):
                worker.logger.info("cluster \(name): \(host.address) fails its checks")
                if configuration.closesUnhealthyConnections { (host.attachment as? HostPools)?.drain() }
            case .left(let host): retire(host)
            }
        }
    }
}

/// What happened to a cluster at one worker, under the names of Envoy's statistics.
final class ClusterCounters {
    /// Of requests that were answered, from their last byte to the last one of the response.
    var times = Histogram()
    var requests: UInt64 = 0
    var connections: UInt64 = 0
    var connected: UInt64 = 0
    var connectFailed: UInt64 = 0
    var activeConnections = 0
    var retries: UInt64 = 0
    var timeouts: UInt64 = 0
    var perTryTimeouts: UInt64 = 0
    /// Redirects of its hosts that were followed here, and that were not though the route wants it.
    var redirectsFollowed: UInt64 = 0
    var redirectsFailed: UInt64 = 0
    var tls = HandshakeCounters()
    var responses = StatusCounters()
}

extension HTTP2Limits {
    init(upstream http: UpstreamProtocol) {
        self.init()
        streamWindow = http.http2.streamWindow ?? 256 << 10
        connectionWindow = http.http2.connectionWindow ?? 1 << 20
        headerListSize = (http.responseHeaderKilobytes ?? 60) << 10
        if let size = http.http2.headerTableSize { (receivingHeaderTableSize, sendingHeaderTableSize) = (size, size) }
        sendingHeaderTableSize = http.http2.headerTableSize ?? 4096
        keepaliveInterval = http.http2.keepaliveInterval
        keepaliveTimeout = http.http2.keepaliveTimeout
        idleTimeout = http.idleTimeout
        // The windows bound it; what does not fit would be lost.
        unsentBytesPerStream = .max
        stallTimeout = nil
        drainTimeout = .seconds(3600)
    }
}

extension SocketAddress {
    init(_ address: NetworkAddress) {
        switch address {
        case .pipe(let path): self = .unix(path: path)
        case .ip(let ip, let port):
            self =
                ip.isIPv4
                ? .ipv4(UInt32(truncatingIfNeeded: ip.low), port: port)
                : .ipv6(high: ip.high, low: ip.low, port: port)
        }
    }
}

extension NetworkAddress {
    /// - Parameter text: `10.0.0.1:80` or `[::1]:80`.
    init?(_ text: String) {
        let (name, port) = NamedHosts.parts(of: text)
        guard let port, let ip = IPAddress(name) else { return nil }
        self = .ip(ip, port: port)
    }

    /// An IPv4 address in IPv6's clothes is one of IPv4.
    init(_ address: SocketAddress) {
        switch address.mappedIPv4 ?? address {
        case .unix(let path): self = .pipe(path)
        case .ipv4(let number, let port):
            self = .ip(IPAddress(ipv4: number), port: port)
        case .ipv6(let high, let low, _, let port):
            self = .ip(IPAddress(ipv6High: high, low: low), port: port)
        }
    }
}
