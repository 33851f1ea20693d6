import Certificates
import Foundation
import TLS
import Testing

/// Whom to believe beside those under an anchor: certificates by their digest, trust domains, and whom not any more.
@Suite struct TrustTests {
    private func connect(_ configuration: TLSConfiguration, _ leaf: TestAuthority.Issued) throws -> Pair {
        try Pair(configuration, .server(try leaf.identity())).connect()
    }

    @Test func aCertificateMayBeKnownByItsDigest() throws {
        let leaf = try Fixture.server.get()
        let certificate = try leaf.identity().leaf
        let own: [TLSPin] = [
            .certificate(Digest.sha256(of: certificate.der)), .key(Digest.sha256(of: certificate.spki)),
        ]
        let wrong = TLSPin.certificate([UInt8](repeating: 0, count: 32))
        for anchors in [nil, try Fixture.root.get().anchors] {
            for pin in own {
                var client = TLSConfiguration.client(trusting: try Fixture.root.get().anchors, accepting: .anyTrusted)
                client.trustAnchors = anchors
                client.pins = [wrong, pin]
                try connect(client, leaf).expectWorks()
                client.pins = [wrong]
                let pair = try connect(client, leaf)
                #expect(pair.clientError == .certificateNotPinned(subject: certificate.subject))
            }
        }
        // With anchors, the right digest is not enough.
        var client = TLSConfiguration.client(trusting: try Fixture.otherRoot.get().anchors, accepting: .anyTrusted)
        client.pins = own
        guard case .certificateRefused(.unknownIssuer, _, _)? = try connect(client, leaf).clientError else {
            Issue.record("a certificate of an unknown issuer was taken")
            return
        }
    }

    @Test func anAuthoritySpeaksForItsTrustDomainAlone() throws {
        let (root, other) = (try Fixture.root.get(), try Fixture.otherRoot.get())
        var client = TLSConfiguration.client(trusting: try root.anchors, accepting: .anyTrusted)
        client.trustAnchors = nil
        client.trustDomains = ["mesh.test": try root.anchors, "far.test": try other.anchors]
        try connect(client, try Fixture.client.get()).expectWorks()
        try connect(client, try other.leaf("far", san: "URI:spiffe://far.test/ns/a/sa/b")).expectWorks()
        for leaf in [
            try other.leaf("liar", san: "URI:spiffe://mesh.test/ns/a/sa/b"),
            try root.leaf("stranger", san: "URI:spiffe://third.test/ns/a/sa/b"),
            try root.leaf("both", san: "URI:spiffe://mesh.test/a,URI:spiffe://far.test/b"),
            try Fixture.server.get(),
        ] {
            guard case .certificateRefused(.unknownIssuer, _, _)? = try connect(client, leaf).clientError else {
                Issue.record("\(leaf.certificateFile) was taken")
                continue
            }
        }
    }

    @Test func aCertificateThatWasTakenBackIsRefused() throws {
        let root = try TestAuthority(root: "revoking-root")
        let (good, bad) = (try root.leaf("good", san: "DNS:good.test"), try root.leaf("bad", san: "DNS:bad.test"))
        var client = TLSConfiguration.client(trusting: try root.anchors, accepting: .anyTrusted)
        client.revocations = try RevocationLists(pem: try root.revocationList([bad]))
        try connect(client, good).expectWorks()
        guard case .certificateRefused(.other(let reason), _, _)? = try connect(client, bad).clientError else {
            Issue.record("a certificate that was taken back was taken")
            return
        }
        #expect(reason.contains("revoked"))
        // An authority without a list, or with somebody else's, can have taken back anything.
        let strangers = try RevocationLists(pem: try Fixture.otherRoot.get().revocationList([]))
        client.revocations = strangers
        #expect(try connect(client, good).clientError != nil)
    }

    @Test(arguments: ["", "no PEM", "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"])
    func whatIsNoListOfRevokedCertificatesIsRefused(_ text: String) {
        let error = tlsError { _ = try RevocationLists(pem: Array(text.utf8)) }
        #expect(error == .settingInvalid(.revocationListUnreadable))
    }
}

extension TestAuthority {
    /// The certificates that this authority has taken back, in PEM.
    fileprivate func revocationList(_ revoked: [Issued]) throws -> [UInt8] {
        let file = "\(newDirectory())/list"
        var index = ""
        for issued in revoked {
            let words = try openssl(["x509", "-in", issued.certificateFile, "-noout", "-serial"])
            let serial =
                words.split(separator: "=").last.map { $0.trimmingCharacters(in: .whitespacesAndNewlines) } ?? ""
            index += "R\t490101000000Z\t200102000000Z\t\(serial)\tunknown\t/O=Martinet/CN=x\n"
        }
        try index.write(toFile: "\(file).index", atomically: true, encoding: .utf8)
        try "[ca]\ndefault_ca = this\n[this]\ndatabase = \(file).index\ndefault_md = sha256\n".write(
            toFile: "\(file).conf", atomically: true, encoding: .utf8)
        try openssl([
            "ca", "-gencrl", "-config", "\(file).conf", "-cert", self.issued.certificateFile, "-keyfile",
            self.issued.keyFile, "-crldays", "3000", "-out", "\(file).pem",
        ])
        return bytes(of: "\(file).pem")
    }
}
