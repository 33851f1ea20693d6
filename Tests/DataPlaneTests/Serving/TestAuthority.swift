import Certificates
import Forwarding
import Identity
import TLS
import Testing
import Time

@testable import DataPlane

/// An authority of a test, which issues real certificates.
struct TestAuthority {
    let root: Certificate
    private let issuer: Issuer
    private let domain: TrustDomain

    init(_ domain: String = "shop.test") throws {
        self.domain = try TrustDomain(domain)
        let key = try PrivateKey.generate(.ecdsaP256)
        let now = Timestamp.systemClock()
        root = try Issuer.selfSigned(
            subject: DistinguishedName(commonName: "Root of \(domain)"), trustDomain: self.domain, key: key,
            validity: (now - .seconds(3600))..<(now + .seconds(864_000)), serial: try Serial.random())
        issuer = try Issuer(chain: [root], key: key)
    }

    var anchors: TrustAnchors { get throws { try TrustAnchors([root]) } }
    var pem: String { String(decoding: root.pem, as: UTF8.self) }

    /// - Parameter end: nil: in an hour.
    func identity(_ name: String = "web", dns: [String] = [], until end: Timestamp? = nil) throws -> TLSIdentity {
        let key = try PrivateKey.generate(.ecdsaP256)
        let now = Timestamp.systemClock()
        let leaf = LeafTemplate(
            spiffeID: try SPIFFEID("\(domain.id)/ns/test/sa/\(name)"), dnsNames: dns,
            validity: (now - .seconds(60))..<(end ?? now + .seconds(3600)), serial: try Serial.random())
        return try TLSIdentity(chain: [try issuer.issue(leaf, for: key.publicKey)], key: key)
    }

    /// What a cluster's connections are secured with: whoever this authority vouches for is believed.
    func client(
        _ naming: TransportSecurity.ServerNaming = TransportSecurity.ServerNaming(), identity: TLSIdentity? = nil,
        protocols: [String] = []
    ) throws -> TransportSecurity {
        .tls(
            try TLSSettings(
                .client(
                    trusting: try anchors, accepting: .anyTrusted, identity: identity, applicationProtocols: protocols)),
            naming)
    }
}

extension ServedListener {
    /// The same, with TLS for all of its chains.
    func secured(_ configuration: TLSConfiguration) throws -> ServedListener {
        let settings = try TLSSettings(configuration)
        return ServedListener(
            name: name, configuration: self.configuration,
            tls: self.configuration.allChains.map { (chain: $0, settings: settings) })
    }
}
