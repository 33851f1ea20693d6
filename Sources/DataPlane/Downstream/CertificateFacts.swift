import Certificates
import Forwarding

extension PeerCertificateFacts {
    /// What a certificate that was verified says; nil for one that cannot be read.
    convenience init?(der: [UInt8]) {
        guard let certificate = try? Certificate(der: der) else { return nil }
        self.init(
            uriNames: certificate.uris, dnsNames: certificate.dnsNames, subject: certificate.subject,
            serial: certificate.serial, fingerprint: certificate.fingerprint,
            pem: String(decoding: certificate.pem, as: UTF8.self))
    }
}
