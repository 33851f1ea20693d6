import Glibc
import Synchronization
import Testing

@testable import DataPlane

/// HTTP/1.1 comes in, goes over HTTP/2 through a second listener of the same workers, and to an HTTP/1.1 server.
@Suite struct ForwardingHTTP2Tests {
    private func stage(_ upstream: TestServer, to port: inout UInt16, options: Workers.Options = Workers.Options())
        throws
        -> Stage
    {
        let inner = try Resources.httpListener(
            "inner", routes: "- {match: {prefix: /}, route: {cluster: web, timeout: 0s}}")
        let web = try Resources.cluster("web", ports: [upstream.port])
        let stage = try Stage([inner], [web], options: options)
        port = stage.port("inner")
        let outer = try Resources.httpListener(
            "http", routes: "- {match: {prefix: /}, route: {cluster: inner, timeout: 0s}}")
        stage.serve([inner, outer], [web, try Resources.cluster("inner", ports: [port], Resources.http2)])
        return stage
    }

    @Test func requestsCrossFromOneProtocolToTheOtherAndBack() throws {
        let upstream = TestServer.echo()
        var port: UInt16 = 0
        let stage = try stage(upstream, to: &port)
        let client = stage.connect()
        for number in 1...20 {
            client.send("POST /\(number) HTTP/1.1\r\nhost: shop\r\ncontent-length: 5\r\n\r\nhello")
            let answer = try #require(client.message())
            #expect(answer.status == 200 && answer.body.hasPrefix("POST /\(number) HTTP/1.1\nhost: shop\n"))
            #expect(answer.body.hasSuffix("\n\nhello"))
        }
        client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        #expect(try #require(client.message()).body.hasSuffix("\n\nabc"))
        client.send("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n")
        #expect(try #require(client.message(answeringHEAD: true)).status == 200)
    }

    @Test(arguments: [1, 2, 3])
    func whatAClientSpeaksDoesNotDependOnHowItsFirstBytesAreCut(count: Int) throws {
        let upstream = TestServer.echo()
        var port: UInt16 = 0
        let stage = try stage(upstream, to: &port)
        for (text, answer) in [
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0", "\u{4}"),
            ("PUT / HTTP/1.1\r\nhost: shop\r\ncontent-length: 0\r\n\r\n", "P"),
            ("GET / HTTP/1.1\r\nhost: shop\r\n\r\n", "P"),
        ] {
            let client = stage.connect()
            client.send(String(text.prefix(count)))
            usleep(20_000)
            client.send(String(text.dropFirst(count)))
            // `HTTP/1.1 200`, or a frame of settings.
            #expect(client.read(9)?[3] == answer.utf8.first, "\(text)")
        }
    }

    @Test func manyRequestsShareOneConnection() throws {
        let upstream = TestServer.echo()
        var port: UInt16 = 0
        let stage = try stage(upstream, to: &port)
        let clients = (0..<20).map { _ in stage.connect() }
        for (number, client) in clients.enumerated() {
            client.send("GET /\(number) HTTP/1.1\r\nhost: a\r\n\r\n")
        }
        for (number, client) in clients.enumerated() {
            #expect(try #require(client.message()).body.hasPrefix("GET /\(number) "))
        }
        let counted = stage.workers.ask { worker in
            worker.usedClusters.first { $0.name == "inner" }?.counters.connected ?? 0
        }
        #expect(counted == [1])
    }

    @Test func fortyMegabytesCrossWithLittleMemory() throws {
        let size = 40 << 20
        let upstream = TestServer { wire, _ in
            guard wire.read(until: "\r\n\r\n") != nil else { return }
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: \(size)\r\n\r\n")
            let block = [UInt8](repeating: 7, count: 1 << 20)
            for _ in 0..<40 { if !wire.send(block) { return } }
        }
        var port: UInt16 = 0
        let stage = try stage(upstream, to: &port)
        let client = stage.connect()
        client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        #expect(client.read(until: "\r\n\r\n") != nil)
        #expect(client.count() == size)
        #expect(stage.workers.statistics().map(\.mostBytesHeld).reduce(0, +) < 8 << 20)
    }

    @Test func aFailureBehindTwoProxiesIsToldAsOne() throws {
        let closed = TestServer { _, _ in }
        var port: UInt16 = 0
        let stage = try stage(closed, to: &port)
        let answer = try #require(stage.get("/"))
        #expect(answer.status == 503 && answer.body.contains("reset reason: connection termination"))
    }
}

@Suite struct FilterTests {
    private let rbac = """
        - name: envoy.filters.http.rbac
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
            rules:
              action: DENY
              policies:
                secret:
                  permissions: [{url_path: {path: {prefix: /secret}}}]
                  principals: [{any: true}]
        """

    @Test func whoMayNotIsToldSoAndTheConnectionLivesOn() throws {
        let upstream = TestServer.echo()
        let stage = try Stage(
            [
                try Resources.httpListener(
                    routes: "- {match: {prefix: /}, route: {cluster: web}}", manager: "normalize_path: true",
                    filters: rbac)
            ], [try Resources.cluster("web", ports: [upstream.port])])
        let client = stage.connect()
        for path in ["/secret/1", "/a/../secret", "/%73ecret"] {
            client.send("GET \(path) HTTP/1.1\r\nhost: a\r\n\r\n")
            let answer = try #require(client.message())
            #expect(answer.status == 403 && answer.body == "RBAC: access denied", "\(path)")
        }
        client.send("POST /secret HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello")
        #expect(client.message()?.status == 403)
        client.send("GET /open HTTP/1.1\r\nhost: a\r\n\r\n")
        #expect(client.message()?.status == 200)
        #expect(upstream.requests.load(ordering: .relaxed) == 1)
    }

    @Test func faultsAreInjectedAndMirrorsGetCopies() throws {
        let (upstream, mirror) = (TestServer.echo(), TestServer.echo())
        let fault = """
            - name: envoy.filters.http.fault
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault
                abort: {http_status: 418, percentage: {numerator: 100}}
                headers: [{name: x-fault, present_match: true}]
            """
        let routes = """
            - match: {prefix: /}
              route:
                cluster: web
                request_mirror_policies: [{cluster: copy}]
            """
        let stage = try Stage(
            [try Resources.httpListener(routes: routes, filters: fault)],
            [try Resources.cluster("web", ports: [upstream.port]), try Resources.cluster("copy", ports: [mirror.port])])
        let aborted = try #require(stage.get("/", ["x-fault: 1"]))
        #expect(aborted.status == 418 && aborted.body == "fault filter abort")
        #expect(stage.get("/")?.status == 200)
        let deadline = ContinuousClock.now.advanced(by: .seconds(10))
        while mirror.requests.load(ordering: .relaxed) < 1, ContinuousClock.now < deadline {}
        #expect(mirror.requests.load(ordering: .relaxed) == 1)
    }
}

@Suite struct ChangeTests {
    @Test func whatChangesIsServedAtOnceAndWhatIsTakenAwayIsGone() throws {
        let (old, new) = (TestServer.echo("old"), TestServer.echo("new"))
        let toOne = try Resources.httpListener(routes: "- {match: {prefix: /}, route: {cluster: one}}")
        let one = try Resources.cluster("one", ports: [old.port])
        let stage = try Stage([toOne], [one])
        let port = stage.port()
        let client = stage.connect()
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        #expect(client.message()?["x-upstream"] == "old")
        stage.serve([toOne], [try Resources.cluster("one", ports: [new.port])])
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        #expect(client.message()?["x-upstream"] == "new")
        // Another listener of the same name keeps its socket; its connections come to an end.
        stage.serve([try Resources.httpListener(routes: "- {match: {prefix: /}, direct_response: {status: 204}}")], [])
        #expect(stage.port() == port && stage.get("/")?.status == 204)
        #expect(client.readToEnd() == "")
        stage.serve([], [])
        #expect(stage.workers.addresses.isEmpty)
    }

    @Test func aTakenAddressIsToldAndTheRestIsServed() throws {
        let server = TestServer.echo()
        let taken = try Resources.listener(
            Resources.httpListenerYAML("taken", routes: "- {match: {prefix: /}, direct_response: {status: 204}}")
                .replacing("port_value: 0", with: "port_value: \(server.port)"))
        let free = try Resources.httpListener("free", routes: "- {match: {prefix: /}, direct_response: {status: 204}}")
        let workers = try Workers()
        let failures = workers.serve(ProxyConfiguration(listeners: ["taken": taken, "free": free]))
        #expect(failures.map(\.listener) == ["taken"])
        #expect("\(failures)".contains("in use"))
        #expect(workers.addresses.keys.sorted() == ["free"])
    }
}
