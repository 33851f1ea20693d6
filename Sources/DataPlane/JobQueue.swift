import Synchronization

/// Work that other threads leave for the thread of the proxy's control loop.
final class JobQueue: Sendable {
    private struct State {
        var jobs: [@Sendable (Proxy) -> Void] = []
        var ring: (@Sendable () -> Void)?
    }

    /// Jobs that may wait; more are dropped.
    static let most = 1024

    private let state = Mutex(State())

    /// - Parameter ring: wakes the thread that ``take()``s.
    func open(_ ring: @escaping @Sendable () -> Void) { state.withLock { $0.ring = ring } }

    /// - Returns: false: the loop is not running, or too much waits.
    @discardableResult
    func add(_ job: @escaping @Sendable (Proxy) -> Void) -> Bool {
        let ring: (@Sendable () -> Void)? = state.withLock { state in
            guard let ring = state.ring, state.jobs.count < Self.most else { return nil }
            state.jobs.append(job)
            return ring
        }
        ring?()
        return ring != nil
    }

    func take() -> [@Sendable (Proxy) -> Void] {
        state.withLock { state in
            defer { state.jobs = [] }
            return state.jobs
        }
    }

    func close() {
        state.withLock { state in
            state.ring = nil
            state.jobs = []
        }
    }
}
