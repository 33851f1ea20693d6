import Certificates
import TLS
import Time

/// The certificate that the TLS port shows, and the anchors for its clients': both from the authority of this process.
///
/// A client may show a certificate, and must not: a join token proves who it is too. Belongs to the control thread.
final class PortCertificate {
    let source: TLSSource
    private var ticketKeys: TLSTicketKeys
    private var anchors: Set<Certificate>

    /// - Parameters:
    ///   - chain: PEM, the leaf first.
    ///   - anchors: PEM, the roots of this trust domain.
    init(chain: [UInt8], key: [UInt8], anchors: [UInt8]) throws(TLSError) {
        ticketKeys = try TLSTicketKeys()
        let trusted = try TrustAnchors(pem: anchors)
        self.anchors = Self.certificates(anchors)
        source = TLSSource(
            try Self.settings(try TLSIdentity(chainPEM: chain, keyPEM: key), trusted, ticketKeys))
    }

    var notAfter: Timestamp? { source.current.configuration.identity?.leaf.notAfter }

    /// Takes these into force for new connections; those under way go on.
    func replace(chain: [UInt8], key: [UInt8], anchors: [UInt8]) throws(TLSError) {
        let trusted = try TrustAnchors(pem: anchors)
        let certificates = Self.certificates(anchors)
        let isTrustKept = self.anchors.isSubset(of: certificates)
        // A ticket stands for a verified certificate: what an anchor that has left vouched for is asked again.
        let keys = isTrustKept ? ticketKeys : try TLSTicketKeys()
        let settings = try Self.settings(try TLSIdentity(chainPEM: chain, keyPEM: key), trusted, keys)
        ticketKeys = keys
        self.anchors = Self.certificates(anchors)
        source.replace(with: settings)
    }

    private static func certificates(_ pem: [UInt8]) -> Set<Certificate> {
        // They have been read as anchors before.
        Set((try? Certificate.list(pem: pem, source: "the trust anchors")) ?? [])
    }

    private static func settings(
        _ identity: TLSIdentity, _ anchors: TrustAnchors, _ keys: TLSTicketKeys
    ) throws(TLSError) -> TLSSettings {
        var configuration = TLSConfiguration.mutualServer(identity, trusting: anchors, applicationProtocols: ["h2"])
        configuration.clientAuthentication = .optional
        configuration.requiresApplicationProtocol = true
        configuration.ticketKeys = keys
        return try TLSSettings(configuration)
    }
}
