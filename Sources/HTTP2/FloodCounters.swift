import Time

/// Counts what a peer does per interval, and says when it is too much.
struct FloodCounters {
    private var started: Instant
    private var streamResets: Int32 = 0
    private var settings: Int32 = 0
    private var pings: Int32 = 0
    private var empty: Int32 = 0
    private var priority: Int32 = 0
    private var extensions: Int32 = 0
    private var windowUpdates: Int32 = 0
    private var closedStream: Int32 = 0
    private var tiny: Int32 = 0
    private var pingStrikes: Int32 = 0
    private var lastPing: Instant?

    init(now: Instant) {
        started = now
    }

    /// Starts again at zero when the interval is over.
    mutating func advance(to now: Instant, limits: HTTP2Limits) {
        guard started.duration(to: now) >= limits.floodInterval else { return }
        started = now
        streamResets = 0
        settings = 0
        pings = 0
        empty = 0
        priority = 0
        extensions = 0
        windowUpdates = 0
        closedStream = 0
        tiny = 0
    }

    mutating func countStreamReset(_ limits: HTTP2Limits) -> HTTP2Failure? {
        Self.count(&streamResets, .streamResets, limits.streamResets)
    }

    mutating func countSettings(_ limits: HTTP2Limits) -> HTTP2Failure? {
        Self.count(&settings, .settingsFrames, limits.settingsFrames)
    }

    mutating func countEmptyFrame(_ limits: HTTP2Limits) -> HTTP2Failure? {
        Self.count(&empty, .emptyFrames, limits.emptyFrames)
    }

    mutating func countPriority(_ limits: HTTP2Limits) -> HTTP2Failure? {
        Self.count(&priority, .priorityFrames, limits.priorityFrames)
    }

    mutating func countExtension(_ limits: HTTP2Limits) -> HTTP2Failure? {
        Self.count(&extensions, .extensionFrames, limits.extensionFrames)
    }

    mutating func countWindowUpdate(_ limits: HTTP2Limits) -> HTTP2Failure? {
        Self.count(&windowUpdates, .windowUpdateFrames, limits.windowUpdateFrames)
    }

    mutating func countClosedStreamFrame(_ limits: HTTP2Limits) -> HTTP2Failure? {
        Self.count(&closedStream, .closedStreamFrames, limits.closedStreamFrames)
    }

    mutating func countTinyFrame(_ limits: HTTP2Limits) -> HTTP2Failure? {
        Self.count(&tiny, .tinyFrames, limits.tinyFrames)
    }

    /// Source of the strikes: gRPC A8 and the keepalive guide: at most two PINGs too early.
    mutating func countPing(_ limits: HTTP2Limits, now: Instant) -> HTTP2Failure? {
        if let interval = limits.minimumPingInterval {
            if let lastPing, lastPing.duration(to: now) < interval,
                let failure = Self.count(&pingStrikes, .pingStrikes, limits.pingStrikes)
            {
                return failure
            }
            lastPing = now
        }
        return Self.count(&pings, .pingFrames, limits.pingFrames)
    }

    /// A DATA frame was sent: it entitles the peer to ten WINDOW_UPDATE frames, and to PINGs that measure.
    mutating func dataSent() {
        windowUpdates -= 10
        messageSent()
    }

    mutating func messageSent() {
        pings = 0
        pingStrikes = 0
        lastPing = nil
    }

    private static func count(_ counter: inout Int32, _ limit: HTTP2Limit, _ allowed: Int) -> HTTP2Failure? {
        counter += 1
        return Int(counter) > allowed ? .limit(limit, count: Int(counter), allowed: allowed) : nil
    }
}
