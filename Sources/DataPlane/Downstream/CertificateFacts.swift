import Certificates
import Forwarding

extension PeerCertificateFacts {
    /// What a certificate says.
    convenience init(_ certificate: Certificate, isVerified: Bool) {
        self.init(
            uriNames: certificate.uris, dnsNames: certificate.dnsNames, subject: certificate.subject,
            serial: certificate.serial, fingerprint: Self.hexadecimal(Digest.sha256(of: certificate.der)),
            pem: String(decoding: certificate.pem, as: UTF8.self), isVerified: isVerified)
    }

    private static func hexadecimal(_ bytes: [UInt8]) -> String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}
