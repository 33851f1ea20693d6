import Certificates
import Reactor
import TLS
import Time

/// When a connection has to end for the certificates that were shown on it.
struct CertificateAge: Equatable {
    /// It is asked to end: a drain time before, or half of what is left where that is less.
    var drain: Duration
    var close: Duration

    /// What is further ahead waits for no timer.
    fileprivate static let furthest = Duration.seconds(315_360_000)
}

extension CertificateAge {
    /// - Parameter ends: of the certificates; what had ended before the connection began was no obstacle to it.
    /// - Parameter lead: by how much to be asked earlier; of short times a tenth.
    init?(ends: [Timestamp], now: Timestamp, drainTime: Duration, lead: Duration = .zero) {
        guard let end = ends.filter({ $0 > now }).min() else { return nil }
        let left = end - now
        guard left < Self.furthest else { return nil }
        (drain, close) = (left - min(drainTime, left / 2) - min(lead, left / 10), left)
    }
}

extension SocketUser {
    /// Has the connection end before the certificate of either side does, so that none lives on what has expired.
    /// - Parameter peer: verified.
    final func endBeforeCertificates(_ settings: TLSSettings, peer: Certificate?, lead: Duration = .zero) {
        let ends = [settings.configuration.identity?.leaf.notAfter, peer?.notAfter].compactMap { $0 }
        guard let age = CertificateAge(ends: ends, now: .systemClock(), drainTime: worker.drainTime, lead: lead) else {
            return
        }
        loop.setTimer(after: age.drain, for: id, token: CertificateTimer.drain)
        loop.setTimer(after: age.close, for: id, token: CertificateTimer.close)
    }

    /// The same for a connection to a host: a moment earlier than the host, which has seen the same certificates, so that
    /// no request is on its way when that one ends an idle connection.
    final func endBeforeCertificates(_ security: TransportSecurity, _ peer: Peer) {
        guard case .tls(let settings, _) = security, let secure = peer.secure else { return }
        let isVerified = settings.configuration.acceptedPeers != .anybody
        endBeforeCertificates(
            settings, peer: isVerified ? secure.certificates.first.flatMap { try? Certificate(der: $0) } : nil,
            lead: .seconds(1))
    }
}

/// Tokens of timers that a connection's handler sees to, whoever has the connection then.
enum CertificateTimer {
    static let drain = UInt64.max - 1
    static let close = UInt64.max
}

extension TLSVersion {
    /// As logs have it. Source: Envoy, `%DOWNSTREAM_TLS_VERSION%`.
    var word: String {
        switch self {
        case .tls12: "TLSv1.2"
        case .tls13: "TLSv1.3"
        }
    }
}
