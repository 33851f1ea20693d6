import Certificates
import TLS
import Testing
import Time

@Suite struct HandshakeTests {
    @Test(arguments: [TLSVersion.tls12, .tls13])
    func dataGoesBothWays(_ version: TLSVersion) throws {
        var client = try Fixture.clientConfiguration()
        client.maximumVersion = version
        let pair = try Pair(client, try Fixture.serverConfiguration()).connect()
        try pair.expectWorks()
        #expect(pair.client.version == version)
        #expect(pair.server.version == version)
        #expect(pair.client.cipher == pair.server.cipher)
        #expect(pair.client.cipher?.contains("AES_256_GCM") == true)
        #expect(pair.client.alpn == "h2")
        #expect(pair.server.alpn == "h2")
        #expect(pair.server.serverName == "server.test")
        #expect(!pair.client.isResumed)
    }

    @Test(arguments: [TestAuthority.Key.rsa, .ed25519, .p256])
    func everyKindOfKeyServes(_ key: TestAuthority.Key) throws {
        let root = try Fixture.root.get()
        let server = try root.leaf("kind-\(key)", san: "DNS:server.test", key: key).identity()
        let client = try root.leaf("kind-client-\(key)", san: "URI:spiffe://mesh.test/a", key: key).identity()
        let pair = try Pair(
            try Fixture.clientConfiguration(identity: client), .mutualServer(server, trusting: try root.anchors))
        try pair.connect().expectWorks()
        #expect(pair.server.peerCertificates.count == 1)
    }

    @Test(arguments: [TLSVersion.tls12, .tls13])
    func aHandshakeInSingleBytesIsTheSame(_ version: TLSVersion) throws {
        var client = try Fixture.clientConfiguration(identity: try Fixture.client.get().identity())
        client.maximumVersion = version
        let pair = try Pair(client, try Fixture.mutualConfiguration()).connect(piece: 1)
        try pair.expectWorks()
    }

    @Test func bothSidesSeeEachOthersCertificates() throws {
        let identity = try Fixture.client.get().identity()
        let pair = try Pair(
            try Fixture.clientConfiguration(identity: identity), try Fixture.mutualConfiguration()
        ).connect()
        try pair.expectWorks()
        let seen = try #require(pair.server.peerCertificates.first)
        #expect(try Certificate(der: seen) == identity.leaf)
        #expect(try Certificate(der: seen).uris == ["spiffe://mesh.test/ns/shop/sa/web"])
        let server = try #require(pair.client.peerCertificates.first)
        #expect(try Certificate(der: server).dnsNames == ["server.test", "*.pods.test"])
    }

    @Test func anIntermediateIsSentAndFollowed() throws {
        let root = try Fixture.root.get()
        let intermediate = try root.intermediate("intermediate")
        let leaf = try intermediate.leaf("under-intermediate", san: "DNS:server.test")
        let whole = try Pair(
            try Fixture.clientConfiguration(), .server(try leaf.identity(with: [intermediate.issued])))
        try whole.connect().expectWorks()
        #expect(whole.client.peerCertificates.count == 2)

        let partial = try Pair(try Fixture.clientConfiguration(), .server(try leaf.identity())).connect()
        guard case .certificateRefused(.unknownIssuer, let certificate, let anchors)? = partial.clientError else {
            Issue.record("\(String(describing: partial.clientError))")
            return
        }
        #expect(certificate.issuer == "CN=intermediate,O=Martinet")
        #expect(anchors == ["CN=root,O=Martinet"])
        #expect(partial.serverError == .peerAlert(name: "unknown CA", code: 48))
    }

    @Test func anIntermediateCanBeTheAnchor() throws {
        let intermediate = try Fixture.root.get().intermediate("anchoring")
        let leaf = try intermediate.leaf("under-anchoring", san: "DNS:server.test")
        let client = TLSConfiguration.client(trusting: try intermediate.anchors, serverName: "server.test")
        try Pair(client, .server(try leaf.identity())).connect().expectWorks()
    }

    @Test func aClientWithoutCertificateIsRefusedWhereOneIsRequired() throws {
        let pair = try Pair(try Fixture.clientConfiguration(), try Fixture.mutualConfiguration()).connect()
        #expect(pair.serverError == .peerCertificateMissing)
        #expect(pair.serverError?.description.hasPrefix("no client certificate") == true)
        #expect(pair.clientError == .peerAlert(name: "certificate required", code: 116))
        #expect(pair.clientError?.hint == "the peer wants a client certificate: set an identity")
    }

    @Test func anOptionalClientCertificateMayBeMissingButNotWrong() throws {
        var server = try Fixture.mutualConfiguration()
        server.clientAuthentication = .optional
        let without = try Pair(try Fixture.clientConfiguration(), server).connect()
        try without.expectWorks()
        #expect(without.server.peerCertificates.isEmpty)

        let stranger = try Fixture.otherRoot.get().leaf("stranger", san: "URI:spiffe://mesh.test/x").identity()
        let wrong = try Pair(try Fixture.clientConfiguration(identity: stranger), server).connect()
        guard case .certificateRefused(.unknownIssuer, _, _)? = wrong.serverError else {
            Issue.record("\(String(describing: wrong.serverError))")
            return
        }
    }

    @Test func aServerThatAsksForNoCertificateSeesNone() throws {
        let client = try Fixture.clientConfiguration(identity: try Fixture.client.get().identity())
        let pair = try Pair(client, try Fixture.serverConfiguration()).connect()
        try pair.expectWorks()
        #expect(pair.server.peerCertificates.isEmpty)
    }

    @Test func theMinimumVersionHolds() throws {
        var client = try Fixture.clientConfiguration()
        client.maximumVersion = .tls12
        var server = try Fixture.serverConfiguration()
        server.minimumVersion = .tls13
        let pair = try Pair(client, server).connect()
        #expect(pair.serverError == .versionRefused(minimum: .tls13, maximum: .tls13))
        #expect(pair.clientError == .peerAlert(name: "protocol version", code: 70))
    }

    @Test func closeNotifyEndsOneDirectionAndNotTheOther() throws {
        let pair = try Pair(try Fixture.clientConfiguration(), try Fixture.serverConfiguration()).connect()
        try pair.sendFromClient("last words")
        pair.client.close { pair.toServer += $0 }
        pair.client.close { _ in Issue.record("close_notify sent twice") }
        pair.pump()
        #expect(pair.serverReceived == Array("last words".utf8))
        #expect(pair.server.peerClosed)
        #expect(!pair.client.peerClosed)
        try pair.server.endOfInput()
        #expect(tlsError { try pair.sendFromClient("more") } == .closed)
        try pair.sendFromServer("answer")
        pair.pump()
        #expect(pair.clientReceived == Array("answer".utf8))
        #expect(tlsError { try pair.client.endOfInput() } == .truncated(duringHandshake: false))
    }

    @Test func sendingBeforeTheHandshakeIsAnErrorThatDoesNotEndIt() throws {
        let pair = try Pair(try Fixture.clientConfiguration(), try Fixture.serverConfiguration())
        #expect(tlsError { try pair.sendFromClient("early") } == .notEstablished)
        #expect(tlsError { try pair.server.endOfInput() } == .truncated(duringHandshake: true))
        try pair.connect().expectWorks()
    }

    @Test func aMebibyteArrivesInRecordsOf16KiB() throws {
        let pair = try Pair(try Fixture.clientConfiguration(), try Fixture.serverConfiguration()).connect()
        let body = (0..<1 << 20).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        var records = 0
        try pair.client.send(body) {
            records += 1
            pair.toServer += $0
        }
        var pieces = 0
        try pair.server.receive(
            pair.toServer,
            plaintext: {
                pieces += 1
                pair.serverReceived += $0
            }, output: { _ in })
        #expect(records == 64)
        #expect(pieces == 64)
        #expect(pair.serverReceived == body)
    }

    @Test func anAnswerFromInsideThePlaintextCallbackGoesOutOnce() throws {
        let pair = try Pair(try Fixture.clientConfiguration(), try Fixture.serverConfiguration()).connect()
        for number in 0..<3 { try pair.sendFromClient("question \(number)") }
        let questions = pair.toServer
        pair.toServer = []
        try pair.server.receive(
            questions,
            plaintext: { question in
                #expect(throws: Never.self) {
                    try pair.server.send(Array(question) + Array("!".utf8)) { pair.toClient += $0 }
                }
            }, output: { pair.toClient += $0 })
        pair.pump()
        #expect(String(decoding: pair.clientReceived, as: UTF8.self) == "question 0!question 1!question 2!")
    }

    @Test func aFailedConnectionStaysFailed() throws {
        let pair = try Pair(try Fixture.clientConfiguration(), try Fixture.mutualConfiguration()).connect()
        let first = pair.serverError
        #expect(tlsError { try pair.server.receive([22], plaintext: { _ in }, output: { _ in }) } == first)
        #expect(tlsError { try pair.server.start { _ in } } == first)
        pair.server.close { _ in Issue.record("output after a failure") }
    }

    @Test func keysAreUpdatedWhenTheyAreWornOut() throws {
        var client = try Fixture.clientConfiguration()
        client.limits.recordsPerKey = 4
        let pair = try Pair(client, try Fixture.serverConfiguration()).connect()
        let before = pair.wireBytes
        for _ in 0..<40 { try pair.sendFromClient("x") }
        pair.pump()
        // 40 records of 1 + 22 bytes, and 9 key updates of 5 + 22.
        #expect(pair.wireBytes - before == 40 * 23 + 9 * 27)
        #expect(pair.serverReceived.count == 40)
        try pair.expectWorks()
    }
}
