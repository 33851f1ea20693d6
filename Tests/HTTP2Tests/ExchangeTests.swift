import HTTP
import HTTP2
import Testing
import Time

@Suite struct ExchangeTests {
    @Test func aRequestIsAnsweredWithHeadersBodyAndTrailers() throws {
        let pair = Pair()
        pair.onServerEvent = { [unowned pair] event in
            guard case .endOfStream(let stream) = event else { return }
            pair.server.respond(HeaderList([(":status", "200"), ("x", "y")]), on: stream)
            _ = pair.server.send(Array("answer".utf8), on: stream, now: pair.now)
            pair.server.sendTrailers(HeaderList([("grpc-status", "0")]), on: stream)
        }
        let stream = try #require(pair.open(path: "/a"))
        _ = pair.client.send(Array("question".utf8), on: stream, endStream: true, now: pair.now)
        pair.run()
        #expect(pair.serverLog == ["headers 1 /a", "end 1", "closed 1 NO_ERROR"])
        #expect(pair.clientLog == ["headers 1 200", "trailers 1 grpc-status=0", "closed 1 NO_ERROR"])
        #expect(pair.serverBodies[1] == Array("question".utf8))
        #expect(pair.clientBodies[1] == Array("answer".utf8))
        #expect(pair.client.openStreamCount == 0)
        #expect(pair.server.openStreamCount == 0)
    }

    @Test func aResponseMayConsistOfHeadersAlone() throws {
        let pair = Pair()
        pair.onServerEvent = { [unowned pair] event in
            if case .headers(let stream, _, _) = event {
                pair.server.respond(HeaderList([(":status", "404")]), on: stream, endStream: true)
            }
        }
        _ = try #require(pair.open(endStream: true))
        pair.run()
        #expect(pair.clientLog == ["headers 1 404 end", "closed 1 NO_ERROR"])
    }

    @Test func aServerThatIsDoneDoesNotTakeTheRestOfTheRequest() throws {
        let pair = Pair()
        pair.onServerEvent = { [unowned pair] event in
            if case .headers(let stream, _, _) = event {
                pair.server.respond(HeaderList([(":status", "413")]), on: stream, endStream: true)
            }
        }
        let stream = try #require(pair.open())
        pair.run()
        #expect(pair.clientLog == ["headers 1 413 end", "closed 1 NO_ERROR by peer"])
        #expect(pair.client.send([1], on: stream, now: pair.now) == .closed)
        #expect(pair.server.openStreamCount == 0)
    }

    @Test(arguments: 1...40)
    func anyCutOfTheBytesGivesTheSameExchange(seed: UInt64) throws {
        var limits = HTTP2Limits()
        limits.receivingHeaderTableSize = seed % 2 == 0 ? 4096 : 0
        limits.sendingHeaderTableSize = seed % 3 == 0 ? 4096 : 0
        let pair = Pair(server: limits, client: limits, seed: seed, splits: true)
        pair.onServerEvent = { [unowned pair] event in
            guard case .endOfStream(let stream) = event else { return }
            pair.server.respond(HeaderList([(":status", "200")]), on: stream)
            _ = pair.server.send(pair.serverBodies[stream] ?? [], on: stream, now: pair.now)
            pair.server.sendTrailers(HeaderList([("a", "b")]), on: stream)
        }
        var generator = SeededGenerator(seed: seed)
        var sent: [HTTP2StreamID: [UInt8]] = [:]
        for _ in 0..<5 {
            let stream = try #require(pair.open())
            let body = (0..<Int.random(in: 1...100_000, using: &generator)).map { UInt8(truncatingIfNeeded: $0) }
            #expect(pair.client.send(body, on: stream, endStream: true, now: pair.now) == .queued)
            sent[stream] = body
        }
        pair.run()
        #expect(pair.serverBodies == sent)
        #expect(pair.clientBodies == sent)
        #expect(pair.clientLog.filter { $0.hasPrefix("closed") }.count == 5)
        #expect(pair.client.failure == nil)
        #expect(pair.server.failure == nil)
    }

    @Test func streamsThatThePeerDoesNotYetAllowWaitTheirTurn() throws {
        var limits = HTTP2Limits()
        limits.concurrentStreams = 2
        let pair = Pair(server: limits)
        pair.run()
        pair.onServerEvent = { [unowned pair] event in
            if case .endOfStream(let stream) = event {
                pair.server.respond(HeaderList([(":status", "200")]), on: stream, endStream: true)
            }
        }
        for _ in 0..<10 {
            let stream = try #require(pair.open())
            _ = pair.client.send([1, 2, 3], on: stream, endStream: true, now: pair.now)
        }
        pair.run()
        #expect(pair.clientLog.filter { $0.hasSuffix("200 end") }.count == 10)
        #expect(pair.server.failure == nil)
    }

    @Test func aCancelledStreamSendsNothingMoreAndTheOthersGoOn() throws {
        let pair = Pair()
        let first = try #require(pair.open())
        let second = try #require(pair.open())
        pair.run()
        pair.client.reset(first, .cancel)
        #expect(pair.client.send([1], on: first, now: pair.now) == .closed)
        pair.run()
        #expect(pair.serverLog.contains("closed 1 CANCEL by peer"))
        #expect(pair.client.send([1], on: second, now: pair.now) == .queued)
        pair.run()
        #expect(pair.serverBodies[second] == [1])
    }

    @Test func aStreamCancelledBeforeItWasSentIsNeverSeen() throws {
        let pair = Pair()
        let stream = try #require(pair.open())
        pair.client.reset(stream, .cancel)
        pair.run()
        #expect(pair.serverLog == [])
        #expect(pair.clientLog == ["closed 1 CANCEL"])
    }

    @Test func oneBusyStreamDoesNotHoldUpTheOthers() throws {
        let pair = Pair()
        pair.run()
        for _ in 0..<2 { _ = try #require(pair.open(endStream: true)) }
        pair.run()
        for stream: HTTP2StreamID in [1, 3] {
            pair.server.respond(HeaderList([(":status", "200")]), on: stream)
            _ = pair.server.send([UInt8](repeating: 7, count: 60_000), on: stream, now: pair.now)
        }
        // The connection's window takes 65,535 bytes: each stream has had its share of it.
        pair.clientConsumes = false
        pair.run()
        let first = pair.clientBodies[1]?.count ?? 0
        let second = pair.clientBodies[3]?.count ?? 0
        #expect(first + second == 120_000 || abs(first - second) <= 16_384)
    }

    @Test func headersKeepTheirOrderAndTheirBytes() {
        var list = HeaderList([("a", "1"), ("b", "2"), ("a", "3")])
        list.append("empty", "")
        #expect(list.count == 4)
        #expect(list["a"] == "1")
        #expect(list["empty"] == "")
        #expect(list["c"] == nil)
        #expect(list.contains("b"))
        #expect(list.fields.map(\.value) == ["1", "2", "3", ""])
        #expect(list.listSize == 3 * (1 + 1 + 32) + 5 + 32)
    }
}
