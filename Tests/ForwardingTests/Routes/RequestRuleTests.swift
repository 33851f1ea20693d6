import Addresses
import HTTP
import Testing
import Time

@testable import Forwarding

/// Timeouts, retries and hashing of one request.
struct RequestRuleTests {
    private func forwarded(_ action: String) throws -> Route.Forwarded {
        let table = try RouteTable(
            yaml:
                "{virtual_hosts: [{name: h, domains: ['*'], routes: [{match: {prefix: /}, route: {cluster: c, \(action)}}]}]}"
        )
        return try #require(table.routes[0].forwarded)
    }

    private func limits(_ action: String, _ fields: [(String, String)] = []) throws -> RequestTimeouts.Limits {
        var head = RouteTableTests.head("/", fields)
        let forwarded = try forwarded(action)
        return forwarded.timeouts.limits(&head, retries: forwarded.retries)
    }

    @Test func aRequestHasItsRoutesTimeoutOrTheOneThatItsHeadersAskFor() throws {
        #expect(try limits("").whole == .seconds(15))
        #expect(try limits("timeout: 0s").whole == nil)
        #expect(try limits("timeout: 3s").whole == .seconds(3))
        #expect(try limits("timeout: 3s", [("x-envoy-upstream-rq-timeout-ms", "250")]).whole == .milliseconds(250))
        #expect(try limits("timeout: 3s", [("x-envoy-upstream-rq-timeout-ms", "0")]).whole == nil)
        let tries = "timeout: 3s, retry_policy: {retry_on: 5xx, per_try_timeout: 1s}"
        #expect(try limits(tries).perTry == .seconds(1))
        #expect(try limits(tries, [("x-envoy-upstream-rq-per-try-timeout-ms", "2000")]).perTry == .seconds(2))
        // One that is no shorter than the whole has no effect.
        #expect(try limits(tries, [("x-envoy-upstream-rq-timeout-ms", "1000")]).perTry == nil)
    }

    @Test func gRPCDeadlinesCountAsFarAsTheRouteLetsThem() throws {
        let grpc = [("content-type", "application/grpc+proto")]
        #expect(try limits("timeout: 3s, max_grpc_timeout: 0s", grpc).whole == nil)
        #expect(try limits("max_grpc_timeout: 0s", grpc + [("grpc-timeout", "7S")]).whole == .seconds(7))
        #expect(try limits("max_grpc_timeout: 5s", grpc + [("grpc-timeout", "7S")]).whole == .seconds(5))
        #expect(try limits("max_grpc_timeout: 5s", grpc).whole == .seconds(5))
        #expect(
            try limits("max_grpc_timeout: 0s, grpc_timeout_offset: 1s", grpc + [("grpc-timeout", "7S")]).whole
                == .seconds(6))
        #expect(try limits("timeout: 3s", grpc + [("grpc-timeout", "1S")]).whole == .seconds(3))
        let stream =
            "max_stream_duration: {max_stream_duration: 9s, grpc_timeout_header_max: 4s, grpc_timeout_header_offset: 1s}"
        #expect(try limits(stream).stream == .seconds(9) && limits(stream).whole == nil)
        #expect(try limits(stream, [("grpc-timeout", "3S")]).stream == .seconds(2))
        #expect(try limits(stream, [("grpc-timeout", "30M")]).stream == .seconds(4))
    }

    @Test func theUnitsOfDeadlinesAreThoseOfGRPC() {
        let expected: [(String, Duration?)] = [
            ("1H", .seconds(3_600)), ("2M", .seconds(120)), ("3S", .seconds(3)), ("4m", .milliseconds(4)),
            ("1u", .milliseconds(1)), ("1001u", .milliseconds(2)), ("1n", .milliseconds(1)), ("S", nil), ("5", nil),
            ("-1S", nil), ("999999999S", nil), ("99999999S", .seconds(99_999_999)), ("1x", nil), ("", nil),
        ]
        for (text, duration) in expected {
            #expect(RouteTableTests.head("/", [("grpc-timeout", text)]).grpcTimeout == duration, "\(text)")
        }
    }

    @Test func theUpstreamIsToldHowLongItHas() throws {
        let forwarded = try forwarded("timeout: 3s, max_grpc_timeout: 2s")
        var head = RouteTableTests.head("/")
        _ = forwarded.timeouts.limits(&head, retries: nil)
        #expect(head["x-envoy-expected-rq-timeout-ms"] == "3000" && head["grpc-timeout"] == nil)
        head = RouteTableTests.head("/", [("content-type", "application/grpc"), ("grpc-timeout", "1H")])
        _ = forwarded.timeouts.limits(&head, retries: nil)
        #expect(head["x-envoy-expected-rq-timeout-ms"] == "2000" && head["grpc-timeout"] == "2000m")
        head = RouteTableTests.head("/", [("x-envoy-upstream-rq-timeout-ms", "9")])
        _ = forwarded.timeouts.limits(&head, retries: nil, tellsUpstream: false)
        #expect(!head.contains("x-envoy-upstream-rq-timeout-ms") && !head.contains("x-envoy-expected-rq-timeout-ms"))
    }

    @Test func whoIsNotTrustedAsksForNothing() {
        var head = RouteTableTests.head(
            "/",
            [
                ("x-envoy-retry-on", "5xx"), ("x-envoy-upstream-rq-timeout-ms", "1"), ("x-envoy-attempt-count", "1"),
                ("x-envoy-decorator-operation", "o"), ("x-secret", "s"), ("x-mine", "m"),
            ])
        RequestOverrides.remove(from: &head, isEdge: false, internalOnly: [Array("x-secret".utf8)])
        #expect(
            head.fields.dropFirst(4).map(\.name) == ["x-envoy-attempt-count", "x-envoy-decorator-operation", "x-mine"])
        RequestOverrides.remove(from: &head, isEdge: true)
        #expect(!head.contains("x-envoy-decorator-operation"))
    }

    // MARK: Retries

    private func state(_ policy: String, _ fields: [(String, String)] = []) throws -> RetryState? {
        let forwarded = try forwarded(policy.isEmpty ? "" : "retry_policy: {\(policy)}")
        var head = RouteTableTests.head("/", fields)
        let state = RetryState(forwarded.retries, &head)
        #expect(head.fields.allSatisfy { !$0.name.hasPrefix("x-envoy-retr") && $0.name != "x-envoy-max-retries" })
        return state
    }

    private func response(_ status: Int, _ fields: [(String, String)] = []) -> HeaderList {
        HeaderList([(":status", "\(status)")] + fields.map { (name: $0.0, value: $0.1) })
    }

    @Test func eachWordNamesTheResponsesThatAreTriedAgain() throws {
        let all: [(String, HeaderList)] = [
            ("500", response(500)), ("503", response(503)), ("409", response(409)), ("418", response(418)),
            ("limited", response(429, [("x-envoy-ratelimited", "true")])),
            ("header", response(200, [("again", "yes")])),
            ("grpc-14", response(200, [("grpc-status", "14")])), ("grpc-1", response(200, [("grpc-status", "1")])),
        ]
        let expected: [(String, [String])] = [
            ("retry_on: 5xx", ["500", "503"]), ("retry_on: gateway-error", ["503"]),
            ("retry_on: retriable-4xx", ["409"]),
            ("retry_on: retriable-status-codes, retriable_status_codes: [418]", ["418"]),
            ("retry_on: retriable-headers, retriable_headers: [{name: again}]", ["header"]),
            ("retry_on: envoy-ratelimited", ["limited"]), ("retry_on: unavailable", ["grpc-14"]),
            ("retry_on: 'cancelled,gateway-error'", ["503", "grpc-1"]), ("retry_on: connect-failure", []),
        ]
        for (policy, names) in expected {
            let state = try #require(try state(policy))
            #expect(all.filter { state.wants(retryOn: $0.1) }.map(\.0) == names, "\(policy)")
        }
    }

    @Test func eachWordNamesTheFailuresThatAreTriedAgain() throws {
        let all: [(String, RetryState.Failure)] = [
            ("connect", .connect), ("refused", .refused), ("early", .reset(hadStarted: false)),
            ("late", .reset(hadStarted: true)), ("timeout", .timeout), ("overflow", .overflow),
        ]
        let expected: [(String, [String])] = [
            ("5xx", ["connect", "refused", "early", "late", "timeout"]), ("connect-failure", ["connect"]),
            ("refused-stream", ["refused"]), ("reset", ["connect", "refused", "early", "late", "timeout"]),
            ("reset-before-request", ["connect", "early"]), ("unavailable", []),
        ]
        for (word, names) in expected {
            let state = try #require(try state("retry_on: \(word)"))
            #expect(all.filter { state.wants(retryOn: $0.1) }.map(\.0) == names, "\(word)")
        }
    }

    @Test func requestsMayAskForRetriesAndRoutesMayLimitWhoGetsThem() throws {
        #expect(try state("") == nil)
        var asked = try #require(try state("", [("x-envoy-retry-on", "5xx,nonsense"), ("x-envoy-max-retries", "3")]))
        #expect(asked.remaining == 3 && asked.wants(retryOn: response(500)))
        #expect((0..<4).map { _ in asked.take() } == [true, true, true, false])
        #expect(try state("retry_on: 5xx")?.remaining == 1)
        let limited = "retry_on: 5xx, retriable_request_headers: [{name: ':method', string_match: {exact: PUT}}]"
        #expect(try state(limited) == nil)
        let codes = [("x-envoy-retry-on", "retriable-status-codes"), ("x-envoy-retriable-status-codes", "418, 420")]
        #expect(try state("", codes)?.wants(retryOn: response(420)) == true)
    }

    @Test func pausesGrowByHalvesUpToTheLongestUnlessTheUpstreamSaysWhen() throws {
        var state = try #require(
            try state("retry_on: 5xx, retry_back_off: {base_interval: 0.1s, max_interval: 0.3s}"))
        let longest = (0..<4).map { _ in state.pause(after: nil, now: 0, random: UInt64.max / 2) }
        #expect(longest.allSatisfy { $0 < .milliseconds(300) })
        var other = try #require(
            try self.state(
                """
                retry_on: 5xx, rate_limited_retry_back_off: {max_interval: 20s, reset_headers: [
                  {name: Retry-After}, {name: x-reset, format: UNIX_TIMESTAMP}]}
                """))
        #expect(other.pause(after: response(429, [("retry-after", "5")]), now: 0, random: 0) == .seconds(5))
        #expect(other.pause(after: response(429, [("x-reset", "1007")]), now: 1_000, random: 0) == .seconds(7))
        #expect(other.pause(after: response(429, [("retry-after", "50")]), now: 0, random: 0) < .milliseconds(25))
    }

    @Test func hostsAndPrioritiesThatWereTriedAreAvoidedWhereThePolicySaysSo() throws {
        let rules = try #require(
            try forwarded(
                """
                retry_policy: {retry_on: 5xx, num_retries: 4, host_selection_retry_max_attempts: 7,
                  retry_host_predicate: [{name: envoy.retry_host_predicates.previous_hosts}],
                  retry_priority: {name: envoy.retry_priorities.previous_priorities}}
                """
            ).retries)
        #expect(rules.avoidsPreviousHosts && !rules.avoidsCanaries && rules.mostPicks == 7 && rules.attempts == 4)
        #expect(rules.previousPrioritiesAfter == 1)
    }

    // MARK: Hashing

    @Test func theHashIsThatOfTheAlgorithmsOwnExamples() {
        // Source: xxHash, its reference implementation, over these texts.
        #expect(KeyHash.xx("") == 0xEF46_DB37_51D8_E999)
        #expect(KeyHash.xx("a") == 0xD24E_C4F1_A98C_6E5B)
        #expect(KeyHash.xx("abc") == 0x44BC_2CF5_AD77_0999)
        #expect(KeyHash.xx("The quick brown fox jumps over the lazy dog") == 0x0B24_2D36_1FDA_71BC)
    }

    @Test func rulesOfTheHashAreMixedUntilATerminalOneHasDecided() throws {
        let rules = try forwarded(
            """
            hash_policy: [{cookie: {name: sid}, terminal: true}, {header: {header_name: User}},
              {query_parameter: {name: q}}, {connection_properties: {source_ip: true}}]
            """
        ).hash
        func hash(_ path: String, _ fields: [(String, String)]) -> UInt64? {
            rules.hash(
                RouteTableTests.head(path, fields), source: RouteTableTests.connection.source,
                connection: RouteTableTests.connection
            ).hash
        }
        let address = KeyHash.xx("10.0.0.9")
        #expect(hash("/", []) == address)
        #expect(hash("/", [("cookie", "a=b; sid=\"x\"; c")]) == KeyHash.xx("x"))
        let user = KeyHash.xx("me")
        #expect(hash("/", [("user", "me")]) == (user << 1 | user >> 63) ^ address)
        // The order of a header's values does not count.
        #expect(hash("/", [("user", "b"), ("user", "a")]) == hash("/", [("user", "a"), ("user", "b")]))
        #expect(hash("/?q=1", []) != hash("/?q=2", []))
    }

    @Test func aCookieThatIsNotThereIsMadeWhereItHasALifetime() throws {
        let rules = try forwarded(
            "hash_policy: [{cookie: {name: sid, ttl: 60s, path: /a, attributes: [{name: SameSite, value: Lax}, {name: Secure}]}}]"
        ).hash
        let outcome = rules.hash(
            RouteTableTests.head("/"), source: RouteTableTests.connection.source, connection: RouteTableTests.connection
        )
        let cookie = String(decoding: try #require(outcome.cookies.first), as: UTF8.self)
        let value = cookie.split(separator: "\"")[1]
        #expect(value.count == 16)
        #expect(cookie == "sid=\"\(value)\"; Max-Age=60; Path=/a; SameSite=Lax; Secure; HttpOnly")
        #expect(outcome.hash == KeyHash.xx(String(value)))
    }
}
