import Testing

@testable import TLS

/// Connections of the same settings to several servers, each asked for by its name.
@Suite struct ServerNameTests {
    private func settings(_ accepted: TLSConfiguration.AcceptedPeers = .anyTrusted) throws -> TLSSettings {
        try TLSSettings(
            .client(trusting: try Fixture.root.get().anchors, serverName: "fixed.test", accepting: accepted))
    }

    private func connect(_ settings: TLSSettings, _ names: TLSServerNames) throws -> Pair {
        try Pair(settings, TLSSettings(try Fixture.serverConfiguration([])), names: names).connect()
    }

    @Test func aConnectionAsksForItsOwnServer() throws {
        let pair = try connect(try settings(), TLSServerNames(sent: "a.pods.test", required: "a.pods.test"))
        try pair.expectWorks()
        #expect(pair.server.serverName == "a.pods.test")
        #expect(try connect(try settings(), TLSServerNames()).server.serverName == "fixed.test")
    }

    @Test(arguments: ["127.0.0.1", "not a name", ".pods.test"])
    func whatIsNoHostsNameIsNotSent(_ name: String) throws {
        let pair = try connect(try settings(), TLSServerNames(sent: name))
        try pair.expectWorks()
        #expect(pair.server.serverName == nil)
    }

    // A leading dot would stand for all names below, nothing for any.
    @Test(arguments: ["other.test", "a.b.pods.test", ".pods.test", "", "*.pods.test", "127.0.0.2", "server.test\0.x"])
    func aCertificateForAnotherServerIsRefused(_ name: String) throws {
        for accepted in [TLSConfiguration.AcceptedPeers.anyTrusted, .anybody] {
            let pair = try connect(try settings(accepted), TLSServerNames(required: name))
            #expect(
                pair.clientError
                    == .peerNameRefused(presented: ["server.test", "*.pods.test", "127.0.0.1"], expected: [name]))
        }
    }

    @Test func theNameCountsBesideTheAcceptedOnesOrInTheirPlace() throws {
        let other = try settings(.named([.host("other.test")]))
        #expect(try connect(other, TLSServerNames(required: "server.test")).clientError != nil)
        try connect(other, TLSServerNames(required: "server.test", requiredAlone: true)).expectWorks()
        let own = try settings(.named([.host("server.test")]))
        #expect(try connect(own, TLSServerNames(required: "other.test")).clientError != nil)
    }

    @Test func aSessionStandsForItsOwnServerAlone() throws {
        let settings = try settings()
        var server = try Fixture.serverConfiguration([])
        server.ticketKeys = try TLSTicketKeys()
        let serverSettings = try TLSSettings(server)
        func connect(_ name: String?) throws -> Pair {
            try Pair(settings, serverSettings, sessionKey: "a", names: TLSServerNames(required: name)).connect()
        }
        #expect(try !connect("server.test").client.isResumed)
        #expect(try connect("server.test").client.isResumed)
        let other = try connect("other.test")
        #expect(!other.client.isResumed && other.clientError != nil)
        #expect(try !connect(nil).client.isResumed)
    }

    @Test func clientsThatDifferInNamesShareWhatIsLarge() throws {
        var family = TLSClientFamily()
        let anchors = try Fixture.root.get().anchors
        var all: [TLSSettings] = []
        for name in ["server.test", "other.test", "third.test"] {
            all.append(try family.settings(.client(trusting: anchors, serverName: name)))
        }
        #expect(family.contextCount == 1)
        all.append(try family.settings(.client(trusting: anchors, serverName: "a.test", applicationProtocols: ["h2"])))
        all.append(try family.settings(.client(trusting: try Fixture.otherRoot.get().anchors, serverName: "a.test")))
        #expect(family.contextCount == 3)
        // Each goes by its own names.
        let server = try TLSSettings(try Fixture.serverConfiguration([]))
        #expect(try Pair(all[0], server).connect().clientError == nil)
        #expect(try Pair(all[1], server).connect().clientError != nil)
        all = []
        #expect(family.contextCount == 0)
    }
}
