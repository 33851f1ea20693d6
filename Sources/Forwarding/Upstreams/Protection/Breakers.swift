import Synchronization

/// What is under way to a cluster at one priority, over all workers.
public final class SharedLoad: Sendable {
    private let connections = Atomic(0)
    private let pending = Atomic(0)
    private let requests = Atomic(0)
    private let retries = Atomic(0)

    /// - Returns: how many there are then.
    func add(_ number: Int, _ resource: Breaker.Resource) -> Int {
        switch resource {
        case .connections: connections.add(number, ordering: .relaxed).newValue
        case .pending: pending.add(number, ordering: .relaxed).newValue
        case .requests: requests.add(number, ordering: .relaxed).newValue
        case .retries: retries.add(number, ordering: .relaxed).newValue
        }
    }

    func count(_ resource: Breaker.Resource) -> Int {
        switch resource {
        case .connections: connections.load(ordering: .relaxed)
        case .pending: pending.load(ordering: .relaxed)
        case .requests: requests.load(ordering: .relaxed)
        case .retries: retries.load(ordering: .relaxed)
        }
    }
}

/// What one worker has under way to a cluster at one priority; what all have counts against its bounds. It opens when a bound is reached and closes by
/// itself as things end.
public struct Breaker: Sendable {
    public enum Resource: Int, Sendable, CaseIterable { case connections, pending, requests, retries }

    public let settings: BreakerSettings
    private let shared: SharedLoad
    private var counts = [Int](repeating: 0, count: Resource.allCases.count)
    /// How often something was refused.
    public private(set) var overflows = [UInt64](repeating: 0, count: Resource.allCases.count)

    init(_ settings: BreakerSettings, _ shared: SharedLoad) {
        (self.settings, self.shared) = (settings, shared)
    }

    /// Whether workers share a count: what has no bound needs none.
    private func isShared(_ resource: Resource) -> Bool {
        switch resource {
        case .connections: settings.connections < Int(UInt32.max)
        case .pending: settings.pending < Int(UInt32.max) || settings.retryBudget != nil
        case .requests: settings.requests < Int(UInt32.max) || settings.retryBudget != nil
        case .retries: settings.retries < Int(UInt32.max) || settings.retryBudget != nil
        }
    }

    private func total(_ resource: Resource) -> Int { isShared(resource) ? shared.count(resource) : count(resource) }

    /// Of this worker.
    public func count(_ resource: Resource) -> Int { counts[resource.rawValue] }

    public func limit(_ resource: Resource) -> Int {
        switch resource {
        case .connections: return settings.connections
        case .pending: return settings.pending
        case .requests: return settings.requests
        case .retries:
            guard let budget = settings.retryBudget else { return settings.retries }
            let underWay = Double(total(.requests) + total(.pending))
            return max(budget.minimum, Int(budget.percent / 100 * underWay))
        }
    }

    /// What can still be taken.
    public func remaining(_ resource: Resource) -> Int { max(0, limit(resource) - total(resource)) }

    /// Whether the bound is reached.
    public func isOpen(_ resource: Resource) -> Bool { total(resource) >= limit(resource) }

    mutating func tryAcquire(_ resource: Resource, isForced: Bool) -> Bool {
        let bound = limit(resource)
        let total = isShared(resource) ? shared.add(1, resource) : count(resource) + 1
        if !isForced, total > bound {
            if isShared(resource) { _ = shared.add(-1, resource) }
            overflows[resource.rawValue] += 1
            return false
        }
        counts[resource.rawValue] += 1
        return true
    }

    mutating func release(_ resource: Resource) {
        precondition(counts[resource.rawValue] > 0, "released more \(resource) than were acquired")
        counts[resource.rawValue] -= 1
        if isShared(resource) { _ = shared.add(-1, resource) }
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
