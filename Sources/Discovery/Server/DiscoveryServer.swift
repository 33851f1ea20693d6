import GRPC
import HTTP2
import Logging
import Reactor
import Synchronization
import TLS
import Time
import XDS

/// Serves xDS to proxies: every resource type, aggregated and alone, state-of-the-world and incremental.
///
/// Proxies see the snapshots of the ``XDS/SnapshotCache``; a publication reaches each connected stream that it
/// concerns. Further gRPC services can be served on the same ports.
public final class DiscoveryServer: Sendable {
    /// How to serve.
    public struct Configuration: Sendable {
        /// Event loops, each on its own thread; every loop listens on every TCP address.
        public var loops = 1
        public var streams = StreamLimits()
        public var grpc = GRPCLimits()
        /// Connections of one listener and loop that are open at the same time.
        public var connectionsPerLoop = 100_000
        /// Who may open xDS streams; nil: everyone, as nobody.
        public var admission: (any Admission)?
        /// How long a stream waits for a decision of ``admission``.
        public var decisionDeadline = Duration.seconds(10)
        /// Streams of one loop whose refusal is held back at the same time; those beyond are told at once.
        public var delayedRefusalsPerLoop = 1024
        public var logger = Logger(label: "martinet.xds")
        /// Rings upon answers of xDS clients; nil: nobody waits for them.
        public var answers: AnswerBell?
        /// Whether xDS is served, or the given services alone.
        public var servesDiscovery = true

        public init() {}
    }

    /// An address to serve on.
    public struct Listener: Sendable {
        public var address: SocketAddress
        /// nil for plaintext.
        public var tls: TLSSource?
        /// Bytes of one request; nil for ``GRPCLimits/messageSize`` of the configuration.
        public var messageSize: Int?
        /// The permissions of a Unix socket's file.
        public var unixMode: UInt32

        public init(
            _ address: SocketAddress, tls: TLSSource? = nil, messageSize: Int? = nil, unixMode: UInt32 = 0o600
        ) {
            self.address = address
            self.tls = tls
            self.messageSize = messageSize
            self.unixMode = unixMode
        }
    }

    /// One xDS stream as it stands.
    public struct StreamReport: Sendable {
        public var node: Node
        public var status: StreamStatus
        /// By type.
        public var holdings: [TypeHoldings]
        /// Of the types in ``status``.
        public var times: [ResourceType: TypeTimes]
        public var origin: CallOrigin?
        public var age: Duration
        /// When the report was made, on the clock of the instants in it.
        public var now: Instant
    }

    /// How the streams stand, as far as the loops said.
    public struct Report: Sendable {
        /// Ordered by node.
        public var streams: [StreamReport] = []
        /// Loops that were too busy to be asked, or have stopped: their streams are missing.
        public var silentLoops = 0
    }

    /// When one type of a stream had its last response and its last answer.
    public struct TypeTimes: Sendable {
        /// nil: nothing was sent.
        public var sentAt: Instant?
        /// The last ACK or NACK; nil: none came.
        public var answeredAt: Instant?
    }

    private let cache: SnapshotCache
    private let group: EventLoopGroup<ServerConnection>
    private let loops: [LoopHandle]
    private let observer: SnapshotCache.ObserverToken

    /// Full names of the xDS services that every server offers, sorted.
    public static var servedServices: [String] { DiscoveryMethod.services }

    /// Listens, and serves on threads of its own until ``drain(grace:)`` or ``stop()``.
    /// - Parameters:
    ///   - services: what is served beside xDS, on which listeners each service decides by a call's origin.
    /// - Throws: ``Reactor/ReactorError`` for an address that cannot be used; nothing runs then.
    public init(
        _ cache: SnapshotCache, on listeners: [Listener], configuration: Configuration = Configuration(),
        services: [any Service] = []
    ) throws {
        let metrics = DiscoveryMetrics()
        let handles = Mutex<[LoopHandle]>([])
        var loopConfiguration = LoopConfiguration()
        loopConfiguration.logger = configuration.logger
        group = try EventLoopGroup<ServerConnection>(
            count: configuration.loops, name: "xds", configuration: loopConfiguration
        ) { loop, number in
            let home = DiscoveryLoop(
                cache: cache, configuration: configuration, services: services, metrics: metrics,
                mailbox: loop.mailbox)
            for listener in listeners {
                // A Unix socket is one file: the first loop has it.
                if listener.address.isUnix && number > 0 { continue }
                if number == 0 && configuration.loops > 1 { try loop.checkFree(listener.address) }
                try loop.serve(listener, home, configuration)
            }
            home.countRegularly(loop)
            let handle = LoopHandle(loop.mailbox, cache, OnLoop(home))
            handles.withLock { $0.append(handle) }
        }
        self.cache = cache
        let loops = handles.withLock { $0 }
        self.loops = loops
        observer = cache.addObserver { view in
            metrics.snapshots.increment()
            let now = Loop.readClock()
            for loop in loops { loop.viewChanged(view, at: now) }
        }
        // The loops serve already: what was published meanwhile reached no observer.
        let now = Loop.readClock()
        for view in cache.views {
            for loop in loops { loop.viewChanged(view, at: now) }
        }
    }

    /// Ends what was neither drained nor stopped, without waiting for it.
    deinit {
        cache.removeObserver(observer)
        group.stop()
    }

    /// Asks again which view each node belongs to: call it when the answers of the cache's assignment may have
    /// changed.
    public func assignViewsAgain() {
        for loop in loops { loop.assignAgain() }
    }

    /// Asks again which view some nodes belong to, by their IDs.
    public func assignViewsAgain(of nodes: Set<String>) {
        for loop in loops { loop.assignAgain(nodes) }
    }

    /// Collects how every xDS stream stands.
    /// - Parameters:
    ///   - isWanted: which views the streams are of that are told of; called on each loop's thread.
    ///   - completion: called once, on a loop's thread: what takes long belongs on another.
    public func report(
        where isWanted: @escaping @Sendable (ViewName) -> Bool = { _ in true },
        _ completion: @escaping @Sendable (Report) -> Void
    ) {
        let collector = ReportCollector(loops: loops.count)
        for loop in loops {
            let home = loop.home
            let isTaken = loop.mailbox.submit { loop in
                collector.add(home.value.report(now: loop.now, where: isWanted), completion)
            }
            if !isTaken { collector.add(nil, completion) }
        }
    }

    /// Takes no connections any more, tells the peers to go elsewhere, and returns when all have gone or `grace`
    /// has passed.
    public func drain(grace: Duration) {
        group.drain(grace: grace) { loop in
            loop.forEachHandler { connection, id in connection.drain(loop: loop, id: id) }
        }
        group.join()
    }

    /// Closes everything at once, and returns when that is done.
    public func stop() {
        group.stop()
        group.join()
    }
}

/// How other threads reach a loop.
private final class LoopHandle: Sendable {
    let mailbox: Mailbox<ServerConnection>
    let home: OnLoop<DiscoveryLoop>
    /// Views that changed since the loop looked, and when the first change was.
    private let changed: Changes
    private let doorbell: Doorbell<ServerConnection>
    private let assignment: Doorbell<ServerConnection>

    private final class Changes: Sendable {
        let views = Mutex<[ViewName: Instant]>([:])
        /// Nodes whose view may be another now; nil: all nodes.
        let nodes = Mutex<Set<String>?>([])
    }

    init(_ mailbox: Mailbox<ServerConnection>, _ cache: SnapshotCache, _ home: OnLoop<DiscoveryLoop>) {
        let changed = Changes()
        self.mailbox = mailbox
        self.home = home
        self.changed = changed
        assignment = mailbox.doorbell { loop in
            let nodes = changed.nodes.withLock { nodes in
                defer { nodes = [] }
                return nodes
            }
            home.value.assignAgain(nodes, loop: loop)
        }
        doorbell = mailbox.doorbell { loop in
            let views = changed.views.withLock { views in
                defer { views = [:] }
                return views
            }
            home.value.publish(views, loop: loop)
        }
    }

    /// Never refused however much waits for the loop: a stream would stay in the wrong view.
    /// - Parameter nodes: nil: all of them.
    func assignAgain(_ nodes: Set<String>? = nil) {
        changed.nodes.withLock { known in
            guard let nodes else {
                known = nil
                return
            }
            known?.formUnion(nodes)
        }
        assignment.ring()
    }

    func viewChanged(_ view: ViewName, at now: Instant) {
        changed.views.withLock { if $0[view] == nil { $0[view] = now } }
        doorbell.ring()
    }
}

/// Carries what belongs to one loop's thread through the closures of that loop's mailbox.
///
/// Unchecked, because the compiler cannot see the rule that makes it sound: a mailbox runs its jobs on its own loop's
/// thread only, and nothing else opens the box.
private struct OnLoop<Value>: @unchecked Sendable {
    let value: Value

    init(_ value: Value) { self.value = value }
}

/// Reports of the loops on their way together.
private final class ReportCollector: Sendable {
    private let state: Mutex<(report: DiscoveryServer.Report, waiting: Int)>

    init(loops: Int) { state = Mutex((DiscoveryServer.Report(), loops)) }

    /// - Parameter streams: nil: the loop cannot be asked.
    func add(
        _ streams: [DiscoveryServer.StreamReport]?, _ completion: @Sendable (DiscoveryServer.Report) -> Void
    ) {
        let finished = state.withLock { state -> DiscoveryServer.Report? in
            state.report.streams += streams ?? []
            if streams == nil { state.report.silentLoops += 1 }
            state.waiting -= 1
            return state.waiting == 0 ? state.report : nil
        }
        guard var finished else { return }
        finished.streams.sort { ($0.node.id, $0.age) < ($1.node.id, $1.age) }
        completion(finished)
    }
}

extension EventLoop<ServerConnection> {
    /// Where several loops share an address, the system would let another program share it too: asks for it alone.
    /// - Throws: `.addressInUse`.
    fileprivate func checkFree(_ address: SocketAddress) throws(ReactorError) {
        guard !address.isUnix else { return }
        stopListening(try listen(address) { _, _, _ in nil })
    }

    fileprivate func serve(
        _ listener: DiscoveryServer.Listener, _ home: DiscoveryLoop, _ configuration: DiscoveryServer.Configuration
    ) throws(ReactorError) {
        var options = ListenOptions()
        options.mostConnections = configuration.connectionsPerLoop
        options.reusePort = configuration.loops > 1 && !listener.address.isUnix
        options.unixMode = listener.unixMode
        var limits = configuration.grpc
        limits.messageSize = listener.messageSize ?? limits.messageSize
        try listen(listener.address, options: options, tls: listener.tls) { [limits] loop, id, peer in
            ServerConnection(
                home, id: id, isSecure: listener.tls != nil, peer: peer, limits: limits, now: loop.now)
        }
    }
}
