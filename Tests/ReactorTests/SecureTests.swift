import Glibc
import TLS
import Testing
import Time

@testable import Reactor

/// A certificate authority and leaves of the `openssl` command, in a directory of their own.
struct Authority {
    let directory = TemporaryDirectory()

    init() throws {
        try openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=root"
                + " -keyout \(path("root.key")) -out \(path("root.pem"))")
    }

    func path(_ name: String) -> String { directory.path + "/" + name }

    var anchors: TrustAnchors {
        get throws { try TrustAnchors(file: path("root.pem")) }
    }

    func leaf(_ name: String, san: String = "DNS:localhost,IP:127.0.0.1") throws -> TLSIdentity {
        directory.write("subjectAltName=\(san)\n", to: "\(name).ext")
        try openssl(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=\(name)"
                + " -keyout \(path("\(name).key")) -out \(path("\(name).csr"))")
        try openssl(
            "x509 -req -in \(path("\(name).csr")) -CA \(path("root.pem")) -CAkey \(path("root.key")) -days 30"
                + " -set_serial 0x\(String(name.hashValue.magnitude, radix: 16))"
                + " -extfile \(path("\(name).ext")) -out \(path("\(name).pem"))")
        return try TLSIdentity(chainFile: path("\(name).pem"), keyFile: path("\(name).key"))
    }

    private func openssl(_ arguments: String) throws {
        let words = ["openssl"] + arguments.split(separator: " ").map(String.init)
        let pointers = words.map { strdup($0) } + [nil]
        defer { for pointer in pointers { free(pointer) } }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
        defer { posix_spawn_file_actions_destroy(&actions) }
        var (process, status): (pid_t, Int32) = (0, 0)
        try #require(posix_spawnp(&process, "openssl", &actions, nil, pointers, environ) == 0)
        #expect(waitpid(process, &status, 0) == process)
        try #require(status == 0, "openssl \(arguments)")
    }

    /// Both sides show certificates and speak h2.
    func mutual() throws -> (server: TLSSource, client: TLSSettings) {
        let server = TLSConfiguration.mutualServer(
            try leaf("server"), trusting: try anchors, applicationProtocols: ["h2"])
        let client = TLSConfiguration.client(
            trusting: try anchors, serverName: "localhost",
            identity: try leaf("client", san: "URI:spiffe://mesh/ns/a/sa/b"), applicationProtocols: ["http/1.1", "h2"])
        return (TLSSource(try TLSSettings(server)), try TLSSettings(client))
    }
}

@Suite struct SecureTests {
    @Test func bothSidesLearnWhoThePeerIs() throws {
        let pair = try Pair(tls: try Authority().mutual())
        pair.loop.write(Array("question".utf8), to: pair.clientID)
        pair.turn { pair.server.text == "question" }
        pair.loop.write(Array("answer".utf8), to: pair.serverID)
        pair.turn { pair.client.text == "answer" }
        let (server, client) = (try #require(pair.server.peer?.secure), try #require(pair.client.peer?.secure))
        #expect(server.alpn == "h2" && client.alpn == "h2")
        #expect(server.serverName == "localhost" && server.version == .tls13)
        #expect(server.certificates.count == 1 && client.certificates.count == 1)
        #expect(server.certificates != client.certificates)
        #expect(pair.server.peer?.address == pair.loop.localAddress(of: pair.clientID))
    }

    @Test(arguments: [1, 7, 1000])
    func theHandshakeAndDataPassInPiecesOfAnySize(scratch: Int) throws {
        var configuration = LoopConfiguration()
        (configuration.receiveScratch, configuration.readBudget) = (scratch, 10 * scratch)
        let pair = try Pair(configuration: configuration, tls: try Authority().mutual())
        let text = Array(pattern[..<20_000])
        pair.loop.write(text, to: pair.clientID)
        pair.turn { pair.server.receivedCount == text.count }
        #expect(pair.server.received == text)
    }

    @Test func twoMegabytesPassThroughTinyBuffersUnchanged() throws {
        let (listen, connect) = tiny()
        let producer = Producer(total: 2 << 20, piece: 20_000)
        let pair = try Pair(listen: listen, connect: connect, tls: try Authority().mutual()) { client, server in
            server.onEstablished = producer.produce
            server.onReady = producer.produce
            client.onEnd = { loop, id in loop.halfClose(id) }
        }
        pair.turn { !pair.server.reasons.isEmpty && !pair.client.reasons.isEmpty }
        #expect(pair.client.received == Array(pattern[..<(2 << 20)]))
        #expect(pair.client.reasons == [.finished] && pair.server.reasons == [.finished])
        #expect(pair.server.readyCalls > 5 && pair.loop.statistics.bytesHeld == 0)
        // One scratch, one write, and TLS's part: 22 bytes for a record of 16 KiB, and the handshake.
        #expect(pair.loop.statistics.mostBytesHeld <= (64 << 10) + 20_000 + 4096)
    }

    @Test func writesOfOneTurnLeaveInOneSendAndOneRecord() throws {
        let pair = try Pair(tls: try Authority().mutual())
        pair.loop.settleDown()
        let before = pair.loop.statistics
        for _ in 0..<100 { pair.loop.write([1, 2, 3], to: pair.clientID) }
        pair.turn { pair.server.receivedCount == 300 }
        #expect(pair.loop.statistics.sends == before.sends + 1)
        #expect(pair.loop.statistics.bytesOut == before.bytesOut + 300 + 22)
    }

    @Test func outputBeforeTheHandshakeIsFinishedComesFirst() throws {
        let (source, settings) = try Authority().mutual()
        let loop = try EventLoop<Probe>()
        let (server, client) = (Probe(), Probe())
        let listener = try loop.listen(.loopback(port: 0), tls: source) { _, _, _ in server }
        client.onEstablished = { loop, id in loop.write(Array("second".utf8), to: id) }
        let id = loop.connect(to: try #require(loop.address(of: listener)), tls: settings, handler: client)
        loop.write(Array("first ".utf8), to: id)
        loop.halfClose(id)
        loop.turn { server.ends == 1 }
        // After halfClose nothing can be added.
        #expect(server.text == "first ")
        loop.closeAfterFlush(try #require(server.id))
        loop.turn { !server.reasons.isEmpty && !client.reasons.isEmpty }
        #expect(client.ends == 1 && client.reasons == [.finished] && server.reasons == [.requested])
    }

    @Test func plaintextOnATLSPortIsNamed() throws {
        let loop = try EventLoop<Probe>()
        let server = Probe()
        let (source, _) = try Authority().mutual()
        let listener = try loop.listen(.loopback(port: 0), tls: source) { _, _, _ in server }
        let peer = try RawSocket(connectingTo: try #require(loop.address(of: listener)))
        peer.send("GET / HTTP/1.1\r\n")
        loop.turn { !server.reasons.isEmpty }
        guard case .tls(.notTLS) = server.reasons[0] else {
            Issue.record("\(server.reasons)")
            return
        }
        #expect(server.reasons[0].description.contains("the peer speaks plaintext?") && !server.isEstablished)
    }

    @Test func handshakesBeginSomeAtATimeAndAllAreFinished() throws {
        var configuration = LoopConfiguration()
        configuration.greetingsPerTurn = 2
        let loop = try EventLoop<Probe>(configuration)
        let (source, settings) = try Authority().mutual()
        var servers: [Probe] = []
        let listener = try loop.listen(.loopback(port: 0), tls: source) { _, _, _ in
            servers.append(Probe())
            return servers.last
        }
        let address = try #require(loop.address(of: listener))
        let clients = (0..<20).map { _ in Probe() }
        for client in clients { loop.connect(to: address, tls: settings, handler: client) }
        var most: UInt64 = 0
        loop.turn {
            let before = loop.statistics.greeted
            loop.turn(waiting: .milliseconds(20))
            most = max(most, loop.statistics.greeted - before)
            return clients.allSatisfy(\.isEstablished) && servers.count == 20 && servers.allSatisfy(\.isEstablished)
        }
        #expect(loop.statistics.greeted == 20 && most <= 2)
    }

    @Test func aClientThatGivesUpWhileItWaitsCostsNoHandshake() throws {
        var configuration = LoopConfiguration()
        configuration.greetingsPerTurn = 1
        let loop = try EventLoop<Probe>(configuration)
        let (source, settings) = try Authority().mutual()
        var servers: [Probe] = []
        let listener = try loop.listen(.loopback(port: 0), tls: source) { _, _, _ in
            servers.append(Probe())
            return servers.last
        }
        let address = try #require(loop.address(of: listener))
        let clients = try (0..<6).map { _ in
            let client = try RawSocket(connectingTo: address)
            try TLSEngine(settings).start { client.send(Array($0)) }
            return client
        }
        loop.turn { loop.statistics.greeted == 1 }
        for client in clients[2...] { client.close() }
        loop.settleDown()
        #expect(loop.statistics.greeted == 2)
        let gone = servers.filter { !$0.reasons.isEmpty }
        #expect(gone.map(\.reasons) == Array(repeating: [.tls(.truncated(duringHandshake: true))], count: 4))
    }

    @Test func anUntrustedServerIsRefusedAndToldWhy() throws {
        let mine = try Authority().mutual()
        let foreign = try Authority().mutual()
        let pair = try Pair(tls: (mine.server, foreign.client))
        pair.turn { !pair.client.reasons.isEmpty && !pair.server.reasons.isEmpty }
        guard case .tls(.certificateRefused) = pair.client.reasons[0] else {
            Issue.record("\(pair.client.reasons)")
            return
        }
        guard case .tls(.peerAlert(let name, _)) = pair.server.reasons[0] else {
            Issue.record("\(pair.server.reasons)")
            return
        }
        #expect(name.contains("unknown") && !pair.client.isEstablished && !pair.server.isEstablished)
    }

    @Test func aSilentClientIsClosedAfterTheHandshakesTime() throws {
        let loop = try EventLoop<Probe>()
        let server = Probe()
        var options = ListenOptions()
        options.handshakeTimeout = .milliseconds(30)
        let (source, _) = try Authority().mutual()
        let listener = try loop.listen(.loopback(port: 0), options: options, tls: source) { _, _, _ in server }
        let peer = try RawSocket(connectingTo: try #require(loop.address(of: listener)))
        loop.turn { !server.reasons.isEmpty }
        #expect(server.reasons == [.handshakeTimedOut(after: .milliseconds(30))])
        #expect(peer.receive() == [] && loop.timerCount == 0)
    }

    @Test func anEndWithoutCloseNotifyIsTold() throws {
        let authority = try Authority()
        let (source, settings) = try authority.mutual()
        let pair = try Pair(tls: (source, settings))
        pair.loop.settleDown()
        pair.loop.close(pair.clientID)
        pair.turn { !pair.server.reasons.isEmpty }
        #expect(pair.server.reasons == [.tls(.truncated(duringHandshake: false))] && pair.server.ends == 0)

        let (loop, server) = (try EventLoop<Probe>(), Probe())
        let listener = try loop.listen(.loopback(port: 0), tls: source) { _, _, _ in server }
        let peer = try RawSocket(connectingTo: try #require(loop.address(of: listener)))
        peer.close()
        loop.turn { !server.reasons.isEmpty }
        #expect(server.reasons == [.tls(.truncated(duringHandshake: true))])
    }

    @Test func aSwappedCertificateIsShownToNewConnectionsAndOldOnesGoOn() throws {
        let authority = try Authority()
        let (source, settings) = try authority.mutual()
        let loop = try EventLoop<Probe>()
        var servers: [Probe] = []
        let listener = try loop.listen(.loopback(port: 0), tls: source) { _, _, _ in
            servers.append(Probe())
            return servers.last
        }
        let address = try #require(loop.address(of: listener))
        let (first, second) = (Probe(), Probe())
        loop.connect(to: address, tls: settings, handler: first)
        loop.turn { first.isEstablished }
        source.replace(
            with: try TLSSettings(
                .mutualServer(
                    try authority.leaf("renewed"), trusting: try authority.anchors, applicationProtocols: ["h2"])))
        loop.connect(to: address, tls: settings, handler: second)
        loop.turn { second.isEstablished && servers.allSatisfy(\.isEstablished) }
        #expect(first.peer?.secure?.certificates != second.peer?.secure?.certificates)
        loop.write([1], to: try #require(first.id))
        loop.turn { servers[0].received == [1] }
    }

    @Test func aConnectionMayBeClosedWhenItIsEstablished() throws {
        let pair = try Pair(tls: try Authority().mutual()) { client, server in
            client.onEstablished = { loop, id in
                loop.write([1], to: id)
                loop.closeAfterFlush(id)
            }
            server.onEnd = { loop, id in loop.close(id) }
        }
        pair.turn { !pair.client.reasons.isEmpty && !pair.server.reasons.isEmpty }
        #expect(pair.server.received == [1] && pair.client.reasons == [.requested])
    }

    @Test func manyHandshakesAtOnceSucceedAndIdleConnectionsStaySmall() async {
        let result = await #expect(processExitsWith: .success, observing: [\.standardOutputContent]) {
            raiseDescriptorLimit()
            let (source, settings) = try Authority().mutual()
            let loop = try EventLoop<Probe>()
            var servers: [Probe] = []
            let listener = try loop.listen(.loopback(port: 0), tls: source) { _, _, _ in
                servers.append(Probe())
                return servers.last
            }
            let address = try #require(loop.address(of: listener))
            func open(_ count: Int) -> [Probe] {
                let clients = (0..<count).map { _ in Probe() }
                for client in clients { loop.connect(to: address, tls: settings, handler: client) }
                loop.turn { clients.allSatisfy(\.isEstablished) && servers.allSatisfy(\.isEstablished) }
                loop.settleDown()
                for probe in clients + servers {
                    probe.peer = Peer(address: .unix(path: ""), credentials: nil, secure: nil)
                }
                return clients
            }
            var kept = open(50)
            let before = residentBytes()
            kept += open(250)
            let each = (residentBytes() - before) / 500
            print("resident per idle TLS connection: \(each) bytes")
            try #require(servers.count == 300 && kept.count == 300 && loop.timerCount == 0)
            try #require(isSanitized || each < 48_000)
            fflush(nil)
            exit(0)
        }
        print(String(decoding: result?.standardOutputContent ?? [], as: UTF8.self))
    }
}
