import Synchronization
import Testing

@testable import DataPlane

@Suite struct ForwardingHTTP1Tests {
    private let toWeb = "- {match: {prefix: /}, route: {cluster: web}}"

    @Test func requestsOfOneConnectionShareOneToTheUpstream() throws {
        let upstream = TestServer.echo()
        let stage = try Stage(
            [try Resources.httpListener(routes: toWeb)], [try Resources.cluster("web", ports: [upstream.port])])
        let client = stage.connect()
        for number in 1...20 {
            client.send("GET /page/\(number) HTTP/1.1\r\nhost: shop\r\n\r\n")
            let answer = try #require(client.message())
            #expect(answer.status == 200)
            #expect(answer.body.hasPrefix("GET /page/\(number) HTTP/1.1\nhost: shop\n"))
            #expect(answer["server"] == "envoy" && answer["date"] != nil)
            #expect(answer["x-envoy-upstream-service-time"] != nil)
            #expect(answer.body.contains("x-forwarded-proto: http\n") && answer.body.contains("x-request-id: "))
        }
        #expect(upstream.accepted.load(ordering: .relaxed) == 1)
    }

    @Test func pipelinedRequestsAreAnsweredInOrder() throws {
        let upstream = TestServer.echo()
        let stage = try Stage(
            [try Resources.httpListener(routes: toWeb)], [try Resources.cluster("web", ports: [upstream.port])])
        let client = stage.connect()
        let body = "hello"
        client.send((1...50).map { "POST /\($0) HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n\(body)" }.joined())
        for number in 1...50 {
            let answer = try #require(client.message())
            #expect(answer.body.hasPrefix("POST /\(number) ") && answer.body.hasSuffix("\n\nhello"))
        }
    }

    @Test func bodiesPassInChunksAndByLengthWithTheirTrailersHeldBack() throws {
        let upstream = TestServer.http { request in
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
                + "\(String(request.body.utf8.count, radix: 16))\r\n\(request.body)\r\n0\r\nx-sum: 1\r\n\r\n"
        }
        let stage = try Stage(
            [try Resources.httpListener(routes: toWeb)], [try Resources.cluster("web", ports: [upstream.port])])
        let client = stage.connect()
        client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
        client.send("4\r\ndefg\r\n0\r\n\r\n")
        let answer = try #require(client.message())
        #expect(answer.body == "abcdefg" && answer["transfer-encoding"] == "chunked")
        #expect(answer.trailers.isEmpty)
    }

    @Test func hostsThatWantCapitalsInNamesGetThem() throws {
        let upstream = TestServer.echo()
        let fields = """
            typed_extension_protocol_options:
              envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
                "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
                explicit_http_config: {http_protocol_options: {header_key_format: {proper_case_words: {}}}}
            """
        let stage = try Stage(
            [try Resources.httpListener(routes: toWeb)], [try Resources.cluster("web", ports: [upstream.port], fields)])
        let body = try #require(stage.get("/a:b", ["x-lower-1a_b: a-b:c"])).body
        #expect(body.hasPrefix("GET /a:b HTTP/1.1\nHost: shop\n") && body.contains("\nX-Lower-1a_B: a-b:c\n"))
    }

    @Test func redirectsAndDirectAnswersNeedNoUpstream() throws {
        let routes = """
            - {match: {path: /old}, redirect: {path_redirect: /new}}
            - {match: {path: /teapot}, direct_response: {status: 418, body: {inline_string: short and stout}}}
            """
        let stage = try Stage([try Resources.httpListener(routes: routes)], [])
        #expect(stage.get("/old")?["location"] == "http://shop/new")
        let teapot = try #require(stage.get("/teapot"))
        #expect(teapot.status == 418 && teapot.body == "short and stout")
        #expect(stage.get("/other")?.status == 404)
    }

    @Test func whoCannotBeReachedIsAnsweredForInEnvoysWords() throws {
        let closed = TestServer { _, _ in }
        let silent = TestServer { wire, _ in _ = wire.count() }
        let routes = """
            - {match: {prefix: /empty}, route: {cluster: empty}}
            - {match: {prefix: /missing}, route: {cluster: missing}}
            - {match: {prefix: /closed}, route: {cluster: closed}}
            - {match: {prefix: /refused}, route: {cluster: refused}}
            - {match: {prefix: /slow}, route: {cluster: silent, timeout: 0.1s}}
            """
        let stage = try Stage(
            [try Resources.httpListener(routes: routes)],
            [
                try Resources.cluster("empty", ports: []), try Resources.cluster("closed", ports: [closed.port]),
                try Resources.cluster("refused", ports: [1]), try Resources.cluster("silent", ports: [silent.port]),
            ])
        let empty = try #require(stage.get("/empty"))
        #expect(empty.status == 503 && empty.body == "no healthy upstream")
        #expect(stage.get("/missing")?.status == 503)
        let ended = try #require(stage.get("/closed"))
        #expect(ended.status == 503)
        #expect(
            ended.body
                == "upstream connect error or disconnect/reset before headers. reset reason: connection termination")
        let refused = try #require(stage.get("/refused"))
        #expect(refused.status == 503 && refused.body.contains("reset reason: remote connection failure"))
        let slow = try #require(stage.get("/slow"))
        #expect(slow.status == 504 && slow.body == "upstream request timeout")
    }

    @Test func aFailedTryGoesToAnotherHost() throws {
        let bad = TestServer.http { _ in "HTTP/1.1 503 No\r\ncontent-length: 3\r\n\r\nbad" }
        let good = TestServer.echo("good ")
        let routes = """
            - match: {prefix: /}
              route:
                cluster: web
                retry_policy:
                  retry_on: 5xx
                  num_retries: 3
                  retry_host_predicate:
                  - name: envoy.retry_host_predicates.previous_hosts
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate
                  host_selection_retry_max_attempts: 5
            """
        let stage = try Stage(
            [try Resources.httpListener(routes: routes)],
            [try Resources.cluster("web", ports: [bad.port, good.port])])
        let client = stage.connect()
        for _ in 0..<10 {
            client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody")
            let answer = try #require(client.message())
            #expect(answer.status == 200 && answer.body.hasSuffix("\n\nbody"))
        }
        #expect(good.requests.load(ordering: .relaxed) == 10)
        #expect(bad.requests.load(ordering: .relaxed) > 0)
    }

    @Test func webSocketsTalkBothWaysUntilOneEnds() throws {
        let upstream = TestServer { wire, _ in
            guard let head = wire.read(until: "\r\n\r\n"), head.lowercased().contains("upgrade: websocket") else {
                return
            }
            wire.send("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nwelcome")
            while let frame = wire.read(4) { wire.send(frame) }
        }
        let stage = try Stage(
            [
                try Resources.httpListener(
                    routes: toWeb, manager: "upgrade_configs: [{upgrade_type: websocket}]")
            ], [try Resources.cluster("web", ports: [upstream.port])])
        let client = stage.connect()
        client.send("GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\nping")
        let head = try #require(client.read(until: "\r\n\r\n"))
        #expect(head.hasPrefix("HTTP/1.1 101 ") && head.contains("upgrade: websocket"))
        #expect(client.read(11).map { String(decoding: $0, as: UTF8.self) } == "welcomeping")
        client.send("pong")
        #expect(client.read(4).map { String(decoding: $0, as: UTF8.self) } == "pong")
        client.endOutput()
        #expect(client.readToEnd() == "")
    }

    @Test func anUpgradeThatIsNotAllowedIsRefused() throws {
        let stage = try Stage(
            [try Resources.httpListener(routes: toWeb)], [try Resources.cluster("web", ports: [1])])
        let answer = try #require(stage.get("/", ["connection: upgrade", "upgrade: websocket"]))
        #expect(answer.status == 403)
    }

    @Test func whoWaitsToContinueIsToldTo() throws {
        let upstream = TestServer.echo()
        let stage = try Stage(
            [try Resources.httpListener(routes: toWeb)], [try Resources.cluster("web", ports: [upstream.port])])
        let client = stage.connect()
        client.send("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        #expect(client.read(until: "\r\n\r\n") == "HTTP/1.1 100 Continue\r\n\r\n")
        client.send("ok")
        #expect(try #require(client.message()).body.hasSuffix("\n\nok"))
    }

    @Test func whatIsNoHTTPIsAnsweredAndClosed() throws {
        let stage = try Stage([try Resources.httpListener(routes: toWeb)], [])
        for (request, status) in [
            ("GET / HTTP/1.1\r\n\r\n", 400), ("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", 400),
            ("GET / HTTP/2.0\r\nhost: a\r\n\r\n", 505),
        ] {
            let client = stage.connect()
            client.send(request)
            let answer = try #require(client.message())
            #expect(answer.status == status && answer["connection"] == "close", "\(request)")
            #expect(client.readToEnd() == "")
        }
    }

    @Test func aHundredMegabytesPassWithLittleMemoryThoughNobodyHurries() throws {
        let size = 100 << 20
        let upstream = TestServer { wire, _ in
            guard wire.read(until: "\r\n\r\n") != nil else { return }
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: \(size)\r\n\r\n")
            let block = [UInt8](repeating: 7, count: 1 << 20)
            for _ in 0..<100 { if !wire.send(block) { return } }
        }
        let stage = try Stage(
            [try Resources.httpListener(routes: "- {match: {prefix: /}, route: {cluster: web, timeout: 0s}}")],
            [try Resources.cluster("web", ports: [upstream.port])])
        let client = stage.connect()
        client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        #expect(client.read(until: "\r\n\r\n")?.contains("content-length: \(size)") == true)
        #expect(client.count() == size)
        #expect(stage.workers.statistics().map(\.mostBytesHeld).reduce(0, +) < 4 << 20)
    }
}
