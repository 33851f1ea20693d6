import Time

/// The hosts of one priority, before their health counts.
struct LevelMembers {
    struct Place {
        var locality: EndpointLocality
        var weight: Int
        var hosts: [UpstreamHost]
    }

    /// In the resource's order.
    var hosts: [UpstreamHost] = []
    /// Sorted by locality; the proxy's own first.
    var places: [Place] = []
}

/// All hosts of a cluster or those of one subset, ready to be picked from. Built anew, when asked, after hosts or their
/// health changed.
final class HostView {
    /// The cluster's version for which it is built; nil: not yet.
    private var version: UInt64?
    private var members: [LevelMembers]
    private var levels: [HostLevel] = []
    private(set) var load = PriorityLoad(
        [], overprovisioning: 140, countsWeights: false, panicThreshold: 0)
    private var counts: [PriorityLoad.Level] = []

    init(_ members: [LevelMembers]) {
        self.members = members
    }

    func replace(_ members: [LevelMembers]) {
        self.members = members
        version = nil
    }

    /// The members without one host.
    func without(_ host: UpstreamHost) -> [LevelMembers] {
        members.map { level in
            var level = level
            level.hosts.removeAll { $0 === host }
            for place in level.places.indices { level.places[place].hosts.removeAll { $0 === host } }
            return level
        }
    }

    var isEmpty: Bool { members.allSatisfy { $0.hosts.isEmpty } }
    var hosts: [UpstreamHost] { members.flatMap(\.hosts) }

    /// - Parameters:
    ///   - settings: how to balance.
    ///   - retry: what a retry avoids.
    func pick(
        _ settings: BalancingSettings, of cluster: UpstreamCluster, hash: UInt64?, retry: RetryHosts?, now: Instant,
        random: inout SeededRandom
    ) -> UpstreamHost? {
        if version != cluster.version { build(settings, cluster, random: &random) }
        guard !levels.isEmpty else { return nil }
        let attempts = retry?.selections ?? 1
        var host: UpstreamHost?
        let hash = settings.policy.hashes ? hash ?? random.next() : 0
        for attempt in 0..<attempts {
            if settings.policy.hashes {
                // The key decides on the priority too, so that it stays with its host.
                let choice = load.choice(hash)
                if load.isInPanic[choice.priority] { cluster.counts.panicPicks += 1 }
                host = table(choice.priority, settings)?.host(
                    for: hash, attempt: attempt, activeRequests: cluster.activeRequests)
            } else {
                host = pickOnce(settings, retry, cluster, now: now, random: &random)
            }
            guard let host, let retry else { return host }
            if !retry.refuses(host) { return host }
        }
        // Better one that was tried than none.
        return host
    }

    private func pickOnce(
        _ settings: BalancingSettings, _ retry: RetryHosts?, _ cluster: UpstreamCluster, now: Instant,
        random: inout SeededRandom
    ) -> UpstreamHost? {
        if let tried = retry?.triedPriorities, !tried.isEmpty {
            return pickOnce(self.load(after: tried, settings, cluster), settings, cluster, now: now, random: &random)
        }
        if levels.count == 1, load.degraded[0] == 0, !load.isInPanic[0] {
            return levels[0].pick(
                isInPanic: false, isDegraded: false, settings, cluster, now: now, random: &random)
        }
        return pickOnce(load, settings, cluster, now: now, random: &random)
    }

    private func pickOnce(
        _ load: PriorityLoad, _ settings: BalancingSettings, _ cluster: UpstreamCluster, now: Instant,
        random: inout SeededRandom
    ) -> UpstreamHost? {
        let choice = load.choice(random.next())
        let isInPanic = load.isInPanic[choice.priority]
        if isInPanic, case .nearest(let nearest) = settings.localities, nearest.failsInPanic { return nil }
        return levels[choice.priority].pick(
            isInPanic: isInPanic, isDegraded: choice.isDegraded, settings, cluster, now: now, random: &random)
    }

    /// The load without priorities that were tried. Once no other can serve, all are looked at again.
    /// Source: Envoy, `retry.priority.previous_priorities`.
    private func load(
        after tried: [[Int]], _ settings: BalancingSettings, _ cluster: UpstreamCluster
    ) -> PriorityLoad {
        var excluded: Set<Int> = []
        for priorities in tried {
            excluded.formUnion(priorities)
            let isLeft = counts.indices.contains { index in
                !excluded.contains(index) && counts[index].healthy + counts[index].degraded > 0
            }
            if !isLeft { excluded = [] }
        }
        if excluded.isEmpty { return load }
        return PriorityLoad(
            counts, overprovisioning: cluster.overprovisioning, countsWeights: cluster.countsWeights,
            panicThreshold: settings.panicThreshold, excluded: excluded)
    }

    private func build(_ settings: BalancingSettings, _ cluster: UpstreamCluster, random: inout SeededRandom) {
        version = cluster.version
        let before = levels
        levels = members.enumerated().map { index, members in
            HostLevel(
                members, settings, overprovisioning: cluster.overprovisioning,
                from: index < before.count ? before[index] : nil, random: &random)
        }
        counts = levels.map(\.counts)
        load = PriorityLoad(
            counts, overprovisioning: cluster.overprovisioning, countsWeights: cluster.countsWeights,
            panicThreshold: settings.panicThreshold)
        if case .nearest(let nearest) = settings.localities, !levels.isEmpty {
            levels[0].setShares(nearest, cluster.ownLocality, cluster.peersByLocality)
        }
    }

    private func table(_ priority: Int, _ settings: BalancingSettings) -> KeyTable? {
        levels[priority].table(isInPanic: load.isInPanic[priority], settings)
    }
}
