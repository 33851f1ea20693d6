import Identity

extension Certificate {
    /// The SPIFFE ID of a workload's certificate.
    /// - Throws: ``CertificateError/notAnSVID(certificate:reason:)`` unless it has exactly one URI, which is a SPIFFE
    ///   ID with a path, is no authority, and may sign handshakes but no certificates. Source: X509-SVID, 2 to 5.
    public func spiffeID() throws(CertificateError) -> SPIFFEID {
        guard uris.count == 1, let uri = uris.first else { throw notAnSVID("it has \(uris.count) URIs, not one") }
        let identity: SPIFFEID
        do throws(SPIFFEIDError) {
            identity = try SPIFFEID(uri)
        } catch {
            throw notAnSVID(error.description)
        }
        guard !identity.path.isEmpty else { throw notAnSVID("\(identity) names a trust domain, not a workload") }
        guard !isAuthority else { throw notAnSVID("it is an authority") }
        guard let keyUsage, keyUsage.contains(.digitalSignature) else {
            throw notAnSVID("its key usage lacks digitalSignature")
        }
        guard keyUsage.isDisjoint(with: [.certificateSigning, .crlSigning]) else {
            throw notAnSVID("its key may sign certificates")
        }
        return identity
    }

    /// The trust domain of an authority's certificate, from its URI; nil if it has none.
    public var trustDomain: TrustDomain? {
        guard uris.count == 1, let uri = uris.first else { return nil }
        return try? SPIFFEID(uri).trustDomain
    }

    private func notAnSVID(_ reason: String) -> CertificateError {
        .notAnSVID(certificate: shortName, reason: reason)
    }
}
