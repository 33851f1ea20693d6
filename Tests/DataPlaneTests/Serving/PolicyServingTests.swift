import Certificates
import Forwarding
import Foundation
import Synchronization
import Testing
import Time

@testable import DataPlane

/// What filters and a route's settings do to real requests.
@Suite struct PolicyServingTests {
    private static let types = "type.googleapis.com/envoy.extensions.filters.http"
    private let toWeb = "- {match: {prefix: /}, route: {cluster: web}}"

    private func stage(
        _ upstream: TestServer, routes: String? = nil, host: String = "", manager: String = "", filters: String = "",
        extra: String = "", more: [ServedCluster] = []
    ) throws -> Stage {
        try Stage(
            [
                try Resources.httpListener(
                    routes: routes ?? toWeb, host: host, manager: manager, filters: filters, extra: extra)
            ], [try Resources.cluster("web", ports: [upstream.port])] + more)
    }

    // MARK: Access control

    @Test func rulesSeeWhatStandsInTheRoute() throws {
        let upstream = TestServer.echo()
        let stage = try stage(
            upstream,
            routes: """
                - {match: {prefix: /closed}, route: {cluster: web}, metadata: {filter_metadata: {team: {state: closed}}}}
                - {match: {prefix: /}, route: {cluster: web}, metadata: {filter_metadata: {team: {state: open}}}}
                """,
            filters: """
                - name: rbac
                  typed_config:
                    "@type": \(Self.types).rbac.v3.RBAC
                    rules:
                      action: DENY
                      policies:
                        closed:
                          permissions:
                          - sourced_metadata:
                              metadata_source: ROUTE
                              metadata_matcher: {filter: team, path: [{key: state}], value: {string_match: {exact: closed}}}
                          principals: [{any: true}]
                """)
        #expect(stage.get("/closed")?.status == 403)
        #expect(stage.get("/open")?.status == 200)
        #expect(upstream.requests.load(ordering: .relaxed) == 1)
    }

    // MARK: Who is inside

    private let overrides = [
        "x-envoy-internal: true", "x-envoy-upstream-rq-timeout-ms: 5000", "x-envoy-retry-on: 5xx",
        "x-envoy-max-retries: 3",
    ]

    @Test func clientsInsideMayAskForMoreThanTheirRouteGives() throws {
        let broken = TestServer.http { request in
            let seen = request.fields.filter { $0.lowercased().hasPrefix("x-envoy-") }.joined(separator: "|")
            return "HTTP/1.1 503 No\r\nx-seen: \(seen)\r\ncontent-length: 0\r\n\r\n"
        }
        let inside = try stage(
            broken,
            manager: """
                use_remote_address: true
                internal_address_config: {cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}
                """)
        let answer = try #require(inside.get("/", overrides))
        #expect(answer.status == 503 && broken.requests.load(ordering: .relaxed) == 4)
        let seen = try #require(answer["x-seen"])
        #expect(seen.contains("x-envoy-internal: true"))
        // The last try has what those before it left.
        let expected = seen.split(separator: "|").first { $0.hasPrefix("x-envoy-expected-rq-timeout-ms: ") }
        let left = try #require(expected.flatMap { Int($0.split(separator: " ").last ?? "") })
        #expect(left > 0 && left <= 5000)
        #expect(!seen.contains("x-envoy-external-address"))
        // Whoever comes by another proxy is not alone in x-forwarded-for, and so not inside.
        _ = try #require(inside.get("/", overrides + ["x-forwarded-for: 10.0.0.1"]))
        #expect(broken.requests.load(ordering: .relaxed) == 5)
    }

    @Test func withoutAWordAboutItNobodyIsInside() throws {
        let broken = TestServer.http { request in
            let seen = request.fields.filter { $0.lowercased().hasPrefix("x-envoy-") }.joined(separator: "|")
            return "HTTP/1.1 503 No\r\nx-seen: \(seen)\r\ncontent-length: 0\r\n\r\n"
        }
        let stage = try stage(broken, manager: "use_remote_address: true")
        let answer = try #require(stage.get("/", overrides))
        #expect(answer.status == 503 && broken.requests.load(ordering: .relaxed) == 1)
        let seen = try #require(answer["x-seen"])
        #expect(!seen.contains("x-envoy-internal") && seen.contains("x-envoy-external-address: 127.0.0.1"))
    }

    @Test func onlyClientsOutsideAreSentToTLSWhereAHostSaysSo() throws {
        let upstream = TestServer.echo()
        let inside = "internal_address_config: {cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}"
        for (manager, status) in [("", 301), (inside, 200)] {
            let stage = try stage(
                upstream, host: "require_tls: EXTERNAL_ONLY", manager: "use_remote_address: true\n" + manager)
            #expect(stage.get("/a", ["x-envoy-internal: true"])?.status == status)
        }
    }

    // MARK: Heads and trailers

    @Test func trailersAreChangedWhereAFilterSaysSo() throws {
        let upstream = TestServer.http { request in
            let trailers = request.trailers.joined(separator: ",")
            return "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx-seen: \(trailers)\r\n\r\n"
                + "2\r\nok\r\n0\r\nx-sum: 1\r\nx-secret: 2\r\n\r\n"
        }
        let fields = """
            typed_extension_protocol_options:
              envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
                "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
                explicit_http_config: {http_protocol_options: {enable_trailers: true}}
            """
        let stage = try Stage(
            [
                try Resources.httpListener(
                    routes: toWeb, manager: "http_protocol_options: {enable_trailers: true}",
                    filters: """
                        - name: mutation
                          typed_config:
                            "@type": \(Self.types).header_mutation.v3.HeaderMutation
                            mutations:
                              request_trailers_mutations: [{remove: x-drop}, {append: {header: {key: x-more, value: "1"}}}]
                              response_trailers_mutations: [{remove: x-secret}, {append: {header: {key: x-end, value: "2"}}}]
                        """)
            ], [try Resources.cluster("web", ports: [upstream.port], fields)])
        let client = stage.connect()
        client.send(
            "POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\ntransfer-encoding: chunked\r\n\r\n"
                + "1\r\na\r\n0\r\nx-drop: 1\r\nx-keep: 2\r\n\r\n")
        let answer = try #require(client.message())
        #expect(answer["x-seen"] == "x-keep: 2,x-more: 1")
        #expect(answer.trailers == ["x-sum: 1", "x-end: 2"])
    }

    @Test func aDotBehindAHostIsTakenOffWhereTheManagerSaysSo() throws {
        let upstream = TestServer.echo()
        let stage = try stage(upstream, manager: "strip_trailing_host_dot: true")
        for (host, seen) in [("shop.", "shop"), ("shop.:8080", "shop:8080"), ("shop", "shop")] {
            let client = stage.connect()
            client.send("GET / HTTP/1.1\r\nhost: \(host)\r\n\r\n")
            let answer = try #require(client.message())
            #expect(answer.body.contains("\nhost: \(seen)\n"), "\(answer.body)")
        }
    }

    @Test func aTryThatTookTooLongIsToldOfInTheNextAndResetCoversIt() throws {
        let slow = TestServer { wire, server in
            while let request = wire.message() {
                let isFirst = server.requests.add(1, ordering: .relaxed).newValue == 1
                // The first is never answered.
                if isFirst { continue }
                let body = request["x-envoy-is-timeout-retry"] ?? "nothing"
                wire.send("HTTP/1.1 200 OK\r\ncontent-length: \(body.utf8.count)\r\n\r\n\(body)")
            }
        }
        let stage = try stage(
            slow,
            routes: """
                - match: {prefix: /}
                  route: {cluster: web, retry_policy: {retry_on: reset, num_retries: 1, per_try_timeout: 0.1s}}
                """, host: "include_is_timeout_retry_header: true")
        let answer = try #require(stage.get("/"))
        #expect(answer.status == 200 && answer.body == "true")
    }

    // MARK: The PROXY protocol

    @Test func versionsOfTheProxyProtocolThatAreNotAllowedEndTheConnection() throws {
        let upstream = TestServer.echo()
        let stage = try stage(
            upstream,
            extra: """
                listener_filters:
                - name: proxy
                  typed_config:
                    "@type": type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol
                    disallowed_versions: [V1]
                """)
        let old = stage.connect()
        old.send("PROXY TCP4 10.1.2.3 10.0.0.1 5 80\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n")
        #expect(old.message() == nil)
        let new = stage.connect()
        new.send(
            [0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A, 0x21, 0x11, 0, 12]
                + [10, 1, 2, 3, 10, 0, 0, 1, 0, 5, 0, 80])
        new.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        #expect(new.message()?.status == 200)
    }

    // MARK: Tokens

    /// A key, and a token of `joe` for `ann` without an end that it signed.
    private static let keys = """
        {"keys": [{"kty": "EC", "crv": "P-256", "kid": "k", "alg": "ES256",
         "x": "a5qDJkX0l_PxEcL3FiXFg7HQ1GYdYMtDg8ittU4zeew", "y": "oiZy0KqVaiHHmVA1cPlHTd_Gwo7SxHkdIFX-3XLEU6k"}]}
        """
    private static let token =
        "eyJhbGciOiJFUzI1NiIsImtpZCI6ImsifQ.eyJpc3MiOiJqb2UiLCJzdWIiOiJhbm4ifQ"
        + ".J5qap757q7OONpmEDhimU3qnzCTG3A8MNuM4081P3BTqBC0DkQnCJHhl-LGI97KrIO2LE981-3liORvtkar66g"

    @Test func keysAreFetchedBeforeAnybodyAsksAndStayWhenCertificatesChange() throws {
        let upstream = TestServer.echo()
        let fetched = Mutex<[String]>([])
        let keys = TestServer.http { request in
            fetched.withLock { $0.append("\(request.path) \(request["host"] ?? "")") }
            return "HTTP/1.1 200 OK\r\ncontent-length: \(Self.keys.utf8.count)\r\n\r\n\(Self.keys)"
        }
        let listener = try Resources.httpListener(
            routes: toWeb,
            filters: """
                - name: jwt
                  typed_config:
                    "@type": \(Self.types).jwt_authn.v3.JwtAuthentication
                    providers:
                      joe:
                        issuer: joe
                        remote_jwks:
                          http_uri: {uri: "http://keys.test/jwks.json", cluster: keys, timeout: 2s}
                          async_fetch: {}
                    rules: [{match: {prefix: /}, requires: {provider_name: joe}}]
                """)
        let clusters = [
            try Resources.cluster("web", ports: [upstream.port]), try Resources.cluster("keys", ports: [keys.port]),
        ]
        let stage = try Stage([listener], clusters)
        let end = Date(timeIntervalSinceNow: 5)
        while keys.requests.load(ordering: .relaxed) == 0, Date() < end { usleep(2_000) }
        #expect(fetched.withLock { $0 } == ["/jwks.json keys.test"])
        let signed = ["authorization: Bearer \(Self.token)"]
        #expect(stage.get("/", signed)?.status == 200)
        #expect(stage.get("/", [String(signed[0].dropLast(2)) + "AA"])?.status == 401)
        // The same configuration with other certificates: services are new, keys are not.
        for _ in 0..<3 {
            stage.serve(
                [ServedListener(name: listener.name, configuration: listener.configuration)], clusters)
            #expect(stage.get("/", signed)?.status == 200)
        }
        #expect(keys.requests.load(ordering: .relaxed) == 1)
    }

    private static let newKeys = """
        {"keys": [{"kty": "EC", "crv": "P-256", "kid": "n", "alg": "ES256",
         "x": "GrRcYCuMJ-FXjBsiV0ReulIWZrzaUowxve1we2lh4xM", "y": "AAZN1s3cHg2K5nE5hbJiQaiiI6QZ2RK64cRp9ySaBmQ"}]}
        """
    private static let newToken =
        "eyJhbGciOiJFUzI1NiIsImtpZCI6Im4ifQ.eyJpc3MiOiJqb2UiLCJzdWIiOiJhbm4ifQ"
        + ".4S4X-uk7rkdlJHO0Y9sF5R9Ypx2pL4nTDd_T-yjzc-W0g3YQmIvjEQKLPwA__pH6NRxepPqqKVnaXAbFid2SNg"

    @Test func tokensOfANewKeyPassOnceTheOldKeysTimeIsOver() throws {
        let upstream = TestServer.echo()
        let served = Mutex(Self.keys)
        let keys = TestServer.http { _ in
            let set = served.withLock { $0 }
            return "HTTP/1.1 200 OK\r\ncontent-length: \(set.utf8.count)\r\n\r\n\(set)"
        }
        let stage = try stage(
            upstream,
            filters: """
                - name: jwt
                  typed_config:
                    "@type": \(Self.types).jwt_authn.v3.JwtAuthentication
                    providers:
                      joe:
                        issuer: joe
                        remote_jwks:
                          http_uri: {uri: "http://keys.test/jwks.json", cluster: keys, timeout: 2s}
                          cache_duration: 0.4s
                    rules: [{match: {prefix: /}, requires: {provider_name: joe}}]
                """, more: [try Resources.cluster("keys", ports: [keys.port])])
        func statuses() -> [Int?] {
            [Self.token, Self.newToken].map { stage.get("/", ["authorization: Bearer \($0)"])?.status }
        }
        #expect(statuses() == [200, 401])
        served.withLock { $0 = Self.newKeys }
        // The cache's time is told from the fetch: a slow machine may be over it already.
        usleep(450_000)
        #expect(statuses() == [401, 200])
        #expect((2...3).contains(keys.requests.load(ordering: .relaxed)))
    }

    // MARK: What is told of a request

    @Test func aCookieIsGivenWhereTheClusterGoesByIt() throws {
        let upstream = TestServer.echo()
        let stage = try stage(
            upstream,
            routes: """
                - match: {prefix: /hashed}
                  route: {cluster: hashed, hash_policy: [{cookie: {name: k, ttl: 9s}}]}
                - match: {prefix: /}
                  route: {cluster: web, hash_policy: [{cookie: {name: k, ttl: 9s}}]}
                """, more: [try Resources.cluster("hashed", ports: [upstream.port], "lb_policy: RING_HASH")])
        #expect(stage.get("/hashed")?["set-cookie"]?.hasPrefix("k=") == true)
        #expect(stage.get("/")?.status == 200 && stage.get("/")?["set-cookie"] == nil)
    }

    @Test func whatSendsAClientElsewhereIsToldOfAsIfItHadGoneThere() throws {
        let stage = try stage(
            TestServer.echo(),
            routes: """
                - match: {prefix: /old}
                  redirect: {prefix_rewrite: /new}
                  response_headers_to_add:
                  - {header: {key: r-path, value: "%REQ(:path)% %REQ(x-envoy-original-path)% %UPSTREAM_HOST%."}}
                """)
        let answer = try #require(stage.get("/old/1?q"))
        #expect(answer["location"] == "http://shop/new/1?q" && answer["r-path"] == "/new/1?q /old/1?q .")
    }

    @Test func headersThatAFilterWritesMayTellOfTheRequest() throws {
        let upstream = TestServer.echo()
        let stage = try stage(
            upstream,
            filters: """
                - name: mutation
                  typed_config:
                    "@type": \(Self.types).header_mutation.v3.HeaderMutation
                    mutations:
                      request_mutations:
                      - append: {header: {key: x-asked, value: "%REQ(:path)% by %PROTOCOL%"}}
                      response_mutations:
                      - append: {header: {key: r-host, value: "%UPSTREAM_HOST% %RESPONSE_FLAGS%"}}
                """)
        let answer = try #require(stage.get("/a"))
        #expect(answer.body.contains("x-asked: /a by HTTP/1.1"))
        #expect(answer["r-host"] == "127.0.0.1:\(upstream.port) -")
    }

    // MARK: Another server is asked

    @Test func anHTTPServerDecidesAndItsFieldsReachUpstreamAndClient() throws {
        let upstream = TestServer.echo()
        let judge = TestServer.http { request in
            if request["x-user"] == "ann" {
                return "HTTP/1.1 200 OK\r\nx-role: admin\r\ncontent-length: 0\r\n\r\n"
            }
            let body = "no entry to \(request.path)"
            return "HTTP/1.1 403 No\r\nx-why: unknown\r\ncontent-length: \(body.utf8.count)\r\n\r\n\(body)"
        }
        let stage = try stage(
            upstream,
            filters: """
                - name: ext
                  typed_config:
                    "@type": \(Self.types).ext_authz.v3.ExtAuthz
                    status_on_error: {code: Continue}
                    http_service:
                      server_uri: {uri: "http://judge.test", cluster: judge, timeout: 2s}
                      path_prefix: /check
                      authorization_request: {allowed_headers: {patterns: [{exact: x-user}]}}
                      authorization_response: {allowed_upstream_headers: {patterns: [{exact: x-role}]}}
                """, more: [try Resources.cluster("judge", ports: [judge.port])])
        let ann = try #require(stage.get("/a", ["x-user: ann"]))
        #expect(ann.status == 200 && ann.body.contains("x-role: admin"))
        let bob = try #require(stage.get("/b", ["x-user: bob"]))
        #expect(bob.status == 403 && bob.body == "no entry to /check/b" && bob["x-why"] == "unknown")
        #expect(upstream.requests.load(ordering: .relaxed) == 1)
        // Without a server the request ends, whatever number the configuration gives.
        stage.serve(
            Array(stage.configuration.listeners.values),
            [try Resources.cluster("web", ports: [upstream.port]), try Resources.cluster("judge", ports: [])])
        #expect(stage.get("/c", ["x-user: ann"])?.status == 403)
    }

    // MARK: Faults

    @Test func asManyRequestsAreUnderAFaultAtOnceAsMayBe() throws {
        let upstream = TestServer.echo()
        let stage = try stage(
            upstream,
            filters: """
                - name: fault
                  typed_config:
                    "@type": \(Self.types).fault.v3.HTTPFault
                    max_active_faults: 1
                    delay: {fixed_delay: 30s, percentage: {numerator: 100}}
                """)
        let held = stage.connect()
        held.send("GET /held HTTP/1.1\r\nhost: a\r\n\r\n")
        // On one worker the first is held before the second is read, and it passes.
        var passed = 0
        for _ in 0..<3 where stage.get("/free")?.status == 200 { passed += 1 }
        #expect(passed == 3 && upstream.requests.load(ordering: .relaxed) == 3)
    }
}
