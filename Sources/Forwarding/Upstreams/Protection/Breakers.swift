/// What is under way to a cluster at one priority, against its bounds. It opens when a bound is reached and closes by
/// itself as things end.
public struct Breaker: Sendable {
    public enum Resource: Int, Sendable, CaseIterable { case connections, pending, requests, retries }

    public let settings: BreakerSettings
    private var counts = [Int](repeating: 0, count: Resource.allCases.count)
    /// How often something was refused.
    public private(set) var overflows = [UInt64](repeating: 0, count: Resource.allCases.count)

    init(_ settings: BreakerSettings) {
        self.settings = settings
    }

    public func count(_ resource: Resource) -> Int { counts[resource.rawValue] }

    public func limit(_ resource: Resource) -> Int {
        switch resource {
        case .connections: return settings.connections
        case .pending: return settings.pending
        case .requests: return settings.requests
        case .retries:
            guard let budget = settings.retryBudget else { return settings.retries }
            let underWay = Double(count(.requests) + count(.pending))
            return max(budget.minimum, Int(budget.percent / 100 * underWay))
        }
    }

    /// What can still be taken.
    public func remaining(_ resource: Resource) -> Int { max(0, limit(resource) - count(resource)) }

    /// Whether the bound is reached.
    public func isOpen(_ resource: Resource) -> Bool { count(resource) >= limit(resource) }

    mutating func tryAcquire(_ resource: Resource, isForced: Bool) -> Bool {
        if !isForced, isOpen(resource) {
            overflows[resource.rawValue] += 1
            return false
        }
        counts[resource.rawValue] += 1
        return true
    }

    mutating func release(_ resource: Resource) {
        precondition(counts[resource.rawValue] > 0, "released more \(resource) than were acquired")
        counts[resource.rawValue] -= 1
    }
}

extension UpstreamCluster {
    /// Takes one of what a breaker bounds; each success needs a ``release(_:_:)``.
    /// - Parameter isForced: takes it past the bound: the first connection of a host, without which nothing would move.
    /// - Returns: false: the bound is reached.
    public func tryAcquire(
        _ resource: Breaker.Resource, _ priority: RequestPriority = .normal, isForced: Bool = false
    ) -> Bool {
        breakers[priority.rawValue].tryAcquire(resource, isForced: isForced)
    }

    public func release(_ resource: Breaker.Resource, _ priority: RequestPriority = .normal) {
        breakers[priority.rawValue].release(resource)
    }

    /// Whether a host may have one more connection by its own bound.
    public func canConnect(_ host: UpstreamHost) -> Bool {
        configuration.hostConnections.map { host.activeConnections < $0 } ?? true
    }

    public func breaker(_ priority: RequestPriority) -> Breaker { breakers[priority.rawValue] }
}
