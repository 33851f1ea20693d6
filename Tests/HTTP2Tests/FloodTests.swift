import HTTP2
import Testing
import Time

/// Each limit strikes at the first frame beyond it, and not before.
@Suite struct FloodTests {
    private func client(_ change: (inout HTTP2Limits) -> Void = { _ in }) -> RawClient {
        var limits = HTTP2Limits()
        change(&limits)
        return RawClient(limits: limits)
    }

    private func expectStrike(
        _ client: RawClient, _ limit: HTTP2Limit, allowed: Int, sourceLocation: SourceLocation = #_sourceLocation
    ) {
        let failure = HTTP2Failure.limit(limit, count: allowed + 1, allowed: allowed)
        #expect(client.server.failure == failure, sourceLocation: sourceLocation)
        #expect(client.goAway?.code == .enhanceYourCalm, sourceLocation: sourceLocation)
        #expect(client.server.isFinished, sourceLocation: sourceLocation)
        #expect(client.goAway?.text.contains(limit.rawValue) == true, sourceLocation: sourceLocation)
    }

    @Test func rapidResetsAreLimited() {
        let client = client()
        client.answers = false
        for index in 0..<1000 {
            client.send(.headers(UInt32(2 * index + 1), RawHeaders.requestBlock), .reset(UInt32(2 * index + 1)))
        }
        #expect(client.isOpen)
        #expect(client.server.openStreamCount == 0)
        client.send(.headers(2001, RawHeaders.requestBlock), .reset(2001))
        expectStrike(client, .streamResets, allowed: 1000)
    }

    @Test func resetsThatThePeerMakesUsSendAreLimitedToo() {
        let client = client { $0.streamResets = 10 }
        client.answers = false
        for index in 0..<11 {
            #expect(client.isOpen)
            let stream = UInt32(2 * index + 1)
            client.send(.headers(stream, RawHeaders.requestBlock), .windowUpdate(stream, 0x7fff_ffff))
        }
        expectStrike(client, .streamResets, allowed: 10)
    }

    @Test func aLimitCountsAnewAfterItsInterval() {
        let client = client { $0.streamResets = 10 }
        client.answers = false
        for index in 0..<30 {
            if index % 10 == 0 { client.now = client.now.advanced(by: .seconds(30)) }
            client.send(.headers(UInt32(2 * index + 1), RawHeaders.requestBlock), .reset(UInt32(2 * index + 1)))
        }
        #expect(client.isOpen)
    }

    @Test func continuationsAreLimited() {
        let client = client()
        client.send(.headers(1, [], endHeaders: false))
        for _ in 0..<8 { client.send(.continuation(1, RawHeaders.literal("a", "b"), endHeaders: false)) }
        #expect(client.isOpen)
        client.send(.continuation(1, [], endHeaders: false))
        expectStrike(client, .continuations, allowed: 8)
    }

    @Test func settingsAreLimited() {
        let client = client()
        for _ in 0..<99 { client.send(.settings()) }
        #expect(client.isOpen)
        client.send(.settings())
        expectStrike(client, .settingsFrames, allowed: 100)
    }

    @Test func pingsAreLimited() {
        let client = client()
        for _ in 0..<1000 { client.send(.ping()) }
        #expect(client.isOpen)
        #expect(client.frames(type: 6).count == 1000)
        client.send(.ping())
        expectStrike(client, .pingFrames, allowed: 1000)
    }

    @Test func pingsThatMeasureOurDataAreNotAFlood() {
        let client = client { $0.pingFrames = 5 }
        for index in 0..<100 {
            client.request(UInt32(2 * index + 1))
            for _ in 0..<5 { client.send(.ping()) }
        }
        #expect(client.isOpen)
    }

    @Test func pingsWhileNothingIsReadAreBounded() {
        let client = client {
            $0.queuedControlFrames = 50
            $0.pingFrames = 1000
        }
        client.takesOutput = false
        for _ in 0..<50 { client.send(.ping()) }
        #expect(client.server.failure == nil)
        client.send(.ping())
        #expect(client.server.failure == .limit(.queuedControlFrames, count: 51, allowed: 50))
    }

    @Test func emptyDataFramesAreLimited() {
        let client = client()
        client.request(1, end: false)
        for _ in 0..<100 { client.send(.data(1)) }
        #expect(client.isOpen)
        client.send(.data(1))
        expectStrike(client, .emptyFrames, allowed: 100)
    }

    @Test func dataFramesOfPaddingAloneAreEmptyToo() {
        let client = client()
        client.request(1, end: false)
        for _ in 0..<100 { client.send(RawFrame.data(1).padded(20)) }
        #expect(client.isOpen)
        client.send(RawFrame.data(1).padded(20))
        expectStrike(client, .emptyFrames, allowed: 100)
    }

    @Test func emptyHeaderFramesAreLimited() {
        let client = client { $0.emptyFrames = 3 }
        client.send(.headers(1, [], endHeaders: false))
        for _ in 0..<2 { client.send(.continuation(1, [], endHeaders: false)) }
        #expect(client.isOpen)
        client.send(.continuation(1, [], endHeaders: false))
        expectStrike(client, .emptyFrames, allowed: 3)
    }

    @Test func prioritiesAreLimited() {
        let client = client()
        for index in 0..<1000 { client.send(.priority(UInt32(2 * index + 1))) }
        #expect(client.isOpen)
        client.send(.priority(1))
        expectStrike(client, .priorityFrames, allowed: 1000)
    }

    @Test func unknownFramesAreLimited() {
        let client = client()
        for _ in 0..<1000 { client.send(RawFrame(type: 99, stream: 0, payload: [1, 2, 3])) }
        #expect(client.isOpen)
        client.send(RawFrame(type: 16, stream: 0, payload: [0, 0, 0, 1]))
        expectStrike(client, .extensionFrames, allowed: 1000)
    }

    @Test func windowUpdatesAreLimitedByTheDataThatWasSent() {
        let client = client()
        client.request(1, end: false)
        for _ in 0..<1000 { client.send(.windowUpdate(0, 1)) }
        #expect(client.isOpen)
        // One DATA frame pays for ten more.
        #expect(client.server.send([1], on: 1, now: client.now) == .queued)
        client.settle()
        for _ in 0..<10 { client.send(.windowUpdate(1, 1)) }
        #expect(client.isOpen)
        client.send(.windowUpdate(1, 1))
        #expect(client.server.failure == .limit(.windowUpdateFrames, count: 1001, allowed: 1000))
    }

    @Test func framesOnClosedStreamsAreLimited() {
        let client = client { $0.closedStreamFrames = 20 }
        client.answers = false
        client.request(1, end: false)
        client.server.reset(1, .cancel)
        client.settle()
        for _ in 0..<20 { client.send(.data(1, [1])) }
        #expect(client.isOpen)
        client.send(.data(1, [1]))
        expectStrike(client, .closedStreamFrames, allowed: 20)
    }

    @Test func tinyWindowsCannotMakeUsSendTinyFramesForEver() {
        let client = RawClient(settings: [(4, 1)])
        client.body = [UInt8](repeating: 1, count: 5000)
        client.request(1)
        var sent = 0
        while client.isOpen, sent < 2000 {
            client.send(.windowUpdate(1, 1))
            sent += 1
        }
        expectStrike(client, .tinyFrames, allowed: 1000)
        #expect(client.frames(type: 0).count == 1000)
    }

    @Test func anOversizeHeaderListEndsTheStreamAlone() {
        let client = client()
        let big = RawHeaders.literal("big", String(repeating: "x", count: 10_000))
        client.send(
            .headers(1, RawHeaders.requestBlock + big, endHeaders: false), .continuation(1, big))
        #expect(client.streamError(1) == .enhanceYourCalm)
        #expect(client.log.first == "limited 1 headerListSize 20240 of 16384")
        #expect(client.isAlive)
        client.request(3)
        #expect(client.log.contains("headers 3 / end"))
    }

    @Test func aHeaderBombEndsTheConnection() {
        let client = client()
        // One byte each recalls 4,000 bytes from the dynamic table, before our table size is in force.
        let fresh = RawClient(greets: false)
        fresh.send(RawFrame.preface)
        fresh.send(.settings())
        let bomb =
            RawHeaders.indexed("bomb", String(repeating: "x", count: 3900)) + [UInt8](repeating: 0xbe, count: 100)
        fresh.send(.headers(1, RawHeaders.requestBlock + bomb))
        #expect(fresh.goAway?.code == .enhanceYourCalm)
        guard case .limit(.headerListSize, let count, allowed: 16 * 1024)? = fresh.server.failure else {
            Issue.record("\(String(describing: fresh.server.failure))")
            return
        }
        #expect(count > 4 * 16 * 1024)
        #expect(client.isAlive)
    }

    @Test func pingsThatComeTooOftenEndTheConnectionAsInGRPC() {
        let client = client { $0.minimumPingInterval = .seconds(300) }
        client.request(1, end: false)
        for _ in 0..<3 { client.send(.ping()) }
        #expect(client.isOpen)
        client.send(.ping())
        #expect(client.server.failure == .limit(.pingStrikes, count: 3, allowed: 2))
        #expect(client.goAway?.text.hasPrefix("too_many_pings") == true)
    }

    @Test func pingsFarEnoughApartAreFine() {
        let client = client {
            $0.minimumPingInterval = .seconds(10)
            $0.keepaliveInterval = nil
        }
        for _ in 0..<20 {
            client.now = client.now.advanced(by: .seconds(10))
            client.send(.ping())
        }
        #expect(client.isOpen)
    }

    @Test func everyFailureHasAHint() {
        for limit in HTTP2Limit.allCases {
            let failure = HTTP2Failure.limit(limit, count: 2, allowed: 1)
            #expect(failure.description.contains("2"))
            #expect(!failure.hint.isEmpty)
        }
        for timeout in HTTP2Timeout.allCases {
            #expect(HTTP2Failure.timeout(timeout, after: .seconds(1)).hint != "")
        }
    }
}
