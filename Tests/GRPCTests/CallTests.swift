import GRPC
import HTTP2
import Testing
import Time

@Suite struct CallTests {
    @Test func aUnaryCallCarriesAMessageEachWayAndAStatus() throws {
        let pair = GRPCPair()
        pair.echo()
        let call = try #require(pair.call("/test.Echo/Unary"))
        #expect(pair.client.send(GRPC.frame([1, 2, 3]), on: call, last: true) == .queued)
        pair.run()
        #expect(pair.serverLog == ["started 1 /test.Echo/Unary", "half closed 1", "ended 1 finished"])
        #expect(pair.clientLog == ["metadata 1", "ended 1 OK"])
        #expect(pair.clientMessages[1] == [[1, 2, 3]])
        #expect(pair.slices == 1 && pair.assembled == 0)
        #expect(pair.requests[0].authority == "test")
        #expect(pair.requests[0].userAgent == "martinet")
        #expect(pair.client.openCallCount == 0 && pair.server.openCallCount == 0)
    }

    @Test func aStreamGoesBothWaysUntilBothEndIt() throws {
        let pair = GRPCPair()
        pair.echo()
        let call = try #require(pair.call())
        for number: UInt8 in 0..<10 {
            #expect(pair.client.send(GRPC.frame([UInt8](repeating: number, count: Int(number))), on: call) == .queued)
            pair.run()
        }
        pair.client.halfClose(call)
        pair.run()
        #expect(pair.clientMessages[call]?.map(\.count) == Array(0..<10))
        #expect(pair.statuses[call] == .ok)
    }

    @Test func metadataTravelsAsTextAndAsBytes() throws {
        let pair = GRPCPair()
        pair.onServerEvent = { [unowned pair] event in
            guard case .halfClosed(let call) = event else { return }
            var metadata = GRPCMetadata([("initial", "one")])
            metadata.append("initial-bin", bytes: [0, 255, 7])
            pair.server.sendMetadata(metadata, on: call)
            pair.server.finish(call, .ok, trailers: GRPCMetadata([("trailing", "two")]))
        }
        var metadata = GRPCMetadata([("custom", "a b"), ("custom", "second")])
        metadata.append("custom-bin", bytes: Array(0...255))
        let call = try #require(pair.client.start("/test.Echo/Stream", metadata: metadata, now: pair.now))
        pair.client.halfClose(call)
        pair.run()
        #expect(pair.requests[0].metadata["custom"] == "a b")
        #expect(pair.requests[0].metadata.bytes("custom-bin") == Array(0...255))
        #expect(pair.requests[0].metadata.entries.map(\.name) == ["custom", "custom", "custom-bin"])
        #expect(pair.responseMetadata[call]?["initial"] == "one")
        #expect(pair.responseMetadata[call]?.bytes("initial-bin") == [0, 255, 7])
        #expect(pair.trailers[call]?["trailing"] == "two")
    }

    @Test func metadataThatHTTPWouldRejectIsMadeHarmless() throws {
        let pair = GRPCPair()
        let metadata = GRPCMetadata([("spaced", "  a  "), ("broken", "line\nfeed")])
        _ = try #require(pair.client.start("/test.Echo/Stream", metadata: metadata, now: pair.now))
        pair.run()
        #expect(pair.requests.first?.metadata["spaced"] == "a")
        #expect(pair.requests.first?.metadata["broken"] == "line?feed")
    }

    @Test func aStatusCarriesItsWordsAndItsDetails() throws {
        let pair = GRPCPair()
        let words = " Grüße, 100 %\n\u{1F600}"
        pair.onServerEvent = { [unowned pair] event in
            guard case .started(let call, _) = event else { return }
            pair.server.finish(call, GRPCStatus(.failedPrecondition, words, details: [8, 9, 10, 250]))
        }
        let call = try #require(pair.call())
        pair.run()
        #expect(pair.statuses[call] == GRPCStatus(.failedPrecondition, words, details: [8, 9, 10, 250]))
        #expect(pair.clientLog == ["ended 1 FAILED_PRECONDITION: \(words)"])
    }

    @Test(arguments: GRPCStatusCode.allCases)
    func everyStatusArrivesAsItWasSent(code: GRPCStatusCode) throws {
        let pair = GRPCPair()
        pair.onServerEvent = { [unowned pair] event in
            if case .started(let call, _) = event { pair.server.finish(call, GRPCStatus(code)) }
        }
        let call = try #require(pair.call())
        pair.run()
        #expect(pair.statuses[call]?.code == code)
    }

    @Test func whatIsSentAfterTheEndIsRefused() throws {
        let pair = GRPCPair()
        let call = try #require(pair.call())
        pair.run()
        pair.server.finish(call, .ok)
        #expect(pair.server.send(GRPC.frame([1]), on: call) == .closed)
        #expect(!pair.server.isWritable(call))
        pair.run()
        #expect(pair.client.send(GRPC.frame([1]), on: call) == .closed)
        #expect(pair.serverLog == ["started 1 /test.Echo/Stream", "ended 1 finished"])
    }

    @Test func aCancelledCallEndsAtTheServer() throws {
        let pair = GRPCPair()
        let call = try #require(pair.call())
        pair.run()
        pair.client.cancel(call)
        pair.run()
        #expect(pair.serverLog.last == "ended 1 cancelled")
        #expect(pair.clientLog == [])
        #expect(pair.server.openCallCount == 0)
    }

    @Test func aDeadlineEndsTheCallAtBothEnds() throws {
        let pair = GRPCPair()
        let call = try #require(pair.call(timeout: .seconds(5)))
        pair.run()
        #expect(pair.requests[0].timeout == .seconds(5))
        #expect(pair.server.nextDeadline == Instant(nanoseconds: 5_000_000_000))
        #expect(pair.client.nextDeadline == Instant(nanoseconds: 5_000_000_000))
        pair.now = Instant(nanoseconds: 5_000_000_000)
        pair.tick()
        pair.run()
        #expect(pair.statuses[call]?.code == .deadlineExceeded)
        #expect(pair.serverLog.last?.hasPrefix("ended 1 answered(DEADLINE_EXCEEDED") == true)
        #expect(pair.server.openCallCount == 0 && pair.client.openCallCount == 0)
    }

    @Test func theServersDeadlineReachesAClientThatDoesNotKeepOne() throws {
        let pair = GRPCPair()
        let call = try #require(pair.call(timeout: .seconds(5)))
        pair.run()
        pair.now = Instant(nanoseconds: 5_000_000_000)
        var events = GRPCEvents<GRPCServerEvent>()
        pair.server.tick(now: pair.now, events: &events)
        pair.note(events.list)
        pair.run()
        #expect(pair.statuses[call] == GRPCStatus(.deadlineExceeded, "the call's deadline has passed"))
    }

    @Test func aLostConnectionEndsAllCalls() throws {
        let pair = GRPCPair()
        _ = try #require(pair.call())
        _ = try #require(pair.call())
        pair.run()
        pair.closeTransport()
        #expect(pair.serverLog.suffix(2) == ["ended 1 connectionLost", "ended 3 connectionLost"])
        #expect(pair.clientLog.suffix(2).allSatisfy { $0.contains("UNAVAILABLE: the connection is lost") })
    }

    @Test func aDrainLetsCallsEndAndTakesNoNewOnes() throws {
        let pair = GRPCPair()
        pair.echo()
        let call = try #require(pair.call())
        pair.run()
        pair.server.drain(now: pair.now)
        pair.run()
        #expect(pair.clientLog.contains("server drains NO_ERROR"))
        #expect(pair.call() == nil)
        #expect(pair.client.send(GRPC.frame([5]), on: call, last: true) == .queued)
        pair.run()
        #expect(pair.clientMessages[call] == [[5]])
        #expect(pair.statuses[call] == .ok)
        #expect(pair.server.isFinished && pair.client.isFinished)
    }

    @Test(arguments: 1...40)
    func anyCutOfTheBytesGivesTheSameCalls(seed: UInt64) throws {
        let pair = GRPCPair(seed: seed, splits: true)
        pair.echo()
        var generator = SeededGenerator(seed: seed)
        var sent: [GRPCCallID: [[UInt8]]] = [:]
        for _ in 0..<4 {
            let call = try #require(pair.call())
            for _ in 0..<Int.random(in: 1...8, using: &generator) {
                let message = (0..<Int.random(in: 0...9000, using: &generator)).map { UInt8(truncatingIfNeeded: $0) }
                sent[call, default: []].append(message)
                #expect(pair.client.send(GRPC.frame(message), on: call) == .queued)
            }
            pair.client.halfClose(call)
        }
        pair.run()
        #expect(pair.serverMessages == sent)
        #expect(pair.clientMessages == sent)
        #expect(pair.statuses.values.allSatisfy { $0 == .ok } && pair.statuses.count == 4)
        #expect(pair.assembled > 0)
        #expect(pair.server.openCallCount == 0 && pair.server.transport.openStreamCount == 0)
    }

    @Test func aClientThatDoesNotReadHoldsUpItsOwnCallOnly() throws {
        var limits = GRPCLimits()
        limits.consumesByHand = true
        let pair = GRPCPair(client: limits)
        let slow = try #require(pair.call())
        let quick = try #require(pair.call())
        pair.run()
        let frame = GRPC.frame([UInt8](repeating: 3, count: 20_000))
        for _ in 0..<4 { #expect(pair.server.send(frame, on: slow) == .queued) }
        pair.run()
        #expect(!pair.server.isWritable(slow))
        #expect(pair.server.unsentBytes(on: slow) == 4 * 20_005 - 65_535)
        #expect(pair.server.isWritable(quick))
        #expect(pair.server.send(GRPC.frame([1]), on: quick) == .queued)
        pair.run()
        #expect(pair.clientMessages[quick] == [[1]])
        #expect(pair.clientMessages[slow]?.count == 3)
        pair.client.consume(3 * 20_005, on: slow)
        pair.run()
        #expect(pair.server.unsentBytes(on: slow) == 0)
        #expect(pair.serverLog.contains("writable \(slow)"))
        #expect(pair.clientMessages[slow]?.count == 4)
    }

    @Test func aMessageLargerThanTheWindowArrivesThoughNothingIsConsumedByHand() throws {
        var limits = GRPCLimits()
        limits.consumesByHand = true
        let pair = GRPCPair(server: limits)
        let call = try #require(pair.call())
        #expect(pair.client.send(GRPC.frame([UInt8](repeating: 1, count: 1_000_000)), on: call) == .queued)
        pair.run()
        #expect(pair.serverMessages[call]?.map(\.count) == [1_000_000])
    }

    /// Seed 20 once came to a stop.
    @Test(arguments: 1...30)
    func consumingByHandNeverComesToAStop(seed: UInt64) throws {
        var limits = GRPCLimits()
        limits.consumesByHand = true
        let pair = GRPCPair(server: limits, seed: seed, splits: true)
        pair.onServerEvent = { [unowned pair] event in
            if case .message(let call, let message) = event { pair.server.consume(message.windowBytes, on: call) }
        }
        var generator = SeededGenerator(seed: seed)
        var sizes: [GRPCCallID: [Int]] = [:]
        for _ in 0..<4 {
            let call = try #require(pair.call())
            for _ in 0..<6 {
                let size = Int.random(in: 0...(Bool.random(using: &generator) ? 150_000 : 100), using: &generator)
                sizes[call, default: []].append(size)
                #expect(pair.client.send(GRPC.frame([UInt8](repeating: 1, count: size)), on: call) == .queued)
            }
        }
        pair.run()
        #expect(pair.serverMessages.mapValues { $0.map(\.count) } == sizes)
        #expect(pair.client.transport.unsentBytes == 0)
    }
}
