import HTTP
import HTTP2
import Testing
import Time

@Suite struct TimingTests {
    private func advance(_ client: RawClient, _ seconds: Double) {
        client.now = client.now.advanced(by: .milliseconds(Int64(seconds * 1000)))
        client.tick()
    }

    @Test func aPeerThatSaysNothingAtFirstIsLetGo() {
        let client = RawClient(greets: false)
        #expect(client.server.nextDeadline == client.now.advanced(by: .seconds(10)))
        advance(client, 9.9)
        #expect(client.log == [])
        advance(client, 0.1)
        #expect(client.log == ["failed handshakeTimeout: nothing within 10.0 seconds"])
        #expect(client.goAway?.code == .settingsTimeout)
        #expect(client.server.isFinished)
        #expect(client.server.nextDeadline == nil)
    }

    @Test func settingsThatAreNotAcknowledgedEndTheConnection() {
        let client = RawClient(greets: false)
        client.send(RawFrame.preface + RawFrame.settings().encoded())
        advance(client, 10)
        #expect(client.goAway?.code == .settingsTimeout)
    }

    @Test func aFrameThatNeverEndsIsNotWaitedFor() {
        let client = RawClient()
        client.send(Array(RawFrame.headers(1, RawHeaders.requestBlock).encoded().dropLast()))
        advance(client, 29)
        client.send([])
        #expect(client.isOpen)
        advance(client, 1)
        #expect(client.log.last == "failed frameTimeout: nothing within 30.0 seconds")
    }

    @Test func aHeaderBlockThatNeverEndsIsNotWaitedFor() {
        let client = RawClient()
        client.send(.headers(1, RawHeaders.requestBlock, endHeaders: false))
        advance(client, 20)
        client.send(.continuation(1, [], endHeaders: false))
        advance(client, 10)
        #expect(client.log.last == "failed frameTimeout: nothing within 30.0 seconds")
    }

    @Test func silenceIsAnsweredWithAPingAndItsLossWithTheEnd() {
        let client = RawClient()
        client.request(1, end: false)
        _ = client.takeReceived()
        advance(client, 60)
        let pings = client.frames(type: 6)
        #expect(pings.count == 1)
        client.send(.ping(pings[0].payload, acknowledgement: true))
        #expect(client.log.last != "pong")
        advance(client, 60)
        #expect(client.frames(type: 6).count == 2)
        advance(client, 20)
        #expect(client.log.last == "failed keepaliveTimeout: nothing within 20.0 seconds")
        #expect(client.goAway?.code == .noError)
    }

    @Test func aConnectionWithoutStreamsDrains() {
        var limits = HTTP2Limits()
        limits.keepaliveInterval = nil
        let client = RawClient(limits: limits)
        advance(client, 899)
        client.request(1)
        #expect(client.log.last == "closed 1 NO_ERROR")
        advance(client, 899)
        #expect(client.goAway == nil)
        advance(client, 1)
        #expect(client.goAway?.code == .noError)
        #expect(client.server.isDraining)
        advance(client, 1)
        #expect(client.server.isFinished)
        #expect(client.server.failure == nil)
    }

    @Test func aDrainNamesTheLastStreamOnlyWhenThePeerHasSeenTheNotice() {
        let client = RawClient()
        client.request(1, end: false)
        _ = client.takeReceived()
        client.server.drain(now: client.now)
        client.settle()
        #expect(client.frames(type: 7).map { RawFrame.number($0.payload) } == [0x7fff_ffff])
        let ping = client.frames(type: 6)
        #expect(ping.count == 1)
        // This stream was on its way when the notice was sent: it is served.
        client.request(3)
        #expect(client.log.contains("headers 3 / end"))
        client.send(.ping(ping[0].payload, acknowledgement: true))
        #expect(client.frames(type: 7).map { RawFrame.number($0.payload) } == [0x7fff_ffff, 3])
        #expect(!client.server.isFinished)
        client.send(.data(1, [], end: true))
        #expect(client.server.isFinished)
        #expect(client.log.last == "closed 1 NO_ERROR")
    }

    @Test func aDrainEndsThoughThePeerDoesNotAnswerAndStreamsAreLeft() {
        let client = RawClient()
        client.request(1, end: false)
        client.server.drain(now: client.now)
        advance(client, 1)
        #expect(client.frames(type: 7).count == 2)
        client.request(3)
        #expect(!client.log.contains("headers 3 / end"))
        advance(client, 29)
        #expect(client.log.last == "failed drainTimeout: nothing within 30.0 seconds")
        #expect(client.server.isFinished)
    }

    @Test func aPeerThatDoesNotReadIsLetGo() {
        var limits = HTTP2Limits()
        limits.keepaliveInterval = nil
        let client = RawClient(limits: limits, settings: [(4, 0)])
        client.request(1)
        #expect(client.server.unsentBytes == 5)
        advance(client, 119)
        #expect(client.isOpen)
        client.send(.windowUpdate(1, 1))
        #expect(client.server.unsentBytes == 4)
        advance(client, 119)
        #expect(client.isOpen)
        advance(client, 1)
        #expect(client.log.last == "failed stallTimeout: nothing within 120.0 seconds")
        #expect(client.server.unsentBytes == 0)
    }

    @Test func aClientOpensNothingOnAConnectionThatDrains() throws {
        let pair = Pair()
        pair.run()
        let stream = try #require(pair.open())
        pair.run()
        pair.server.drain(now: pair.now)
        pair.run()
        #expect(pair.clientLog.filter { $0.hasPrefix("goaway") }.count == 2)
        #expect(pair.open() == nil)
        pair.onServerEvent = { [unowned pair] event in
            if case .endOfStream(let stream) = event {
                pair.server.respond(HeaderList([(":status", "200")]), on: stream, endStream: true)
            }
        }
        _ = pair.client.send([], on: stream, endStream: true, now: pair.now)
        pair.run()
        #expect(pair.clientLog.last == "closed 1 NO_ERROR")
        #expect(pair.client.isFinished)
        #expect(pair.server.isFinished)
    }

    @Test func ourOwnPingIsAnswered() {
        let pair = Pair()
        pair.run()
        pair.client.ping(7)
        pair.server.ping(8)
        pair.run()
        #expect(pair.clientLog == ["pong 7"])
        #expect(pair.serverLog == ["pong 8"])
    }
}

extension RawClient {
    var isOpen: Bool { server.failure == nil && !server.isFinished }
}
