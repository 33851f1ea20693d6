import Time

/// Judges a share by the load that its proxies report: more of their requests fail than of the others' at the same time,
/// or than of their own before where there are no others.
final class LoadHealth: RolloutHealth, Sendable {
    /// So many requests of a kind must have been answered on either side, or nothing is said of it.
    static let fewestRequests: UInt64 = 50
    /// The share of requests that may fail beyond those that fail anyway.
    static let mostMore = 0.05

    private let ledger: LoadLedger

    init(_ ledger: LoadLedger) { self.ledger = ledger }

    func judge(
        _ revision: Int64, nodes: [String], since: Instant, _ answer: @escaping @Sendable (RolloutVerdict) -> Void
    ) {
        answer(verdict(Set(nodes), since: since))
    }

    func verdict(_ nodes: Set<String>, since: Instant) -> RolloutVerdict {
        let (now, others) = ledger.traffic(of: nodes.contains, in: { $0.lowerBound >= since })
        let before = ledger.traffic(of: nodes.contains, in: { $0.upperBound <= since }).first
        var isJudged = false
        // The worst first: what all come to, then each cluster.
        let clusters = now.clusters.sorted { ($1.value.errorRate, $0.key) < ($0.value.errorRate, $1.key) }
        let all = (name: "", load: now.all, others: others.all, before: before.all)
        let parts =
            clusters.map { cluster in
                (
                    name: " to " + Self.host(cluster.key), load: cluster.value,
                    others: others.clusters[cluster.key] ?? .init(),
                    before: before.clusters[cluster.key] ?? .init()
                )
            } + [all]
        for part in parts where part.load.requests >= Self.fewestRequests {
            let (base, words) =
                part.others.requests >= Self.fewestRequests ? (part.others, "of the others'") : (part.before, "before")
            guard base.requests >= Self.fewestRequests else { continue }
            isJudged = true
            let (rate, usual) = (part.load.errorRate, base.errorRate)
            if rate >= usual + Self.mostMore, rate >= 2 * usual {
                return .unhealthy(
                    "\(Self.percent(rate)) of the requests\(part.name) fail, \(Self.percent(usual)) \(words)")
            }
        }
        return isJudged ? .healthy : .unknown
    }

    /// `outbound|9080||reviews.shop.svc.cluster.local` is `reviews.shop.svc.cluster.local`.
    private static func host(_ cluster: String) -> String {
        cluster.split(separator: "|").last.map(String.init) ?? cluster
    }

    /// With one digit.
    private static func percent(_ share: Double) -> String {
        let tenths = Int((share * 1_000).rounded())
        return "\(tenths / 10).\(tenths % 10) %"
    }
}
