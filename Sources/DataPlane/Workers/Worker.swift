import Forwarding
import Glibc
import HTTP1
import HTTP2
import Logging
import Reactor
import Time

/// One event loop with everything that it needs to serve by itself: listeners, connections, clusters. It shares nothing
/// that changes with other workers.
final class Worker {
    /// Bytes that one HTTP/2 stream may hold unsent before the other side is paused.
    static let streamBuffer = 256 << 10

    let loop: WorkerLoop
    let number: Int
    let logger: Logger
    let hostName: String
    private(set) var configuration = ProxyConfiguration()
    /// Grows with each configuration: what was found in one holds while this is the same.
    private(set) var configurationNumber: UInt64 = 0
    /// The proxy is about to end: connections are still accepted, and clients told with each answer to go elsewhere.
    var isEnding = false
    /// By name.
    var listeners: [String: WorkerListener] = [:]
    /// Those whose connections are drained.
    var leavingListeners: [WorkerListener] = []
    private var clusters: [String: WorkerCluster] = [:]
    var random: SeededRandom
    /// How long connections have to come to an end when what they use goes.
    let drainTime: Duration
    let lookups: NameLookups
    let counters = WorkerCounters()
    /// Who this proxy is, for services that it calls: an encoded `Node`.
    let node: [UInt8]
    /// Where this proxy runs; nil: nobody has said.
    let locality: EndpointLocality?
    private let outputs: LogOutputs
    private(set) lazy var logs = WorkerLogs(self, outputs: outputs)
    private(set) lazy var spans = WorkerSpans(self)

    // Scratch memory, lent for the time of a call.
    let frames = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 64)
    let lineEnd: [UInt8] = [0x0D, 0x0A]
    private var spareBytes: [UInt8] = []
    private var spareHTTP1Events: [HTTP1Event] = []
    private var spareHTTP2Events: [HTTP2Event] = []
    /// HTTP/2 connections with something to send at the end of the turn.
    var dirty: [any HTTP2Transport] = []

    private var dateSecond: Int64 = -1
    private var dateText = ""

    init(_ loop: WorkerLoop, number: Int, lookups: NameLookups, _ options: Workers.Options) {
        (self.loop, self.number, self.lookups) = (loop, number, lookups)
        (drainTime, logger, node, outputs) = (options.drainTime, options.logger, options.node, options.logs)
        locality = options.locality
        random = SeededRandom(seed: UInt64.random(in: 0 ... .max))
        var name = [CChar](repeating: 0, count: 256)
        hostName = gethostname(&name, 255) == 0 ? String(cString: name) : ""
        loop.beforeSending = { [unowned self] in pumpAll() }
    }

    deinit { frames.deallocate() }

    private func pumpAll() {
        // What is pumped may wake other streams; a turn ends all the same.
        for _ in 0..<8 where !dirty.isEmpty {
            let now = dirty
            dirty.removeAll(keepingCapacity: true)
            for connection in now { connection.pump() }
        }
        if !dirty.isEmpty { loop.later { _ in } }
    }

    /// Runs `job` in the next turn.
    func later(_ job: @escaping () -> Void) { loop.later { _ in job() } }

    // MARK: Configuration

    /// Takes a configuration whole: what changed is changed, the rest goes on.
    func serve(_ new: ProxyConfiguration, sockets: [String: [ListeningSocket]]) {
        let old = configuration
        configuration = new
        configurationNumber += 1
        for (name, cluster) in clusters {
            guard let served = new.clusters[name] else {
                cluster.retire()
                clusters[name] = nil
                continue
            }
            if served === cluster.served { continue }
            if served.configuration === cluster.configuration {
                cluster.update(served)
            } else {
                clusters[name] = WorkerCluster(self, served, after: cluster)
                cluster.retire()
            }
        }
        // Checks run whether or not there are requests.
        for (name, served) in new.clusters where served.configuration.check != nil && clusters[name] == nil {
            clusters[name] = WorkerCluster(self, served)
        }
        serveListeners(new, before: old, sockets: sockets)
        if old.listeners.keys != new.listeners.keys || old.clusters.keys != new.clusters.keys
            || !old.listeners.allSatisfy({ new.listeners[$0]?.configuration === $1.configuration })
        {
            counters.forget(but: new)
            // Out of what goes on in this turn, which may hold loggers.
            later { [self] in
                logs.release()
                spans.release()
            }
        }
    }

    /// The cluster of that name, made when it is first used; nil: there is none.
    func cluster(_ name: String) -> WorkerCluster? {
        if let cluster = clusters[name] { return cluster }
        guard let served = configuration.clusters[name] else { return nil }
        let made = WorkerCluster(self, served)
        clusters[name] = made
        return made
    }

    /// Clusters that were used, by name.
    var usedClusters: [WorkerCluster] { clusters.values.sorted { $0.name < $1.name } }

    // MARK: Scratch

    /// Lends an empty array of bytes that keeps its memory.
    @inline(__always)
    func withScratch(_ body: (inout [UInt8]) -> Void) {
        var bytes: [UInt8] = []
        swap(&bytes, &spareBytes)
        body(&bytes)
        if bytes.capacity <= 256 << 10 {
            bytes.removeAll(keepingCapacity: true)
            swap(&bytes, &spareBytes)
        }
    }

    @inline(__always)
    func withHTTP1Events(_ body: (inout [HTTP1Event]) -> Void) {
        var events: [HTTP1Event] = []
        swap(&events, &spareHTTP1Events)
        body(&events)
        events.removeAll(keepingCapacity: true)
        swap(&events, &spareHTTP1Events)
    }

    @inline(__always)
    func withHTTP2Events(_ body: (inout [HTTP2Event]) -> Void) {
        var events: [HTTP2Event] = []
        swap(&events, &spareHTTP2Events)
        body(&events)
        events.removeAll(keepingCapacity: true)
        swap(&events, &spareHTTP2Events)
    }

    // MARK: Time

    /// For the `date` field. Source: RFC 9110, section 5.6.7.
    var date: String {
        let second = Timestamp.systemClock().nanoseconds / 1_000_000_000
        if second != dateSecond {
            dateSecond = second
            dateText = Self.format(second)
        }
        return dateText
    }

    private static func format(_ second: Int64) -> String {
        var time = time_t(second)
        var parts = tm()
        gmtime_r(&time, &parts)
        let days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
        return
            "\(days[Int(parts.tm_wday)]), \(two(parts.tm_mday)) \(months[Int(parts.tm_mon)]) \(parts.tm_year + 1900) "
            + "\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec)) GMT"
    }
}
