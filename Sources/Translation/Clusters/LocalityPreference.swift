import Mesh
import XDS

/// The endpoints of one locality at one priority.
struct LocalityGroup {
    var locality: Locality
    /// 0 is called first; without gaps.
    var priority: Int
    /// Among the localities of its priority; from 1.
    var weight: Int
    var endpoints: [MeshEndpoint]
}

/// Which endpoints a client prefers. Source: Istio, locality load balancing: distribute, failover, failoverPriority.
struct LocalityPreference {
    var policy: ClientPolicy
    /// Of the client.
    var locality: Locality
    var labels: [String: String]

    /// Smaller comes first.
    private struct Rank: Hashable, Comparable {
        var labels = 0
        var distance = 0

        static func < (left: Rank, right: Rank) -> Bool {
            (left.labels, left.distance) < (right.labels, right.distance)
        }
    }

    private struct Place: Hashable {
        var rank: Rank
        var locality: Locality
    }

    func groups(_ endpoints: [MeshEndpoint]) -> [LocalityGroup] {
        let byPlace = Dictionary(grouping: endpoints) { Place(rank: rank($0), locality: $0.locality) }
        let ranks = Set(byPlace.keys.map(\.rank)).sorted()
        let groups = byPlace.map { place, members in
            LocalityGroup(
                locality: place.locality, priority: ranks.firstIndex(of: place.rank) ?? 0,
                weight: Self.sum(members), endpoints: members)
        }
        return distributed(
            groups.sorted { ($0.priority, $0.locality.text) < ($1.priority, $1.locality.text) })
    }

    /// The sum of weights, bounded as Envoy bounds it.
    private static func sum(_ endpoints: [MeshEndpoint]) -> Int {
        min(endpoints.reduce(0) { $0 + $1.weight }, Int(UInt32.max))
    }

    private func rank(_ endpoint: MeshEndpoint) -> Rank {
        guard let nearness = policy.nearness, nearness.distribute.isEmpty, policy.failsOver else { return Rank() }
        var rank = Rank()
        if !nearness.failoverPriority.isEmpty { rank.labels = labelDistance(endpoint, nearness.failoverPriority) }
        if nearness.failoverPriority.isEmpty || !nearness.failover.isEmpty, locality != Locality() {
            rank.distance = distance(endpoint.locality, nearness.failover)
        }
        return rank
    }

    /// 0 for the same sub-zone, 1 zone, 2 region; 3 for another, 4 if a rule names another yet.
    private func distance(_ other: Locality, _ failover: [Istio.Locality.Failover]) -> Int {
        // A slice tells the zone alone.
        let isSameZone = other.zone == locality.zone && !other.zone.isEmpty
        guard other.region == locality.region || (other.region.isEmpty && isSameZone) else {
            guard let rule = failover.first(where: { $0.from == locality.region }) else { return 3 }
            return rule.to == other.region ? 3 : 4
        }
        guard other.zone == locality.zone else { return 2 }
        return other.subZone == locality.subZone ? 0 : 1
    }

    /// How many labels are left from the first that the endpoint does not share.
    private func labelDistance(_ endpoint: MeshEndpoint, _ asked: [String]) -> Int {
        for (index, text) in asked.enumerated() {
            let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            let wanted = parts.count > 1 ? parts[1] : Self.value(parts[0], locality, labels, node: nil)
            let value = Self.value(parts[0], endpoint.locality, endpoint.labels, node: endpoint.node)
            if value != wanted { return asked.count - index }
        }
        return 0
    }

    private static func value(
        _ label: String, _ locality: Locality, _ labels: [String: String], node: String?
    ) -> String? {
        let known: String?
        switch label {
        case "topology.kubernetes.io/region": known = locality.region
        case "topology.kubernetes.io/zone": known = locality.zone
        case "topology.istio.io/subzone": known = locality.subZone
        case "kubernetes.io/hostname": known = node
        default: known = nil
        }
        if let known, !known.isEmpty { return known }
        return labels[label]
    }

    /// The shares of the first rule for the client's locality; localities that it does not name get nothing.
    private func distributed(_ groups: [LocalityGroup]) -> [LocalityGroup] {
        guard let rule = policy.nearness?.distribute.first(where: { Self.matches($0.from, locality) }) else {
            return groups
        }
        var left = groups
        var result: [LocalityGroup] = []
        // The narrower pattern first: `region/zone/*` takes its localities out of `region/*`.
        let patterns = rule.to.sorted {
            ($1.key.split(separator: "/").count, $0.key) < ($0.key.split(separator: "/").count, $1.key)
        }
        for (pattern, share) in patterns {
            let taken = left.filter { Self.matches(pattern, $0.locality) }
            left.removeAll { Self.matches(pattern, $0.locality) }
            let total = taken.reduce(0) { $0 + $1.weight }
            result += taken.map { group in
                var group = group
                group.weight = max(1, Int((Double(share) * 100 * Double(group.weight) / Double(total)).rounded()))
                return group
            }
        }
        return result.sorted { $0.locality.text < $1.locality.text }
    }

    /// `region/zone/sub-zone`; a part that is missing or `*` is any.
    static func matches(_ pattern: String, _ locality: Locality) -> Bool {
        let parts = pattern.split(separator: "/", omittingEmptySubsequences: false)
        for (part, own) in zip(parts, [locality.region, locality.zone, locality.subZone]) {
            if part == "*" || part.isEmpty { return true }
            if part != own { return false }
        }
        return true
    }
}

extension Locality {
    var text: String { "\(region)/\(zone)/\(subZone)" }
}
