import GRPC
import Glibc
import Reactor
import TLS
import Time

/// Many proxies on one thread, with real connections to one control plane. A proxy whose connection breaks comes back as
/// Envoy does: after a random part of half a second, which doubles with each attempt up to 30 s.
///
/// At most ``mostUnderWay`` are on their way at a time: this thread does for all of them what each proxy has a machine
/// for, and takes longer for 10,000 handshakes than a handshake may take.
final class MeshProxies {
    typealias Loop = EventLoop<ProxyConnection>

    let loop: Loop
    private let address: SocketAddress
    private let anchors: TrustAnchors
    private(set) var metadata = GRPCMetadata()
    private(set) var proxies: [MeshProxy] = []
    let output = UnsafeMutableRawBufferPointer.allocate(byteCount: 32 << 10, alignment: 16)
    var events = GRPCEvents<GRPCClientEvent>()

    /// Proxies that have a certificate over the connection that they have now.
    private(set) var inSync = 0
    // Since counting began.
    private(set) var returned = 0
    private(set) var resumed = 0
    private(set) var handshakes = 0
    private(set) var timeouts = 0
    private(set) var failures = 0
    private(set) var refusals = 0
    private(set) var lastArrival = 0
    /// What went wrong first.
    private(set) var trouble: String?
    var sampler: HandshakeSampler?

    /// - Parameters:
    ///   - anchors: a PEM file.
    ///   - token: who proxies say that they are.
    init(port: UInt16, anchors: String, token: String) throws {
        var configuration = LoopConfiguration()
        configuration.logger.logLevel = .critical
        loop = try Loop(configuration)
        address = .loopback(port: port)
        self.anchors = try TrustAnchors(file: anchors)
        metadata.append("authorization", "Bearer \(token)")
    }

    static let mostUnderWay = 1000

    /// Positions of proxies that wait until others have arrived.
    private var waiting: [Int] = []
    private var underWay = 0

    private func makeSettings(_ identity: TLSIdentity?) throws -> TLSSettings {
        var configuration = TLSConfiguration.client(
            trusting: anchors, serverName: "localhost", identity: identity, applicationProtocols: ["h2"])
        configuration.storedSessions = 2
        return try TLSSettings(configuration)
    }

    /// From now on proxies show their certificates, and no token.
    func showCertificates() throws {
        metadata = GRPCMetadata()
        for proxy in proxies {
            proxy.settings = try makeSettings(try TLSIdentity(chainPEM: proxy.chain, keyPEM: proxy.key))
        }
    }

    // MARK: Orders

    func add() throws {
        // Settings of its own: sessions are resumed by the one who had them.
        proxies.append(MeshProxy("proxy-\(proxies.count)", try makeSettings(nil)))
        come(proxies.count - 1)
    }

    /// Closes all connections, and opens all again at once.
    func cut() {
        for index in proxies.indices {
            guard let connection = proxies[index].connection, let id = connection.id else { continue }
            forget(connection)
            loop.close(id)
            waiting.append(index)
        }
        connectWaiting()
    }

    func count(sampling every: Int?) throws {
        (returned, resumed, handshakes, timeouts, failures, refusals, trouble) = (0, 0, 0, 0, 0, 0, nil)
        for proxy in proxies { (proxy.bundles, proxy.certificates, proxy.returns) = (0, 0, 0) }
        sampler = every.map { HandshakeSampler(every: $0) }
    }

    private func come(_ index: Int) {
        waiting.append(index)
        connectWaiting()
    }

    private func connectWaiting() {
        let count = min(waiting.count, Self.mostUnderWay - underWay)
        guard count > 0 else { return }
        let next = waiting[..<count]
        waiting.removeFirst(count)
        underWay += count
        for index in next { connect(index) }
    }

    private func connect(_ index: Int) {
        let proxy = proxies[index]
        proxy.attempts += 1
        let connection = ProxyConnection(proxy, self)
        proxy.connection = connection
        connection.id = loop.connect(to: address, tls: proxy.settings, handler: connection)
    }

    // MARK: What connections tell

    func connected(_ proxy: MeshProxy, isResumed: Bool) {
        proxy.attempts = 0
        handshakes += 1
        if isResumed { resumed += 1 }
    }

    func took(_ names: [String], _ proxy: MeshProxy) {
        lastArrival = Clock.now
        if names.contains("default"), !proxy.isInSync {
            proxy.isInSync = true
            inSync += 1
            underWay -= 1
            // Not from within the callback of another connection.
            if !waiting.isEmpty { loop.later { [unowned self] _ in connectWaiting() } }
            proxy.returns += 1
            if proxy.returns == 1 { returned += 1 }
        }
        for _ in names { sampler?.arrived(proxies) }
    }

    func refused(_ status: GRPCStatus) {
        refusals += 1
        note("a stream was refused: \(status)")
    }

    func lost(_ connection: ProxyConnection, _ reason: CloseReason) {
        // One that was cut is forgotten.
        guard connection.proxy.connection === connection else { return }
        switch reason {
        case .connectTimedOut, .handshakeTimedOut:
            timeouts += 1
            note("\(reason)")
        case .connectFailed: failures += 1  // Nobody listens yet.
        default: if connection.proxy.attempts > 0 { failures += 1 }
        }
        forget(connection)
        guard let index = proxies.firstIndex(of: connection.proxy) else { return }
        let most = min(500 << min(max(0, connection.proxy.attempts - 1), 6), 30_000)
        loop.schedule(after: .milliseconds(Int.random(in: 0..<most))) { [unowned self] _ in come(index) }
    }

    private func forget(_ connection: ProxyConnection) {
        connection.proxy.connection = nil
        if connection.proxy.isInSync { inSync -= 1 } else { underWay -= 1 }
        connection.proxy.isInSync = false
    }

    func note(_ words: String) { trouble = trouble ?? words }

    deinit { output.deallocate() }
}

extension [MeshProxy] {
    /// Their names end in their positions.
    fileprivate func firstIndex(of proxy: MeshProxy) -> Int? {
        proxy.name.split(separator: "-").last.flatMap { Int($0) }
    }
}

/// Whether two proxies, with the secrets that they have at a moment, can shake hands.
struct HandshakeSampler {
    /// One handshake for so many secrets that arrive.
    let every: Int
    private var arrivals = 0
    private(set) var taken = 0
    private(set) var failed = 0
    private(set) var firstFailure: String?

    init(every: Int) { self.every = every }

    mutating func arrived(_ proxies: [MeshProxy]) {
        arrivals += 1
        guard arrivals % every == 0, let one = proxies.randomElement(), let other = proxies.randomElement(),
            one.hasEverything, other.hasEverything
        else { return }
        taken += 1
        do {
            try shakeHands(one, other)
        } catch {
            failed += 1
            firstFailure = firstFailure ?? "\(one.name) to \(other.name): \(error)"
        }
    }

    private func shakeHands(_ caller: MeshProxy, _ called: MeshProxy) throws {
        let peers = TLSConfiguration.AcceptedPeers.named([.trustDomain("cluster.local")])
        let client = try TLSSettings(
            .client(
                trusting: try TrustAnchors(pem: caller.anchors), accepting: peers,
                identity: try TLSIdentity(chainPEM: caller.chain, keyPEM: caller.key)))
        let server = try TLSSettings(
            .mutualServer(
                try TLSIdentity(chainPEM: called.chain, keyPEM: called.key),
                trusting: try TrustAnchors(pem: called.anchors), accepting: peers))
        _ = try EnginePair(client, server).connect()
    }
}

/// Two ends of a connection in memory.
struct EnginePair {
    let client: TLSEngine
    let server: TLSEngine

    init(_ client: TLSSettings, _ server: TLSSettings) throws {
        self.client = try TLSEngine(client)
        self.server = try TLSEngine(server)
    }

    /// Carries bytes between the two until none are left.
    /// - Returns: whether a session was resumed.
    /// - Throws: what either end refuses, or when they do not agree.
    func connect() throws -> Bool {
        var (toServer, toClient): ([UInt8], [UInt8]) = ([], [])
        try client.start { toServer += $0 }
        while !toServer.isEmpty || !toClient.isEmpty {
            var bytes = toServer
            toServer = []
            try bytes.withUnsafeBytes { try server.receive($0, plaintext: { _ in }, output: { toClient += $0 }) }
            bytes = toClient
            toClient = []
            try bytes.withUnsafeBytes { try client.receive($0, plaintext: { _ in }, output: { toServer += $0 }) }
        }
        guard client.isEstablished, server.isEstablished else {
            throw BenchFailure("a handshake that neither ends nor fails")
        }
        return server.isResumed
    }
}
