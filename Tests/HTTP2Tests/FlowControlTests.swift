import HTTP
import HTTP2
import Testing
import Time

@Suite struct FlowControlTests {
    @Test func aHundredMegabytesPassWithBoundedMemory() throws {
        let pair = Pair()
        pair.run()
        let stream = try #require(pair.open())
        let chunk = [UInt8](repeating: 42, count: 256 * 1024)
        let total = 100 * 1024 * 1024
        var received = 0
        var sent = 0
        var most = 0
        pair.serverConsumes = false
        pair.onServerEvent = { [unowned pair] event in
            guard case .data(let stream, let bytes) = event else { return }
            received += bytes.count
            pair.server.consume(bytes.count, on: stream)
            pair.serverBodies = [:]
        }
        while sent < total {
            while sent < total, pair.client.send(chunk, on: stream, now: pair.now) == .queued { sent += chunk.count }
            most = max(most, pair.client.unsentBytes)
            pair.run(rounds: 20)
        }
        pair.run()
        #expect(received == total)
        #expect(most <= HTTP2Limits().unsentBytesPerStream)
        #expect(pair.client.unsentBytes == 0)
    }

    @Test func aReaderThatDoesNotConsumeStopsTheSenderAtItsWindow() throws {
        let pair = Pair()
        pair.run()
        pair.serverConsumes = false
        let stream = try #require(pair.open())
        #expect(pair.client.send([UInt8](repeating: 1, count: 200_000), on: stream, now: pair.now) == .queued)
        pair.run()
        #expect(pair.serverBodies[stream]?.count == 65_535)
        #expect(pair.client.unsentBytes(on: stream) == 200_000 - 65_535)
        pair.server.consume(65_535, on: stream)
        pair.run()
        #expect(pair.serverBodies[stream]?.count == 2 * 65_535)
        pair.server.consume(65_535, on: stream)
        pair.run()
        pair.server.consume(65_535, on: stream)
        pair.run()
        #expect(pair.serverBodies[stream]?.count == 200_000)
    }

    @Test func whatAClosedStreamLeftUnconsumedGoesBackToTheConnection() throws {
        var limits = HTTP2Limits()
        limits.connectionWindow = 65_535
        let pair = Pair(server: limits)
        pair.run()
        pair.serverConsumes = false
        for _ in 0..<10 {
            let stream = try #require(pair.open())
            _ = pair.client.send([UInt8](repeating: 1, count: 60_000), on: stream, now: pair.now)
            pair.run()
            #expect(pair.serverBodies[stream]?.count == 60_000)
            pair.client.reset(stream, .cancel)
            pair.run()
        }
    }

    @Test func sendingStopsWhereTheBoundIsAndGoesOnWhenToldSo() throws {
        var limits = HTTP2Limits()
        limits.unsentBytesPerStream = 1000
        let pair = Pair(server: limits)
        pair.run()
        _ = try #require(pair.open(endStream: true))
        pair.run()
        pair.clientConsumes = false
        pair.server.respond(HeaderList([(":status", "200")]), on: 1)
        #expect(pair.server.isWritable(1))
        // A queue that is empty takes a message of any size; a queue that is not, no more than the bound.
        #expect(pair.server.send([UInt8](repeating: 1, count: 70_000), on: 1, now: pair.now) == .queued)
        #expect(pair.server.send([1], on: 1, now: pair.now) == .full)
        #expect(!pair.server.isWritable(1))
        pair.run()
        #expect(pair.server.unsentBytes(on: 1) == 70_000 - 65_535)
        #expect(!pair.serverLog.contains("writable 1"))
        pair.client.consume(65_535, on: 1)
        pair.run()
        #expect(pair.serverLog.filter { $0 == "writable 1" }.count == 1)
        #expect(pair.server.isWritable(1))
    }

    @Test func oneBufferServesThousandsOfStreamsWithoutACopy() throws {
        var limits = HTTP2Limits()
        limits.concurrentStreams = 2000
        let pair = Pair(server: limits)
        pair.run()
        let shared = [UInt8](repeating: 9, count: 10_000)
        for _ in 0..<2000 { _ = try #require(pair.open(endStream: true)) }
        pair.run()
        for stream in pair.server.openStreams {
            pair.server.respond(HeaderList([(":status", "200")]), on: stream)
            #expect(pair.server.send(shared, on: stream, now: pair.now) == .queued)
        }
        #expect(pair.server.unsentBytes == 20_000_000)
        pair.run()
        #expect(pair.clientBodies.count == 2000)
        #expect(pair.clientBodies.values.allSatisfy { $0.count == 10_000 })
    }

    @Test func framesFitTheCallersBuffer() throws {
        let client = RawClient()
        client.answers = false
        client.request(1)
        client.server.respond(HeaderList([(":status", "200")]), on: 1)
        _ = client.server.send([UInt8](repeating: 5, count: 10_000), on: 1, endStream: true, now: client.now)
        var bytes: [UInt8] = []
        var events: [HTTP2Event] = []
        withUnsafeTemporaryAllocation(byteCount: 64, alignment: 1) { buffer in
            while true {
                let count = client.server.produceOutput(into: buffer, now: client.now, events: &events)
                if count == 0 { break }
                bytes += buffer[..<count]
            }
        }
        let frames = RawFrame.parse(&bytes)
        #expect(bytes.isEmpty)
        #expect(frames.filter { $0.type == 0 }.reduce(0) { $0 + $1.payload.count } == 10_000)
        #expect(frames.last { $0.type == 0 }?.flags == 1)
    }

    @Test func aPeerWithATinyWindowGetsWhatItAllows() {
        let client = RawClient(settings: [(4, 1)])
        client.request(1)
        #expect(client.frames(type: 0).map(\.payload) == [[104]])
        client.send(.windowUpdate(1, 2))
        #expect(client.frames(type: 0).map(\.payload) == [[104], [101, 108]])
        client.send(.windowUpdate(1, 100))
        #expect(client.frames(type: 0).last?.payload == [108, 111])
        #expect(client.frames(type: 0).last?.flags == 1)
    }
}
