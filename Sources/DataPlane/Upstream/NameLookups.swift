import Addresses
import Forwarding
import Glibc
import Reactor
import Synchronization
import Time

/// Looks host names up, for all workers, on a thread of its own: the system's resolver blocks.
final class NameLookups: Sendable {
    private struct Question: Sendable {
        let names: [String]
        let family: ClusterConfiguration.NameResolution.Family
        let answer: @Sendable ([String: [IPAddress]]) -> Void
    }

    private struct State {
        var questions: [Question] = []
        var isStopped = false
    }

    /// Unchecked: the queue is guarded by its mutex.
    private final class Queue: @unchecked Sendable {
        private let lock = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
        private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
        private var state = State()

        init() {
            pthread_mutex_init(lock, nil)
            pthread_cond_init(condition, nil)
        }

        deinit {
            pthread_cond_destroy(condition)
            pthread_mutex_destroy(lock)
            condition.deallocate()
            lock.deallocate()
        }

        func add(_ question: Question) {
            pthread_mutex_lock(lock)
            if !state.isStopped, state.questions.count < 4096 { state.questions.append(question) }
            pthread_cond_signal(condition)
            pthread_mutex_unlock(lock)
        }

        func stop() {
            pthread_mutex_lock(lock)
            state.isStopped = true
            state.questions = []
            pthread_cond_broadcast(condition)
            pthread_mutex_unlock(lock)
        }

        /// Waits; nil once stopped.
        func next() -> Question? {
            pthread_mutex_lock(lock)
            defer { pthread_mutex_unlock(lock) }
            while state.questions.isEmpty, !state.isStopped { pthread_cond_wait(condition, lock) }
            return state.questions.isEmpty ? nil : state.questions.removeFirst()
        }
    }

    private let queue = Queue()

    init() {
        let queue = queue
        let body = Unmanaged.passRetained(
            ThreadBody {
                while let question = queue.next() {
                    var answers: [String: [IPAddress]] = [:]
                    for name in question.names { answers[name] = Self.resolve(name, question.family) }
                    question.answer(answers)
                }
            })
        var thread = pthread_t()
        if pthread_create(&thread, nil, runThread, body.toOpaque()) == 0 {
            pthread_detach(thread)
        } else {
            body.release()
        }
    }

    deinit { queue.stop() }

    /// Looks names up now and again and again, for as long as `take`'s owner wants: a failed lookup keeps what was there.
    func watch(
        _ names: [String], _ resolution: ClusterConfiguration.NameResolution, for worker: Worker,
        _ take: @escaping ([String: [IPAddress]]) -> Bool
    ) {
        let mailbox = worker.loop.mailbox
        let owner = WorkerBound { [weak worker] (answers: [String: [IPAddress]]) in
            guard let worker else { return }
            guard take(answers) else { return }
            let interval = max(resolution.interval, .milliseconds(100))
            _ = worker.loop.schedule(after: interval) { _ in
                worker.lookups.watch(names, resolution, for: worker, take)
            }
        }
        queue.add(
            Question(names: names, family: resolution.family) { answers in
                _ = mailbox.submit { _ in owner.body(answers) }
            })
    }

    private static func resolve(
        _ name: String, _ family: ClusterConfiguration.NameResolution.Family
    ) -> [IPAddress]? {
        if let literal = IPAddress(name) { return [literal] }
        func ask(_ kind: Int32) -> [IPAddress]? {
            var hints = addrinfo()
            hints.ai_family = kind
            hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
            var list: UnsafeMutablePointer<addrinfo>?
            guard getaddrinfo(name, nil, &hints, &list) == 0 else { return nil }
            defer { freeaddrinfo(list) }
            var found: [IPAddress] = []
            var entry = list
            while let current = entry?.pointee {
                let bytes: [UInt8]?
                switch current.ai_family {
                case AF_INET:
                    bytes = current.ai_addr.withMemoryRebound(to: sockaddr_in.self, capacity: 1) { form in
                        withUnsafeBytes(of: form.pointee.sin_addr) { Array($0) }
                    }
                case AF_INET6:
                    bytes = current.ai_addr.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) { form in
                        withUnsafeBytes(of: form.pointee.sin6_addr) { Array($0) }
                    }
                default: bytes = nil
                }
                if let bytes, let ip = IPAddress(bytes: bytes), !found.contains(ip) { found.append(ip) }
                entry = current.ai_next
            }
            return found.sorted()
        }
        switch family {
        case .onlyIPv4: return ask(AF_INET)
        case .onlyIPv6: return ask(AF_INET6)
        case .both: return ask(AF_UNSPEC)
        case .preferIPv4:
            if let found = ask(AF_INET), !found.isEmpty { return found }
            return ask(AF_INET6)
        case .any:
            // Envoy's AUTO: IPv6 if there is any, else IPv4.
            if let found = ask(AF_INET6), !found.isEmpty { return found }
            return ask(AF_INET)
        }
    }
}

/// Unchecked: made on a worker's thread and run there, carried by other threads meanwhile.
private final class WorkerBound: @unchecked Sendable {
    let body: ([String: [IPAddress]]) -> Void
    init(_ body: @escaping ([String: [IPAddress]]) -> Void) { self.body = body }
}

private final class ThreadBody {
    let body: () -> Void
    init(_ body: @escaping () -> Void) { self.body = body }
}

private func runThread(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    guard let argument else { return nil }
    Unmanaged<ThreadBody>.fromOpaque(argument).takeRetainedValue().body()
    return nil
}
