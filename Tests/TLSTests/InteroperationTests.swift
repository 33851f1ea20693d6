import Certificates
import TLS
import Testing

/// The engine against the `openssl` command over loopback sockets.
@Suite(.serialized) struct InteroperationTests {
    private func serverArguments(_ more: [String]) throws -> [String] {
        let server = try Fixture.server.get()
        return ["s_server", "-accept", "127.0.0.1:0", "-cert", server.certificateFile, "-key", server.keyFile] + more
    }

    /// The port in "ACCEPT 127.0.0.1:PORT".
    private func port(of server: OpenSSLCommand) throws -> Int {
        let line = server.readLine(beginningWith: "ACCEPT")
        return try #require(line?.split(separator: ":").last.flatMap { Int($0) })
    }

    private func clientArguments(_ port: Int, _ more: [String] = []) throws -> [String] {
        let root = try Fixture.root.get()
        return [
            "s_client", "-connect", "127.0.0.1:\(port)", "-servername", "server.test", "-CAfile",
            root.issued.certificateFile, "-verify_return_error", "-alpn", "h2",
        ] + more
    }

    private func clientCertificate() throws -> [String] {
        let client = try Fixture.client.get()
        return ["-cert", client.certificateFile, "-key", client.keyFile]
    }

    @Test(arguments: ["-tls1_2", "-tls1_3"])
    func anOpenSSLServerIsSpokenTo(_ version: String) throws {
        let trust = ["-CAfile", try Fixture.root.get().issued.certificateFile, "-Verify", "1", "-verify_return_error"]
        let server = try OpenSSLCommand(try serverArguments(trust + ["-alpn", "h2", "-rev", "-naccept", "2", version]))
        let port = try port(of: server)
        let identity = try Fixture.client.get().identity()
        let settings = try TLSSettings(try Fixture.clientConfiguration(identity: identity))
        for isResumed in [false, true] {
            let pump = try connectToLoopback(port: port, settings)
            pump.run { pump.engine.isEstablished }
            #expect(pump.engine.version == (version == "-tls1_2" ? .tls12 : .tls13))
            #expect(pump.engine.alpn == "h2")
            #expect(pump.engine.isResumed == isResumed)
            try pump.send("swift\n")
            pump.run { pump.received.count >= 6 }
            #expect(String(decoding: pump.received, as: UTF8.self) == "tfiws\n")
            pump.close()
            pump.run { pump.engine.peerClosed }
            #expect(pump.error == nil)
        }
        #expect(server.finish().contains("CN = client"))
    }

    @Test func anOpenSSLServerThatRefusesOurCertificateSaysSo() throws {
        let trust = ["-CAfile", try Fixture.otherRoot.get().issued.certificateFile, "-Verify", "1"]
        let server = try OpenSSLCommand(
            try serverArguments(trust + ["-verify_return_error", "-rev", "-naccept", "1"]))
        let identity = try Fixture.client.get().identity()
        let settings = try TLSSettings(try Fixture.clientConfiguration(identity: identity))
        let pump = try connectToLoopback(port: try port(of: server), settings)
        pump.run { false }
        #expect(pump.error == .peerAlert(name: "unknown CA", code: 48))
        #expect(pump.error?.hint.contains("give it our trust anchor") == true)
        _ = server.finish()
    }

    @Test(arguments: ["-tls1_2", "-tls1_3"])
    func anOpenSSLClientIsServed(_ version: String) throws {
        let listener = try LoopbackListener()
        defer { listener.close() }
        var configuration = try Fixture.mutualConfiguration()
        configuration.ticketKeys = try TLSTicketKeys()
        let settings = try TLSSettings(configuration)
        let session = "\(newDirectory())/session.pem"
        for (more, isResumed) in [(["-sess_out", session], false), (["-sess_in", session], true)] {
            let arguments = try clientArguments(listener.port, clientCertificate() + [version] + more)
            let client = try OpenSSLCommand(arguments)
            let pump = try listener.accept(settings)
            client.type("swift\n")
            pump.run { pump.received.count >= 6 }
            #expect(String(decoding: pump.received, as: UTF8.self) == "swift\n")
            #expect(pump.engine.isResumed == isResumed)
            #expect(pump.engine.serverName == "server.test")
            #expect(pump.engine.alpn == "h2")
            let leaf = try #require(pump.engine.peerCertificates.first)
            #expect(try Certificate(der: leaf).subject == "CN=client,O=Martinet")
            try pump.send("martinet\n")
            pump.close()
            pump.run { pump.engine.peerClosed }
            let said = client.finish()
            #expect(said.contains("martinet\n"))
            #expect(said.contains("Verify return code: 0 (ok)"))
            #expect(said.contains(isResumed ? "Reused, " : "New, "))
            #expect(!said.contains("Max Early Data: ") || said.contains("Max Early Data: 0"))
            #expect(pump.error == nil)
        }
    }

    @Test func anOpenSSLClientMayUpdateItsKeys() throws {
        let listener = try LoopbackListener()
        defer { listener.close() }
        let settings = try TLSSettings(try Fixture.serverConfiguration())
        let client = try OpenSSLCommand(try clientArguments(listener.port))
        let pump = try listener.accept(settings)
        client.type("one\n")
        pump.run { pump.received.count >= 4 }
        #expect(client.readOutput(until: "Verify return code: 0").contains("TLSv1.3"))
        // Commands of s_client: a line that begins with K updates both sides' keys.
        client.type("K\n")
        #expect(client.readOutput(until: "KEYUPDATE").contains("KEYUPDATE"))
        client.type("two\n")
        pump.run { pump.received.count >= 8 }
        #expect(String(decoding: pump.received, as: UTF8.self) == "one\ntwo\n")
        try pump.send("three\n")
        pump.close()
        #expect(client.finish().contains("three\n"))
        #expect(pump.error == nil)
    }

    @Test func renegotiationIsRefused() throws {
        let listener = try LoopbackListener()
        defer { listener.close() }
        let settings = try TLSSettings(try Fixture.serverConfiguration())
        let client = try OpenSSLCommand(try clientArguments(listener.port, ["-tls1_2"]))
        let pump = try listener.accept(settings)
        client.type("one\n")
        pump.run { pump.received.count >= 4 }
        _ = client.readOutput(until: "Verify return code: 0")
        client.type("R\n")
        pump.run { false }
        #expect(client.finish().contains("no renegotiation"))
        #expect(pump.received.count == 4)
        guard case .peerAlert? = pump.error else {
            #expect(pump.error == nil)
            return
        }
    }

    @Test func anOpenSSLClientThatDoesNotTrustUsIsReported() throws {
        let listener = try LoopbackListener()
        defer { listener.close() }
        let settings = try TLSSettings(try Fixture.serverConfiguration())
        let other = try Fixture.otherRoot.get().issued.certificateFile
        let client = try OpenSSLCommand([
            "s_client", "-connect", "127.0.0.1:\(listener.port)", "-CAfile", other, "-verify_return_error",
        ])
        let pump = try listener.accept(settings)
        pump.run { false }
        #expect(pump.error == .peerAlert(name: "unknown CA", code: 48))
        #expect(client.finish().contains("verify error"))
    }

    @Test func aFiniteFieldOrCBCClientIsRefused() throws {
        for (arguments, alert) in [
            (["-tls1_2", "-cipher", "AES128-SHA256"], "handshake failure"),
            (["-tls1_3", "-groups", "ffdhe2048"], "handshake failure"),
        ] {
            let listener = try LoopbackListener()
            defer { listener.close() }
            let client = try OpenSSLCommand(try clientArguments(listener.port, arguments))
            let pump = try listener.accept(try TLSSettings(try Fixture.serverConfiguration()))
            pump.run { false }
            guard case .noSharedCipher? = pump.error else {
                Issue.record("\(String(describing: pump.error))")
                continue
            }
            #expect(client.finish().contains(alert))
        }
    }
}
