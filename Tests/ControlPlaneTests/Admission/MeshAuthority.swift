import Certificates
import Foundation
import Identity
import TLS
import Time

/// Certificates of a mesh for tests, made in memory.
struct MeshAuthority {
    let domain: TrustDomain
    private let issuer: Issuer
    private let now: Timestamp

    init(_ domain: String) throws {
        self.domain = try TrustDomain(domain)
        now = Timestamp(seconds: Int64(Date().timeIntervalSince1970))
        let key = try PrivateKey.generate(.ecdsaP256)
        let root = try Issuer.selfSigned(
            subject: try DistinguishedName(commonName: "\(domain) root", organization: "Martinet"),
            trustDomain: self.domain, key: key, validity: now - .seconds(60)..<now + .seconds(3600),
            serial: try Serial.random())
        issuer = try Issuer(chain: [root], key: key)
    }

    var anchorsPEM: [UInt8] { Array(issuer.certificate.pem) }

    /// A leaf of a service account in the namespace `shop`.
    func issue(_ account: String, dnsNames: [String] = []) throws -> (chain: [UInt8], key: [UInt8], leaf: Certificate) {
        let key = try PrivateKey.generate(.ecdsaP256)
        let template = LeafTemplate(
            spiffeID: try SPIFFEID(domain, namespace: "shop", serviceAccount: account), dnsNames: dnsNames,
            validity: now - .seconds(30)..<now + .seconds(600), serial: try Serial.random())
        let leaf = try issuer.issue(template, for: key.publicKey)
        return (Array(leaf.pem), try key.pem(), leaf)
    }

    func identity(_ account: String, dnsNames: [String] = []) throws -> TLSIdentity {
        let made = try issue(account, dnsNames: dnsNames)
        return try TLSIdentity(chainPEM: made.chain, keyPEM: made.key)
    }
}
