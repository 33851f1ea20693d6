import GRPC
import HTTP
import HTTP2
import Testing
import Time

@Suite struct BadInputTests {
    @Test func whatIsNotGRPCGetsAnHTTPStatus() {
        let raw = RawRequests()
        var statuses: [String?] = []
        for change: [String: String?] in [
            [":method": "GET"], ["content-type": "text/html"], ["content-type": "application/grpc-web"],
            ["content-type": nil],
        ] {
            let stream = raw.request(change)
            statuses.append(raw.responses[stream]?[":status"])
        }
        #expect(statuses == ["405", "415", "415", "415"])
        #expect(
            raw.log == [
                "refused 1 the method is GET; gRPC uses POST",
                "refused 3 the content type is \"text/html\"; gRPC uses application/grpc",
                "refused 5 the content type is \"application/grpc-web\"; gRPC uses application/grpc",
                "refused 7 the content type is \"\"; gRPC uses application/grpc",
            ])
    }

    @Test(arguments: [
        "application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8", "Application/GRPC",
    ])
    func theContentTypeMayHaveASuffix(contentType: String) {
        let raw = RawRequests()
        let stream = raw.request(["content-type": contentType], body: GRPC.frame([1]))
        #expect(raw.status(stream) == "0")
    }

    @Test(arguments: [
        ("/test.Echo/Nothing", "service test.Echo has no method Nothing"),
        ("/test.Nothing/Unary", "there is no service test.Nothing"),
        ("/nonsense", "malformed path /nonsense: it must be /SERVICE/METHOD"),
        ("/a/b/c", "malformed path /a/b/c: it must be /SERVICE/METHOD"),
    ])
    func anUnknownMethodIsUnimplemented(path: String, words: String) {
        let raw = RawRequests()
        let stream = raw.request([":path": path])
        #expect(raw.responses[stream]?[":status"] == "200")
        #expect(raw.status(stream) == "12")
        #expect(raw.message(stream) == words)
    }

    @Test func compressionIsRefusedWithWhatIsAccepted() {
        let raw = RawRequests()
        let stream = raw.request(["grpc-encoding": "gzip"], body: [1, 0, 0, 0, 1, 9])
        #expect(raw.status(stream) == "12")
        #expect(raw.responses[stream]?["grpc-accept-encoding"] == "identity")
        #expect(raw.message(stream) == "grpc-encoding gzip is not supported: send uncompressed")
        #expect(raw.status(raw.request(["grpc-encoding": "identity"], body: GRPC.frame([]))) == "0")
    }

    @Test func aCompressedMessageWithoutAnEncodingIsAnError() {
        let raw = RawRequests()
        let stream = raw.request(body: [1, 0, 0, 0, 1, 9])
        #expect(raw.status(stream) == "13")
        #expect(raw.status(raw.request(body: [2, 0, 0, 0, 1, 9])) == "13")
        #expect(raw.log.filter { $0.hasPrefix("message") } == [])
    }

    @Test func aMessageOverTheLimitIsRefusedByItsPrefixAlone() {
        var limits = GRPCLimits()
        limits.messageSize = 1000
        let raw = RawRequests(limits: limits)
        let stream = raw.request(body: [0, 0, 0, 3, 233, 1], end: false)
        #expect(raw.status(stream) == "8")
        #expect(
            raw.message(stream)
                == "a message of 1001 bytes is larger than the limit of 1000: split it, or raise messageSize")
        #expect(raw.resets[stream] == .noError)
        #expect(raw.status(raw.request(body: GRPC.frame([UInt8](repeating: 0, count: 1000)))) == "0")
    }

    @Test func aRequestThatEndsInsideAMessageIsAnError() {
        let raw = RawRequests()
        let stream = raw.request(body: [0, 0, 0, 0, 9, 1, 2])
        #expect(raw.status(stream) == "13")
        #expect(raw.message(stream) == "the request ends inside a message")
        #expect(raw.status(raw.request(body: [0, 0])) == "13")
    }

    @Test func aUnaryMethodTakesExactlyOneMessage() {
        let raw = RawRequests()
        let two = raw.request(body: GRPC.frame([1]) + GRPC.frame([2]))
        #expect(raw.status(two) == "13")
        #expect(raw.message(two) == "the method takes one message, and a second one came")
        let none = raw.request()
        #expect(raw.message(none) == "the method takes one message, and none came")
    }

    @Test(arguments: ["", "5", "S", "123456789S", "5s", "-1S", "1.5S"])
    func aMalformedTimeoutIsAnError(text: String) {
        let raw = RawRequests()
        let stream = raw.request(["grpc-timeout": text], body: GRPC.frame([1]))
        #expect(raw.status(stream) == "13")
        // A space at the end travels encoded.
        #expect(raw.message(stream) == "malformed grpc-timeout\(text.isEmpty ? "%20" : " \(text)")")
    }

    @Test func headersBeyondTheLimitResetTheStreamAndAreLogged() {
        let raw = RawRequests()
        let stream = raw.request(["big": String(repeating: "x", count: 20_000)])
        #expect(raw.resets[stream] == .enhanceYourCalm)
        #expect(raw.log.count == 1)
        #expect(raw.log[0].hasPrefix("refused 1 limit headerListSize: 2"))
    }

    @Test func aLongStatusMessageIsCutAndStillArrives() throws {
        let pair = GRPCPair()
        pair.onServerEvent = { [unowned pair] event in
            guard case .started(let call, _) = event else { return }
            pair.server.finish(call, GRPCStatus(.aborted, String(repeating: "é", count: 100_000)))
        }
        let call = try #require(pair.call())
        pair.run()
        #expect(pair.statuses[call]?.code == .aborted)
        #expect(pair.statuses[call]?.message.count == 2048)
    }
}

/// What a client makes of servers that are no gRPC servers, or bad ones.
@Suite struct BadAnswerTests {
    private func answer(_ respond: (HTTP2Connection, HTTP2StreamID) -> Void) -> (GRPCStatus?, String) {
        let now = Instant(nanoseconds: 0)
        let client = GRPCClientConnection(authority: "test", now: now)
        let server = HTTP2Connection(role: .server, now: now)
        guard let call = client.start("/a.B/C", now: now) else { return (nil, "") }
        client.halfClose(call)
        var status: GRPCStatus?
        var log = ""
        withUnsafeTemporaryAllocation(byteCount: 64 * 1024, alignment: 1) { buffer in
            for round in 0..<6 {
                var events = GRPCEvents<GRPCClientEvent>()
                var serverEvents: [HTTP2Event] = []
                let sent = client.produceOutput(into: buffer, now: now, events: &events)
                let part = UnsafeRawBufferPointer(rebasing: buffer[..<sent])
                server.receive(part, now: now, events: &serverEvents)
                if round == 1 { respond(server, call) }
                let count = server.produceOutput(into: buffer, now: now, events: &serverEvents)
                client.receive(UnsafeRawBufferPointer(rebasing: buffer[..<count]), now: now, events: &events)
                for event in events.list {
                    switch event {
                    case .ended(_, let ended, _): status = ended
                    case .metadata, .message, .writable, .serverDrains, .connectionFailed: log += "\(event) "
                    }
                }
            }
        }
        return (status, log)
    }

    @Test(arguments: [
        ("400", GRPCStatusCode.internalError), ("401", .unauthenticated), ("403", .permissionDenied),
        ("404", .unimplemented), ("429", .unavailable), ("502", .unavailable), ("503", .unavailable),
        ("504", .unavailable), ("500", .unknown), ("200", .unknown),
    ])
    func anHTTPStatusStandsInForAMissingOne(http: String, code: GRPCStatusCode) {
        let (alone, _) = answer { $0.respond(HeaderList([(":status", http)]), on: $1, endStream: true) }
        #expect(alone?.code == code)
        let (withBody, _) = answer { server, stream in
            server.respond(HeaderList([(":status", http), ("content-type", "text/html")]), on: stream)
            _ = server.send(Array("<html>".utf8), on: stream, endStream: true, now: Instant(nanoseconds: 0))
        }
        #expect(withBody?.code == code)
    }

    @Test(arguments: [
        (HTTP2ErrorCode.noError, GRPCStatusCode.internalError), (.protocolError, .internalError),
        (.refusedStream, .unavailable), (.cancel, .cancelled), (.enhanceYourCalm, .resourceExhausted),
        (.inadequateSecurity, .permissionDenied), (.flowControlError, .internalError),
    ])
    func aResetIsAStatusToo(reset: HTTP2ErrorCode, code: GRPCStatusCode) {
        let (status, _) = answer { $0.reset($1, reset) }
        #expect(status?.code == code)
        #expect(status?.message == "the stream was reset: \(reset)")
    }

    @Test func aStatusInHeadersWithoutABodyCounts() {
        let (status, _) = answer { server, stream in
            let headers = HeaderList([
                (":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "7"),
                ("grpc-message", "no%21"),
            ])
            server.respond(headers, on: stream, endStream: true)
        }
        #expect(status == GRPCStatus(.permissionDenied, "no!"))
    }

    @Test func anEndWithoutAStatusIsUnknown() {
        let (status, _) = answer { server, stream in
            server.respond(HeaderList([(":status", "200"), ("content-type", "application/grpc")]), on: stream)
            _ = server.send([], on: stream, endStream: true, now: Instant(nanoseconds: 0))
        }
        #expect(status == GRPCStatus(.unknown, "the response ended without grpc-status"))
    }

    @Test func aStatusOutOfRangeIsUnknown() {
        for text in ["17", "-1", "x", ""] {
            let (status, _) = answer { server, stream in
                let headers = HeaderList([
                    (":status", "200"), ("content-type", "application/grpc"), ("grpc-status", text),
                ])
                server.respond(headers, on: stream, endStream: true)
            }
            #expect(status?.code == .unknown)
        }
    }

    @Test func anAnswerThatIsCompressedOrCutIsAnError() {
        func send(_ bytes: [UInt8]) -> GRPCStatus? {
            answer { server, stream in
                server.respond(HeaderList([(":status", "200"), ("content-type", "application/grpc")]), on: stream)
                _ = server.send(bytes, on: stream, now: Instant(nanoseconds: 0))
                server.sendTrailers(HeaderList([("grpc-status", "0")]), on: stream)
            }.0
        }
        #expect(send([1, 0, 0, 0, 1, 1])?.code == .internalError)
        #expect(send([0, 0, 0, 0, 5, 1])?.code == .internalError)
        #expect(send([0, 255, 255, 255, 255])?.code == .resourceExhausted)
        #expect(send([0, 0, 0, 0, 1, 1]) == .ok)
    }

    @Test func anEncodingThatWasNotOfferedIsRefused() {
        let (status, _) = answer { server, stream in
            let headers = HeaderList([
                (":status", "200"), ("content-type", "application/grpc"), ("grpc-encoding", "gzip"),
            ])
            server.respond(headers, on: stream)
        }
        #expect(status?.code == .unimplemented)
    }

    @Test func aGoAwayIsReportedInItsWordsAndLeavesTheCallToTheTransport() {
        let (status, log) = answer { server, _ in server.terminate(.internalError, "out of order") }
        #expect(status == nil)
        #expect(log == "serverDrains(\"INTERNAL_ERROR: out of order\") ")
    }

    @Test func aServerThatBreaksHTTP2EndsTheCallAsUnavailable() {
        let now = Instant(nanoseconds: 0)
        let client = GRPCClientConnection(authority: "test", now: now)
        _ = client.start("/a.B/C", now: now)
        var events = GRPCEvents<GRPCClientEvent>()
        let http1 = Array("HTTP/1.1 400 Bad Request\r\n\r\n".utf8)
        http1.withUnsafeBytes { client.receive($0, now: now, events: &events) }
        #expect(events.list.count == 2)
        guard case .ended(1, let status, _)? = events.list.first else {
            Issue.record("\(events.list)")
            return
        }
        #expect(status.code == .unavailable)
        #expect(client.openCallCount == 0)
    }
}
