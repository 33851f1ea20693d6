import Discovery
import Forwarding
import Protobuf
import Reactor
import Synchronization

/// The threads that carry traffic, as the control loop uses them.
final class Carrier: Sendable {
    private let workers: Workers
    /// Ends the workers off the control loop's thread, which goes on answering meanwhile.
    private let ending = Mutex(false)

    /// - Throws: ``Reactor/ReactorError`` when the process has no descriptors or threads left.
    init(_ configuration: Proxy.Configuration) throws {
        var options = Workers.Options()
        options.count = configuration.concurrency
        options.drainTime = configuration.drainTime
        options.logger = configuration.logger
        let arena = Arena()
        let place = configuration.node.locality
        let locality = EndpointLocality(region: place.region, zone: place.zone, subZone: place.subZone)
        options.locality = locality == EndpointLocality() ? nil : locality
        options.node = encode(arena.node(configuration.node))
        workers = try Workers(options)
    }

    /// Gives every worker the configuration, and waits until each has it: what is acknowledged is in force.
    /// - Returns: listeners that cannot be opened.
    func serve(_ configuration: ProxyConfiguration) -> [ListenerFailure] {
        let failures = workers.serve(configuration)
        if !ending.withLock({ $0 }) { _ = workers.ask { _ in true } }
        return failures
    }

    /// Stops listening, lets connections end, and ends the workers.
    /// - Parameter done: called when they have ended, from another thread.
    func drain(_ time: Duration, done: @escaping @Sendable () -> Void) {
        guard
            ending.withLock({ isEnding in
                defer { isEnding = true }
                return !isEnding
            })
        else { return }
        let workers = workers
        DetachedThread.run {
            workers.drain(grace: time)
            workers.options.logs.close()
            done()
        }
    }

    /// What was counted.
    /// - Parameter done: called from another thread.
    func statistics(_ done: @escaping @Sendable ([Statistic]) -> Void) {
        gather({ $0.statistics }, { done(Statistic.summed($0.flatMap { $0 })) })
    }

    /// What the workers know of hosts.
    /// - Parameter done: called from another thread.
    func clusters(_ done: @escaping @Sendable ([ClusterStatus]) -> Void) {
        gather({ $0.clusterStatuses }, { done(ClusterStatus.merged($0.flatMap { $0 })) })
    }

    /// Asks the workers off the control loop's thread, which does not wait for them.
    private func gather<Answer: Sendable>(
        _ question: @escaping @Sendable (Worker) -> Answer, _ done: @escaping @Sendable ([Answer]) -> Void
    ) {
        guard !ending.withLock({ $0 }) else { return done([]) }
        let workers = workers
        DetachedThread.run { done(workers.ask(question)) }
    }

    /// Opens the files of access logs again: after they were moved away.
    func reopenLogs() { workers.options.logs.reopen() }

    /// Ends the workers at once.
    func stop() {
        guard !ending.withLock({ $0 }) else { return }
        workers.stop()
        workers.options.logs.close()
    }
}
