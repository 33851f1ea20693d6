import CLinux
import Glibc
import TLS
import Time

/// What an event loop does whatever its handlers are: epoll, sockets, output, timers, closing. Use it as
/// ``EventLoop``, which adds the handlers; the split keeps this code free of generics.
///
/// A loop belongs to the thread that runs it. Only its ``EventLoop/mailbox`` may be used from others.
///
/// One turn: wait for events; read, write and accept for each; fire timers; run jobs of other threads; send what
/// was written meanwhile, once per connection; tell handlers of closed connections. No handler is ever called from
/// within a call that another handler makes.
public class Loop {
    /// The moment at which this turn began: read once per turn. Outside of turns, the clock.
    public var now: Instant { turnStart ?? Loop.readClock() }
    public internal(set) var statistics = LoopStatistics()
    public let configuration: LoopConfiguration

    let epoll: Int32
    var slab = ConnectionSlab()
    var wheel: TimerWheel
    var work: ContiguousArray<TimerWork?> = []  // by timer index
    var earlyOutput: [UInt32: [UInt8]] = [:]  // written before the connection was established
    var heldInput: [UInt32: [UInt8]] = [:]  // received before TLS was started
    var closingReasons: [UInt32: CloseReason] = [:]  // of connections in closeWanted
    var handshakeLimits: [UInt32: Duration] = [:]  // of TLS connections that are still connecting
    var deadlines: [UInt32: (timer: TimerID, limit: Duration)] = [:]  // connecting, handshaking, closing

    var sources: [(source: EventSource?, generation: UInt32)] = []
    var listeners: [UInt32: Listener] = [:]
    var nextListener: UInt32 = 1
    var reserve: Int32

    let receiveScratch: UnsafeMutableRawBufferPointer
    /// In one piece: the system gives memory to what of it is used.
    private let outputMemory: UnsafeMutableRawBufferPointer
    var outputs: [OutputScratch]
    /// The one that was claimed last.
    var outputCursor = -1
    var outputsInUse = 0
    var plaintext = ByteScratch()
    var ciphertext = ByteScratch()

    private var turnStart: Instant?
    /// Runs once per turn when everything else is done, before what was written is sent: for those who collect output
    /// themselves.
    public var beforeSending: (() -> Void)?

    var turnNumber: UInt32 = 0
    var toRead: [ConnectionID] = []
    var toWrite: [ConnectionID] = []
    var greetings = GreetingQueue()
    var closes: [(index: UInt32, reason: CloseReason)] = []
    var laterJobs: [(Loop) -> Void] = []
    var drainStopsLoop = false
    /// Set by `stop()`; the turn under way is the last.
    public internal(set) var isStopping = false

    private let events: UnsafeMutablePointer<linux_event>

    init(_ configuration: LoopConfiguration) throws(ReactorError) {
        precondition((1...254).contains(configuration.outputScratches), "outputScratches must be 1 to 254")
        precondition((1...(1 << 30)).contains(configuration.blockedOutputLimit), "blockedOutputLimit is up to 1 GiB")
        precondition(configuration.receiveScratch > 0 && configuration.outputScratch > 0, "scratch buffers hold bytes")
        do {
            epoll = try SystemError.check(linux_epoll_open(), "epoll_create1")
            reserve = try SystemError.check(linux_reserve_open(), "open")
        } catch { throw .cannotStart(error) }
        self.configuration = configuration
        wheel = TimerWheel(origin: Loop.readClock())
        receiveScratch = .allocate(byteCount: configuration.receiveScratch, alignment: 64)
        let size = configuration.outputScratch
        outputMemory = .allocate(byteCount: configuration.outputScratches * size, alignment: 64)
        let outputMemory = outputMemory
        outputs = (0..<configuration.outputScratches).map { place in
            OutputScratch(
                bytes: UnsafeMutableRawBufferPointer(rebasing: outputMemory[place * size..<(place + 1) * size]))
        }
        events = .allocate(capacity: Int(LINUX_EVENTS))
    }

    deinit {
        for (source, _) in sources { source?.cancel() }
        for index in 0..<slab.count where slab[index].pointee.descriptor >= 0 {
            _ = linux_close(slab[index].pointee.descriptor)
        }
        slab.deallocate()
        receiveScratch.deallocate()
        outputMemory.deallocate()
        plaintext.deallocate()
        ciphertext.deallocate()
        events.deallocate()
        if reserve >= 0 { _ = linux_close(reserve) }
        _ = linux_close(epoll)
    }

    /// The monotonic clock, for those outside a turn; inside, use ``now``.
    public static func readClock() -> Instant {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Instant(nanoseconds: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
    }

    // MARK: What the generic loop adds

    func deliverAccepted(_ id: ConnectionID, listener: UInt32, peer: Peer) -> Bool { preconditionFailure() }
    func deliverEstablished(_ id: ConnectionID, peer: Peer) { preconditionFailure() }
    func deliverReceived(_ id: ConnectionID, _ bytes: UnsafeRawBufferPointer) { preconditionFailure() }
    func deliverReadyToWrite(_ id: ConnectionID) { preconditionFailure() }
    func deliverPeerClosedWriting(_ id: ConnectionID) { preconditionFailure() }
    func deliverTimer(_ id: ConnectionID, token: UInt64) { preconditionFailure() }
    func deliverClosed(_ id: ConnectionID, reason: CloseReason) { preconditionFailure() }
    func listenerStopped(_ number: UInt32) { preconditionFailure() }
    func runMailbox() { preconditionFailure() }

    // MARK: Turns

    /// One turn: waits until something happens, at most `limit` (nil: as long as it takes), and deals with it.
    public func turn(waiting limit: Duration? = nil) {
        let count = linux_epoll_wait(epoll, events, Int32(LINUX_EVENTS), waitMilliseconds(limit))
        precondition(count >= 0, "epoll_wait failed: \(SystemError(call: "epoll_wait", number: -count))")
        turnStart = Loop.readClock()
        defer { turnStart = nil }
        turnNumber &+= 1
        statistics.waits += 1
        let (reading, writing, jobs) = (toRead, toWrite, laterJobs)
        toRead.removeAll(keepingCapacity: true)
        toWrite.removeAll(keepingCapacity: true)
        laterJobs.removeAll()
        for position in 0..<Int(count) { dispatch(events[position]) }
        for id in reading {
            guard let connection = slab.find(id) else { continue }
            connection.pointee.state.remove(.queuedForReading)
            read(id, connection)
        }
        for id in writing {
            guard let connection = slab.find(id) else { continue }
            connection.pointee.state.remove(.queuedForWriting)
            if isWritable(id) { deliverReadyToWrite(id) }
        }
        beginHandshakes()
        fireTimers()
        for job in jobs { job(self) }
        settle()
        if drainStopsLoop && statistics.connections == 0 && closes.isEmpty { isStopping = true }
    }

    private func waitMilliseconds(_ limit: Duration?) -> Int32 {
        if !(toRead.isEmpty && toWrite.isEmpty && greetings.isEmpty && laterJobs.isEmpty && closes.isEmpty)
            || isStopping
        {
            return 0
        }
        var nanoseconds = limit.map { max(0, $0.nanoseconds) } ?? .max
        if let next = wheel.nextWakeUp() {
            nanoseconds = min(nanoseconds, max(0, next.nanoseconds - Loop.readClock().nanoseconds))
        }
        guard nanoseconds < .max else { return -1 }
        let milliseconds = nanoseconds / 1_000_000 + (nanoseconds % 1_000_000 == 0 ? 0 : 1)
        return Int32(min(milliseconds, Int64(Int32.max)))
    }

    private func dispatch(_ event: linux_event) {
        if event.label & EventSource.labelBit != 0 {
            let (index, generation) = (Int(event.label & 0x7fff_ffff), UInt32(event.label >> 32))
            guard sources[index].generation == generation, let source = sources[index].source else { return }
            source.ready(self)
            return
        }
        let id = ConnectionID(label: event.label)
        guard let connection = slab.find(id) else {
            statistics.staleEvents += 1
            return
        }
        let ready = Int(event.ready)
        if connection.pointee.state.contains(.connecting) {
            if ready & (Int(LINUX_WRITABLE) | Int(LINUX_FAILED) | Int(LINUX_PEER_CLOSED)) != 0 {
                finishConnecting(id, connection)
            }
            guard connection.pointee.state.contains(.open) else { return }
        } else if ready & Int(LINUX_WRITABLE) != 0 {
            becameWritable(id, connection)
            guard connection.pointee.state.contains(.open) else { return }
        }
        if ready & Int(LINUX_FAILED) != 0, connection.pointee.state.contains(.readingPaused) {
            // Nobody reads, so nobody else would notice.
            return closeBroken(id, connection)
        }
        if ready & (Int(LINUX_PEER_CLOSED) | Int(LINUX_FAILED)) != 0 { connection.pointee.state.insert(.endInSight) }
        if ready & (Int(LINUX_READABLE) | Int(LINUX_PEER_CLOSED) | Int(LINUX_FAILED)) != 0 {
            if connection.pointee.state.contains(.unheard) {
                queueForGreeting(id, connection)
            } else {
                read(id, connection)
            }
        }
    }

    /// Ends a turn: sends what was written, then tells the handlers of connections that were closed. What those
    /// handlers close in their turn waits for the next turn, so that a turn ends.
    private func settle() {
        beforeSending?()
        flushOutputs()
        let ended = closes
        closes.removeAll(keepingCapacity: true)
        for (index, reason) in ended {
            deliverClosed(ConnectionID(index: index, generation: slab[index].pointee.generation), reason: reason)
            slab.giveBack(index)
        }
        guard !ended.isEmpty else { return }
        beforeSending?()
        flushOutputs()
    }

    /// Runs `job` in the next turn, outside every callback.
    func postpone(_ job: @escaping (Loop) -> Void) {
        laterJobs.append(job)
    }

    /// Makes `run` return after this turn. All connections are closed with `.loopStopped`.
    public func stop() {
        isStopping = true
    }

    /// Stops listening, and stops the loop when the last connection has ended or after `grace`.
    /// Handlers are told by the caller, for example to send GOAWAY.
    public func drain(grace: Duration) {
        for listener in listeners.keys.sorted() { stopListening(ListenerID(number: listener)) }
        drainStopsLoop = true
        _ = setWork(at: now.advanced(by: grace), .closure { $0.stop() })
    }

    /// Closes everything and says so to the handlers. After this the loop only waits to be released.
    func closeEverything() {
        for listener in listeners.keys.sorted() { stopListening(ListenerID(number: listener)) }
        // A handler may open connections when it hears of the end; they end too.
        for _ in 0..<3 {
            for index in 0..<slab.count where slab[index].pointee.state.contains(.open) {
                close(ConnectionID(index: index, generation: slab[index].pointee.generation), reason: .loopStopped)
            }
            settle()
        }
        for index in sources.indices { removeSource(index) }
        work.removeAll()
        laterJobs.removeAll()
        beforeSending = nil
    }
}

/// A descriptor that is not a connection: a listener, a wake-up, a watcher. Cold paths only.
class EventSource {
    static let labelBit: UInt64 = 1 << 31
    fileprivate(set) var position = -1

    /// The descriptor may be read; edge-triggered.
    func ready(_ loop: Loop) { preconditionFailure() }
    /// Closes the descriptor. Called once.
    func cancel() { preconditionFailure() }
}

extension Loop {
    /// Registers a source for readability.
    func addSource(_ source: EventSource, descriptor: Int32) throws(SystemError) {
        let index = sources.firstIndex { $0.source == nil } ?? sources.count
        if index == sources.count { sources.append((nil, 0)) }
        let label = UInt64(sources[index].generation) << 32 | EventSource.labelBit | UInt64(index)
        _ = try SystemError.check(linux_epoll_add(epoll, descriptor, label, 0), "epoll_ctl")
        sources[index].source = source
        source.position = index
    }

    /// Cancels the source; events of it that are under way are ignored.
    func removeSource(_ index: Int) {
        guard let source = sources[index].source else { return }
        sources[index] = (nil, (sources[index].generation &+ 1) & 0x7fff_ffff)
        source.cancel()
    }
}

/// Collects the output of one connection during a turn.
struct OutputScratch {
    let bytes: UnsafeMutableRawBufferPointer
    var count = 0
    var owner: ConnectionID?
}

/// Bytes on their way through TLS: grows to the largest batch that went through.
struct ByteScratch {
    private var storage = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    private(set) var count = 0

    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: storage[..<count]) }

    mutating func append(_ more: UnsafeRawBufferPointer) {
        guard more.count > 0 else { return }
        if count + more.count > storage.count {
            var wanted = max(storage.count, 32 << 10)
            while wanted < count + more.count { wanted *= 2 }
            let larger = UnsafeMutableRawBufferPointer.allocate(byteCount: wanted, alignment: 64)
            if count > 0 { larger.copyMemory(from: bytes) }
            storage.deallocate()
            storage = larger
        }
        (storage.baseAddress! + count).copyMemory(from: more.baseAddress!, byteCount: more.count)
        count += more.count
    }

    mutating func clear() { count = 0 }
    func deallocate() { storage.deallocate() }
}
