/// Requests stay in the proxy's own locality as far as that is fair to it: where its share of the cluster's hosts is at
/// least its share of the proxies, all do; else the rest goes where hosts are to spare.
/// Source: Envoy, "Zone aware routing".
struct LocalityShares {
    /// Index of the own locality, if it is among the hosts'.
    private let own: Int?
    /// Of 10,000.
    private let localShare: Int
    /// Sums, by locality, of what it can take from others.
    private let spare: [Int]
    private let enabledPercent: Int

    /// - Parameters:
    ///   - peers: how many proxies of the own kind each locality has.
    ///   - hosts: how many healthy hosts each locality has.
    /// - Returns: nil where localities do not matter.
    init?(
        own: EndpointLocality?, peers: [EndpointLocality: Int], hosts: [(EndpointLocality, Int)],
        _ settings: BalancingSettings.Nearest
    ) {
        let total = hosts.reduce(0) { $0 + $1.1 }
        let allPeers = peers.values.reduce(0, +)
        guard hosts.count >= 2, let own, peers[own, default: 0] > 0, peers.count >= 2 || settings.staysLocal,
            total >= settings.minimumHosts, total > 0
        else { return nil }
        enabledPercent = settings.enabledPercent
        self.own = hosts.firstIndex { $0.0 == own && $0.1 > 0 }
        let shares = hosts.map { locality, count in
            (peers: 10_000 * peers[locality, default: 0] / allPeers, hosts: 10_000 * count / total)
        }
        if let place = self.own, shares[place].hosts >= shares[place].peers || settings.staysLocal {
            localShare = 10_000
        } else if let place = self.own, shares[place].peers > 0 {
            localShare = shares[place].hosts * 10_000 / shares[place].peers
        } else {
            localShare = 0
        }
        var sum = 0
        var sums: [Int] = []
        for (index, share) in shares.enumerated() {
            if index != self.own { sum += max(0, share.hosts - share.peers) }
            sums.append(sum)
        }
        spare = sums
    }

    /// - Returns: an index of a locality; nil: any host.
    func choice(random: inout SeededRandom) -> Int? {
        guard random.hits(percent: enabledPercent) else { return nil }
        if let own, localShare == 10_000 || random.below(10_000) < localShare { return own }
        guard let total = spare.last, total > 0 else { return nil }
        let place = random.below(total)
        return spare.firstIndex { place < $0 }
    }
}
