import HTTP2
import Testing

/// RFC 9113, sections 3 and 4: what begins a connection, and how frames look.
@Suite struct ConformanceConnectionTests {
    // MARK: 3.4 Preface

    @Test func section3_4_theServersPrefaceIsASettingsFrame() {
        let client = RawClient(greets: false)
        client.settle()
        #expect(client.received.first?.type == 4)
        #expect(client.received.first?.flags == 0)
        #expect(client.received.first?.stream == 0)
    }

    @Test func section3_4_aClientPrefaceIsAnswered() {
        let client = RawClient(greets: false)
        client.send(RawFrame.preface)
        client.send(.settings())
        #expect(client.received.contains(.settingsAcknowledgement))
        #expect(client.isAlive)
    }

    @Test(arguments: [
        "INVALID CONNECTION PREFACE\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\rX", "GET / HTTP/1.1\r\n\r\n",
    ])
    func section3_4_anotherPrefaceEndsTheConnection(preface: String) {
        let client = RawClient(greets: false)
        client.send(Array(preface.utf8))
        #expect(client.connectionError == .protocolError)
    }

    @Test func section3_4_whatComesInsteadOfHTTP2IsNamed() {
        let http1 = RawClient(greets: false)
        http1.send(Array("GET / HTTP/1.1\r\n".utf8))
        #expect(http1.log.last?.contains("HTTP/1") == true)
        let tls = RawClient(greets: false)
        tls.send([0x16, 0x03, 0x01, 0x02, 0x00])
        #expect(tls.log.last?.contains("TLS") == true)
    }

    @Test func section3_4_theFirstFrameMustBeSettings() {
        for frame in [RawFrame.ping(), .settingsAcknowledgement, .headers(1, RawHeaders.requestBlock), .goAway()] {
            let client = RawClient(greets: false)
            client.send(RawFrame.preface)
            client.send(frame)
            #expect(client.connectionError == .protocolError)
        }
    }

    // MARK: 4.1 Frame format

    @Test func section4_1_framesOfUnknownTypesAreIgnored() {
        let client = RawClient()
        client.send(RawFrame(type: 0x16, stream: 0, payload: [1, 2, 3, 4, 5, 6, 7, 8]))
        #expect(client.isAlive)
    }

    @Test func section4_1_undefinedFlagsAreIgnored() {
        let client = RawClient()
        var ping = RawFrame.ping()
        ping.flags = 0x16
        client.send(ping)
        #expect(client.frames(type: 6) == [.ping(acknowledgement: true)])
    }

    @Test func section4_1_theReservedBitIsIgnored() {
        let client = RawClient()
        var ping = RawFrame.ping()
        ping.stream = 0x8000_0000
        client.send(ping)
        #expect(client.frames(type: 6) == [.ping(acknowledgement: true)])
        client.send(.headers(0x8000_0001, RawHeaders.requestBlock, end: true))
        #expect(client.log.first == "headers 1 / end")
    }

    // MARK: 4.2 Frame size

    @Test func section4_2_aFrameOfTheLargestSizeIsAccepted() {
        let client = RawClient()
        client.request(1, end: false)
        client.send(.data(1, [UInt8](repeating: 1, count: 16_384), end: true))
        #expect(client.log.contains("data 1 16384"))
        #expect(client.isAlive)
    }

    @Test func section4_2_aLargerDataFrameIsAFrameSizeError() {
        let client = RawClient()
        client.request(1, end: false)
        client.send(.data(1, [UInt8](repeating: 1, count: 16_385), end: true))
        #expect(client.connectionError == .frameSizeError)
    }

    @Test func section4_2_aLargerHeadersFrameIsAFrameSizeError() {
        let client = RawClient()
        let block = RawHeaders.requestBlock + RawHeaders.literal("a", String(repeating: "x", count: 16_384))
        client.send(.headers(1, block, end: true))
        #expect(client.connectionError == .frameSizeError)
    }

    @Test func section4_2_aLargerFrameOfAnyTypeIsAFrameSizeError() {
        let client = RawClient()
        client.send(RawFrame(type: 77, stream: 0, payload: [UInt8](repeating: 0, count: 16_385)))
        #expect(client.connectionError == .frameSizeError)
    }

    @Test func section4_2_theLimitIsWhatWeAnnounced() {
        var limits = HTTP2Limits()
        limits.frameSize = 32_768
        let client = RawClient(limits: limits)
        client.request(1, end: false)
        client.send(.data(1, [UInt8](repeating: 1, count: 32_768), end: true))
        #expect(client.log.contains("data 1 32768"))
    }

    // MARK: 4.3 Header compression

    @Test func section4_3_anInvalidHeaderBlockIsACompressionError() {
        let client = RawClient()
        client.send(.headers(1, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], end: true))
        #expect(client.connectionError == .compressionError)
    }

    @Test func section4_3_aHeaderBlockIsNotInterruptedByPriority() {
        let client = RawClient()
        client.send(.headers(1, RawHeaders.requestBlock, end: true, endHeaders: false), .priority(1))
        #expect(client.connectionError == .protocolError)
    }

    @Test func section4_3_aHeaderBlockIsNotInterruptedByAnotherStream() {
        let client = RawClient()
        client.send(
            .headers(1, RawHeaders.requestBlock, end: true, endHeaders: false), .headers(3, RawHeaders.requestBlock))
        #expect(client.connectionError == .protocolError)
    }

    @Test func section4_3_aHeaderBlockIsNotInterruptedByAPingOrAnUnknownFrame() {
        for frame in [RawFrame.ping(), RawFrame(type: 99, stream: 1)] {
            let client = RawClient()
            client.send(.headers(1, RawHeaders.requestBlock, end: true, endHeaders: false), frame)
            #expect(client.connectionError == .protocolError)
        }
    }
}

/// RFC 9113, section 5: streams and their states.
@Suite struct ConformanceStreamTests {
    // MARK: 5.1 Stream states: idle

    @Test(arguments: [RawFrame.data(1, [1]), .reset(1), .windowUpdate(1, 100), .continuation(1, [])])
    func section5_1_onAnIdleStreamOnlyHeadersAndPriorityCome(frame: RawFrame) {
        let client = RawClient()
        client.send(frame)
        #expect(client.connectionError == .protocolError)
    }

    // MARK: Half-closed (remote)

    @Test func section5_1_dataOnAHalfClosedStreamIsAnError() {
        let client = RawClient()
        client.answers = false
        client.request(1)
        client.send(.data(1, [1], end: true))
        #expect(client.connectionError == .streamClosed)
    }

    @Test func section5_1_headersOnAHalfClosedStreamAreAnError() {
        let client = RawClient()
        client.answers = false
        client.request(1)
        client.request(1)
        #expect(client.connectionError == .streamClosed)
    }

    @Test func section5_1_aContinuationOnAHalfClosedStreamIsAnError() {
        let client = RawClient()
        client.answers = false
        client.request(1)
        client.send(.continuation(1, RawHeaders.requestBlock))
        #expect(client.connectionError == .protocolError)
    }

    @Test func section5_1_windowUpdatePriorityAndResetAreFineOnAHalfClosedStream() {
        let client = RawClient()
        client.answers = false
        client.request(1)
        client.send(.windowUpdate(1, 10), .priority(1), .reset(1))
        #expect(client.isAlive)
        #expect(client.log.last == "closed 1 CANCEL by peer")
    }

    // MARK: Closed

    @Test func section5_1_dataAfterTheirResetIsAStreamError() {
        let client = RawClient()
        client.request(1, end: false)
        client.send(.reset(1), .data(1, [1, 2, 3]))
        #expect(client.streamError(1) == .streamClosed)
        #expect(client.isAlive)
    }

    @Test func section5_1_headersAfterTheirResetAreAStreamError() {
        let client = RawClient()
        client.request(1, end: false)
        client.send(.reset(1))
        client.request(1)
        #expect(client.streamError(1) == .streamClosed)
        #expect(client.isAlive)
    }

    @Test func section5_1_aContinuationAfterTheirResetIsAConnectionError() {
        let client = RawClient()
        client.request(1, end: false)
        client.send(.reset(1), .continuation(1, []))
        #expect(client.connectionError == .protocolError)
    }

    @Test func section5_1_dataOnAClosedStreamIsAnError() {
        let client = RawClient()
        client.request(1)
        #expect(client.log.last == "closed 1 NO_ERROR")
        client.send(.data(1, [1]))
        #expect(client.connectionError == .streamClosed)
    }

    @Test func section5_1_headersOnAClosedStreamAreAnError() {
        let client = RawClient()
        client.request(1)
        client.request(1)
        #expect(client.connectionError == .streamClosed)
    }

    @Test func section5_1_aContinuationOnAClosedStreamIsAnError() {
        let client = RawClient()
        client.request(1)
        client.send(.continuation(1, []))
        #expect(client.connectionError == .protocolError)
    }

    @Test func section5_1_lateFramesAfterTheEndAreTolerated() {
        let client = RawClient()
        client.request(1)
        client.send(.windowUpdate(1, 10), .reset(1), .priority(1))
        #expect(client.isAlive)
    }

    @Test func section5_1_whatIsOnItsWayWhenWeResetIsIgnoredAndPaidFor() {
        var limits = HTTP2Limits()
        limits.connectionWindow = 65_535
        let client = RawClient(limits: limits)
        client.answers = false
        client.request(1, end: false)
        client.server.reset(1, .cancel)
        client.settle()
        client.send(.data(1, [UInt8](repeating: 1, count: 16_000)), .data(1, [UInt8](repeating: 1, count: 16_000)))
        client.send(.data(1, [UInt8](repeating: 1, count: 16_000)), .headers(1, RawHeaders.requestBlock, end: true))
        #expect(client.isAlive)
        let credit = client.frames(type: 8).filter { $0.stream == 0 }.reduce(0) { $0 + RawFrame.number($1.payload) }
        #expect(credit >= 32_767)
    }

    // MARK: 5.1.1 Identifiers

    @Test func section5_1_1_evenNumbersAreNotTheClients() {
        let client = RawClient()
        client.request(2)
        #expect(client.connectionError == .protocolError)
    }

    @Test func section5_1_1_aSmallerNumberThanBeforeIsAnError() {
        let client = RawClient()
        client.request(5)
        client.request(3)
        #expect(client.connectionError == .protocolError)
    }

    @Test func section5_1_1_theSmallestSkippedNumberIsAnErrorToo() {
        let client = RawClient()
        client.answers = false
        client.request(101)
        client.request(1)
        #expect(client.connectionError == .protocolError)
    }

    @Test func section5_1_1_streamZeroIsNotARequest() {
        let client = RawClient()
        client.request(0)
        #expect(client.connectionError == .protocolError)
    }

    // MARK: 5.1.2 Concurrency

    @Test func section5_1_2_moreStreamsThanAllowedAreRefused() {
        var limits = HTTP2Limits()
        limits.concurrentStreams = 3
        let client = RawClient(limits: limits)
        client.answers = false
        for stream: UInt32 in [1, 3, 5] { client.request(stream) }
        #expect(client.isAlive)
        client.request(7)
        let error = client.streamError(7) ?? client.connectionError
        #expect(error == .protocolError || error == .refusedStream)
        #expect(client.log.filter { $0.hasPrefix("headers") }.count == 3)
    }

    @Test func section5_1_2_streamsOpenedBeforeTheLimitWasKnownAreRefusedOneByOne() {
        var limits = HTTP2Limits()
        limits.concurrentStreams = 1
        let client = RawClient(limits: limits, greets: false)
        client.answers = false
        client.send(RawFrame.preface)
        client.send(.settings())
        client.request(1)
        client.request(3)
        #expect(client.streamError(3) == .refusedStream)
        #expect(client.isAlive)
    }

    // MARK: 5.3 Priority

    @Test func section5_3_1_aStreamDoesNotDependOnItselfInHeaders() {
        let client = RawClient()
        var frame = RawFrame.headers(1, RawFrame.bytes(1) + [255] + RawHeaders.requestBlock, end: true)
        frame.flags |= 0x20
        client.send(frame)
        #expect((client.streamError(1) ?? client.connectionError) == .protocolError)
    }

    @Test func section5_3_1_aStreamDoesNotDependOnItselfInPriority() {
        let idle = RawClient()
        idle.send(.priority(1, dependency: 1))
        #expect(idle.connectionError == .protocolError)
        let open = RawClient()
        open.request(1, end: false)
        open.send(.priority(1, dependency: 1))
        #expect(open.streamError(1) == .protocolError)
        #expect(open.isAlive)
    }

    // MARK: 5.4 Errors

    @Test func section5_4_1_aConnectionErrorSendsGoAwayAndCloses() {
        let client = RawClient()
        client.request(1)
        client.send(.ping([1, 2, 3]))
        #expect(client.connectionError == .frameSizeError)
        #expect(client.goAway.map { RawFrame.number($0.payload) } == 1)
        let before = client.received.count
        client.request(3)
        #expect(client.received.count == before)
    }

    // MARK: 5.5 Extensions

    @Test func section5_5_unknownSettingsAndFramesDoNotDisturb() {
        let client = RawClient()
        client.send(.settings([(0xff, 1)]), RawFrame(type: 0xfe, flags: 0xff, stream: 1, payload: [0]))
        #expect(client.isAlive)
    }
}
