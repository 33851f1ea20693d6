import TLS
import Testing
import Time

@Suite struct VerificationTests {
    private func connect(
        _ leaf: TestAuthority.Issued, accepting peers: TLSConfiguration.AcceptedPeers, serverName: String? = nil
    ) throws -> Pair {
        let client = TLSConfiguration.client(
            trusting: try Fixture.root.get().anchors, serverName: serverName, accepting: peers)
        return try Pair(client, .server(try leaf.identity())).connect()
    }

    @Test(arguments: ["server.test", "SERVER.test", "x.pods.test", "127.0.0.1"])
    func aHostThatTheCertificateNamesIsAccepted(_ host: String) throws {
        let pair = try connect(try Fixture.server.get(), accepting: .serverName, serverName: host)
        try pair.expectWorks()
        // RFC 6066, 3: an address is not sent as a server name.
        #expect(pair.server.serverName == (host == "127.0.0.1" ? nil : host.lowercased()))
    }

    @Test(arguments: ["other.test", "pods.test", "a.b.pods.test", "127.0.0.2", "est"])
    func anyOtherHostIsRefusedWithBothNames(_ host: String) throws {
        let pair = try connect(try Fixture.server.get(), accepting: .serverName, serverName: host)
        let presented = ["server.test", "*.pods.test", "127.0.0.1"]
        #expect(pair.clientError == .peerNameRefused(presented: presented, expected: [host]))
        #expect(
            pair.clientError?.description
                == "the peer is server.test, *.pods.test, 127.0.0.1, expected \(host)")
        #expect(pair.serverError == .peerAlert(name: "bad certificate", code: 42))
    }

    @Test func theCommonNameDoesNotCount() throws {
        let leaf = try Fixture.root.get().leaf("common-name.test")
        let pair = try connect(leaf, accepting: .serverName, serverName: "common-name.test")
        #expect(pair.clientError == .peerNameRefused(presented: [], expected: ["common-name.test"]))
    }

    static let web = "spiffe://mesh.test/ns/shop/sa/web"

    @Test(arguments: [
        PeerName.uri(web), .trustDomain("mesh.test"),
    ])
    func aSpiffeIDIsAcceptedExactlyOrByTrustDomain(_ name: PeerName) throws {
        try connect(try Fixture.client.get(), accepting: .named([.host("x.test"), name])).expectWorks()
    }

    @Test(arguments: [
        PeerName.uri("spiffe://mesh.test/ns/shop/sa/we"), .uri("spiffe://mesh.test/ns/shop"),
        .trustDomain("mesh.tes"), .trustDomain("test"), .host("mesh.test"),
    ])
    func anyOtherSpiffeIDIsRefused(_ name: PeerName) throws {
        let pair = try connect(try Fixture.client.get(), accepting: .named([name]))
        #expect(
            pair.clientError == .peerNameRefused(presented: [VerificationTests.web], expected: ["\(name)"]))
    }

    @Test func aCertificateWithTwoURIsIsNoSpiffeIdentity() throws {
        let san = "URI:spiffe://mesh.test/a,URI:spiffe://mesh.test/b"
        let leaf = try Fixture.root.get().leaf("two-uris", san: san)
        for name in [PeerName.uri("spiffe://mesh.test/a"), .trustDomain("mesh.test")] {
            let pair = try connect(leaf, accepting: .named([name]))
            let presented = ["spiffe://mesh.test/a", "spiffe://mesh.test/b"]
            #expect(pair.clientError == .peerNameRefused(presented: presented, expected: ["\(name)"]))
        }
    }

    @Test func aNulInANameDoesNotCutIt() throws {
        // SEQUENCE { [6] "spiffe://mesh.test/a" 00 "b" }
        let uri = Array("spiffe://mesh.test/a".utf8) + [0] + Array("b".utf8)
        let der = [0x30, UInt8(uri.count + 2), 0x86, UInt8(uri.count)] + uri
        let hex = der.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        let leaf = try Fixture.root.get().issue("nul", extensions: "2.5.29.17=DER:\(hex)\n")
        let pair = try connect(leaf, accepting: .named([.uri("spiffe://mesh.test/a")]))
        #expect(
            pair.clientError
                == .peerNameRefused(presented: ["spiffe://mesh.test/a\\x0b"], expected: ["spiffe://mesh.test/a"]))
    }

    @Test func aServerChecksItsClientsNames() throws {
        var server = try Fixture.mutualConfiguration()
        let client = try Fixture.clientConfiguration(identity: try Fixture.client.get().identity())
        server.acceptedPeers = .named([.uri(VerificationTests.web)])
        try Pair(client, server).connect().expectWorks()
        server.acceptedPeers = .named([.uri("spiffe://mesh.test/ns/shop/sa/api"), .trustDomain("other.test")])
        let refused = try Pair(client, server).connect()
        #expect(
            refused.serverError?.description
                == "the peer is \(VerificationTests.web), expected spiffe://mesh.test/ns/shop/sa/api, "
                + "spiffe://other.test/*")
    }

    @Test func anExpiredCertificateIsRefusedWithItsDate() throws {
        let leaf = try Fixture.root.get().leaf(
            "expired", san: "URI:spiffe://mesh.test/old", from: "20200101000000Z", to: "20210203040506Z")
        let pair = try connect(leaf, accepting: .anyTrusted)
        guard case .certificateRefused(.expired, let certificate, _)? = pair.clientError else {
            Issue.record("\(String(describing: pair.clientError))")
            return
        }
        #expect(
            pair.clientError?.description == "certificate has expired: URI spiffe://mesh.test/old "
                + "(serial \(certificate.serial)), notAfter 2021-02-03T04:05:06Z")
        #expect(pair.serverError == .peerAlert(name: "certificate expired", code: 45))
        #expect(pair.serverError?.hint == "renew our certificate")
    }

    @Test func aCertificateOfTheFutureIsRefusedWithItsDate() throws {
        let leaf = try Fixture.root.get().leaf("future", san: "DNS:future.test", from: "20480101000000Z")
        let pair = try connect(leaf, accepting: .anyTrusted)
        #expect(pair.clientError?.description.hasPrefix("certificate is not yet valid: DNS future.test") == true)
        #expect(pair.clientError?.description.hasSuffix("notBefore 2048-01-01T00:00:00Z") == true)
    }

    @Test func theTimeOfVerificationIsGiven() throws {
        let leaf = try Fixture.root.get().leaf("short", san: "DNS:short.test", to: "20210101000000Z")
        for (seconds, isValid) in [(1_600_000_000, true), (1_609_459_199, true), (1_609_459_201, false)] {
            var client = TLSConfiguration.client(trusting: try Fixture.root.get().anchors, accepting: .anyTrusted)
            client.verificationTime = Timestamp(seconds: Int64(seconds))
            let pair = try Pair(client, .server(try leaf.identity())).connect()
            #expect(pair.client.isEstablished == isValid)
        }
    }

    @Test func aCertificateOfAnotherAuthorityIsRefusedNamingBoth() throws {
        let leaf = try Fixture.otherRoot.get().leaf("foreign", san: "DNS:server.test")
        let pair = try connect(leaf, accepting: .serverName, serverName: "server.test")
        #expect(
            pair.clientError?.description.hasSuffix(
                "issued by CN=other-root,O=Martinet, trusted: CN=root,O=Martinet") == true)
        #expect(pair.serverError == .peerAlert(name: "unknown CA", code: 48))
    }

    @Test func anAuthorityOfTheSameNameIsNotTheSameAuthority() throws {
        let impostor = try TestAuthority(root: "root")
        let leaf = try impostor.leaf("forged", san: "DNS:server.test")
        let pair = try connect(leaf, accepting: .serverName, serverName: "server.test")
        guard case .certificateRefused(let problem, _, _)? = pair.clientError else {
            Issue.record("\(String(describing: pair.clientError))")
            return
        }
        #expect(problem == .signatureInvalid || problem == .unknownIssuer)
    }

    @Test func aCertificateForClientsDoesNotServe() throws {
        let leaf = try Fixture.root.get().leaf("client-only", san: "DNS:server.test", usage: "clientAuth")
        let pair = try connect(leaf, accepting: .serverName, serverName: "server.test")
        guard case .certificateRefused(.wrongPurpose, _, _)? = pair.clientError else {
            Issue.record("\(String(describing: pair.clientError))")
            return
        }
    }

    @Test func aLeafDoesNotIssue() throws {
        let root = try Fixture.root.get()
        // The "authority" is a leaf: issued without CA:TRUE.
        let leaf = try root.leaf("no-authority", san: "DNS:no-authority.test")
        let authority = try root.intermediate("replaced")
        let pretender = TestAuthority(pretending: authority, as: leaf)
        let issued = try pretender.leaf("under-leaf", san: "DNS:server.test")
        let client = try Fixture.clientConfiguration()
        let pair = try Pair(client, .server(try issued.identity(with: [leaf]))).connect()
        guard case .certificateRefused(let problem, _, _)? = pair.clientError else {
            Issue.record("\(String(describing: pair.clientError))")
            return
        }
        #expect(problem == .notAnAuthority || problem == .unknownIssuer)
    }
}
