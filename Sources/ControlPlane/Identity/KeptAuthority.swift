import Certificates
import Identity
import Store
import Time

/// A root or an intermediate with its certificates, and its key where that is here.
struct KeptAuthority {
    let id: AuthorityID
    let tier: AuthorityTier
    /// Its own first, then what leads from it to its root.
    let certificates: [Certificate]
    /// A root's: its name and key, certified by the root before it; then that one's by the one before, and so on.
    var crossSigned: [Certificate]
    /// nil: the key is elsewhere.
    let key: PrivateKey?
    /// What signs; nil without a key.
    let issuer: Issuer?
    let createdAt: Timestamp

    init(
        tier: AuthorityTier, certificates: [Certificate], crossSigned: [Certificate] = [], key: PrivateKey?,
        createdAt: Timestamp
    ) throws(CertificateError) {
        precondition(!certificates.isEmpty, "an authority has a certificate")
        id = AuthorityID("\(try certificates[0].publicKey.identifier)")
        self.tier = tier
        self.certificates = certificates
        self.crossSigned = crossSigned
        self.key = key
        self.createdAt = createdAt
        var issuer: Issuer?
        if let key { issuer = try Issuer(chain: certificates, key: key) }
        self.issuer = issuer
    }

    var certificate: Certificate { certificates[0] }

    /// As it is kept in the database.
    var stored: StoredAuthority {
        StoredAuthority(
            id: id.text, tier: tier.rawValue, certificates: Self.text(certificates),
            crossSigned: Self.text(crossSigned), keyFile: key == nil ? "" : id.text,
            createdAt: createdAt)
    }

    static func text(_ certificates: [Certificate]) -> String {
        certificates.map { String(decoding: $0.pem, as: UTF8.self) }.joined()
    }
}
