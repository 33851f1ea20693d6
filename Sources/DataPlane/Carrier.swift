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
    /// Whether listeners are served: until an operator ends them.
    private let hasListeners = Mutex(true)
    /// The last that was to be served.
    private let served = Mutex<ProxyConfiguration?>(nil)

    /// - Throws: ``Reactor/ReactorError`` when the process has no descriptors or threads left.
    /// - Parameter inherited: listening sockets of the proxy before this one.
    init(_ configuration: Proxy.Configuration, inherited: [ListeningSocket] = []) throws {
        var options = Workers.Options()
        options.count = configuration.concurrency
        options.drainTime = configuration.drainTime
        options.logger = configuration.logger
        options.logs = LogOutputs(logger: configuration.logger)
        let arena = Arena()
        let place = configuration.node.locality
        let locality = EndpointLocality(region: place.region, zone: place.zone, subZone: place.subZone)
        options.locality = locality == EndpointLocality() ? nil : locality
        options.node = encode(arena.node(configuration.node))
        workers = try Workers(options, inherited: inherited)
    }

    /// Serves no listener from now on: those that are open stop listening and let their connections end. The rest goes
    /// on.
    func drainListeners() {
        guard
            hasListeners.withLock({ has in
                defer { has = false }
                return has
            }), let last = served.withLock({ $0 })
        else { return }
        _ = serve(last)
    }

    /// Those that accept.
    var listeningSockets: [ListeningSocket] { workers.listeningSockets }

    /// Closes sockets of the proxy before this one that no listener has asked for.
    func forgetInherited() { workers.forgetInherited() }

    /// Another proxy accepts from now on, with these sockets.
    func leaveSockets() { workers.leaveSockets() }

    /// Tells clients with each answer to go elsewhere, and goes on accepting.
    func announceEnd() { workers.announceEnd() }

    /// Gives every worker the configuration, and waits until each has it: what is acknowledged is in force.
    /// - Returns: listeners that cannot be opened.
    func serve(_ configuration: ProxyConfiguration) -> [ListenerFailure] {
        served.withLock { $0 = configuration }
        let configuration =
            hasListeners.withLock { $0 }
            ? configuration : ProxyConfiguration(routes: configuration.routes, clusters: configuration.clusters)
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
        let logs = workers.options.logs
        let all = served.withLock { $0 }?.clusters ?? [:]
        let take: @Sendable ([[Statistic]]) -> Void = { counted in
            let lost = Statistic(.proxy("filesystem"), "write_failed", Int64(clamping: logs.dropped))
            let used = Statistic.summed(counted.flatMap { $0 } + [lost])
            let scopes = Set(used.map(\.scope))
            // Clusters that no request has gone to are counted too: their hosts are watched.
            let unused = all.values.filter { !scopes.contains(.cluster($0.name)) }.flatMap { cluster in
                let hosts = ClusterStatus(unused: cluster).hosts
                let scope = Statistic.Scope.cluster(cluster.name)
                return [
                    Statistic.shared(scope, "membership_total", hosts.count),
                    .shared(scope, "membership_healthy", hosts.count { $0.healthFlags == "healthy" }),
                ]
            }
            done(used + unused)
        }
        gather({ $0.statistics }, take)
    }

    /// What the workers know of hosts; of clusters that no request has gone to, what was configured.
    /// - Parameter done: called from another thread.
    func clusters(_ done: @escaping @Sendable ([ClusterStatus]) -> Void) {
        let all = served.withLock { $0 }?.clusters ?? [:]
        let take: @Sendable ([[ClusterStatus]]) -> Void = { statuses in
            let used = ClusterStatus.merged(statuses.flatMap { $0 })
            let names = Set(used.map(\.name))
            let unused = all.values.filter { !names.contains($0.name) }.map { ClusterStatus(unused: $0) }
            done((used + unused).sorted { $0.name < $1.name })
        }
        gather({ $0.clusterStatuses }, take)
    }

    /// What went to hosts since the last time, of clusters that report it.
    /// - Parameter done: called from another thread.
    func loads(_ done: @escaping @Sendable ([ClusterLoad]) -> Void) {
        gather({ $0.takeLoads() }, { done(ClusterLoad.merged($0.flatMap { $0 })) })
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
