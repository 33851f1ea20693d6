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
        public var loop = Options.loop
        /// A host that reads slowly has waiting for it what one stream of HTTP/2 may send unasked, a megabyte, and what was
        /// read before that showed.
        private static var loop: LoopConfiguration {
            var loop = LoopConfiguration()
            loop.blockedOutputLimit = 2 << 20
            // All that one turn answers goes out together, or each answer would wake who waits for it.
            loop.outputScratches = 128
            return loop
        }
        public var logger = Logger(label: "proxy")
        /// Who this proxy is, for services that it calls: an encoded `Node`.
        public var node: [UInt8] = []
        /// Where this proxy runs; nil: nobody has said.
        public var locality: EndpointLocality?
        /// Where access logs are written.
        public var logs = LogOutputs()

        public init() {}
    }

    /// Where a listener is to accept.
    private struct Door: Hashable {
        var address: SocketAddress
        var isTransparent: Bool

        static func all(of configuration: ListenerConfiguration) -> [Door] {
            configuration.addresses.map { Door(address: SocketAddress($0), isTransparent: configuration.isTransparent) }
        }

        /// Whether another listener cannot have the same.
        var isUnique: Bool { address.port != 0 || address.isUnix }
    }

    /// A listener whose sockets are open.
    private struct Opened {
        var served: ServedListener
        var doors: [Door]
        /// By door, and then by worker.
        var sockets: [[[ListeningSocket]]]
    }

    private struct State {
        var listeners: [String: Opened] = [:]
        /// Workers have still to close sockets of listeners that are gone.
        var isClosing = false
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
    /// - Returns: listeners that cannot be opened. What was served under their names before goes on, where it still can;
    ///   the rest is served as it is now. To try again, serve the same again.
    public func serve(_ configuration: ProxyConfiguration) -> [ListenerFailure] {
        let isClosing = state.withLock { state in
            defer { state.isClosing = false }
            return state.isClosing
        }
        // What they close may be wanted again.
        if isClosing { _ = ask { _ in } }
        let (opened, failures) = state.withLock { state in
            let answer = open(configuration.listeners.filter { $0.value.configuration.bindsToPort }, &state)
            return (state.listeners, answer)
        }
        var listeners = configuration.listeners
        for failure in failures { listeners[failure.listener] = opened[failure.listener]?.served }
        let served = ProxyConfiguration(
            listeners: listeners, routes: configuration.routes, clusters: configuration.clusters)
        for (number, box) in workers.enumerated() {
            let own = opened.mapValues { $0.sockets.flatMap { $0[number] } }
            post(box) { $0.serve(failures.isEmpty ? configuration : served, sockets: own) }
        }
        return failures
    }

    /// Opens what is not open yet, with the sockets of listeners that are gone or go elsewhere where they fit: nobody who
    /// connects at that moment is turned away.
    private func open(_ wanted: [String: ServedListener], _ state: inout State) -> [ListenerFailure] {
        var failures: [ListenerFailure] = []
        var next: [String: Opened] = [:]
        var spare: [Door: [[[ListeningSocket]]]] = [:]
        var taken: Set<SocketAddress> = []
        for (name, old) in state.listeners {
            if let served = wanted[name], Door.all(of: served.configuration) == old.doors {
                next[name] = Opened(served: served, doors: old.doors, sockets: old.sockets)
                taken.formUnion(old.doors.filter(\.isUnique).map(\.address))
            } else {
                for (door, sockets) in zip(old.doors, old.sockets) { spare[door, default: []].append(sockets) }
            }
        }
        for (name, served) in wanted.sorted(by: { $0.key < $1.key }) where next[name] == nil {
            let doors = Door.all(of: served.configuration)
            var sockets: [[[ListeningSocket]]] = []
            var reused: [Int] = []
            do throws(ReactorError) {
                for (place, door) in doors.enumerated() {
                    if taken.contains(door.address) { throw .addressInUse(door.address) }
                    if let found = spare[door]?.popLast() {
                        reused.append(place)
                        sockets.append(found)
                    } else {
                        sockets.append(try open(door, served.configuration, &state))
                    }
                }
                next[name] = Opened(served: served, doors: doors, sockets: sockets)
                taken.formUnion(doors.filter(\.isUnique).map(\.address))
            } catch {
                failures.append(ListenerFailure(listener: name, error: error))
                for place in reused { spare[doors[place], default: []].append(sockets[place]) }
                guard let old = state.listeners[name],
                    zip(old.doors, old.sockets).allSatisfy({ door, sockets in
                        spare[door]?.contains { $0.first?.first === sockets.first?.first } == true
                    })
                else { continue }
                for (door, sockets) in zip(old.doors, old.sockets) {
                    spare[door]?.removeAll { $0.first?.first === sockets.first?.first }
                }
                next[name] = old
                taken.formUnion(old.doors.filter(\.isUnique).map(\.address))
            }
        }
        state.listeners = next
        state.isClosing = !spare.values.allSatisfy(\.isEmpty)
        return failures
    }

    /// - Returns: by worker.
    private func open(
        _ door: Door, _ configuration: ListenerConfiguration, _ state: inout State
    ) throws(ReactorError) -> [[ListeningSocket]] {
        let wanted = door.address
        var options = ListenOptions()
        options.isTransparent = door.isTransparent
        if let backlog = configuration.backlog { options.backlog = Int32(clamping: backlog) }
        options.reusePort = workers.count > 1 && !wanted.isUnix
        var sockets = [[ListeningSocket]](repeating: [], count: workers.count)
        // Of an earlier process with more workers: connections wait at each of them.
        for (number, socket) in (state.inherited.removeValue(forKey: wanted) ?? []).enumerated() {
            sockets[number % workers.count].append(socket)
        }
        let isInherited = !sockets[0].isEmpty
        var address = sockets[0].first?.address ?? wanted
        for number in workers.indices where sockets[number].isEmpty {
            // A Unix socket is one for all; of TCP each worker has its own, and the kernel spreads the connections.
            if wanted.isUnix, let first = sockets[0].first {
                sockets[number].append(first)
                continue
            }
            do throws(ReactorError) {
                sockets[number].append(try ListeningSocket(address, options: options))
                address = sockets[0][0].address
            } catch {
                // Of an earlier process with one worker, whose socket has no other beside it.
                guard isInherited, case .addressInUse = error, let first = sockets[0].first else { throw error }
                sockets[number].append(first)
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
        state.withLock { $0.listeners.compactMapValues { $0.sockets.first?.first?.first?.address } }
    }

    /// The sockets that accept, to be handed to the process that takes over.
    public var listeningSockets: [ListeningSocket] {
        state.withLock { state in
            state.listeners.sorted { $0.key < $1.key }.flatMap { $0.value.sockets.joined().joined() }
        }
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

    /// Closes sockets of an earlier process that no listener has asked for.
    public func forgetInherited() { state.withLock { $0.inherited = [:] } }

    /// Another process accepts from now on, with these sockets; connections go on.
    public func leaveSockets() {
        for socket in listeningSockets { socket.leaveFile() }
        for box in workers {
            post(box) { for listener in $0.listeners.values { listener.stopAccepting() } }
        }
    }

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
final class Answers<Answer: Sendable>: @unchecked Sendable {
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
