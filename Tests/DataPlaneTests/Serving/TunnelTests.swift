import Forwarding
import HTTP2
import Synchronization
import TLS
import Testing

@testable import DataPlane

/// WebSockets in both versions of HTTP, and from one to the other. Source: RFC 6455, RFC 8441.
@Suite struct UpgradeTests {
    private let toWeb = "- {match: {prefix: /}, route: {cluster: web}}"
    private let upgrades = """
        upgrade_configs: [{upgrade_type: websocket}]
        http2_protocol_options: {allow_connect: true}
        """
    private let webSocket = [
        (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":authority", "shop"),
        (":path", "/chat"), ("sec-websocket-key", "a key"),
    ]
    private var http2: HTTP2Limits {
        var limits = HTTP2Limits()
        limits.takesExtendedConnect = true
        return limits
    }

    /// Says what it was asked, greets, and repeats what it hears.
    private func chat() -> TestServer {
        TestServer { wire, server in
            guard let head = wire.read(until: "\r\n\r\n") else { return }
            server.requests.add(1, ordering: .relaxed)
            let asks = head.lowercased().contains("upgrade: websocket") && head.hasPrefix("GET /chat HTTP/1.1")
            wire.send("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n")
            wire.send("x-asks: \(asks)\r\nsec-websocket-accept: yes\r\n\r\nwelcome")
            while let bytes = wire.some() { wire.send(bytes) }
        }
    }

    private func expectChat(_ client: Wire) throws {
        client.send("GET /chat HTTP/1.1\r\nhost: shop\r\nconnection: Upgrade\r\nupgrade: WebSocket\r\n\r\nping")
        let head = try #require(client.read(until: "\r\n\r\n"))
        #expect(head.hasPrefix("HTTP/1.1 101 ") && head.contains("upgrade: websocket\r\n"), "\(head)")
        #expect(head.contains("connection: upgrade\r\n") && head.contains("sec-websocket-accept: yes\r\n"))
        #expect(client.read(11).map { String(decoding: $0, as: UTF8.self) } == "welcomeping")
        client.send("pong")
        #expect(client.read(4).map { String(decoding: $0, as: UTF8.self) } == "pong")
        client.endOutput()
        #expect(client.readToEnd() == "")
    }

    @Test func aWebSocketCrossesTwoProxiesThatSpeakHTTP2OverMutualTLS() throws {
        let authority = try TestAuthority()
        var server = TLSConfiguration.mutualServer(try authority.identity("server"), trusting: try authority.anchors)
        server.applicationProtocols = ["h2", "http/1.1"]
        let upstream = chat()
        let inner = try Resources.httpListener("inner", routes: toWeb, manager: upgrades).secured(server)
        let web = try Resources.cluster("web", ports: [upstream.port])
        let stage = try Stage([inner], [web])
        let outer = try Resources.httpListener(
            routes: "- {match: {prefix: /}, route: {cluster: inner}}", manager: upgrades)
        let security = try authority.client(identity: try authority.identity("client"), protocols: ["h2"])
        let hop = try Resources.cluster("inner", ports: [stage.port("inner")], Resources.http2, security: security)
        stage.serve([inner, outer], [web, hop])
        // The second uses the first one's connection.
        for _ in 0..<2 { try expectChat(stage.connect()) }
        let counted = stage.workers.ask { worker in
            worker.usedClusters.first { $0.name == "inner" }?.counters.connected ?? 0
        }
        #expect(counted == [1])
        let upgraded = stage.workers.ask { $0.counters.http("test").upgrades }
        #expect(upgraded == [4])
    }

    @Test func anUpstreamOfHTTP2IsAskedByExtendedCONNECT() throws {
        let upstream = TestServer.http2(http2) { peer, stream, request in
            let fields = [":method", ":protocol", ":path", "content-length", "upgrade"].map { request.head[$0] ?? "-" }
            peer.begin([(":status", "200"), ("x-asked", fields.joined(separator: " "))], on: stream)
            peer.send("hello", on: stream, ends: false)
            peer.send(peer.body(of: stream, 4), on: stream)
        }
        let stage = try Stage(
            [try Resources.httpListener(routes: toWeb, manager: upgrades)],
            [try Resources.cluster("web", ports: [upstream.port], Resources.http2)])
        let client = stage.connect()
        client.send("GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n")
        client.send("content-length: 0\r\n\r\nping")
        let head = try #require(client.read(until: "\r\n\r\n"))
        #expect(head.hasPrefix("HTTP/1.1 101 ") && head.contains("x-asked: CONNECT websocket /chat - -\r\n"))
        #expect(client.readToEnd() == "helloping")
    }

    @Test func anUpstreamOfHTTP2ThatKnowsNoExtendedCONNECTIsNotAsked() throws {
        let upstream = TestServer.http2 { peer, stream, _ in peer.respond([(":status", "204")], on: stream) }
        let stage = try Stage(
            [try Resources.httpListener(routes: toWeb, manager: upgrades)],
            [try Resources.cluster("web", ports: [upstream.port], Resources.http2)])
        #expect(stage.get("/", ["connection: upgrade", "upgrade: websocket"])?.status == 503)
        #expect(stage.get("/")?.status == 204)
        #expect(upstream.accepted.load(ordering: .relaxed) == 1)
    }

    @Test func aClientOfHTTP2ReachesAServerOfHTTP1() throws {
        let upstream = chat()
        let stage = try Stage(
            [try Resources.httpListener(routes: toWeb, manager: upgrades)],
            [try Resources.cluster("web", ports: [upstream.port])])
        let client = HTTP2Peer(stage.connect(), .client)
        let stream = client.openTunnel(webSocket)
        // Early words wait for the answer, and follow it.
        client.send("ping", on: stream, ends: false)
        let head = client.head(of: stream)
        #expect(head[":status"] == "200" && head["x-asks"] == "true" && head["sec-websocket-accept"] == "yes")
        #expect(!head.contains("upgrade") && !head.contains("connection"))
        #expect(client.body(of: stream, 11) == "welcomeping")
        client.send("bye", on: stream)
        #expect(client.answer(to: stream).text == "welcomepingbye")
    }

    @Test func whatIsSaidIntoATunnelThatStaysShutIsNoRequest() throws {
        let upstream = TestServer.http { _ in "HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno" }
        let stage = try Stage(
            [try Resources.httpListener(routes: toWeb, manager: upgrades)],
            [try Resources.cluster("web", ports: [upstream.port])])
        let client = HTTP2Peer(stage.connect(), .client)
        let stream = client.openTunnel(webSocket)
        client.send("GET /secret HTTP/1.1\r\nhost: a\r\n\r\n", on: stream, ends: false)
        let answer = client.answer(to: stream)
        #expect(answer.status == "403" && answer.text == "no")
        #expect(client.get("/other").status == "403")
        #expect(upstream.requests.load(ordering: .relaxed) == 2)
    }

    @Test func anUpstreamThatIgnoresTheUpgradeOpensNoTunnel() throws {
        let upstream = TestServer.echo()
        let stage = try Stage(
            [try Resources.httpListener(routes: toWeb, manager: upgrades)],
            [try Resources.cluster("web", ports: [upstream.port])])
        let client = HTTP2Peer(stage.connect(), .client)
        #expect(client.answer(to: client.openTunnel(webSocket)).status == "502")
        // In HTTP/1 it may.
        #expect(stage.get("/", ["connection: upgrade", "upgrade: websocket"])?.status == 200)
    }

    @Test func extendedCONNECTThatIsNotOfferedIsNoRequest() throws {
        let stage = try Stage([try Resources.httpListener(routes: toWeb)], [try Resources.cluster("web", ports: [1])])
        let client = HTTP2Peer(stage.connect(), .client)
        let stream = client.openTunnel(webSocket)
        #expect(client.answer(to: stream).isReset && client.connection.peerTakesExtendedConnect == false)
    }
}

/// CONNECT, which ends here or is passed on. Source: RFC 9110, section 9.3.6.
@Suite struct ConnectTests {
    private func routes(_ connect: String) -> String {
        """
        - match: {connect_matcher: {}}
          route: {cluster: web, upgrade_configs: [{upgrade_type: CONNECT\(connect)}]}
        - match: {prefix: /post}
          route: {cluster: web, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {allow_post: true}}]}
        - {match: {prefix: /}, direct_response: {status: 204}}
        """
    }
    private let ends = ", connect_config: {}"

    /// Speaks first, repeats what it hears, and says goodbye to who has ended.
    private func bytes() -> TestServer {
        TestServer { wire, server in
            server.requests.add(1, ordering: .relaxed)
            wire.send("220 ready\n")
            while let bytes = wire.some() { wire.send(bytes) }
            wire.send("bye")
        }
    }

    @Test func bytesOfATunnelThatEndsHereGoToTheHostAsTheyAre() throws {
        let upstream = bytes()
        let stage = try Stage(
            [try Resources.httpListener(routes: routes(ends))], [try Resources.cluster("web", ports: [upstream.port])])
        for _ in 0..<2 {
            let client = stage.connect()
            client.send("CONNECT db:5432 HTTP/1.1\r\nhost: db:5432\r\n\r\nearly")
            let head = try #require(client.read(until: "\r\n\r\n"))
            #expect(head.hasPrefix("HTTP/1.1 200 OK\r\n"), "\(head)")
            #expect(!head.contains("content-length") && !head.contains("transfer-encoding"))
            #expect(client.read(15).map { String(decoding: $0, as: UTF8.self) } == "220 ready\nearly")
            client.send("late")
            client.endOutput()
            #expect(client.readToEnd() == "latebye")
        }
        // Each had a connection of its own.
        #expect(upstream.accepted.load(ordering: .relaxed) == 2)
    }

    @Test func soDoThoseOfHTTP2() throws {
        let upstream = bytes()
        let stage = try Stage(
            [try Resources.httpListener(routes: routes(ends))], [try Resources.cluster("web", ports: [upstream.port])])
        let client = HTTP2Peer(stage.connect(), .client)
        let tunnels = (0..<2).map { _ in client.openTunnel([(":method", "CONNECT"), (":authority", "db:5432")]) }
        for tunnel in tunnels {
            #expect(client.head(of: tunnel)[":status"] == "200")
            client.send("hello", on: tunnel)
            #expect(client.answer(to: tunnel).text == "220 ready\nhellobye")
        }
        #expect(client.get("/").status == "204")
    }

    @Test func aPOSTMayBeATunnelToo() throws {
        let upstream = bytes()
        let stage = try Stage(
            [try Resources.httpListener(routes: routes(ends))], [try Resources.cluster("web", ports: [upstream.port])])
        let client = stage.connect()
        client.send("POST /post HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello")
        let answer = try #require(client.message())
        #expect(answer.status == 200 && answer.body == "220 ready\nhellobye")
    }

    @Test func aTunnelMayBePassedOnToAProxyInEitherVersion() throws {
        let upstream = bytes()
        let inner = try Resources.httpListener("inner", routes: routes(ends))
        let web = try Resources.cluster("web", ports: [upstream.port])
        let stage = try Stage([inner], [web])
        func outer(_ name: String) throws -> ServedListener {
            try Resources.httpListener(
                name,
                routes: """
                    - match: {connect_matcher: {}}
                      route: {cluster: \(name), upgrade_configs: [{upgrade_type: CONNECT}]}
                    """, manager: "strip_any_host_port: true")
        }
        let port = stage.port("inner")
        stage.serve(
            [inner, try outer("first"), try outer("second")],
            [
                web, try Resources.cluster("first", ports: [port]),
                try Resources.cluster("second", ports: [port], Resources.http2),
            ])
        for name in ["first", "second"] {
            let client = stage.connect(name)
            client.send("CONNECT db:5432 HTTP/1.1\r\nhost: db:5432\r\n\r\nhello")
            #expect(client.read(until: "\r\n\r\n")?.hasPrefix("HTTP/1.1 200 ") == true)
            #expect(client.read(15).map { String(decoding: $0, as: UTF8.self) } == "220 ready\nhello")
            client.endOutput()
            #expect(client.readToEnd() == "bye")
        }
    }

    @Test func whoMayNotIsToldSo() throws {
        let nowhere = "- {match: {prefix: /}, direct_response: {status: 204}}"
        let closed = "- {match: {connect_matcher: {}}, route: {cluster: web}}"
        for (routes, status) in [(nowhere, 404), (closed, 403)] {
            let stage = try Stage(
                [try Resources.httpListener(routes: routes)], [try Resources.cluster("web", ports: [1])])
            let client = stage.connect()
            // What follows is not taken for another request.
            client.send("CONNECT db:5432 HTTP/1.1\r\nhost: db:5432\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n")
            let answer = try #require(client.message())
            #expect(answer.status == status && answer["connection"] == "close")
            #expect(client.readToEnd() == "")
        }
    }

    @Test func aHostThatIsNotThereIsAnsweredFor() throws {
        let stage = try Stage(
            [try Resources.httpListener(routes: routes(ends))], [try Resources.cluster("web", ports: [1])])
        let client = stage.connect()
        client.send("CONNECT db:5432 HTTP/1.1\r\nhost: db:5432\r\n\r\nearly")
        let answer = try #require(client.message())
        #expect(answer.status == 503 && answer.body.contains("remote connection failure"))
    }
}
