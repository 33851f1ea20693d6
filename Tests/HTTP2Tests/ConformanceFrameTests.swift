import HTTP2
import Testing

/// RFC 9113, section 6: the frames, one after the other.
@Suite struct ConformanceFrameTests {
    // MARK: 6.1 DATA

    @Test func section6_1_dataOnStreamZeroIsAnError() {
        let client = RawClient()
        client.send(.data(0, [1]))
        #expect(client.connectionError == .protocolError)
    }

    @Test func section6_1_paddedDataIsAccepted() {
        let client = RawClient()
        client.request(1, end: false)
        client.send(RawFrame.data(1, [1, 2, 3], end: true).padded(100))
        #expect(client.log.contains("data 1 3"))
        #expect(client.log.last == "closed 1 NO_ERROR")
    }

    @Test func section6_1_paddingAsLongAsThePayloadIsAnError() {
        let client = RawClient()
        client.request(1, end: false)
        client.send(RawFrame(type: 0, flags: 9, stream: 1, payload: [6, 1, 2, 3, 4, 5]))
        #expect(client.connectionError == .protocolError)
    }

    @Test func section6_1_paddingCountsForTheWindows() {
        let client = RawClient()
        client.request(1, end: false)
        for _ in 0..<1000 { client.send(RawFrame.data(1, [1]).padded(255)) }
        let credit = client.frames(type: 8).filter { $0.stream == 1 }.reduce(0) { $0 + RawFrame.number($1.payload) }
        #expect(credit > 257 * 1000 - 65_535)
        #expect(client.isAlive)
    }

    // MARK: 6.2 HEADERS

    @Test func section6_2_aHeaderBlockWithoutEndAllowsOnlyContinuation() {
        let client = RawClient()
        client.send(.headers(1, RawHeaders.requestBlock, end: true, endHeaders: false), .data(1, [1]))
        #expect(client.connectionError == .protocolError)
    }

    @Test func section6_2_paddedHeadersAreAccepted() {
        let client = RawClient()
        client.send(RawFrame.headers(1, RawHeaders.requestBlock, end: true).padded(50))
        #expect(client.log.first == "headers 1 / end")
    }

    @Test func section6_2_invalidPaddingIsAnError() {
        let client = RawClient()
        client.send(RawFrame(type: 1, flags: 13, stream: 1, payload: [200] + RawHeaders.requestBlock))
        #expect(client.connectionError == .protocolError)
    }

    @Test func section6_2_headersWithAPriorityAreAccepted() {
        let client = RawClient()
        var frame = RawFrame.headers(1, RawFrame.bytes(0) + [255] + RawHeaders.requestBlock, end: true)
        frame.flags |= 0x20
        client.send(frame)
        #expect(client.log.first == "headers 1 / end")
    }

    // MARK: 6.3 PRIORITY

    @Test func section6_3_priorityIsAcceptedInAnyState() {
        let client = RawClient()
        client.send(.priority(1))
        client.request(1, end: false)
        client.send(.priority(1), .data(1, [], end: true), .priority(1))
        #expect(client.isAlive)
    }

    @Test func section6_3_priorityOnStreamZeroIsAnError() {
        let client = RawClient()
        client.send(.priority(0))
        #expect(client.connectionError == .protocolError)
    }

    @Test(arguments: [0, 4, 6])
    func section6_3_aPriorityOfAnotherLengthIsAStreamError(length: Int) {
        let client = RawClient()
        client.request(1, end: false)
        client.send(RawFrame(type: 2, stream: 1, payload: [UInt8](repeating: 0, count: length)))
        #expect(client.streamError(1) == .frameSizeError)
        #expect(client.isAlive)
    }

    @Test func section6_3_aPriorityOfAnotherLengthWithoutAStreamIsAConnectionError() {
        let client = RawClient()
        client.send(RawFrame(type: 2, stream: 1, payload: [0, 0, 0, 0]))
        #expect(client.connectionError == .frameSizeError)
    }

    // MARK: 6.4 RST_STREAM

    @Test func section6_4_aResetOnStreamZeroIsAnError() {
        let client = RawClient()
        client.send(.reset(0))
        #expect(client.connectionError == .protocolError)
    }

    @Test func section6_4_aResetOfAnIdleStreamIsAnError() {
        let client = RawClient()
        client.send(.reset(1))
        #expect(client.connectionError == .protocolError)
    }

    @Test func section6_4_aResetOfAnotherLengthIsAnError() {
        let client = RawClient()
        client.request(1, end: false)
        client.send(RawFrame(type: 3, stream: 1, payload: [0, 0, 0]))
        #expect(client.connectionError == .frameSizeError)
    }

    // MARK: 6.5 SETTINGS

    @Test func section6_5_anAcknowledgementHasNoPayload() {
        let client = RawClient()
        client.send(RawFrame(type: 4, flags: 1, stream: 0, payload: [0, 3, 0, 0, 0, 1]))
        #expect(client.connectionError == .frameSizeError)
    }

    @Test func section6_5_settingsOnAStreamAreAnError() {
        let client = RawClient()
        client.send(RawFrame(type: 4, stream: 1, payload: [0, 3, 0, 0, 0, 1]))
        #expect(client.connectionError == .protocolError)
    }

    @Test func section6_5_settingsOfAnotherLengthAreAnError() {
        let client = RawClient()
        client.send(RawFrame(type: 4, stream: 0, payload: [0, 3, 0]))
        #expect(client.connectionError == .frameSizeError)
    }

    @Test(arguments: [
        (UInt16(2), UInt32(2), HTTP2ErrorCode.protocolError), (4, 0x8000_0000, .flowControlError),
        (5, 16_383, .protocolError), (5, 16_777_216, .protocolError),
    ])
    func section6_5_2_valuesOutOfRangeAreErrors(id: UInt16, value: UInt32, code: HTTP2ErrorCode) {
        let client = RawClient()
        client.send(.settings([(id, value)]))
        #expect(client.connectionError == code)
    }

    @Test(arguments: [(UInt16(2), UInt32(0)), (4, 0x7fff_ffff), (5, 16_777_215), (6, 100), (1, 0), (3, 0), (0xabc, 7)])
    func section6_5_2_valuesInRangeAreAcknowledged(id: UInt16, value: UInt32) {
        let client = RawClient()
        client.send(.settings([(id, value)]))
        #expect(client.received == [.settingsAcknowledgement])
        #expect(client.isAlive)
    }

    @Test func section6_5_3_theLastOfSeveralValuesCounts() {
        let client = RawClient()
        client.send(.settings([(4, 100), (4, 1)]))
        client.request(1)
        #expect(client.frames(type: 0).map(\.payload.count) == [1])
    }

    @Test func section6_5_3_settingsAreAcknowledgedEachTime() {
        let client = RawClient()
        client.send(.settings(), .settings(), .settings())
        #expect(client.received == [.settingsAcknowledgement, .settingsAcknowledgement, .settingsAcknowledgement])
    }

    @Test func section6_5_3_anAcknowledgementOfNothingIsAnError() {
        let client = RawClient()
        client.send(.settingsAcknowledgement)
        #expect(client.connectionError == .protocolError)
    }

    // MARK: 6.6 PUSH_PROMISE

    @Test func section6_6_aClientDoesNotPush() {
        let client = RawClient()
        client.request(1, end: false)
        client.send(RawFrame(type: 5, flags: 4, stream: 1, payload: RawFrame.bytes(2) + RawHeaders.requestBlock))
        #expect(client.connectionError == .protocolError)
    }

    // MARK: 6.7 PING

    @Test func section6_7_aPingIsAnsweredWithItsPayload() {
        let client = RawClient()
        client.send(.ping([8, 7, 6, 5, 4, 3, 2, 1]))
        #expect(client.received == [.ping([8, 7, 6, 5, 4, 3, 2, 1], acknowledgement: true)])
    }

    @Test func section6_7_anAnswerIsNotAnswered() {
        let client = RawClient()
        client.send(.ping(acknowledgement: true))
        #expect(client.received == [])
        #expect(client.isAlive)
    }

    @Test func section6_7_aPingOnAStreamIsAnError() {
        let client = RawClient()
        var ping = RawFrame.ping()
        ping.stream = 1
        client.send(ping)
        #expect(client.connectionError == .protocolError)
    }

    @Test(arguments: [0, 6, 9])
    func section6_7_aPingOfAnotherLengthIsAnError(length: Int) {
        let client = RawClient()
        client.send(.ping([UInt8](repeating: 0, count: length)))
        #expect(client.connectionError == .frameSizeError)
    }

    @Test func section6_7_aPingInPartsIsAnswered() {
        let client = RawClient()
        for byte in RawFrame.ping().encoded() { client.send([byte]) }
        #expect(client.received == [.ping(acknowledgement: true)])
    }

    // MARK: 6.8 GOAWAY

    @Test func section6_8_aGoAwayOnAStreamIsAnError() {
        let client = RawClient()
        var frame = RawFrame.goAway()
        frame.stream = 1
        client.send(frame)
        #expect(client.connectionError == .protocolError)
    }

    @Test func section6_8_aGoAwayTooShortIsAnError() {
        let client = RawClient()
        client.send(RawFrame(type: 7, stream: 0, payload: [0, 0, 0, 0]))
        #expect(client.connectionError == .frameSizeError)
    }

    @Test func section6_8_aPingAfterAGoAwayIsStillAnswered() {
        let client = RawClient()
        client.request(1, end: false)
        client.send(.goAway(), .ping())
        #expect(client.frames(type: 6) == [.ping(acknowledgement: true)])
        #expect(!client.server.isFinished)
        client.send(.data(1, [], end: true))
        #expect(client.log.suffix(2) == ["end 1", "closed 1 NO_ERROR"])
        #expect(client.server.isFinished)
    }

    @Test func section6_8_aPingBesideAGoAwayOnAnIdleConnectionIsAnsweredToo() {
        let client = RawClient()
        client.send(.goAway(), .ping())
        #expect(client.frames(type: 6) == [.ping(acknowledgement: true)])
        #expect(client.log == ["goaway 0 NO_ERROR"])
        #expect(client.server.isFinished)
    }

    // MARK: 6.9 WINDOW_UPDATE

    @Test func section6_9_anIncrementOfZeroIsAnError() {
        let connection = RawClient()
        connection.send(.windowUpdate(0, 0))
        #expect(connection.connectionError == .protocolError)
        let stream = RawClient()
        stream.request(1, end: false)
        stream.send(.windowUpdate(1, 0))
        #expect((stream.streamError(1) ?? stream.connectionError) == .protocolError)
    }

    @Test func section6_9_anotherLengthIsAnError() {
        let client = RawClient()
        client.send(RawFrame(type: 8, stream: 0, payload: [0, 0, 1]))
        #expect(client.connectionError == .frameSizeError)
    }

    @Test func section6_9_1_aConnectionWindowThatOverflowsIsAFlowControlError() {
        let client = RawClient()
        client.send(.windowUpdate(0, 0x7fff_ffff))
        #expect(client.connectionError == .flowControlError)
    }

    @Test func section6_9_1_aStreamWindowThatOverflowsIsAFlowControlErrorOfTheStream() {
        let client = RawClient()
        client.request(1, end: false)
        client.send(.windowUpdate(1, 0x7fff_ffff))
        #expect(client.streamError(1) == .flowControlError)
        #expect(client.isAlive)
    }

    @Test func section6_9_1_dataBeyondTheStreamWindowIsAFlowControlError() {
        let client = RawClient()
        client.answers = false
        client.request(1, end: false)
        client.consumesData = false
        for _ in 0..<4 { client.send(.data(1, [UInt8](repeating: 1, count: 16_383))) }
        #expect(client.streamError(1) == nil)
        client.send(.data(1, [1, 2, 3, 4]))
        #expect(client.streamError(1) == .flowControlError)
    }

    @Test func section6_9_1_dataBeyondTheConnectionWindowIsAFlowControlError() {
        var limits = HTTP2Limits()
        limits.connectionWindow = 65_535
        let client = RawClient(limits: limits)
        client.answers = false
        client.consumesData = false
        client.request(1, end: false)
        client.request(3, end: false)
        for stream: UInt32 in [1, 3] {
            client.send(.data(stream, [UInt8](repeating: 1, count: 16_383)))
            client.send(.data(stream, [UInt8](repeating: 1, count: 16_383)))
        }
        #expect(client.isAlive)
        client.send(.data(3, [1, 2, 3, 4]))
        #expect(client.connectionError == .flowControlError)
    }

    @Test func section6_9_2_aLargerInitialWindowOpensThoseOfOpenStreams() {
        let client = RawClient(settings: [(4, 0)])
        client.request(1)
        #expect(client.frames(type: 0) == [])
        client.send(.settings([(4, 3)]))
        #expect(client.frames(type: 0).map(\.payload) == [Array("hel".utf8)])
    }

    @Test func section6_9_2_aSmallerInitialWindowMakesThemNegative() {
        let client = RawClient(settings: [(4, 3)])
        client.request(1)
        #expect(client.frames(type: 0).map(\.payload) == [Array("hel".utf8)])
        client.send(.settings([(4, 2)]))
        client.send(.windowUpdate(1, 1))
        #expect(client.frames(type: 0).count == 1)
        client.send(.windowUpdate(1, 1))
        #expect(client.frames(type: 0).map(\.payload) == [Array("hel".utf8), Array("l".utf8)])
    }

    @Test func section6_9_2_anInitialWindowThatOverflowsAStreamIsAFlowControlError() {
        let client = RawClient()
        client.request(1, end: false)
        client.send(.windowUpdate(1, 0x7fff_ffff - 65_535))
        client.send(.settings([(4, 65_536)]))
        #expect((client.streamError(1) ?? client.connectionError) == .flowControlError)
    }

    // MARK: 6.10 CONTINUATION

    @Test func section6_10_headersMayGoOnInSeveralFrames() {
        let client = RawClient()
        let parts = RawHeaders.request.map { RawHeaders.literal($0.0, $0.1) }
        client.send(.headers(1, parts[0], end: true, endHeaders: false), .continuation(1, parts[1], endHeaders: false))
        client.send(.continuation(1, parts[2], endHeaders: false), .continuation(1, parts[3]))
        #expect(client.log.first == "headers 1 / end")
    }

    @Test func section6_10_aContinuationIsFollowedByNothingElse() {
        let client = RawClient()
        client.send(
            .headers(1, RawHeaders.requestBlock, end: true, endHeaders: false),
            .continuation(1, RawHeaders.literal("a", "b"), endHeaders: false), .data(1, [1]))
        #expect(client.connectionError == .protocolError)
    }

    @Test(arguments: [UInt32(0), 3])
    func section6_10_aContinuationOfAnotherStreamIsAnError(stream: UInt32) {
        let client = RawClient()
        client.send(.headers(1, RawHeaders.requestBlock, end: true, endHeaders: false), .continuation(stream, []))
        #expect(client.connectionError == .protocolError)
    }

    @Test func section6_10_aContinuationNeedsHeadersWithoutAnEnd() {
        let afterEnd = RawClient()
        afterEnd.answers = false
        afterEnd.request(1, end: false)
        afterEnd.send(.continuation(1, RawHeaders.literal("a", "b")))
        #expect(afterEnd.connectionError == .protocolError)
        let afterData = RawClient()
        afterData.request(1, end: false)
        afterData.send(.data(1, [1]), .continuation(1, RawHeaders.literal("a", "b")))
        #expect(afterData.connectionError == .protocolError)
    }

    // MARK: 7 Error codes

    @Test func section7_unknownErrorCodesDoNotDisturb() {
        let goAway = RawClient()
        goAway.request(1, end: false)
        goAway.send(.goAway(last: 0, 0xff), .ping())
        #expect(goAway.frames(type: 6).count == 1)
        let reset = RawClient()
        reset.request(1, end: false)
        reset.send(.reset(1, 0xff))
        #expect(reset.isAlive)
        #expect(reset.log.last == "closed 1 error code 255 by peer")
    }
}
