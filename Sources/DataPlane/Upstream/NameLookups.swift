import Addresses
import Forwarding
import Glibc
import Reactor
import Synchronization
import Time

/// Looks host names up, for all workers, on threads of its own: the system's resolver blocks.
final class NameLookups: Sendable {
    private struct Question: Hashable, Sendable {
        let name: String
        let family: ClusterConfiguration.NameResolution.Family
    }

    private typealias Answer = @Sendable ([IPAddress]?) -> Void

    private struct State {
        /// Each once, in the order of asking.
        var questions: [Question] = []
        /// Who asked, also of questions that are being looked up.
        var waiting: [Question: [Answer]] = [:]
        var threads = 0
        var idleThreads = 0
        var isStopped = false
    }

    /// Unchecked: the state is guarded by its mutex.
    private final class Queue: @unchecked Sendable {
        /// Questions that wait at most.
        static let longest = 4096
        /// A name whose servers are silent holds one up for seconds.
        static let mostThreads = 4

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

        private func locked<Value>(_ body: () -> Value) -> Value {
            pthread_mutex_lock(lock)
            defer { pthread_mutex_unlock(lock) }
            return body()
        }

        /// - Returns: whether it is taken, and whether it needs another thread.
        func add(_ question: Question, _ answer: @escaping Answer) -> (isTaken: Bool, needsThread: Bool) {
            locked {
                guard !state.isStopped else { return (false, false) }
                if state.waiting[question] != nil {
                    state.waiting[question]?.append(answer)
                    return (true, false)
                }
                guard state.questions.count < Self.longest else { return (false, false) }
                state.questions.append(question)
                state.waiting[question] = [answer]
                pthread_cond_signal(condition)
                guard state.questions.count > state.idleThreads, state.threads < Self.mostThreads else {
                    return (true, false)
                }
                state.threads += 1
                return (true, true)
            }
        }

        func threadFailed() { locked { state.threads -= 1 } }

        func finish(_ question: Question) -> [Answer] { locked { state.waiting.removeValue(forKey: question) ?? [] } }

        func stop() {
            locked {
                state.isStopped = true
                state.questions = []
                pthread_cond_broadcast(condition)
            }
        }

        /// Waits; nil once stopped.
        func next() -> Question? {
            locked {
                state.idleThreads += 1
                while state.questions.isEmpty, !state.isStopped { pthread_cond_wait(condition, lock) }
                state.idleThreads -= 1
                return state.questions.isEmpty ? nil : state.questions.removeFirst()
            }
        }
    }

    private let queue = Queue()

    deinit { queue.stop() }

    private func startThread() {
        let queue = queue
        let body = Unmanaged.passRetained(
            ThreadBody {
                while let question = queue.next() {
                    let found = Self.resolve(question.name, question.family)
                    for answer in queue.finish(question) { answer(found) }
                }
            })
        var thread = pthread_t()
        if pthread_create(&thread, nil, runThread, body.toOpaque()) == 0 {
            pthread_detach(thread)
        } else {
            body.release()
            queue.threadFailed()
        }
    }

    /// Looks a name up.
    /// - Parameter take: called once, later, on the worker's thread; nil or empty: there is no answer.
    func ask(
        _ name: String, _ family: ClusterConfiguration.NameResolution.Family, for worker: Worker,
        _ take: @escaping ([IPAddress]?) -> Void
    ) {
        let mailbox = worker.loop.mailbox
        let owner = WorkerBound(take)
        let answer: Answer = { found in _ = mailbox.submit { _ in owner.body(found) } }
        let (isTaken, needsThread) = queue.add(Question(name: name, family: family), answer)
        // Who asks again later may be luckier.
        if !isTaken { answer(nil) }
        if needsThread { startThread() }
    }

    /// Looks a name up now and again and again, for as long as `take` says so.
    func watch(
        _ name: String, _ resolution: ClusterConfiguration.NameResolution, for worker: Worker, failures: Int = 0,
        _ take: @escaping ([IPAddress]?) -> Bool
    ) {
        ask(name, resolution.family, for: worker) { [weak worker] answer in
            guard let worker, take(answer) else { return }
            let failures = answer?.isEmpty ?? true ? failures + 1 : 0
            let pause = resolution.pause(afterFailures: failures, random: &worker.random)
            worker.loop.schedule(after: pause) { [weak worker] _ in
                guard let worker else { return }
                worker.lookups.watch(name, resolution, for: worker, failures: failures, take)
            }
        }
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
    let body: ([IPAddress]?) -> Void
    init(_ body: @escaping ([IPAddress]?) -> Void) { self.body = body }
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
