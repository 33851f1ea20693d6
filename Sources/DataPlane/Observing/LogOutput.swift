import Glibc
import Logging
import Synchronization

/// A file, or standard output, that log lines are appended to. A thread of its own writes them, so that a slow disk or a
/// reader that stalls holds up no traffic; what waits is bounded, and lines beyond that are dropped and counted.
///
/// Unchecked: what changes is touched under the lock alone.
final class LogOutput: @unchecked Sendable {
    private struct State {
        var waiting: [(bytes: [UInt8], lines: Int)] = []
        var waitingBytes = 0
        var dropped: UInt64 = 0
        var written: UInt64 = 0
        var mustReopen = false
        var isWriting = false
        var isClosed = false
        var hasEnded = false
        /// The last trouble has been told of, and nothing was written since.
        var isFailing = false
        var thread: pthread_t?
    }

    let path: String
    private let limit: Int
    private let trouble: @Sendable (String) -> Void
    private let lock: UnsafeMutablePointer<pthread_mutex_t>
    private let change: UnsafeMutablePointer<pthread_cond_t>
    private let state: UnsafeMutablePointer<State>

    /// - Parameters:
    ///   - path: `/dev/stdout` and `/dev/stderr` are this process' own.
    ///   - limit: bytes that may wait.
    ///   - trouble: told why lines are lost, once until some are written again; from any thread.
    init(path: String, limit: Int = 8 << 20, trouble: @escaping @Sendable (String) -> Void = { _ in }) {
        self.path = path
        self.trouble = trouble
        self.limit = limit
        lock = .allocate(capacity: 1)
        change = .allocate(capacity: 1)
        state = .allocate(capacity: 1)
        pthread_mutex_init(lock, nil)
        pthread_cond_init(change, nil)
        state.initialize(to: State())
    }

    deinit {
        pthread_cond_destroy(change)
        pthread_mutex_destroy(lock)
        state.deinitialize(count: 1)
        state.deallocate()
        lock.deallocate()
        change.deallocate()
    }

    @discardableResult
    private func withState<Result>(_ body: (inout State) -> Result) -> Result {
        pthread_mutex_lock(lock)
        defer { pthread_mutex_unlock(lock) }
        return body(&state.pointee)
    }

    /// Hands over whole lines.
    /// - Parameter lines: how many they are.
    func write(_ bytes: [UInt8], lines: Int) {
        let problem = withState { state -> String? in
            guard !state.isClosed, state.waitingBytes + bytes.count <= limit else {
                state.dropped += UInt64(lines)
                return "it is not written as fast as lines come"
            }
            if state.thread == nil, !start(&state) {
                state.dropped += UInt64(lines)
                return "the system has no thread for it"
            }
            state.waiting.append((bytes, lines))
            state.waitingBytes += bytes.count
            pthread_cond_broadcast(change)
            return nil
        }
        if let problem { tell(problem) }
    }

    /// Once for each time that it goes wrong.
    private func tell(_ problem: String) {
        let isNew = withState { state in
            defer { state.isFailing = true }
            return !state.isFailing
        }
        if isNew { trouble(problem) }
    }

    /// Lines that were dropped because too much waited, or the file could not be written.
    var dropped: UInt64 { withState { $0.dropped } }
    /// Bytes that were written.
    var written: UInt64 { withState { $0.written } }

    /// Opens the path again before the next line: after the file was moved away.
    func reopen() { withState { $0.mustReopen = true } }

    /// Returns when what was handed over is written, or `close` was called.
    func waitUntilWritten() {
        withState { state in
            while !state.isClosed, state.isWriting || !state.waiting.isEmpty {
                pthread_cond_wait(change, lock)
            }
        }
    }

    /// Writes what waits, and ends the thread; whoever does not read for two seconds does not hold up the end.
    func close() {
        var until = timespec()
        clock_gettime(CLOCK_REALTIME, &until)
        until.tv_sec += 2
        let thread = withState { state -> (pthread_t, hasEnded: Bool)? in
            state.isClosed = true
            pthread_cond_broadcast(change)
            guard let thread = state.thread else { return nil }
            state.thread = nil
            while !state.hasEnded, pthread_cond_timedwait(change, lock, &until) == 0 {}
            return (thread, state.hasEnded)
        }
        guard let thread else { return }
        if thread.hasEnded { pthread_join(thread.0, nil) } else { pthread_detach(thread.0) }
    }

    /// Writes what waits and ends, without anybody who waits for it.
    func finish() {
        withState { state in
            state.isClosed = true
            if let thread = state.thread { pthread_detach(thread) }
            state.thread = nil
            pthread_cond_broadcast(change)
        }
    }

    // MARK: The thread

    private func start(_ state: inout State) -> Bool {
        var thread = pthread_t()
        let me = Unmanaged.passRetained(self)
        guard pthread_create(&thread, nil, logThreadMain, me.toOpaque()) == 0 else {
            me.release()
            return false
        }
        state.thread = thread
        return true
    }

    fileprivate func run() {
        var file: CInt = -1
        defer {
            if file > 2 { Glibc.close(file) }
            withState { state in
                state.hasEnded = true
                pthread_cond_broadcast(change)
            }
        }
        while let batch = next(&file) {
            if file < 0 {
                file = open()
                if file < 0 { tell("it cannot be opened: \(String(cString: strerror(errno)))") }
            }
            for (bytes, lines) in batch {
                let count = file < 0 ? 0 : Self.write(bytes, to: file)
                if file >= 0, count < bytes.count {
                    tell("it cannot be written: \(String(cString: strerror(errno)))")
                }
                withState { state in
                    state.written += UInt64(count)
                    if count < bytes.count {
                        state.dropped += UInt64(lines)
                    } else if state.waiting.isEmpty {
                        state.isFailing = false
                    }
                }
            }
            withState { state in
                state.isWriting = false
                pthread_cond_broadcast(change)
            }
        }
    }

    /// Waits for lines; nil: there are none and there will be none.
    private func next(_ file: inout CInt) -> [(bytes: [UInt8], lines: Int)]? {
        let (batch, reopens) = withState { state -> ([(bytes: [UInt8], lines: Int)]?, Bool) in
            while state.waiting.isEmpty, !state.isClosed { pthread_cond_wait(change, lock) }
            let reopens = state.mustReopen
            state.mustReopen = false
            if state.waiting.isEmpty { return (nil, reopens) }
            let batch = state.waiting
            (state.waiting, state.waitingBytes, state.isWriting) = ([], 0, true)
            return (batch, reopens)
        }
        if reopens, file > 2 {
            Glibc.close(file)
            file = -1
        }
        return batch
    }

    private func open() -> CInt {
        switch path {
        case "/dev/stdout": 1
        case "/dev/stderr": 2
        default: Glibc.open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0o644)
        }
    }

    /// - Returns: how many bytes went out: fewer if the file fails.
    private static func write(_ bytes: [UInt8], to file: CInt) -> Int {
        bytes.withUnsafeBytes { bytes in
            var done = 0
            while done < bytes.count, let base = bytes.baseAddress {
                let count = Glibc.write(file, base + done, bytes.count - done)
                if count > 0 {
                    done += count
                } else if count < 0, errno == EINTR {
                    continue
                } else if count < 0, errno == EAGAIN {
                    var wait = pollfd(fd: file, events: Int16(POLLOUT), revents: 0)
                    poll(&wait, 1, 100)
                } else {
                    break
                }
            }
            return done
        }
    }
}

private func logThreadMain(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    if let argument { Unmanaged<LogOutput>.fromOpaque(argument).takeRetainedValue().run() }
    return nil
}

/// An output, as long as somebody writes to it. The output's own thread does not hold it.
final class LogPlace: Sendable {
    fileprivate let output: LogOutput
    var path: String { output.path }

    fileprivate init(_ output: LogOutput) { self.output = output }

    /// Hands over whole lines.
    func write(_ bytes: [UInt8], lines: Int) { output.write(bytes, lines: lines) }
}

/// The outputs of a proxy by path: all workers write to the same.
public final class LogOutputs: Sendable {
    private struct State {
        var places: [String: LogPlace] = [:]
        /// Of outputs that are gone.
        var dropped: UInt64 = 0
    }

    private let state = Mutex(State())
    private let logger: Logger

    public init(logger: Logger = Logger(label: "proxy")) {
        self.logger = logger
    }

    func output(_ path: String) -> LogPlace {
        state.withLock { state in
            if let place = state.places[path] { return place }
            let output = LogOutput(path: path) { [logger] problem in
                logger.error("lines of an access log are lost", metadata: ["path": "\(path)", "reason": "\(problem)"])
            }
            let made = LogPlace(output)
            state.places[path] = made
            return made
        }
    }

    /// Ends those that nobody writes to any more.
    func release() {
        state.withLock { state in
            for path in Array(state.places.keys) where isKnownUniquelyReferenced(&state.places[path]!) {
                guard let output = state.places.removeValue(forKey: path)?.output else { continue }
                state.dropped += output.dropped
                output.finish()
            }
        }
    }

    private var all: [LogOutput] { state.withLock { $0.places.values.map(\.output) } }

    /// Opens all files again: after they were moved away.
    public func reopen() {
        for output in all { output.reopen() }
    }

    /// Writes what waits, and ends.
    public func close() {
        for output in all { output.close() }
    }

    /// Lines that were dropped.
    public var dropped: UInt64 {
        state.withLock { state in state.places.values.reduce(state.dropped) { $0 + $1.output.dropped } }
    }

    /// Places that are written to, sorted.
    var paths: [String] { state.withLock { $0.places.keys.sorted() } }
}
