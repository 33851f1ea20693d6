import Forwarding
import Glibc
import Logging
import Reactor
import Synchronization
import Time

/// The data plane's threads: each has an event loop and serves by itself what ``serve(_:)`` hands to all of them.
public final class Workers: Sendable {
    /// How the workers run, whatever they serve.
    public struct Options: Sendable {
        /// Threads; each takes a share of the connections.
        public var count = 1
        /// How long connections have to come to an end when what they use goes.
        public var drainTime = Duration.seconds(45)
        public var loop = LoopConfiguration()
        public var logger = Logger(label: "proxy")
        /// Who this proxy is, for services that it calls: an encoded `Node`.
        public var node: [UInt8] = []
        /// Where access logs are written.
        public var logs = LogOutputs()

        public init() {}
    }

    private struct State {
        /// By listener: the addresses that were asked for, and for each worker a socket for each address.
        var sockets: [String: (wanted: [SocketAddress], sockets: [[ListeningSocket]])] = [:]
        /// Sockets of an earlier process, by address, that nobody has asked for yet.
        var inherited: [SocketAddress: [ListeningSocket]] = [:]
    }

    public let options: Options
    private let group: EventLoopGroup<SocketHandler>
    private let workers: [WorkerBox]
    private let state = Mutex(State())

    /// Unchecked: the worker is touched on its own thread alone, by jobs of its mailbox.
    private struct WorkerBox: @unchecked Sendable {
        let worker: Worker
    }

    /// Starts the threads, which serve nothing yet.
    /// - Parameter inherited: listening sockets of an earlier process, to be used by listeners with their addresses.
    public init(_ options: Options = Options(), inherited: [ListeningSocket] = []) throws {
        precondition(options.count > 0, "there is at least one worker")
        self.options = options
        let lookups = NameLookups()
        let boxes = Mutex<[WorkerBox]>([])
        group = try EventLoopGroup(count: options.count, name: "worker", configuration: options.loop) { loop, number in
            let worker = Worker(loop, number: number, lookups: lookups, options)
            let box = WorkerBox(worker: worker)
            boxes.withLock { $0.append(box) }
        }
        workers = boxes.withLock { $0 }
        state.withLock { state in
            for socket in inherited { state.inherited[socket.address, default: []].append(socket) }
        }
    }

    deinit {
        group.stop()
        group.join()
    }

    /// Serves a configuration in place of the one before, whole and on every worker: listeners are opened, changed, or
    /// closed and drained, clusters and routes exchanged. Returns when sockets are open; the workers follow at once.
    /// Not for two threads at a time.
    /// - Returns: listeners that cannot be opened. They are left out, the rest is served.
    public func serve(_ configuration: ProxyConfiguration) -> [ListenerFailure] {
        var failures: [ListenerFailure] = []
        let sockets = state.withLock { state -> [String: [[ListeningSocket]]] in
            var next: [String: (wanted: [SocketAddress], sockets: [[ListeningSocket]])] = [:]
            for (name, served) in configuration.listeners.sorted(by: { $0.key < $1.key })
            where served.configuration.bindsToPort {
                let wanted = served.configuration.addresses.map { SocketAddress($0) }
                if let open = state.sockets[name], open.wanted == wanted {
                    next[name] = open
                    continue
                }
                do throws(ReactorError) {
                    var sockets = [[ListeningSocket]](repeating: [], count: workers.count)
                    for address in wanted {
                        let opened = try open(address, served.configuration, &state)
                        for number in workers.indices { sockets[number].append(opened[number]) }
                    }
                    next[name] = (wanted, sockets)
                } catch {
                    failures.append(ListenerFailure(listener: name, error: error))
                }
            }
            state.sockets = next
            return next.mapValues(\.sockets)
        }
        for (number, box) in workers.enumerated() {
            let own = sockets.mapValues { $0[number] }
            post(box) { $0.serve(configuration, sockets: own) }
        }
        return failures
    }

    private func open(
        _ wanted: SocketAddress, _ configuration: ListenerConfiguration, _ state: inout State
    ) throws(ReactorError) -> [ListeningSocket] {
        var options = ListenOptions()
        options.isTransparent = configuration.isTransparent
        if let backlog = configuration.backlog { options.backlog = Int32(clamping: backlog) }
        options.reusePort = workers.count > 1 && !wanted.isUnix
        var sockets = Array((state.inherited.removeValue(forKey: wanted) ?? []).prefix(workers.count))
        var address = sockets.first?.address ?? wanted
        while sockets.count < workers.count {
            // A Unix socket is one for all; of TCP each worker has its own, and the kernel spreads the connections.
            if wanted.isUnix, let first = sockets.first {
                sockets.append(first)
            } else {
                sockets.append(try ListeningSocket(address, options: options))
                address = sockets[0].address
            }
        }
        return sockets
    }

    private func post(_ box: WorkerBox, _ job: @escaping @Sendable (Worker) -> Void) {
        _ = box.worker.loop.mailbox.submit { _ in job(box.worker) }
    }

    // MARK: For those who ask

    /// The addresses at which listeners accept, by name: with the port that the system chose for port 0.
    public var addresses: [String: SocketAddress] {
        state.withLock { $0.sockets.compactMapValues { $0.sockets.first?.first?.address } }
    }

    /// The sockets that accept, to be handed to the process that takes over.
    public var listeningSockets: [ListeningSocket] {
        state.withLock { state in state.sockets.sorted { $0.key < $1.key }.flatMap { $0.value.sockets.joined() } }
    }

    /// What each worker's loop has done. Waits for the workers' threads.
    public func statistics() -> [LoopStatistics] { ask { $0.loop.statistics } }

    /// Asks every worker, on its own thread, and waits for all. Not from a worker's thread.
    func ask<Answer: Sendable>(_ question: @escaping @Sendable (Worker) -> Answer) -> [Answer] {
        workers.compactMap { box in
            let answer = Answers<Answer>()
            guard box.worker.loop.mailbox.submit({ _ in answer.give(question(box.worker)) }) else { return nil }
            return answer.wait()
        }
    }

    // MARK: The end

    /// From now on clients are told with each answer to come back by another connection, which may lead elsewhere.
    public func announceEnd() {
        for box in workers { post(box) { $0.isEnding = true } }
    }

    /// Stops accepting, lets requests that are under way finish, and ends after `grace` at the latest. Returns when it
    /// has ended. Not from a worker's thread.
    public func drain(grace: Duration) {
        for box in workers { post(box) { $0.drain() } }
        group.drain(grace: grace) { _ in }
        group.join()
        flushLogs()
    }

    /// Ends at once. Returns when it has.
    public func stop() {
        group.stop()
        group.join()
        flushLogs()
    }

    /// What the workers, which have ended, still hold of their logs is written.
    private func flushLogs() {
        for box in workers { box.worker.logs.flushLines() }
    }
}

/// One answer of another thread. Unchecked: guarded by its semaphore.
private final class Answers<Answer: Sendable>: @unchecked Sendable {
    private let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)
    private var answer: Answer?

    init() { sem_init(semaphore, 0, 0) }

    deinit {
        sem_destroy(semaphore)
        semaphore.deallocate()
    }

    func give(_ answer: Answer) {
        self.answer = answer
        sem_post(semaphore)
    }

    func wait() -> Answer? {
        while sem_wait(semaphore) != 0 && errno == EINTR {}
        return answer
    }
}
