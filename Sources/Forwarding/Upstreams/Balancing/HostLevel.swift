import Time

/// One priority of a view: its hosts by health and locality.
struct HostLevel {
    private struct Place {
        var locality: EndpointLocality
        var weight: Int
        var hosts: [UpstreamHost]
        var healthy: HostGroup
        var degraded: HostGroup
    }

    private var all: HostGroup
    private var healthy: HostGroup
    private var degraded: HostGroup
    private var places: [Place] = []
    /// Turns of the localities, by the weights that their health leaves them.
    private var healthyTurns: WeightedTurns?
    private var degradedTurns: WeightedTurns?
    private var healthyWeights: [Double] = []
    private var degradedWeights: [Double] = []
    private var shares: LocalityShares?
    private var keys: KeyTable?
    private var keysAreMade = false
    private(set) var counts: PriorityLoad.Level

    init(
        _ members: LevelMembers, _ settings: BalancingSettings, overprovisioning: Int, from before: HostLevel?,
        random: inout SeededRandom
    ) {
        var healthyHosts: [UpstreamHost] = []
        var degradedHosts: [UpstreamHost] = []
        var counts = PriorityLoad.Level(
            counted: 0, healthy: 0, degraded: 0, countedWeight: 0, healthyWeight: 0, degradedWeight: 0,
            all: members.hosts.count)
        for host in members.hosts {
            if !host.isLeftOut {
                counts.counted += 1
                counts.countedWeight += host.weight
            }
            switch host.health {
            case .healthy:
                healthyHosts.append(host)
                counts.healthyWeight += host.weight
            case .degraded:
                degradedHosts.append(host)
                counts.degradedWeight += host.weight
            case .unhealthy: break
            }
        }
        counts.healthy = healthyHosts.count
        counts.degraded = degradedHosts.count
        self.counts = counts
        func turn(_ group: HostGroup?, _ count: Int) -> Int {
            group?.savedTurn ?? random.below(max(count, 1))
        }
        all = HostGroup(members.hosts, turn: turn(before?.all, members.hosts.count))
        healthy = HostGroup(healthyHosts, turn: turn(before?.healthy, healthyHosts.count))
        degraded = HostGroup(degradedHosts, turn: turn(before?.degraded, degradedHosts.count))
        guard settings.localities != .ignored else { return }
        places = members.places.enumerated().map { index, place in
            let old = before.flatMap { index < $0.places.count ? $0.places[index] : nil }
            let healthy = place.hosts.filter { $0.health == .healthy }
            let degraded = place.hosts.filter { $0.health == .degraded }
            return Place(
                locality: place.locality, weight: place.weight, hosts: place.hosts,
                healthy: HostGroup(healthy, turn: turn(old?.healthy, healthy.count)),
                degraded: HostGroup(degraded, turn: turn(old?.degraded, degraded.count)))
        }
        guard settings.localities == .weighted else { return }
        healthyWeights = places.map { Self.effectiveWeight($0, $0.healthy.hosts.count, overprovisioning) }
        degradedWeights = places.map { Self.effectiveWeight($0, $0.degraded.hosts.count, overprovisioning) }
        let start = random.unit()
        if healthyWeights.contains(where: { $0 > 0 }) { healthyTurns = WeightedTurns(healthyWeights, start: start) }
        if degradedWeights.contains(where: { $0 > 0 }) { degradedTurns = WeightedTurns(degradedWeights, start: start) }
    }

    /// The weight of a locality, less where too few of its hosts are left. Source: Envoy, "Locality weighted load
    /// balancing".
    private static func effectiveWeight(_ place: Place, _ usable: Int, _ overprovisioning: Int) -> Double {
        let counted = place.hosts.reduce(0) { $0 + ($1.isLeftOut ? 0 : 1) }
        guard counted > 0, usable > 0 else { return 0 }
        let available = Double(overprovisioning) / 100 * Double(usable) / Double(counted)
        return Double(place.weight) * min(1, available)
    }

    mutating func setShares(
        _ nearest: BalancingSettings.Nearest, _ own: EndpointLocality?, _ peers: [EndpointLocality: Int]
    ) {
        shares = LocalityShares(
            own: own, peers: peers, hosts: places.map { ($0.locality, $0.healthy.hosts.count) }, nearest)
    }

    mutating func pick(
        isInPanic: Bool, isDegraded: Bool, _ settings: BalancingSettings, _ cluster: UpstreamCluster, now: Instant,
        random: inout SeededRandom
    ) -> UpstreamHost? {
        if isInPanic {
            cluster.counts.panicPicks += 1
            return all.pick(settings, now: now, random: &random)
        }
        if isDegraded {
            if degradedTurns != nil {
                let weights = degradedWeights
                guard let place = degradedTurns?.next({ weights[$0] }) else { return nil }
                return places[place].degraded.pick(settings, now: now, random: &random)
            }
            return degraded.pick(settings, now: now, random: &random)
        }
        if healthyTurns != nil {
            let weights = healthyWeights
            guard let place = healthyTurns?.next({ weights[$0] }) else { return nil }
            return places[place].healthy.pick(settings, now: now, random: &random)
        }
        if let place = shares?.choice(random: &random) {
            return places[place].healthy.pick(settings, now: now, random: &random)
        }
        return healthy.pick(settings, now: now, random: &random)
    }

    /// Made when it is first asked for; nil without hosts.
    mutating func table(isInPanic: Bool, _ settings: BalancingSettings) -> KeyTable? {
        if !keysAreMade {
            keysAreMade = true
            let weighed = weighedHosts(isInPanic, settings)
            keys = weighed.isEmpty ? nil : KeyTable(weighed, policy: settings.policy, settings: settings)
        }
        return keys
    }

    private func weighedHosts(_ isInPanic: Bool, _ settings: BalancingSettings) -> [WeighedHost] {
        let totalWeight = places.reduce(0) { $0 + $1.weight }
        guard settings.localities == .weighted, !places.isEmpty, totalWeight > 0 else {
            return Self.weigh(isInPanic ? all.hosts : healthy.hosts, share: 1)
        }
        return places.filter { $0.weight > 0 }.flatMap { place in
            Self.weigh(
                isInPanic ? place.hosts : place.healthy.hosts, share: Double(place.weight) / Double(totalWeight))
        }
    }

    private static func weigh(_ hosts: [UpstreamHost], share: Double) -> [WeighedHost] {
        let sum = Double(hosts.reduce(0) { $0 + $1.weight })
        return hosts.map { WeighedHost(host: $0, share: Double($0.weight) * share / sum) }
    }
}

extension UpstreamHost {
    /// Whether it does not count when health is measured: it is not known yet, or asked to be left alone.
    var isLeftOut: Bool { isExcluded || (isPending && ignoredUntilChecked) }
}
