import Certificates
import Identity
import Time

/// A certificate with its key.
public struct HeldCertificate: Sendable {
    public let spiffeID: SPIFFEID
    /// The leaf first, then what leads to the root, which itself is not there.
    public let chain: [Certificate]
    public let key: PrivateKey

    public var leaf: Certificate { chain[0] }

    /// - Parameter chain: at least the leaf, which is of `key` and of `spiffeID`.
    public init(spiffeID: SPIFFEID, chain: [Certificate], key: PrivateKey) {
        precondition(!chain.isEmpty, "a certificate has a leaf")
        (self.spiffeID, self.chain, self.key) = (spiffeID, chain, key)
    }
}

/// What the agent has for its workloads.
struct Holdings: Sendable {
    /// nil: none was issued yet.
    var certificate: HeldCertificate?
    /// The anchors of the own trust domain; empty: none were pushed yet.
    var anchors: [Certificate] = []
    /// Those of other trust domains.
    var federated: [TrustDomain: [Certificate]] = [:]
    /// The keys that sign JWT-SVIDs of the own trust domain.
    var tokenKeys: SPIFFEBundle?
    /// Those of other trust domains.
    var federatedKeys: [TrustDomain: SPIFFEBundle] = [:]

    /// Forgets what was another trust domain's, and is not given any more.
    /// - Parameter name: of the secret.
    /// - Returns: whether there was something.
    mutating func forget(_ name: String, own: TrustDomain) -> Bool {
        if let domain = PushedSecret.tokenDomain(of: name, own: own) {
            return federatedKeys.removeValue(forKey: domain) != nil
        }
        return (try? SPIFFEID(name)).flatMap { federated.removeValue(forKey: $0.trustDomain) } != nil
    }

    /// All that sign JWT-SVIDs, by trust domain.
    var allTokenKeys: [TrustDomain: SPIFFEBundle] {
        guard let tokenKeys else { return federatedKeys }
        return federatedKeys.merging([tokenKeys.trustDomain: tokenKeys]) { _, own in own }
    }

    /// Whether workloads can make handshakes with it.
    var isComplete: Bool { certificate != nil && !anchors.isEmpty }
}
