import TLS
import Testing

@Suite struct NegotiationTests {
    @Test func theServersOrderOfProtocolsDecides() throws {
        var client = try Fixture.clientConfiguration()
        client.applicationProtocols = ["http/1.1", "h2"]
        let pair = try Pair(client, try Fixture.serverConfiguration(["istio", "h2", "http/1.1"])).connect()
        try pair.expectWorks()
        #expect(pair.client.alpn == "h2")
    }

    @Test func withoutCommonProtocolTheHandshakeGoesOnUnlessOneIsRequired() throws {
        var client = try Fixture.clientConfiguration()
        client.applicationProtocols = ["http/1.1"]
        var server = try Fixture.serverConfiguration(["h2"])
        let lenient = try Pair(client, server).connect()
        try lenient.expectWorks()
        #expect(lenient.client.alpn == nil)

        server.requiresApplicationProtocol = true
        let strict = try Pair(client, server).connect()
        #expect(strict.serverError == .applicationProtocolMissing(offered: ["http/1.1"], supported: ["h2"]))
        #expect(strict.clientError == .peerAlert(name: "no application protocol", code: 120))
    }

    @Test func aClientThatOffersNoProtocolIsRefusedWhereOneIsRequired() throws {
        var client = try Fixture.clientConfiguration()
        client.applicationProtocols = []
        var server = try Fixture.serverConfiguration(["h2"])
        server.requiresApplicationProtocol = true
        let pair = try Pair(client, server).connect()
        #expect(pair.serverError == .applicationProtocolMissing(offered: [], supported: ["h2"]))
        #expect(pair.clientError == .peerAlert(name: "no application protocol", code: 120))
    }

    @Test func aClientCanRequireAProtocol() throws {
        var client = try Fixture.clientConfiguration()
        client.requiresApplicationProtocol = true
        let pair = try Pair(client, try Fixture.serverConfiguration([])).connect()
        #expect(pair.clientError == .applicationProtocolMissing(offered: [], supported: ["h2"]))
        #expect(!pair.client.isEstablished)
    }

    private static let shop = Result { try Fixture.root.get().leaf("shop", san: "DNS:shop.test") }
    private static let pods = Result { try Fixture.root.get().leaf("pods", san: "DNS:*.pods.test") }

    private func serverWithNames() throws -> TLSSettings {
        let root = try Fixture.root.get()
        let shop = try NegotiationTests.shop.get().identity()
        let pods = try NegotiationTests.pods.get().identity()
        var strict = TLSConfiguration.mutualServer(shop, trusting: try root.anchors, applicationProtocols: ["shop"])
        strict.minimumVersion = .tls13
        return try TLSSettings(
            try Fixture.serverConfiguration(),
            byServerName: ["Shop.Test": strict, "*.pods.test": .server(pods, applicationProtocols: ["pods"])])
    }

    private func client(for name: String, identity: TLSIdentity? = nil) throws -> TLSConfiguration {
        .client(
            trusting: try Fixture.root.get().anchors, serverName: name, identity: identity,
            applicationProtocols: ["h2", "shop", "pods"])
    }

    @Test(arguments: [("server.test", "h2"), ("a.pods.test", "pods"), ("A.PODS.test", "pods")])
    func theServerNameChoosesTheSettings(_ name: String, _ expected: String) throws {
        let pair = try Pair(TLSSettings(try client(for: name)), try serverWithNames()).connect()
        try pair.expectWorks()
        #expect(pair.client.alpn == expected)
        #expect(pair.server.serverName == name.lowercased())
    }

    @Test func theChosenSettingsDecideAboutClientCertificatesAndVersions() throws {
        let server = try serverWithNames()
        let without = try Pair(TLSSettings(try client(for: "shop.test")), server).connect()
        #expect(without.serverError == .peerCertificateMissing)

        let identity = try Fixture.client.get().identity()
        let with = try Pair(TLSSettings(try client(for: "shop.test", identity: identity)), server).connect()
        try with.expectWorks()
        #expect(with.server.alpn == "shop")
        #expect(with.server.peerCertificates.count == 1)

        var old = try client(for: "shop.test", identity: identity)
        old.maximumVersion = .tls12
        let oldPair = try Pair(TLSSettings(old), server).connect()
        #expect(oldPair.serverError == .versionRefused(minimum: .tls13, maximum: .tls13))
    }

    @Test func anUnknownServerNameGetsTheDefaultOrIsRefused() throws {
        let stranger = TLSConfiguration.client(
            trusting: try Fixture.root.get().anchors, serverName: "b.a.pods.test", accepting: .anyTrusted)
        let pair = try Pair(TLSSettings(stranger), try serverWithNames()).connect()
        try pair.expectWorks()

        var server = try Fixture.serverConfiguration()
        server.unknownServerName = .refuse
        let table = ["server.test": try Fixture.serverConfiguration()]
        let refusing = try TLSSettings(server, byServerName: table)
        let refused = try Pair(TLSSettings(stranger), refusing).connect()
        #expect(refused.serverError == .serverNameUnknown("b.a.pods.test"))
        #expect(refused.clientError == .peerAlert(name: "unrecognized name", code: 112))

        let nameless = TLSConfiguration.client(trusting: try Fixture.root.get().anchors, accepting: .anyTrusted)
        let anonymous = try Pair(TLSSettings(nameless), refusing).connect()
        #expect(anonymous.serverError == .serverNameUnknown(nil))
    }

    @Test func aSessionIsNotResumedUnderTheSettingsOfAnotherServerName() throws {
        var server = try Fixture.serverConfiguration()
        server.ticketKeys = try TLSTicketKeys()
        let plain = try TLSSettings(server)
        // The same rules and ticket keys, but this time the client's name has settings of its own.
        let named = try TLSSettings(server, byServerName: ["server.test": server])
        let client = try TLSSettings(try Fixture.clientConfiguration())
        var resumed: [Bool] = []
        for settings in [plain, plain, named, named] {
            let pair = try Pair(client, settings).connect()
            try pair.expectWorks()
            resumed.append(pair.server.isResumed)
        }
        #expect(resumed == [false, true, false, true])
    }

    @Test func aServerMayOfferFewerCipherSuites() throws {
        var server = try Fixture.serverConfiguration()
        server.maximumVersion = .tls12
        server.cipherSuites = ["ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES128-GCM-SHA256"]
        let pair = try Pair(try Fixture.clientConfiguration(), server).connect()
        try pair.expectWorks()
        #expect(pair.client.cipherSuite?.name == "ECDHE-ECDSA-CHACHA20-POLY1305")
        #expect(pair.server.cipherSuite?.number == 0xCCA9)
        var client = try Fixture.clientConfiguration()
        client.cipherSuites = ["ECDHE-ECDSA-AES128-GCM-SHA256"]
        #expect(try Pair(client, server).connect().client.cipherSuite?.name == "ECDHE-ECDSA-AES128-GCM-SHA256")
        // What the client likes best counts where the server says so.
        client.cipherSuites = ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"]
        server.prefersClientCiphers = true
        #expect(try Pair(client, server).connect().client.cipherSuite?.name == "ECDHE-ECDSA-AES128-GCM-SHA256")
        for name in ["AES128-SHA", "DEFAULT"] {
            server.cipherSuites = [name]
            #expect(tlsError { _ = try TLSSettings(server) } == .settingInvalid(.notOffered(name)))
        }
        server.cipherSuites = []
        server.groups = ["P-521"]
        #expect(tlsError { _ = try TLSSettings(server) } == .settingInvalid(.notOffered("P-521")))
    }
}
