import COpenSSL
import Certificates
import Testing

@testable import TLS

@Suite struct PeerMemoryTests {
    /// The connection's certificates as libssl still holds them, by their size in DER.
    private func heldSizes(_ engine: TLSEngine) -> [Int] {
        engine.sentCertificates.map(\.count)
    }

    @Test(arguments: [TLSVersion.tls12, .tls13])
    func aServerKeepsItsClientsCertificatesInDEROnly(_ version: TLSVersion) throws {
        let intermediate = try Fixture.root.get().intermediate("memory-\(version)")
        let leaf = try intermediate.leaf("memory-leaf-\(version)", san: "URI:spiffe://mesh.test/memory")
        let identity = try leaf.identity(with: [intermediate.issued])
        var client = try Fixture.clientConfiguration(identity: identity)
        client.maximumVersion = version
        var server = try Fixture.mutualConfiguration()
        server.ticketKeys = try TLSTicketKeys()
        let settings = (try TLSSettings(client), try TLSSettings(server))

        let first = try Pair(settings.0, settings.1).connect()
        try first.expectWorks()
        #expect(heldSizes(first.server) == [66, 66])
        let shown = try first.server.peerCertificates.map { try Certificate(der: $0).subject }
        #expect(shown == ["CN=memory-leaf-\(version),O=Martinet", "CN=memory-\(version),O=Martinet"])
        // The client's session holds the server's certificate for later.
        #expect(heldSizes(first.client).allSatisfy { $0 > 300 })

        // What was dropped is in neither the ticket nor the other connections.
        let second = try Pair(settings.0, settings.1).connect()
        try second.expectWorks()
        #expect(second.server.isResumed)
        #expect(heldSizes(second.server) == [66])
        #expect(
            try second.server.peerCertificates.map { try Certificate(der: $0).uris } == [
                ["spiffe://mesh.test/memory"]
            ])
        #expect(second.client.peerCertificates == first.client.peerCertificates)
    }

    @Test func theAnchorsAreNotWhatIsDropped() throws {
        // The client sends its root as well: the same certificate as the server's anchor, not the same object.
        let root = try Fixture.root.get()
        let identity = try Fixture.client.get().identity(with: [root.issued])
        let client = try TLSSettings(try Fixture.clientConfiguration(identity: identity))
        let server = try TLSSettings(try Fixture.mutualConfiguration())
        for _ in 0..<3 {
            let pair = try Pair(client, server).connect()
            try pair.expectWorks()
            #expect(heldSizes(pair.server) == [66, 66])
            #expect(pair.server.peerCertificates.count == 2)
        }
    }

    @Test func aClientThatKeepsNoSessionsKeepsDEROnly() throws {
        var client = try Fixture.clientConfiguration()
        client.storedSessions = 0
        let pair = try Pair(client, try Fixture.serverConfiguration()).connect()
        try pair.expectWorks()
        #expect(heldSizes(pair.client) == [66])
        #expect(try pair.client.peerCertificates.map { try Certificate(der: $0).dnsNames[0] } == ["server.test"])
    }
}
