import Glibc
import HTTP
import HTTP2
import Synchronization
import Testing

@testable import DataPlane

/// Messages that come in one protocol and go on in the other.
@Suite struct TranslatedMessageTests {
    private let toWeb = "- {match: {prefix: /}, route: {cluster: web}}"

    private func stage(_ upstream: TestServer, _ fields: String = "", manager: String = "") throws -> Stage {
        let stage = try Stage(
            [try Resources.httpListener(routes: toWeb, manager: manager)],
            [try Resources.cluster("web", ports: [upstream.port], fields)])
        stage.upstreams = [upstream]
        return stage
    }

    @Test func anUploadLosesNothingOnItsWayThroughTwoSlowHTTP2Hops() throws {
        var body = Array(UInt8(0)..<251)
        while body.count < 6 << 20 { body += body }
        let whole = body
        let size = whole.count
        let upstream = TestServer { wire, _ in
            wire.takesLittle()
            guard wire.read(until: "\r\n\r\n") != nil else { return }
            // All that the windows let through is on its way before anybody reads.
            usleep(200_000)
            let text = wire.read(size) == whole ? "same" : "other"
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: \(text.utf8.count)\r\n\r\n\(text)")
        }
        func listener(_ name: String) throws -> ServedListener {
            try Resources.httpListener(
                name, routes: "- {match: {prefix: /}, route: {cluster: to-\(name), timeout: 0s}}")
        }
        let listeners = [try listener("third"), try listener("second"), try listener("http")]
        var clusters = [try Resources.cluster("to-third", ports: [upstream.port])]
        let stage = try Stage([listeners[0]], clusters)
        clusters.append(try Resources.cluster("to-second", ports: [stage.port("third")], Resources.http2))
        stage.serve(Array(listeners[..<2]), clusters)
        clusters.append(try Resources.cluster("to-http", ports: [stage.port("second")], Resources.http2))
        stage.serve(listeners, clusters)
        let client = stage.connect()
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: \(size)\r\n\r\n")
        #expect(client.send(whole))
        #expect(client.message()?.body == "same")
    }

    @Test func answersOverHTTP2AreFramedForHTTP1() throws {
        let upstream = TestServer.http2 { peer, stream, request in
            switch request.head[":path"] {
            case "/empty": peer.respond([(":status", "200"), ("x-ended", "\(request.endsWithHead)")], on: stream)
            case "/304": peer.respond([(":status", "304"), ("etag", "e")], "", on: stream)
            case "/204": peer.respond([(":status", "204")], "", on: stream)
            case "/length": peer.respond([(":status", "200"), ("content-length", "7")], on: stream)
            default: peer.respond([(":status", "200")], request.head[":method"] == "HEAD" ? "" : "body", on: stream)
            }
        }
        let stage = try stage(upstream, Resources.http2)
        let client = stage.connect()
        func ask(_ method: String, _ path: String, _ fields: String = "") throws -> Message {
            client.send("\(method) \(path) HTTP/1.1\r\nhost: a\r\n\(fields)\r\n")
            return try #require(client.message(answeringHEAD: method == "HEAD"), "\(method) \(path)")
        }
        let empty = try ask("GET", "/empty")
        #expect(empty.status == 200 && empty["content-length"] == "0" && empty["transfer-encoding"] == nil)
        // A request without a body needs no frame beyond its head.
        #expect(empty["x-ended"] == "true")
        for (method, path, status) in [
            ("HEAD", "/", 200), ("HEAD", "/empty", 200), ("GET", "/304", 304), ("GET", "/204", 204),
        ] {
            let answer = try ask(method, path)
            #expect(answer.status == status && answer["transfer-encoding"] == nil, "\(method) \(path)")
            #expect(answer["content-length"] == nil, "\(method) \(path)")
            // What follows would not be read as an answer if anything had been left behind.
            #expect(try ask("GET", "/").body == "body", "\(method) \(path)")
        }
        #expect(try ask("HEAD", "/length")["content-length"] == "7")
        let refused = try ask("GET", "/", "content-type: application/grpc\r\nconnection: upgrade\r\nupgrade: odd\r\n")
        #expect(refused["grpc-status"] == "7" && refused["content-length"] == "0")
        // What a client says into a tunnel that stays shut is no request.
        #expect(refused["connection"] == "close" && client.readToEnd() == "")
        // A connection that is given back is there for the next turn: a quick client may have needed a second.
        #expect(upstream.accepted.load(ordering: .relaxed) <= 2)
    }

    @Test func informationalAnswersPassAndWhoWaitsToContinueIsTold() throws {
        let upstream = TestServer.http2 { peer, stream, request in
            peer.connection.respondInformational(HeaderList([(":status", "103"), ("link", "</a>")]), on: stream)
            peer.respond([(":status", "200")], "done", on: stream)
        }
        let stage = try stage(upstream, Resources.http2)
        let client = stage.connect()
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        let early = try #require(client.message())
        #expect(early.status == 103 && early["link"] == "</a>")
        #expect(client.message()?.body == "done")

        let echo = try self.stage(TestServer.echo())
        let peer = HTTP2Peer(echo.connect(), .client)
        let stream = peer.open("/", [("expect", "100-continue")], method: "POST", ends: false)
        peer.run { peer.messages[stream]?.informational == ["100"] }
        peer.send("ok", on: stream)
        let answer = peer.answer(to: stream)
        #expect(
            answer.informational == ["100"] && answer.text.hasSuffix("\n\nok") && !answer.text.contains("\nexpect:"))
    }

    @Test func hostIsHeldToTheAuthority() throws {
        let stage = try stage(TestServer.echo())
        let peer = HTTP2Peer(stage.connect(), .client)
        #expect(peer.get("/", [(":authority", "shop"), ("host", "admin")]).status == "400")
        for fields in [[(":authority", "shop"), ("host", "Shop:80")], [("host", "shop")]] {
            let answer = peer.get("/", fields)
            #expect(answer.status == "200", "\(fields)")
            #expect(answer.text.split(separator: "\n").filter { $0.hasPrefix("host:") } == ["host: shop"], "\(fields)")
        }
    }

    @Test func whatCannotBeSaidUpstreamIsNoFaultOfTheHost() throws {
        let upstream = TestServer.echo()
        let stage = try stage(upstream, "outlier_detection: {consecutive_5xx: 1, consecutive_gateway_failure: 1}")
        let peer = HTTP2Peer(stage.connect(), .client)
        #expect(peer.get().status == "200")
        for _ in 0..<3 { #expect(peer.get("/", [(":authority", "user@shop")]).status == "400") }
        #expect(peer.get().status == "200")
        // A connection that is given back is there for the next turn: a quick client may have needed a second.
        #expect(upstream.accepted.load(ordering: .relaxed) <= 2)
        #expect(upstream.requests.load(ordering: .relaxed) == 2)
    }

    @Test func connectionsOfBothProtocolsEndAtTheirAge() throws {
        let stage = try stage(
            TestServer.echo(), manager: "common_http_protocol_options: {max_connection_duration: 0.05s}")
        let peer = HTTP2Peer(stage.connect(), .client)
        peer.run { peer.isAskedToLeave }
        #expect(peer.isAskedToLeave)
        #expect(stage.connect().readToEnd() == "")
    }
}
