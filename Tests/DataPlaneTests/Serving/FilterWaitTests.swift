import Synchronization
import Testing

@testable import DataPlane

/// Filters that wait: for time, for another server, for the body.
@Suite struct FilterWaitTests {
    private let toWeb = "- {match: {prefix: /}, route: {cluster: web}}"

    private func fault(_ fields: String, _ name: String = "envoy.filters.http.fault") -> String {
        """
        - name: \(name)
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault
            \(fields)

        """
    }

    private func buffer(_ bytes: Int) -> String {
        """
        - name: envoy.filters.http.buffer
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer
            max_request_bytes: \(bytes)
        """
    }

    private let delay = "delay: {fixed_delay: 0.05s, percentage: {numerator: 100}}"

    @Test func aBodyThatCameWhileAnotherFilterWaitedIsJudgedAllTheSame() throws {
        let upstream = TestServer.echo()
        let web = try Resources.cluster("web", ports: [upstream.port])
        func status(_ size: Int, most: Int) throws -> Int? {
            let stage = try Stage(
                [
                    try Resources.httpListener(
                        routes: toWeb, filters: fault(delay) + buffer(most),
                        extra: "per_connection_buffer_limit_bytes: 1024")
                ], [web])
            let client = stage.connect()
            client.send(
                "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: \(size)\r\n\r\n" + String(repeating: "x", count: size))
            return client.message()?.status
        }
        // Stopped at the listener's limit by the first filter, and wanted whole by the second.
        #expect(try status(200_000, most: 300_000) == 200)
        // Whole before the second filter looks at it.
        #expect(try status(100, most: 50) == 413)
        #expect(upstream.requests.load(ordering: .relaxed) == 1)
    }

    @Test func eachFaultOfARequestIsCountedOff() throws {
        let upstream = TestServer.echo()
        let twice =
            fault("max_active_faults: 1\n    delay: {fixed_delay: 0.001s, percentage: {numerator: 100}}")
            + fault("max_active_faults: 1\n    delay: {fixed_delay: 0.001s, percentage: {numerator: 100}}", "second")
        let stage = try Stage(
            [try Resources.httpListener(routes: toWeb, filters: twice)],
            [try Resources.cluster("web", ports: [upstream.port])])
        let client = stage.connect()
        for _ in 0..<3 {
            client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            #expect(client.message()?.status == 200)
        }
        let delays = stage.workers.ask { $0.counters.http("test").delaysInjected }
        #expect(delays.reduce(0, +) == 6)
    }

    @Test func filtersBehindAChangeOfTheRouteActAsTheNewOneSays() throws {
        let upstream = TestServer.echo()
        let authorization = TestServer.http { _ in "HTTP/1.1 200 OK\r\nx-team: a\r\ncontent-length: 0\r\n\r\n" }
        let filters = """
            - name: envoy.filters.http.ext_authz
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
                clear_route_cache: true
                http_service:
                  server_uri: {uri: "http://asks", cluster: asks, timeout: 5s}
                  authorization_response: {allowed_upstream_headers: {patterns: [{exact: x-team}]}}
            - name: envoy.filters.http.rbac
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
                rules: {action: DENY, policies: {all: {permissions: [{any: true}], principals: [{any: true}]}}}
            """
        let open = """
            typed_per_filter_config:
                envoy.filters.http.rbac:
                  "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute
            """
        let routes = """
            - match: {prefix: /, headers: [{name: x-team, string_match: {exact: a}}]}
              route: {cluster: web}
            - match: {prefix: /}
              route: {cluster: web}
              \(open)
            """
        let stage = try Stage(
            [try Resources.httpListener(routes: routes, filters: filters)],
            [
                try Resources.cluster("web", ports: [upstream.port]),
                try Resources.cluster("asks", ports: [authorization.port]),
            ])
        let answer = try #require(stage.get("/"))
        #expect(answer.status == 403 && answer.body == "RBAC: access denied")
        #expect(authorization.requests.load(ordering: .relaxed) == 1 && upstream.requests.load(ordering: .relaxed) == 0)
    }
}

/// What becomes of a request whose time is over, or whose host fails.
@Suite struct LateExchangeTests {
    @Test func whoIsLateIsToldWhoseFaultItIs() throws {
        let silent = TestServer { wire, _ in _ = wire.count() }
        for setting in [
            "stream_idle_timeout: 0.05s", "common_http_protocol_options: {max_stream_duration: 0.05s}",
        ] {
            let stage = try Stage(
                [
                    try Resources.httpListener(
                        routes: "- {match: {prefix: /}, route: {cluster: web}}", manager: setting)
                ], [try Resources.cluster("web", ports: [silent.port])])
            #expect(stage.get("/")?.status == 504, "\(setting)")
            let client = stage.connect()
            client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n1")
            #expect(client.message()?.status == 408, "\(setting)")
        }
    }

    @Test func requestsAndTriesHaveLimitsOfTheirOwn() throws {
        let silent = TestServer { wire, _ in _ = wire.count() }
        let routes = """
            - match: {prefix: /idle}
              route: {cluster: web, timeout: 0s, retry_policy: {retry_on: reset, per_try_idle_timeout: 0.05s}}
            - {match: {prefix: /}, route: {cluster: web}}
            """
        let stage = try Stage(
            [try Resources.httpListener(routes: routes, manager: "request_timeout: 0.05s")],
            [try Resources.cluster("web", ports: [silent.port])])
        let idle = try #require(stage.get("/idle"))
        #expect(idle.status == 504 && idle.body == "upstream request timeout")
        let client = stage.connect()
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n1")
        let late = try #require(client.message())
        #expect(late.status == 408 && late.body == "request timeout")
    }

    @Test func aSessionsHostThatFailsIsNotTriedAgain() throws {
        let answer: @Sendable (Wire, TestServer) -> Void = { wire, server in
            while wire.message() != nil {
                let count = server.requests.add(1, ordering: .relaxed).newValue
                wire.send("HTTP/1.1 \(count == 1 ? 200 : 503) X\r\nx-host: \(server.port)\r\ncontent-length: 0\r\n\r\n")
            }
        }
        let good: @Sendable (Wire, TestServer) -> Void = { wire, server in
            while wire.message() != nil {
                wire.send("HTTP/1.1 200 X\r\nx-host: good\r\ncontent-length: 0\r\n\r\n")
            }
        }
        let session = """
            - name: envoy.filters.http.stateful_session
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.http.stateful_session.v3.StatefulSession
                session_state:
                  name: cookie
                  typed_config:
                    "@type": type.googleapis.com/envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState
                    cookie: {name: sticky, path: /}
            """
        let routes = """
            - match: {prefix: /}
              route:
                cluster: web
                retry_policy: {retry_on: 5xx, num_retries: 3}
            """
        let (first, second) = (TestServer(answer), TestServer(good))
        var stage = try Stage(
            [try Resources.httpListener(routes: routes, filters: session)],
            [try Resources.cluster("web", ports: [first.port])])
        let cookie = try #require(stage.get("/")?["set-cookie"]?.split(separator: ";").first)
        stage = try Stage(
            [try Resources.httpListener(routes: routes, filters: session)],
            [try Resources.cluster("web", ports: [first.port, second.port])])
        let answered = try #require(stage.get("/", ["cookie: \(cookie)"]))
        #expect(answered.status == 200 && answered["x-host"] == "good")
    }
}
