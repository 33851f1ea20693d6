import Synchronization
import Testing

@testable import DataPlane

/// Upstreams that say more than they were asked for.
@Suite struct LyingUpstreamTests {
    private let toWeb = "- {match: {prefix: /}, route: {cluster: web}}"

    /// What follows a response would be taken for the answer to the next request.
    @Test(arguments: ["HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison", "x", "\r\n"])
    func bytesBehindAResponseNeverReachTheNextRequest(excess: String) throws {
        let upstream = TestServer.http { _ in "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok" + excess }
        let stage = try Stage(
            [try Resources.httpListener(routes: toWeb)], [try Resources.cluster("web", ports: [upstream.port])])
        let client = stage.connect()
        for _ in 1...3 {
            client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            let answer = try #require(client.message())
            #expect(answer.status == 200 && answer.body == "ok")
        }
        #expect(upstream.accepted.load(ordering: .relaxed) == 3)
    }

    @Test(arguments: [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\ncontent-length: 2\n\nok", "HTTP/1.1 101 Switching Protocols\r\n\r\n", "nonsense\r\n\r\n",
    ])
    func aResponseThatCouldBeReadInTwoWaysIsNotPassedOn(response: String) throws {
        let upstream = TestServer.http { _ in response }
        let stage = try Stage(
            [try Resources.httpListener(routes: toWeb)], [try Resources.cluster("web", ports: [upstream.port])])
        let answer = try #require(stage.get("/"))
        #expect(answer.status == 502 && !answer.body.contains("ok"), "\(answer.status) \(answer.body)")
    }
}
