import Glibc
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
        var thread: pthread_t?
    }

    let path: String
    private let limit: Int
    private let lock: UnsafeMutablePointer<pthread_mutex_t>
    private let change: UnsafeMutablePointer<pthread_cond_t>
    private let state: UnsafeMutablePointer<State>

    /// - Parameters:
    ///   - path: `/dev/stdout` and `/dev/stderr` are this process' own.
    ///   - limit: bytes that may wait.
    init(path: String, limit: Int = 8 << 20) {
        self.path = path
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
        withState { state in
            guard !state.isClosed, state.waitingBytes + bytes.count <= limit else {
                state.dropped += UInt64(lines)
                return
            }
            if state.thread == nil, !start(&state) {
                state.dropped += UInt64(lines)
                return
            }
            state.waiting.append((bytes, lines))
            state.waitingBytes += bytes.count
            pthread_cond_broadcast(change)
        }
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
            if file < 0 { file = open() }
            for (bytes, lines) in batch {
                let count = file < 0 ? 0 : Self.write(bytes, to: file)
                withState { state in
                    state.written += UInt64(count)
                    if count < bytes.count { state.dropped += UInt64(lines) }
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

/// The outputs of a proxy by path: all workers write to the same.
public final class LogOutputs: Sendable {
    private let outputs = Mutex<[String: LogOutput]>([:])

    public init() {}

    func output(_ path: String) -> LogOutput {
        outputs.withLock { outputs in
            if let output = outputs[path] { return output }
            let made = LogOutput(path: path)
            outputs[path] = made
            return made
        }
    }

    /// Opens all files again: after they were moved away.
    public func reopen() {
        for output in outputs.withLock({ Array($0.values) }) { output.reopen() }
    }

    /// Writes what waits, and ends.
    public func close() {
        for output in outputs.withLock({ Array($0.values) }) { output.close() }
    }

    /// Lines that were dropped.
    public var dropped: UInt64 { outputs.withLock { $0.values.reduce(0) { $0 + $1.dropped } } }
}
