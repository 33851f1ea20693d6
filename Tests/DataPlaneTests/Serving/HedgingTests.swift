import Foundation
import Synchronization
import Testing

@testable import DataPlane

/// Several tries of one request at a time. Source: Envoy, `hedge_policy`.
@Suite struct HedgingTests {
    private func routes(retries: Int = 1, more: String = "") -> String {
        """
        - match: {prefix: /}
          route:
            cluster: web
            timeout: 5s
            hedge_policy: {hedge_on_per_try_timeout: true}
            retry_policy:
              retry_on: 5xx
              num_retries: \(retries)
              per_try_timeout: 0.1s
              retry_back_off: {base_interval: 0.001s}
              \(more)
        """
    }

    /// Answers each request by what is said for its turn: milliseconds until the answer, and its status; nil: never.
    private func server(_ turns: [(wait: Int?, status: Int)]) -> TestServer {
        TestServer { wire, server in
            while let request = wire.message() {
                let number = server.requests.add(1, ordering: .relaxed).newValue
                let turn = turns[min(number, turns.count) - 1]
                guard let wait = turn.wait else {
                    _ = wire.count()
                    return
                }
                usleep(UInt32(wait) * 1000)
                let body = "\(number) \(request.body)"
                let head = "HTTP/1.1 \(turn.status) X\r\ncontent-length: \(body.utf8.count)\r\n\r\n"
                if !wire.send(Array((head + body).utf8)) { return }
            }
        }
    }

    private func stage(_ upstream: TestServer, _ routes: String, cluster: String = "") throws -> Stage {
        let inside = "internal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}"
        let stage = try Stage(
            [try Resources.httpListener(routes: routes, manager: inside)],
            [try Resources.cluster("web", ports: [upstream.port], cluster)])
        stage.upstreams = [upstream]
        return stage
    }

    private func post(_ stage: Stage, _ fields: String = "") -> Message? {
        let client = stage.connect()
        client.send("POST / HTTP/1.1\r\nhost: a\r\n\(fields)content-length: 4\r\n\r\nbody")
        return client.message()
    }

    private func counters(_ stage: Stage) -> (retries: UInt64, perTry: UInt64, active: Bool) {
        stage.workers.ask { worker in
            let cluster = worker.usedClusters.first { $0.name == "web" }
            return (
                cluster?.counters.retries ?? 0, cluster?.counters.perTryTimeouts ?? 0,
                cluster?.state.hosts.contains { host in host.listed.contains { $0 == "rq_active" && $1 != "0" } }
                    ?? true
            )
        }.first ?? (0, 0, true)
    }

    @Test func theNextTryBeginsWhileTheFirstGoesOnAndTheFirstGoodAnswerWins() throws {
        // The first never answers: the second one does.
        let upstream = server([(nil, 0), (0, 200)])
        let stage = try stage(upstream, routes())
        let answer = try #require(post(stage))
        #expect(answer.status == 200 && answer.body == "2 body")
        #expect(upstream.requests.load(ordering: .relaxed) == 2)
        #expect(counters(stage) == (1, 0, false))
    }

    @Test func theFirstTryMayStillWin() throws {
        let upstream = server([(250, 200), (nil, 0)])
        let stage = try stage(upstream, routes())
        let answer = try #require(post(stage))
        #expect(answer.status == 200 && answer.body == "1 body")
        #expect(upstream.requests.load(ordering: .relaxed) == 2)
        #expect(counters(stage) == (1, 0, false))
    }

    @Test func aBadAnswerWaitsForABetterOne() throws {
        #expect(post(try stage(server([(200, 200), (0, 503)]), routes()))?.body == "1 body")
        #expect(post(try stage(server([(150, 503), (150, 200)]), routes()))?.body == "2 body")
        // Where there is none, the last bad one is the answer.
        let both = try stage(server([(200, 502), (0, 503)]), routes())
        #expect(post(both)?.status == 502)
        #expect(counters(both) == (1, 0, false))
    }

    @Test func withoutATryLeftTheSlowOneGoesOn() throws {
        let none = try stage(server([(250, 200)]), routes(retries: 0))
        #expect(post(none)?.body == "1 body")
        let broken = try stage(
            server([(250, 200)]), routes(), cluster: "circuit_breakers: {thresholds: [{max_retries: 0}]}")
        #expect(post(broken)?.body == "1 body")
        #expect(counters(broken) == (0, 0, false))
    }

    @Test func triesAreHedgedWhateverAnswersAreRepeatedAndHeadersMayAskForIt() throws {
        let routes = routes().replacing("retry_on: 5xx", with: "retry_on: retriable-4xx")
        #expect(post(try stage(server([(nil, 0), (0, 200)]), routes))?.body == "2 body")
        // From inside a request may ask for it.
        let plain = self.routes().replacing("hedge_on_per_try_timeout: true", with: "hedge_on_per_try_timeout: false")
        let asked = try stage(server([(250, 200), (nil, 0)]), plain)
        let fields = "x-forwarded-for: 10.0.0.1\r\nx-envoy-hedge-on-per-try-timeout: true\r\n"
        #expect(post(asked, fields)?.body == "1 body")
    }

    @Test func theWholeTimeEndsAllTries() throws {
        let upstream = server([(nil, 0)])
        let stage = try stage(upstream, routes().replacing("timeout: 5s", with: "timeout: 0.25s"))
        let answer = try #require(post(stage))
        #expect(answer.status == 504 && answer.body == "upstream request timeout")
        #expect(upstream.requests.load(ordering: .relaxed) == 2)
        #expect(counters(stage).active == false)
    }
}

/// Redirects of upstreams that are followed here. Source: Envoy, `internal_redirect_policy`.
@Suite struct InternalRedirectServingTests {
    private func routes(_ policy: String) -> String {
        """
        - {match: {path: /end}, route: {cluster: web}}
        - match: {prefix: /}
          route: {cluster: web, internal_redirect_policy: {\(policy)}}
        """
    }

    /// Sends `/to?…` elsewhere, with the status that is asked for.
    private func server() -> TestServer {
        .http { request in
            let path = request.path
            if path.hasPrefix("/to/") {
                let parts = path.split(separator: "/", maxSplits: 2).map(String.init)
                return "HTTP/1.1 \(parts[1]) X\r\nlocation: \(parts[2])\r\nx-token: t\r\ncontent-length: 2\r\n\r\nno"
            }
            let body = ([request.start] + request.fields + [request.body]).joined(separator: "\n")
            return "HTTP/1.1 200 OK\r\ncontent-length: \(body.utf8.count)\r\n\r\n\(body)"
        }
    }

    private func ask(_ stage: Stage, _ request: String) throws -> Message {
        let client = stage.connect()
        client.send(request)
        return try #require(client.message())
    }

    private func stage(_ upstream: TestServer, _ policy: String) throws -> Stage {
        let stage = try Stage(
            [try Resources.httpListener(routes: routes(policy))], [try Resources.cluster("web", ports: [upstream.port])]
        )
        stage.upstreams = [upstream]
        return stage
    }

    @Test func aRedirectIsFollowedWithItsBody() throws {
        let upstream = server()
        let stage = try stage(upstream, "redirect_response_codes: [302, 307], response_headers_to_copy: [x-token]")
        for status in [302, 307] {
            let answer = try ask(
                stage,
                "POST /to/\(status)/http://other:81/end?a HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody")
            #expect(answer.status == 200 && answer.body.hasPrefix("POST /end?a HTTP/1.1\nhost: other:81\n"))
            #expect(answer.body.hasSuffix("\nbody") && answer.body.contains("\nx-token: t\n"), "\(answer.body)")
            #expect(answer.body.contains("\nx-envoy-original-url: http://a/to/\(status)/http://other:81/end?a\n"))
        }
        // One connection carried all of it.
        #expect(upstream.accepted.load(ordering: .relaxed) == 1)
        let counted = stage.workers.ask { $0.usedClusters.first?.counters.redirectsFollowed ?? 0 }
        #expect(counted == [2])
    }

    @Test func afterSeeOtherItIsAGET() throws {
        let stage = try stage(server(), "redirect_response_codes: [303]")
        let answer = try ask(
            stage, "POST /to/303/http://b/end HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody")
        #expect(answer.body.hasPrefix("GET /end HTTP/1.1\n") && !answer.body.contains("body"))
        #expect(!answer.body.contains("content-length"))
    }

    @Test func whatIsNotFollowedIsTheClients() throws {
        let stage = try stage(server(), "")
        for (target, why) in [
            ("/to/307/http://b/end", "a status that is not asked for"), ("/to/302/end", "no whole URL"),
            ("/to/302/https://b/end", "another scheme"), ("/to/302/ftp://b/end", "no HTTP"),
            ("/to/302/http://u@b/end", "a user"),
        ] {
            let answer = try ask(stage, "GET \(target) HTTP/1.1\r\nhost: a\r\n\r\n")
            #expect(answer["location"] != nil && answer.body == "no", "\(why)")
        }
        // One redirect is followed, and no second.
        let second = try ask(stage, "GET /to/302/http://b/to/302/http://c/end HTTP/1.1\r\nhost: a\r\n\r\n")
        #expect(second.status == 302 && second["location"] == "http://c/end")
    }

    @Test func filtersJudgeTheNextRequestToo() throws {
        let upstream = server()
        let rbac = """
            - name: envoy.filters.http.rbac
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
                rules:
                  action: DENY
                  policies:
                    end:
                      permissions: [{url_path: {path: {exact: /end}}}]
                      principals: [{any: true}]
            """
        let stage = try Stage(
            [try Resources.httpListener(routes: routes(""), filters: rbac)],
            [try Resources.cluster("web", ports: [upstream.port])])
        #expect(try ask(stage, "GET /to/302/http://b/end HTTP/1.1\r\nhost: a\r\n\r\n").status == 403)
        #expect(upstream.requests.load(ordering: .relaxed) == 1)
    }

    @Test func aBodyThatIsTooLongToKeepIsNotSentAgain() throws {
        let upstream = server()
        let stage = try Stage(
            [try Resources.httpListener(routes: routes(""), host: "per_request_buffer_limit_bytes: 3")],
            [try Resources.cluster("web", ports: [upstream.port])])
        let answer = try ask(
            stage, "POST /to/302/http://b/end HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody")
        #expect(answer.status == 302)
    }
}
