import Reactor

/// The threads that carry traffic.
final class Carrier: Sendable {
    init(_ configuration: Proxy.Configuration, _ jobs: JobQueue) throws {}

    /// Gives every worker the configuration.
    func serve(_ configuration: ProxyConfiguration, failed: @escaping @Sendable ([ListenerFailure]) -> Void) {}

    /// Stops listening and lets connections end.
    func drain(_ time: Duration, done: @escaping @Sendable () -> Void) { done() }

    /// What was counted.
    func statistics(_ done: @escaping @Sendable ([Statistic]) -> Void) { done([]) }

    /// What the workers know of hosts.
    func clusters(_ done: @escaping @Sendable ([ClusterStatus]) -> Void) { done([]) }

    func stop() {}
}
