import Certificates
import TLS
import Testing
import Time

@Suite struct ResumptionTests {
    /// Connects a few times, one after the other, and says which connections were resumed.
    private func resumed(_ client: TLSSettings, _ servers: [TLSSettings]) throws -> [Bool] {
        try servers.map { server in
            let pair = try Pair(client, server).connect()
            try pair.expectWorks()
            #expect(pair.client.isResumed == pair.server.isResumed)
            return pair.server.isResumed
        }
    }

    private func mutual(_ keys: TLSTicketKeys?) throws -> TLSConfiguration {
        var server = try Fixture.mutualConfiguration()
        server.ticketKeys = keys
        return server
    }

    private func client(_ version: TLSVersion = .tls13) throws -> TLSSettings {
        var client = try Fixture.clientConfiguration(identity: try Fixture.client.get().identity())
        client.maximumVersion = version
        return try TLSSettings(client)
    }

    @Test(arguments: [TLSVersion.tls12, .tls13])
    func theFirstConnectionIsFullAndTheOthersAreResumed(_ version: TLSVersion) throws {
        let server = try TLSSettings(try mutual(try TLSTicketKeys()))
        let client = try client(version)
        #expect(try resumed(client, [server, server, server]) == [false, true, true])
        let pair = try Pair(client, server).connect()
        // What the peer proved in the first handshake still stands.
        let leaf = try #require(pair.server.peerCertificates.first)
        #expect(try Certificate(der: leaf).uris == ["spiffe://mesh.test/ns/shop/sa/web"])
        #expect(pair.client.peerCertificates.count == 1)
        #expect(pair.client.alpn == "h2")
    }

    @Test func withoutTicketKeysNothingIsResumed() throws {
        let server = try TLSSettings(try mutual(nil))
        for version in TLSVersion.allCases {
            #expect(try resumed(try client(version), [server, server]) == [false, false])
        }
    }

    @Test(arguments: [TLSVersion.tls12, .tls13])
    func ticketsSurviveACertificateSwap(_ version: TLSVersion) throws {
        let keys = try TLSTicketKeys()
        var renewed = try mutual(keys)
        renewed.identity = try Fixture.root.get().leaf("renewed-\(version)", san: "DNS:server.test").identity()
        let servers = [try TLSSettings(try mutual(keys)), try TLSSettings(renewed)]
        #expect(try resumed(try client(version), servers) == [false, true])
        let withOtherKeys = [servers[0], try TLSSettings(try mutual(try TLSTicketKeys()))]
        #expect(try resumed(try client(version), withOtherKeys) == [false, false])
    }

    @Test func replicasWithTheSameSecretResumeEachOthersSessions() throws {
        let secret = (0..<TLSTicketKeys.secretLength).map { UInt8($0) }
        let one = try TLSSettings(try mutual(try TLSTicketKeys(secrets: [secret])))
        let two = try TLSSettings(try mutual(try TLSTicketKeys(secrets: [secret.reversed(), secret])))
        #expect(try resumed(try client(), [one, two, one]) == [false, true, false])
    }

    @Test func aTicketLivesForTwoRotations() throws {
        for (rotations, isResumed) in [(0, true), (1, true), (2, true), (3, false)] {
            let keys = try TLSTicketKeys()
            let server = try TLSSettings(try mutual(keys))
            let client = try client()
            #expect(try resumed(client, [server]) == [false])
            for _ in 0..<rotations { try keys.rotate() }
            #expect(try resumed(client, [server]) == [isResumed])
        }
    }

    @Test func aTicketDoesNotOutliveTheClientsCertificate() throws {
        let keys = try TLSTicketKeys()
        let leaf = try Fixture.root.get().leaf("brief", san: "URI:spiffe://mesh.test/brief", to: "20400101000000Z")
        let client = try TLSSettings(try Fixture.clientConfiguration(identity: try leaf.identity()))
        let now = try TLSSettings(try mutual(keys))
        #expect(try resumed(client, [now, now]) == [false, true])
        var future = try mutual(keys)
        future.verificationTime = Timestamp(seconds: 2_208_988_801)
        let late = try Pair(client, TLSSettings(future)).connect()
        guard case .certificateRefused(.expired, _, _)? = late.serverError else {
            Issue.record("\(String(describing: late.serverError))")
            return
        }
    }

    /// Of 20 years the last five: who resumes then gets a connection that ends with the certificate of before.
    @Test(arguments: [(2_050_000_000, true), (2_060_000_000, false)])
    func inTheLastQuarterOfACertificateNothingIsResumed(_ time: Int64, _ isResumed: Bool) throws {
        let leaf = try Fixture.root.get().leaf("brief", san: "URI:spiffe://mesh.test/brief", to: "20400101000000Z")
        let client = try TLSSettings(try Fixture.clientConfiguration(identity: try leaf.identity()))
        var configuration = try mutual(try TLSTicketKeys())
        configuration.verificationTime = Timestamp(seconds: time)
        let server = try TLSSettings(configuration)
        #expect(try resumed(client, [server, server]) == [false, isResumed])
    }

    @Test func otherRulesAboutClientsMeanAFullHandshake() throws {
        let keys = try TLSTicketKeys()
        let first = try TLSSettings(try mutual(keys))
        var named = try mutual(keys)
        named.acceptedPeers = .named([.trustDomain("mesh.test")])
        #expect(try resumed(try client(), [first, try TLSSettings(named)]) == [false, false])
        var optional = try mutual(keys)
        optional.clientAuthentication = .optional
        #expect(try resumed(try client(), [first, try TLSSettings(optional)]) == [false, false])
        var trusting = try mutual(keys)
        let both = try Fixture.root.get().issued.certificatePEM + (try Fixture.otherRoot.get().issued.certificatePEM)
        trusting.trustAnchors = try TrustAnchors(pem: both)
        #expect(try resumed(try client(), [first, try TLSSettings(trusting)]) == [false, false])
    }

    @Test func aTicketIsUsedOnce() throws {
        let server = try TLSSettings(try mutual(try TLSTicketKeys()))
        let client = try client()
        #expect(try resumed(client, [server]) == [false])
        // Both begin before a new ticket has come.
        let pairs = [try Pair(client, server), try Pair(client, server)]
        for pair in pairs { try pair.connect() }
        #expect(pairs.map(\.server.isResumed) == [true, false])
    }

    @Test func aBrokenConnectionDoesNotSpoilItsTicket() throws {
        let server = try TLSSettings(try mutual(try TLSTicketKeys()))
        for version in TLSVersion.allCases {
            let client = try client(version)
            do { try Pair(client, server).connect().expectWorks() }
            #expect(try resumed(client, [server]) == [true])
        }
    }

    @Test func sessionsAreKeptApartByKeyAndBounded() throws {
        var configuration = try Fixture.clientConfiguration(identity: try Fixture.client.get().identity())
        configuration.storedSessions = 2
        let client = try TLSSettings(configuration)
        let server = try TLSSettings(try mutual(try TLSTicketKeys()))
        func connect(_ key: String) throws -> Bool {
            let pair = try Pair(client, server, sessionKey: key).connect()
            try pair.expectWorks()
            return pair.client.isResumed
        }
        #expect(try ["a", "b", "a", "b", "c", "d"].map(connect) == [false, false, true, true, false, false])
        // Two are kept: a's and b's went when c's and d's came.
        #expect(try ["a"].map(connect) == [false])
        #expect(try ["d"].map(connect) == [true])
        configuration.storedSessions = 0
        #expect(try resumed(try TLSSettings(configuration), [server, server]) == [false, false])
    }

    @Test func aSwapLeavesOpenConnectionsAlone() throws {
        let source = TLSSource(try TLSSettings(try Fixture.mutualConfiguration()))
        let clients = try client()
        let old = try Pair(clients, source.current).connect()
        let halfway = try Pair(clients, source.current)
        try halfway.client.start { halfway.toServer += $0 }
        halfway.deliverToServer()

        var renewed = try Fixture.mutualConfiguration()
        renewed.identity = try Fixture.root.get().leaf("swapped", san: "DNS:server.test").identity()
        source.replace(with: try TLSSettings(renewed))
        try old.expectWorks()
        halfway.pump()
        try halfway.expectWorks()
        let new = try Pair(clients, source.current).connect()
        try new.expectWorks()
        let serials = try [old, halfway, new].map {
            try Certificate(der: try #require($0.client.peerCertificates.first)).serial
        }
        #expect(serials[0] == serials[1])
        #expect(serials[2] == renewed.identity?.leaf.serial)
        #expect(serials[0] != serials[2])
    }

    @Test func swapsAndHandshakesOnManyThreadsDoNotDisturbEachOther() async throws {
        let keys = try TLSTicketKeys()
        let source = TLSSource(try TLSSettings(try mutual(keys)))
        let client = try client()
        let established = try await withThrowingTaskGroup(of: Int.self) { group in
            for _ in 0..<4 {
                group.addTask {
                    var count = 0
                    for _ in 0..<25 {
                        let pair = try Pair(client, source.current).connect()
                        try pair.expectWorks()
                        count += 1
                    }
                    return count
                }
            }
            group.addTask {
                for _ in 0..<25 {
                    source.replace(with: try TLSSettings(try self.mutual(keys)))
                    try keys.rotate()
                }
                return 0
            }
            return try await group.reduce(0, +)
        }
        #expect(established == 100)
    }
}
