import Certificates
import Testing

@testable import TLS

@Suite struct HostileBytesTests {
    @Test(arguments: ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET / HTTP/1.1\r\n", "\u{0}\u{0}\u{12}\u{4}", "x"])
    func plaintextToATLSPortIsNamed(_ text: String) throws {
        for piece in [1, 1000] {
            let pair = try Pair(try Fixture.clientConfiguration(), try Fixture.serverConfiguration())
            pair.toServer = Array(text.utf8)
            pair.pump(piece: piece)
            guard case .notTLS(let bytes)? = pair.serverError else {
                Issue.record("\(String(describing: pair.serverError))")
                continue
            }
            #expect(bytes == "\"\(printable(Array(text.utf8).prefix(min(piece, 16))))\"")
            #expect(pair.serverError?.description.hasPrefix("wrong version number: the peer speaks plaintext?") == true)
        }
    }

    @Test func aPlaintextServerIsNamedToTheClient() throws {
        let pair = try Pair(try Fixture.clientConfiguration(), try Fixture.serverConfiguration())
        try pair.client.start { _ in }
        pair.toClient = Array("HTTP/1.1 400 Bad Request\r\n".utf8)
        pair.pump()
        #expect(pair.clientError == .notTLS(firstBytes: "\"HTTP/1.1 400 Bad\""))
    }

    @Test func everySplitOfTheStreamGivesTheSameData() throws {
        var generator = SeededGenerator(state: 1)
        let client = try TLSSettings(try Fixture.clientConfiguration(identity: try Fixture.client.get().identity()))
        let server = try TLSSettings(try Fixture.mutualConfiguration())
        for _ in 0..<60 {
            let pair = try Pair(client, server)
            try pair.client.start { pair.toServer += $0 }
            var sent: [UInt8] = []
            for _ in 0..<40 {
                pair.deliverToServer(Int.random(in: 1...700, using: &generator))
                pair.deliverToClient(Int.random(in: 1...700, using: &generator))
                guard pair.client.isEstablished else { continue }
                let body = (0..<Int.random(in: 0...3000, using: &generator)).map { _ in
                    UInt8.random(in: 0...255, using: &generator)
                }
                sent += body
                try pair.client.send(body) { pair.toServer += $0 }
            }
            pair.pump(piece: Int.random(in: 1...5000, using: &generator))
            #expect(pair.clientError == nil && pair.serverError == nil)
            #expect(pair.serverReceived == sent)
        }
    }

    @Test(arguments: [TLSVersion.tls12, .tls13])
    func aDamagedStreamEndsInAnErrorAndNeverInWrongData(_ version: TLSVersion) throws {
        var configuration = try Fixture.clientConfiguration(identity: try Fixture.client.get().identity())
        configuration.maximumVersion = version
        let client = try TLSSettings(configuration)
        let server = try TLSSettings(try Fixture.mutualConfiguration())
        let message = [UInt8](repeating: 65, count: 2000)
        var failures = 0
        for seed in 0..<250 as Range<UInt64> {
            var generator = SeededGenerator(state: seed)
            let pair = try Pair(client, server)
            try pair.client.start { pair.toServer += $0 }
            // Which byte of the whole exchange is damaged, and in which direction.
            var untilDamage = Int.random(in: 0..<4000, using: &generator)
            let damagesClient = Bool.random(using: &generator)
            let mask = UInt8.random(in: 1...255, using: &generator)
            var sends = 0
            while !pair.toServer.isEmpty || !pair.toClient.isEmpty {
                let count = damagesClient ? pair.toServer.count : pair.toClient.count
                if untilDamage >= 0, untilDamage < count {
                    if damagesClient { pair.toServer[untilDamage] ^= mask } else { pair.toClient[untilDamage] ^= mask }
                }
                untilDamage -= count
                pair.deliverToServer()
                pair.deliverToClient()
                if pair.client.isEstablished, pair.server.isEstablished, sends < 2,
                    pair.clientError == nil, pair.serverError == nil
                {
                    sends += 1
                    try pair.client.send(message) { pair.toServer += $0 }
                    try pair.server.send(message) { pair.toClient += $0 }
                }
            }
            if pair.clientError != nil || pair.serverError != nil { failures += 1 }
            #expect(pair.serverReceived.allSatisfy { $0 == 65 } && pair.serverReceived.count <= 4000)
            #expect(pair.clientReceived.allSatisfy { $0 == 65 } && pair.clientReceived.count <= 4000)
        }
        #expect(failures > 100)
    }

    @Test func randomBytesAfterAPlausibleStartNeverCrash() throws {
        var refused = 0
        for seed in 0..<400 as Range<UInt64> {
            var generator = SeededGenerator(state: seed)
            let pair = try Pair(try Fixture.clientConfiguration(), try Fixture.serverConfiguration())
            if seed % 2 == 0 { try pair.client.start { _ in } }
            let count = Int.random(in: 1...600, using: &generator)
            let noise = (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
            let start: [UInt8] = [22, 3, 3, 0, UInt8(truncatingIfNeeded: count), [1, 2].randomElement()!, 0, 0]
            if seed % 2 == 0 { pair.toClient = start + noise } else { pair.toServer = start + noise }
            pair.pump(piece: Int.random(in: 1...700, using: &generator))
            #expect(!pair.client.isEstablished && !pair.server.isEstablished)
            if pair.clientError != nil || pair.serverError != nil { refused += 1 }
        }
        #expect(refused > 300)
    }

    @Test func serverNamesThatAreNoHostNamesAreNotTaken() {
        func parse(_ bytes: [UInt8]) -> String? { bytes.withUnsafeBufferPointer(ClientHello.serverName) }
        func list(_ name: [UInt8], type: UInt8 = 0) -> [UInt8] {
            let count = name.count
            return [UInt8((count + 3) >> 8), UInt8((count + 3) & 255), type, UInt8(count >> 8), UInt8(count & 255)]
                + name
        }
        #expect(parse(list(Array("Web.Test".utf8))) == "web.test")
        #expect(parse(list(Array("web.test".utf8), type: 1)) == nil)
        for name in ["", "a\0b", "a b", "10.0.0.1", "::1", "é", "a..b", ".", String(repeating: "a", count: 64)] {
            #expect(parse(list(Array(name.utf8))) == nil)
        }
        let whole = list(Array("web.test".utf8))
        for length in 0..<whole.count { #expect(parse(Array(whole.prefix(length))) == nil) }
        #expect(parse(whole + [0]) == nil)
    }

    @Test func malformedProtocolListsAreCutShort() {
        func parse(_ bytes: [UInt8]) -> [[UInt8]] {
            bytes.withUnsafeBufferPointer { list in ClientHello.protocols(list).map(Array.init) }
        }
        #expect(parse([2, 104, 50, 1, 97]) == [[104, 50], [97]])
        #expect(parse([2, 104, 50, 3, 97]) == [[104, 50]])
        #expect(parse([0, 104]) == [])
        #expect(parse([]) == [])
    }

    @Test func whatAPeerWroteIsSafeInALogLine() {
        #expect(printable(Array("a\nb\u{1B}[31m\\".utf8)) == "a\\xab\\x1b[31m\\x5c")
        #expect(printable([0xFF, 0x41]) == "\u{FFFD}A")
        let names = (0..<1000).map { "n\($0)" }
        let text = TLSError.peerNameRefused(presented: names, expected: ["a"]).description
        #expect(text == "the peer is n0, n1, n2, n3, n4, n5, n6, n7 and 992 more, expected a")
    }
}
