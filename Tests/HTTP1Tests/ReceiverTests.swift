import HTTP
import HTTP1
import Testing

private func expectRequests(
    _ text: String, limits: HTTP1Limits = HTTP1Limits(), scheme: HTTP1Scheme = .http, _ expected: [String],
    sourceLocation: SourceLocation = #_sourceLocation
) {
    let bytes = unescaped(text)
    for parts in allCuts(bytes) {
        var transcript = Transcript(.server, limits: limits, scheme: scheme)
        let lines = transcript.run(parts)
        #expect(lines == expected, "cut as \(parts.map(\.count))", sourceLocation: sourceLocation)
        if lines != expected { return }
    }
}

private func expectResponse(
    _ text: String, to method: HTTP1Method = .other, upgrades: Bool = false, _ expected: [String],
    sourceLocation: SourceLocation = #_sourceLocation
) {
    let bytes = unescaped(text)
    for parts in allCuts(bytes) {
        var transcript = Transcript(.client, to: method, upgrades: upgrades)
        let lines = transcript.run(parts)
        #expect(lines == expected, "cut as \(parts.map(\.count))", sourceLocation: sourceLocation)
        if lines != expected { return }
    }
}

struct RequestTests {
    @Test func aHeadBecomesFieldsWithTheAuthorityAmongThePseudoHeaders() {
        expectRequests(
            #"GET /hello.txt?a=b%20 HTTP/1.1\r\nUser-Agent: curl/7.64.1\r\nHost: www.example.com\r\n"#
                + #"ACCEPT-Language:\t en, mi\t \r\nX-Empty:\r\nX-Tab: a\tb \xe9\r\n\r\n"#,
            [
                "head :method=GET :scheme=http :authority=www.example.com :path=/hello.txt?a=b%20 "
                    + "user-agent=curl/7.64.1 accept-language=en, mi x-empty= x-tab=a\tb \u{fffd}",
                "  none, keeps alive", "end",
            ])
    }

    @Test func namesOfFieldsKeepWhatTokensMayHold() {
        var limits = HTTP1Limits()
        limits.acceptsAnyMethod = true
        expectRequests(
            #"M-SEARCH!#$%&'*+.^_`|~ / HTTP/1.1\r\nhost: a\r\nX!#$%&'*+-.^_`|~09AZ: v\r\n\r\n"#,
            limits: limits,
            [
                "head :method=M-SEARCH!#$%&'*+.^_`|~ :scheme=http :authority=a :path=/ x!#$%&'*+-.^_`|~09az=v",
                "  none, keeps alive", "end",
            ])
    }

    @Test func methodsThatEnvoyKnowsAreTaken() {
        let known =
            "ACL BIND CHECKOUT COPY DELETE GET HEAD LINK LOCK M-SEARCH MERGE MKACTIVITY MKCALENDAR MKCOL MOVE NOTIFY OPTIONS "
            + "PATCH POST PROPFIND PROPPATCH PURGE PUT REBIND REPORT SEARCH SOURCE SUBSCRIBE TRACE UNBIND UNLINK UNLOCK "
            + "UNSUBSCRIBE"
        for method in known.split(separator: " ") {
            expectRequests(
                method + #" / HTTP/1.1\r\nHost: a\r\n\r\n"#,
                [
                    "head :method=\(method) :scheme=http :authority=a :path=/",
                    "  none, keeps alive" + (method == "HEAD" ? ", head" : ""), "end",
                ])
        }
    }

    @Test func aBodyOfAKnownLengthEndsWithIt() {
        expectRequests(
            #"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello worldPUT /b HTTP/1.1\r\nHost: a\r\n"#
                + #"Content-Length: 0\r\n\r\n"#,
            [
                "head :method=POST :scheme=http :authority=a :path=/ content-length=11", "  length(11), keeps alive",
                "data hello world", "end",
                "head :method=PUT :scheme=http :authority=a :path=/b content-length=0", "  length(0), keeps alive",
                "end",
            ])
    }

    @Test func chunksLoseTheirSizesExtensionsAndForbiddenTrailers() {
        expectRequests(
            #"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\nTrailer: X-Sum\r\n\r\n"#
                + #"5;name=value;flag;q="a b"\r\nhello\r\n0000A\r\n, world\r\n!\r\n000;x\r\nX-Sum: 1\r\n"#
                + #"Content-Length: 5\r\nTransfer-Encoding: x\r\nHost: b\r\nAuthorization: c\r\nCookie: d\r\n"#
                + #"X-Forwarded-For: 1\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"#,
            [
                "head :method=POST :scheme=http :authority=a :path=/ trailer=X-Sum", "  chunked, keeps alive",
                #"data hello, world\r\n!"#, "end x-sum=1",
                "head :method=GET :scheme=http :authority=a :path=/", "  none, keeps alive", "end",
            ])
    }

    @Test func pipelinedRequestsComeOneByOneAndOneEmptyLineBetweenThemIsForgiven() {
        let head = "head :method=GET :scheme=http :authority=a :path=/"
        expectRequests(
            #"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"#,
            [head, "  none, keeps alive", "end", head, "  none, closes", "end"])
    }

    @Test func aServerStopsAfterARequestUntilItStartsTheNext() {
        let bytes = unescaped(#"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n"#)
        var receiver = HTTP1Receiver(role: .server)
        var events: [HTTP1Event] = []
        bytes.withUnsafeBytes { bytes in
            #expect(receiver.receive(bytes, events: &events) == bytes.count / 2)
            #expect(events.count == 2)
            let rest = UnsafeRawBufferPointer(rebasing: bytes[(bytes.count / 2)...])
            #expect(receiver.receive(rest, events: &events) == 0)
            #expect(events.count == 2)
            receiver.startNext()
            #expect(receiver.receive(rest, events: &events) == rest.count)
            #expect(events.count == 4)
        }
        #expect(receiver.isBetweenMessages)
    }

    @Test func fieldsOfThisConnectionGoNoFurther() {
        expectRequests(
            #"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Mine,, TE\r\nKeep-Alive: timeout=5\r\nX-Mine: 1\r\n"#
                + #"Proxy-Connection: x\r\nTE: deflate, trailers;q=0.5\r\nX-Other: 2\r\nUpgrade: x\r\nx-mine: 3\r\n\r\n"#,
            [
                "head :method=GET :scheme=http :authority=a :path=/ te=trailers x-other=2", "  none, keeps alive",
                "end",
            ])
        expectRequests(
            #"GET / HTTP/1.1\r\nHost: a\r\nTE: gzip\r\n\r\n"#,
            ["head :method=GET :scheme=http :authority=a :path=/", "  none, keeps alive", "end"])
    }

    @Test func targetsHaveFourForms() {
        expectRequests(
            #"GET http://A.example:80/x?y HTTP/1.1\r\nHost: a.EXAMPLE\r\n\r\nGET http://a HTTP/1.1\r\nHost: a\r\n\r\n"#
                + #"OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\nOPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"#,
            [
                "head :method=GET :scheme=http :authority=A.example:80 :path=/x?y", "  none, keeps alive", "end",
                "head :method=GET :scheme=http :authority=a :path=/", "  none, keeps alive", "end",
                "head :method=OPTIONS :scheme=http :authority=a :path=*", "  none, keeps alive", "end",
                "head :method=OPTIONS :scheme=http :authority=[::1]:80 :path=*", "  none, keeps alive", "end",
            ])
        expectRequests(
            #"GET https://a/ HTTP/1.1\r\nHost: a:443\r\n\r\n"#, scheme: .https,
            ["head :method=GET :scheme=https :authority=a :path=/", "  none, keeps alive", "end"])
    }

    @Test func afterConnectAndUpgradesAllIsData() {
        expectRequests(
            #"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n\x16\x03\x01GET / HTTP/1.1\r\n"#,
            [
                "head :method=CONNECT :authority=a:443", "  none, keeps alive, connect", "end",
                "data \u{16}\u{3}\u{1}GET / HTTP/1.1\\r\\n", "end",
            ])
        expectRequests(
            #"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"#
                + #"Sec-WebSocket-Version: 13\r\n\r\n\x81\x05hello"#,
            [
                "head :method=GET :scheme=http :authority=a :path=/chat sec-websocket-version=13",
                "  none, keeps alive, upgrade websocket", "end", "data \u{fffd}\u{5}hello", "end",
            ])
    }

    @Test func upgradesThatMustNotHappenAreOrdinaryRequests() {
        let upgrade = #"Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"#
        for (text, framing) in [
            (#"GET / HTTP/1.1\r\nHost: a\r\n"# + upgrade + #"\r\n"#, nil),
            (#"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n"#, nil),
            (
                #"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nx"#,
                "length(1)"
            ),
        ] {
            let body = framing == nil ? ["end"] : ["data x", "end"]
            expectRequests(
                text,
                [
                    "head :method=GET :scheme=http :authority=a :path=/" + (framing == nil ? "" : " content-length=1"),
                    "  \(framing ?? "none"), keeps alive",
                ] + body)
        }
    }

    @Test func whoWaitsForContinueIsToldApart() {
        let head = "head :method=POST :scheme=http :authority=a :path=/"
        expectRequests(
            #"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"#
                + #"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n"#,
            [head, "  chunked, keeps alive, expects continue", "end", head, "  none, keeps alive", "end"])
    }

    @Test func requestsOfHTTP10CloseUnlessTheySayOtherwise() {
        var limits = HTTP1Limits()
        limits.acceptsHTTP10 = true
        let head = "head :method=GET :scheme=http :authority=a :path=/"
        expectRequests(
            #"GET / HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\nGET / HTTP/1.0\r\nHost: a\r\n\r\n"#,
            limits: limits, [head, "  none, keeps alive, 1.0", "end", head, "  none, closes, 1.0", "end"])
        expectRequests(#"GET / HTTP/1.0\r\n\r\n"#, limits: limits, ["failed missingHost 400"])
        limits.hostForHTTP10 = "fallback"
        expectRequests(
            #"GET / HTTP/1.0\r\n\r\n"#, limits: limits,
            ["head :method=GET :scheme=http :authority=fallback :path=/", "  none, closes, 1.0", "end"])
    }

    @Test func anEndWithinAMessageIsAFailureAndOneBetweenThemIsNot() {
        expectRequests("", [])
        expectRequests(#"GET / HTTP/1.1\r\nHost: a\r\n"#, ["failed closedEarly 400"])
        expectRequests(
            #"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab"#,
            [
                "head :method=POST :scheme=http :authority=a :path=/ content-length=3", "  length(3), keeps alive",
                "data ab", "failed closedEarly 400",
            ])
        let chunked = #"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"#
        let head = ["head :method=POST :scheme=http :authority=a :path=/", "  chunked, keeps alive"]
        for rest in [#"2\r\nab"#, #"2\r\nab\r"#, #"2\r\nab\r\n"#, #"2\r\nab\r\n0\r\n"#, #"2\r\nab\r\n0\r\nX: y\r\n"#] {
            expectRequests(chunked + rest, head + ["data ab", "failed closedEarly 400"])
        }
    }
}

struct ResponseTests {
    @Test func bodiesEndByLengthChunksOrTheConnection() {
        expectResponse(
            #"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nExpect: x\r\nServer: s\r\n\r\nhi"#,
            ["head :status=200 content-length=2 expect=x server=s", "  length(2), keeps alive", "data hi", "end"])
        expectResponse(
            #"HTTP/1.1 404 \r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nhi\r\n0\r\nX: y\r\n\r\n"#,
            ["head :status=404", "  chunked, closes", "data hi", "end x=y"])
        expectResponse(
            #"HTTP/1.1 200\r\n\r\nall\r\nof it"#,
            ["head :status=200", "  untilClose, closes", #"data all\r\nof it"#, "end"])
        expectResponse(
            #"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi"#,
            ["head :status=200 content-length=2", "  length(2), closes, 1.0", "data hi", "end"])
        expectResponse(
            #"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nhi"#,
            ["head :status=200 content-length=2", "  length(2), keeps alive, 1.0", "data hi", "end"])
    }

    @Test func someAnswersHaveNoBodyWhateverTheySay() {
        for (status, method) in [("200", HTTP1Method.head), ("304", .other)] {
            expectResponse(
                "HTTP/1.1 \(status) X" + #"\r\nContent-Length: 5\r\n\r\n"#, to: method,
                ["head :status=\(status) content-length=5", "  none, keeps alive", "end"])
            expectResponse(
                "HTTP/1.1 \(status) X" + #"\r\nTransfer-Encoding: chunked\r\n\r\n"#, to: method,
                ["head :status=\(status)", "  none, keeps alive", "end"])
        }
        expectResponse(
            #"HTTP/1.1 204 X\r\nContent-Length: 5\r\n\r\n"#, ["head :status=204", "  none, keeps alive", "end"])
    }

    @Test func informationalResponsesComeBeforeTheFinalOne() {
        expectResponse(
            #"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\nX: 1\r\n\r\n"#
                + #"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"#,
            [
                "informational :status=100", "informational :status=103 link=</a>",
                "head :status=200 content-length=0", "  length(0), keeps alive", "end",
            ])
    }

    @Test func agreedUpgradesAndTunnelsAreData() {
        expectResponse(
            #"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nContent-Length: 3\r\n"#
                + #"\r\nHTTP/1.1 what?"#, upgrades: true,
            ["head :status=101", "  untilClose, closes, upgrade websocket", "data HTTP/1.1 what?", "end"])
        expectResponse(
            #"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nopaque"#, to: .connect,
            ["head :status=200", "  untilClose, closes", "data opaque", "end"])
        expectResponse(
            #"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno"#, to: .connect, upgrades: true,
            ["head :status=403 content-length=2", "  length(2), keeps alive", "data no", "end"])
    }

    @Test func anEndBeforeTheEndIsAFailure() {
        expectResponse("", ["failed closedEarly 502"])
        expectResponse(#"HTTP/1.1 200 OK\r\n"#, ["failed closedEarly 502"])
        expectResponse(
            #"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi"#,
            ["head :status=200 content-length=5", "  length(5), keeps alive", "data hi", "failed closedEarly 502"])
    }

    @Test func bytesThatNobodyAskedForEndTheConnection() {
        var receiver = HTTP1Receiver(role: .client)
        var events: [HTTP1Event] = []
        _ = [UInt8]("H".utf8).withUnsafeBytes { receiver.receive($0, events: &events) }
        guard case .failed(let failure) = events.last else {
            Issue.record("no failure")
            return
        }
        #expect(failure.problem == .unexpectedResponse)
        receiver.expectResponse(to: .other)
        #expect([UInt8]("H".utf8).withUnsafeBytes { receiver.receive($0, events: &events) } == 1)
        #expect(events.count == 1)
    }

    @Test func oneConnectionAnswersOneRequestAfterTheOther() {
        var receiver = HTTP1Receiver(role: .client)
        let bytes = unescaped(#"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"#)
        for round in 1...3 {
            var events: [HTTP1Event] = []
            receiver.expectResponse(to: .other)
            #expect(bytes.withUnsafeBytes { receiver.receive($0, events: &events) } == bytes.count)
            #expect(events.count == 3, "round \(round)")
        }
    }
}
