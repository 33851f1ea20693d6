import Testing

@testable import TLS

/// What a hostile peer can do, and where it ends. Serialized: the forger's key log is one per process.
@Suite(.serialized) struct LimitTests {
    private func forgedConnection() throws -> (Pair, Forger) {
        let client = try TLSSettings(try Fixture.clientConfiguration())
        let pair = try Pair(client, TLSSettings(try Fixture.serverConfiguration()))
        let forger = try Forger(connecting: pair, client: client)
        return (pair, forger)
    }

    /// Delivers forged records until the server refuses one; how many it took.
    private func recordsTaken(_ pair: Pair, atMost: Int, _ next: () -> [UInt8]) -> Int {
        for count in 0..<atMost {
            pair.toServer = next()
            pair.deliverToServer()
            if pair.serverError != nil { return count }
        }
        return atMost
    }

    @Test func aForgedRecordIsTakenForReal() throws {
        var (pair, forger) = try forgedConnection()
        pair.toServer = forger.record(23, Array("forged".utf8), padding: 100)
        pair.pump()
        #expect(pair.serverError == nil)
        #expect(pair.serverReceived == Array("forged".utf8))
    }

    @Test func emptyRecordsOnEndAreBounded() throws {
        for padding in [0, 1000] {
            var (pair, forger) = try forgedConnection()
            #expect(recordsTaken(pair, atMost: 100) { forger.record(23, [], padding: padding) } == 32)
            #expect(pair.serverError == .limitExceeded(.recordsWithoutPayload, allowed: 32))
            #expect(pair.serverError?.description == "more than 32 records without application data")
        }
    }

    @Test func emptyRecordsBetweenOthersAreBounded() throws {
        var (pair, forger) = try forgedConnection()
        var number = 0
        let taken = recordsTaken(pair, atMost: 10_000) {
            number += 1
            return forger.record(23, number % 3 == 0 ? [1] : [])
        }
        #expect(pair.serverError == .limitExceeded(.recordsWithoutPayload, allowed: 64))
        #expect((96...102).contains(taken))
    }

    @Test func keyUpdatesAreBounded() throws {
        var client = try Fixture.clientConfiguration()
        client.limits.recordsPerKey = 1
        let pair = try Pair(client, try Fixture.serverConfiguration()).connect()
        var sent = 0
        while pair.serverError == nil, sent < 100 {
            try pair.sendFromClient("x")
            pair.pump()
            sent += 1
        }
        // The first record needs no key update; the 33rd key update, before record 34, is one too many.
        #expect(pair.serverError == .limitExceeded(.keyUpdates, allowed: 32))
        #expect(pair.serverReceived.count == 33)
        #expect(pair.serverError?.description == "more than 32 key updates")
    }

    @Test func dataEarnsKeyUpdates() throws {
        var client = try Fixture.clientConfiguration()
        client.limits.recordsPerKey = 64
        let pair = try Pair(client, try Fixture.serverConfiguration()).connect()
        let mebibyte = [UInt8](repeating: 7, count: 1 << 20)
        for _ in 0..<80 {
            try pair.client.send(mebibyte) { pair.toServer += $0 }
            pair.deliverToServer()
        }
        #expect(pair.serverError == nil)
        #expect(pair.serverReceived.count == 80 << 20)
    }

    @Test func keyUpdatesThatAskForAnswersGetThemUpToTheBound() throws {
        var (pair, forger) = try forgedConnection()
        let taken = recordsTaken(pair, atMost: 100) { forger.keyUpdate(asksForAnswer: true) }
        #expect(taken == 32)
        #expect(pair.serverError == .limitExceeded(.keyUpdates, allowed: 32))

        (pair, forger) = try forgedConnection()
        #expect(recordsTaken(pair, atMost: 20) { forger.keyUpdate(asksForAnswer: true) } == 20)
        try pair.sendFromServer("after the key updates")
        pair.deliverToClient()
        #expect(pair.clientError == nil)
        #expect(pair.clientReceived == Array("after the key updates".utf8))
    }

    @Test func tinyRecordsInTheHandshakeAreBounded() throws {
        let pair = try Pair(try Fixture.clientConfiguration(), try Fixture.serverConfiguration())
        try pair.client.start { pair.toServer += $0 }
        // The ClientHello again, a byte to each record, and padded to more than 256 of them.
        #expect(pair.toServer.count > 200)
        var body = Array(pair.toServer.dropFirst(5))
        body[2] = 1
        body += [UInt8](repeating: 0, count: 400)
        pair.toServer = body.flatMap { [22, 3, 1, 0, 1, $0] }
        pair.deliverToServer()
        #expect(pair.serverError == .limitExceeded(.handshakeRecords, allowed: 256))
    }

    @Test func theBytesOfAHandshakeAreBounded() throws {
        var server = try Fixture.mutualConfiguration()
        server.limits.handshakeBytes = 600
        let client = try Fixture.clientConfiguration(identity: try Fixture.client.get().identity())
        let pair = try Pair(client, server).connect()
        #expect(pair.serverError == .limitExceeded(.handshakeBytes, allowed: 600))
        #expect(!pair.server.isEstablished)
    }

    @Test func aLongChainIsRefusedBeforeItIsParsed() throws {
        var server = try Fixture.mutualConfiguration()
        server.limits.certificateChainBytes = 300
        let client = try Fixture.clientConfiguration(identity: try Fixture.client.get().identity())
        let pair = try Pair(client, server).connect()
        #expect(pair.serverError == .protocolViolation(reason: "excessive message size"))
    }

    @Test func aDeepChainIsRefused() throws {
        let root = try Fixture.root.get()
        let first = try root.intermediate("deep-1")
        let second = try first.intermediate("deep-2")
        let leaf = try second.leaf("deep-leaf", san: "DNS:server.test")
        let server = TLSConfiguration.server(try leaf.identity(with: [second.issued, first.issued]))
        for (intermediates, isAccepted) in [(2, true), (1, false)] {
            var client = try Fixture.clientConfiguration()
            client.limits.intermediates = intermediates
            let pair = try Pair(client, server).connect()
            #expect(pair.client.isEstablished == isAccepted)
            if !isAccepted {
                guard case .certificateRefused(let problem, _, _)? = pair.clientError else {
                    Issue.record("\(String(describing: pair.clientError))")
                    continue
                }
                #expect(problem == .chainTooLong || problem == .unknownIssuer)
            }
        }
    }

    @Test func handshakeMessagesAfterTheHandshakeAreRefused() throws {
        // ClientHello, NewSessionTicket, Certificate, CertificateRequest, Finished.
        for type in [1, 4, 11, 13, 20] as [UInt8] {
            var (pair, forger) = try forgedConnection()
            pair.toServer = forger.record(22, [type, 0, 0, 4, 1, 2, 3, 4])
            pair.deliverToServer()
            guard case .protocolViolation? = pair.serverError else {
                Issue.record("\(type): \(String(describing: pair.serverError))")
                continue
            }
        }
    }

    @Test func aServerThatFloodsAClientWithTicketsIsBounded() throws {
        var tally = Tally(limits: TLSLimits())
        tally.noteEstablished()
        var taken = 0
        while tally.exceeded == nil, taken < 1000 {
            tally.noteRecord()
            taken += 1
        }
        #expect(tally.exceeded == .recordsWithoutPayload)
        #expect(taken == 66)
        // A MiB of data earns one more.
        tally = Tally(limits: TLSLimits())
        tally.noteEstablished()
        tally.noteSent(1 << 20)
        #expect(tally.allowed(.recordsWithoutPayload) == 65)
        #expect(tally.allowed(.keyUpdates) == 33)
    }
}
