import Identity
import Metrics
import Store
import Time

/// What the authority counts, through swift-metrics.
final class AuthorityMetrics {
    /// Renewals and other makings that failed.
    let failures = Counter(label: "martinet_certificate_failures_total")
    /// Holders that are connected.
    let holders = Gauge(label: "martinet_certificate_holders")
    private let skew = Gauge(label: "martinet_clock_skew_seconds")
    private let skewedPeers = Gauge(label: "martinet_clock_skewed_peers")
    private let byReason: [String: Counter]
    /// There while there is a certificate of the tier: a level of 0 would be an alarm.
    private var expiry: [String: Gauge] = [:]
    private let phases: [AuthorityTier: Gauge]

    /// As the journal knows them.
    static let reasons = ["first", "renewal", "rotation", "csr", "server"]

    init() {
        byReason = Dictionary(
            uniqueKeysWithValues: Self.reasons.map {
                ($0, Counter(label: "martinet_certificates_issued_total", dimensions: [("reason", $0)]))
            })
        phases = Dictionary(
            uniqueKeysWithValues: AuthorityTier.allCases.map {
                ($0, Gauge(label: "martinet_rotation_phase", dimensions: [("tier", $0.rawValue)]))
            })
    }

    func issued(_ lines: [IssuedCertificate]) {
        for line in lines { byReason[line.reason]?.increment() }
    }

    /// - Parameter seconds: until the first of the tier expires, negative afterwards; nil: there is none.
    func setExpiry(_ tier: String, _ seconds: Double?) {
        guard let seconds else {
            expiry.removeValue(forKey: tier)?.destroy()
            return
        }
        let gauge =
            expiry[tier] ?? Gauge(label: "martinet_certificate_expiry_seconds", dimensions: [("tier", tier)])
        expiry[tier] = gauge
        gauge.record(seconds)
    }

    /// - Parameters:
    ///   - largest: of the peers' clocks, of those that are certainly off; zero: none is.
    ///   - peers: how many are.
    func setSkew(_ largest: Duration, peers: Int) {
        skew.record(Double(largest.nanoseconds) / 1e9)
        skewedPeers.record(peers)
    }

    /// 0: none is under way; 1 to 4: make, prepare, activate, retire.
    func setPhase(_ phase: Rotation.Phase?, of tier: AuthorityTier) {
        let number = phase.flatMap { Rotation.Phase.allCases.firstIndex(of: $0) }.map { $0 + 1 } ?? 0
        phases[tier]?.record(number)
    }
}
