import GRPC
import Logging
import Reactor
import Time
import XDS

/// What the connections of one event loop share. Belongs to the loop's thread.
final class DiscoveryLoop {
    let cache: SnapshotCache
    let configuration: DiscoveryServer.Configuration
    /// By the paths of their methods.
    let services: [String: any Service]
    let methods: GRPCMethods
    let metrics: DiscoveryMetrics
    let answers: CallAnswers
    let verdicts: StreamVerdicts
    /// Streams whose refusal is held back.
    var delayedRefusals = 0
    var logLimit = LogLimit()
    let logger: Logger
    /// Where output is put together, one connection after the other.
    let output = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 16)
    let decoded = DecodedRequests()
    /// Reused for each connection's events.
    var events = GRPCEvents<GRPCServerEvent>()
    /// The open xDS streams of each view, in no order.
    private var streams: [ViewName: [DiscoveryCall]] = [:]
    private(set) var streamCount = 0

    init(
        cache: SnapshotCache, configuration: DiscoveryServer.Configuration, services: [any Service],
        metrics: DiscoveryMetrics, mailbox: Mailbox<ServerConnection>
    ) {
        self.cache = cache
        self.configuration = configuration
        let pairs = services.flatMap { service in service.methods.map { ($0.path, service) } }
        self.services = Dictionary(pairs) { first, _ in first }
        methods = GRPCMethods((configuration.servesDiscovery ? DiscoveryMethod.all : []) + services.flatMap(\.methods))
        self.metrics = metrics
        answers = CallAnswers(mailbox)
        verdicts = StreamVerdicts(mailbox)
        logger = configuration.logger
    }

    deinit { output.deallocate() }

    /// Puts a stream on the list of its view.
    func join(_ call: DiscoveryCall, _ view: ViewName) {
        call.place = (view, streams[view, default: []].count)
        streams[view, default: []].append(call)
        streamCount += 1
    }

    /// Takes a stream off its view's list; the last of the list takes its place.
    func leave(_ call: DiscoveryCall) {
        guard let (view, index) = call.place else { return }
        call.place = nil
        streamCount -= 1
        if let last = streams[view]?.popLast(), last !== call {
            streams[view]?[index] = last
            last.place = (view, index)
        }
        if streams[view]?.isEmpty == true { streams[view] = nil }
    }

    /// Shows every stream of the views what is published now.
    /// - Parameter changed: the views, and when each was first published since the loop looked before.
    func publish(_ changed: [ViewName: Instant], loop: EventLoop<ServerConnection>) {
        var first: Instant?
        for (view, since) in changed.sorted(by: { $0.key < $1.key }) {
            guard let snapshot = cache.snapshot(of: view), let calls = streams[view] else { continue }
            for call in calls { call.connection?.publish(snapshot, to: call, loop: loop) }
            first = min(first ?? since, since)
        }
        // Once for all of them: with a view for each proxy it would be as many records as there are proxies.
        guard let first else { return }
        metrics.pushLatency.recordNanoseconds(first.duration(to: Loop.readClock()).nanoseconds)
    }

    /// Asks again which view each node belongs to, and shows those that moved what they see now.
    /// - Parameter nodes: by ID; nil: all of them.
    func assignAgain(_ nodes: Set<String>?, loop: EventLoop<ServerConnection>) {
        let calls = streams.values.joined().filter { call in
            nodes?.contains(call.node.id) ?? true && call.place?.view != cache.view(of: call.node)
        }
        for call in calls {
            // Showing one stream its snapshot may bring to light that another has ended.
            guard call.place != nil else { continue }
            leave(call)
            let view = cache.view(of: call.node)
            join(call, view)
            if let snapshot = cache.snapshot(of: view) { call.connection?.publish(snapshot, to: call, loop: loop) }
        }
    }

    /// Brings the metrics of the loop itself up to date, now and every second.
    func countRegularly(_ loop: EventLoop<ServerConnection>, since old: LoopStatistics = LoopStatistics()) {
        let new = loop.statistics
        metrics.count(new, since: old)
        loop.schedule(after: .seconds(1)) { [self] loop in countRegularly(loop, since: new) }
    }

    /// Every stream of some views as it stands, in no order.
    func report(now: Instant, where isWanted: (ViewName) -> Bool) -> [DiscoveryServer.StreamReport] {
        streams.filter { isWanted($0.key) }.flatMap { view, calls in
            let shown = cache.snapshot(of: view)
            return calls.map { $0.report(now: now, showing: shown) }
        }
    }
}
