import HTTP
import Time

/// What `send` did with the bytes.
public enum HTTP2SendResult: Sendable {
    /// They will go out as the peer's windows allow.
    case queued
    /// The stream holds as many unsent bytes as it may: `writable` comes when they are gone.
    case full
    /// The stream is over, or its end was announced.
    case closed
}

/// One HTTP/2 connection, either end: bytes in, events out; orders in, bytes out. No socket, clock or thread:
/// the caller moves the bytes, says what time it is and calls `tick` at `nextDeadline`.
///
/// After each `receive`, `tick` or order the caller takes the output with `produceOutput` until it gives none,
/// and closes the transport when `isFinished`. To be used from one thread at a time.
/// Source: RFC 9113, RFC 7541 (by libnghttp2).
public final class HTTP2Connection {
    public let role: HTTP2Role
    let limits: HTTP2Limits
    private let memory = SessionMemory()
    /// Set in init and never again; optional only because the session needs its owner.
    private(set) var library: LibrarySession!

    // What comes in.
    var scanner: FrameScanner
    var counters: FloodCounters
    var closedStreams = ClosedStreams()
    var streams = StreamTable<HTTP2Stream>()
    /// The last stream that we opened (client).
    var highestOpened: HTTP2StreamID = 0
    /// The caller's array, during a call.
    var collectedEvents: [HTTP2Event] = []
    var headers = HeaderBlock()
    var bodyBytesOfFrame = 0
    /// Set in a callback, where the session cannot be ended; raised as soon as the library returns.
    var scheduledFailure: HTTP2Failure?

    // What goes out.
    /// Frames that found no room in the caller's buffer, or that we wrote ourselves. Whole frames follow it.
    var pending: [UInt8] = []
    var pendingStart = 0
    var output = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    var outputCount = 0
    /// While control frames alone are collected.
    var holdsData = false
    var timing: HTTP2Timing

    /// Why the connection failed, once it has.
    public internal(set) var failure: HTTP2Failure?
    /// No frame is read any more, and none but the last GOAWAY is sent.
    var isOver = false

    /// Bytes of DATA that wait to be sent, on all streams.
    public internal(set) var unsentBytes = 0
    /// DATA frames sent.
    public internal(set) var dataFramesSent = 0

    public init(role: HTTP2Role, limits: HTTP2Limits = HTTP2Limits(), now: Instant) {
        self.role = role
        self.limits = limits
        scanner = FrameScanner(role: role)
        counters = FloodCounters(now: now)
        timing = HTTP2Timing(now: now)
        library = LibrarySession(role: role, limits: limits, memory: memory, owner: self)
        // The preface must be the first that is sent, before anything that we write ourselves.
        collectControlFrames()
    }

    deinit {
        library.delete()
    }

    /// Whether `produceOutput` has something to give.
    public var wantsWrite: Bool {
        pendingStart < pending.count || (!isOver && library.wantsWrite)
    }

    /// Whether all is said: the transport is to be closed.
    public var isFinished: Bool {
        pendingStart == pending.count && (isOver || (!library.wantsRead && !library.wantsWrite))
    }

    /// The open streams, rising.
    public var openStreams: [HTTP2StreamID] { streams.streams }
    /// The number of open streams.
    public var openStreamCount: Int { streams.count }
    /// Bytes that the library holds for this connection beyond its one resident page.
    public var libraryBytes: Int { memory.allocatedBytes }

    /// Ends the connection at once: GOAWAY with `code` and `text`, then nothing.
    public func terminate(_ code: HTTP2ErrorCode, _ text: String) {
        guard !isOver else { return }
        isOver = true
        collectControlFrames()
        appendGoAway(code, text)
        releaseStreams()
    }

    /// Ends the connection because of the peer: a GOAWAY that says why, and the last event.
    func fail(_ failure: HTTP2Failure) {
        guard self.failure == nil, !isOver else { return }
        self.failure = failure
        isOver = true
        collectControlFrames()
        appendGoAway(failure.code, failure.description)
        releaseStreams()
        collectedEvents.append(.connectionFailed(failure))
    }

    /// The library found a fault and has its GOAWAY on the way.
    func goAwaySent(_ code: HTTP2ErrorCode, _ text: UnsafeRawBufferPointer) {
        guard code != .noError, failure == nil, !isOver else { return }
        let failure = HTTP2Failure.violation(code, String(decoding: text, as: UTF8.self))
        self.failure = failure
        isOver = true
        releaseStreams()
        collectedEvents.append(.connectionFailed(failure))
    }

    /// Runs `body` with the caller's events in reach of the callbacks.
    func collecting<Result>(_ events: inout [HTTP2Event], _ body: () -> Result) -> Result {
        swap(&events, &collectedEvents)
        defer { swap(&events, &collectedEvents) }
        return body()
    }

    func raiseScheduledFailure() {
        guard let scheduled = scheduledFailure else { return }
        scheduledFailure = nil
        fail(scheduled)
    }

    private func releaseStreams() {
        streams = StreamTable()
        unsentBytes = 0
    }
}

/// One open stream.
struct HTTP2Stream {
    var queue = OutboundQueue()
    /// To be sent when the queue is empty.
    var trailers: HeaderList?
    /// Bytes given to the caller and not yet consumed, of the stream's window and of the connection's.
    var unconsumed = 0
    var unconsumedOfConnection = 0
    var flags: Flags = []

    struct Flags: OptionSet {
        var rawValue: UInt16
        /// The caller knows of it.
        static let announced = Flags(rawValue: 1)
        static let peerEnded = Flags(rawValue: 2)
        /// Nothing more is taken from the caller.
        static let ending = Flags(rawValue: 4)
        static let ended = Flags(rawValue: 8)
        /// Its HEADERS are sent (client) or queued (server): DATA may follow.
        static let opened = Flags(rawValue: 16)
        /// The library has been told that there is DATA.
        static let dataSubmitted = Flags(rawValue: 32)
        static let resetHere = Flags(rawValue: 64)
        static let resetByPeer = Flags(rawValue: 128)
        /// `writable` is owed.
        static let awaited = Flags(rawValue: 256)
    }
}

/// The header block that is being received.
struct HeaderBlock {
    /// Its stream, while END_HEADERS has not come; otherwise 0.
    var stream: HTTP2StreamID = 0
    var continuations = 0
    var list = HeaderList()
    /// As RFC 9113, section 6.5.2 counts.
    var size = 0
}
