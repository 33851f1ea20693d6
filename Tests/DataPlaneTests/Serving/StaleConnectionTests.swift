import Glibc
import HTTP2
import Synchronization
import Testing

@testable import DataPlane

/// What ends or stalls beside a request that is on its way.
@Suite struct StaleConnectionTests {
    private func stage(_ upstream: TestServer) throws -> Stage {
        try Stage(
            [Resources.httpListener(routes: "- {match: {prefix: /}, route: {cluster: web, timeout: 0s}}")],
            [Resources.cluster("web", ports: [upstream.port])])
    }

    /// Answers the first request on a connection, and ends it when the second has come; the third connection lasts.
    private func forgetful() -> TestServer {
        TestServer { wire, server in
            let lasts = server.accepted.load(ordering: .relaxed) > 2
            while let request = wire.message() {
                let count = server.requests.add(1, ordering: .relaxed).newValue
                guard lasts || count % 2 == 1 else { return wire.endOutput() }
                let body = String(request.start.prefix { $0 != " " })
                wire.send("HTTP/1.1 200 OK\r\ncontent-length: \(body.utf8.count)\r\n\r\n\(body)")
            }
        }
    }

    @Test func aConnectionThatTheHostEndsWhileItIsIdleCostsNoRequestThatMayBeSentTwice() throws {
        let upstream = forgetful()
        let stage = try stage(upstream)
        #expect(stage.get("/")?.status == 200)
        // The second connection answers what the first one did not.
        let answer = try #require(stage.get("/"))
        #expect(answer.status == 200 && answer.body == "GET")
        #expect(upstream.accepted.load(ordering: .relaxed) == 2 && upstream.requests.load(ordering: .relaxed) == 3)
    }

    @Test func whatMayNotBeDoneTwiceIsNotSentTwice() throws {
        let upstream = forgetful()
        let stage = try stage(upstream)
        #expect(stage.get("/")?.status == 200)
        let client = stage.connect()
        client.send("POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 0\r\n\r\n")
        #expect(client.message()?.status == 503)
        #expect(upstream.accepted.load(ordering: .relaxed) == 1)
    }

    @Test func anUpstreamThatStallsInAnUploadGetsAllOfItLater() throws {
        let length = 12 << 20
        let upstream = TestServer { wire, _ in
            guard let head = wire.read(until: "\r\n\r\n"), head.contains("\(length)") else { return }
            var left = length
            // Time for the proxy to take as much as it ever would.
            usleep(200_000)
            while left > 0, let bytes = wire.some() { left -= bytes.count }
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        }
        let stage = try stage(upstream)
        var limits = HTTP2Limits()
        limits.unsentBytesPerStream = length
        let client = HTTP2Peer(stage.connect(), .client, limits)
        let stream = client.open("/", [("content-length", "\(length)")], method: "POST", ends: false)
        client.send(String(repeating: "x", count: length), on: stream)
        #expect(client.answer(to: stream).status == "200")
        let held = stage.workers.statistics().map(\.mostBytesHeld)
        #expect(held.allSatisfy { $0 <= 2 << 20 }, "\(held)")
    }

    @Test func noRequestFailsWhileWhatIsSpokenWithTheHostChanges() throws {
        let upstream = TestServer.echo()
        let inner = try Resources.httpListener("inner", routes: "- {match: {prefix: /}, route: {cluster: web}}")
        let web = try Resources.cluster("web", ports: [upstream.port])
        let stage = try Stage([inner], [web])
        let port = stage.port("inner")
        let outer = try Resources.httpListener("http", routes: "- {match: {prefix: /}, route: {cluster: inner}}")
        func serve(_ number: Int) throws {
            let fields = number.isMultiple(of: 2) ? Resources.http2 : ""
            stage.serve([inner, outer], [web, try Resources.cluster("inner", ports: [port], fields)])
        }
        try serve(0)
        let clients = Clients(stage.port("http"))
        for number in 1...150 { try serve(number) }
        let (answers, failures) = clients.finish()
        #expect(failures.isEmpty, "\(failures.count) of \(answers): \(failures.prefix(3))")
    }

    /// Four who ask all the while.
    private final class Clients: Sendable {
        private let state = Mutex((running: 4, answers: 0, failures: [String](), isOver: false))

        init(_ port: UInt16) {
            for _ in 0..<4 {
                startThread { [self] in
                    let wire = Wire(to: port)
                    while !state.withLock({ $0.isOver }) {
                        wire.send("GET / HTTP/1.1\r\nhost: shop\r\n\r\n")
                        let answer = wire.message()
                        state.withLock {
                            $0.answers += 1
                            if answer?.status != 200 { $0.failures.append(answer?.body ?? "nothing") }
                        }
                        if answer == nil { break }
                    }
                    state.withLock { $0.running -= 1 }
                }
            }
        }

        func finish() -> (answers: Int, failures: [String]) {
            state.withLock { $0.isOver = true }
            while state.withLock({ $0.running }) > 0 { usleep(1000) }
            return state.withLock { ($0.answers, $0.failures) }
        }
    }
}
