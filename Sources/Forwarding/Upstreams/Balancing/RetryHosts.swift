import EnvoyAPI

/// Which hosts retries of a route avoid.
public struct RetryHostPolicy: Sendable, Equatable {
    /// Those that were tried already.
    public var avoidsTried = false
    public var avoidsCanaries = false
    /// Those with all of these labels under `envoy.lb`.
    public var avoidedLabels: [StructureValue.Field] = []
    /// How often a host may be chosen anew before one is taken all the same.
    public var maximumAttempts = 1
    /// After how many tries other priorities are looked at; nil: the load says it.
    public var prioritiesAfter: Int?

    public init() {}
}

/// The tries of one request.
public struct RetryHosts {
    private let policy: RetryHostPolicy
    private var tried: [UpstreamHost] = []
    private var priorities: [Int] = []
    /// Those of tries that count already, some at a time.
    private(set) var triedPriorities: [[Int]] = []

    public init(_ policy: RetryHostPolicy) {
        self.policy = policy
    }

    var selections: Int { tried.isEmpty ? 1 : policy.maximumAttempts + 1 }

    /// To be told of each host that a try goes to.
    public mutating func note(_ host: UpstreamHost) {
        tried.append(host)
        guard let every = policy.prioritiesAfter, every > 0 else { return }
        priorities.append(host.priority)
        if priorities.count.isMultiple(of: every) {
            triedPriorities.append(priorities)
            priorities = []
        }
    }

    func refuses(_ host: UpstreamHost) -> Bool {
        guard !tried.isEmpty else { return false }
        if policy.avoidsTried, tried.contains(where: { $0 === host }) { return true }
        if policy.avoidsCanaries, host.endpoint.isCanary { return true }
        guard !policy.avoidedLabels.isEmpty else { return false }
        let labels = host.endpoint.metadata["envoy.lb"] ?? []
        return policy.avoidedLabels.allSatisfy { labels.value($0.name) == $0.value }
    }
}
