import Forwarding
import HTTP
import HTTP1
import HTTP2
import Reactor
import Time

/// A client's HTTP/2 connection: many exchanges at a time.
final class HTTP2Downstream: HTTPDownstream, HTTP2Transport {
    private struct Stream {
        var exchange: Exchange
        var isPaused = false
        /// Bytes that were received and not yet given back to the window.
        var unconsumed = 0
    }

    private enum Timer { static let age: UInt64 = 3 }

    let connection: HTTP2Connection
    var isDirty = false
    var deadline: (at: Instant, timer: TimerID)?
    private var streams = StreamTable<Stream>()
    private var requests = 0

    override init(
        _ worker: Worker, _ id: ConnectionID, _ service: HTTPService, _ facts: ConnectionFacts,
        _ tracker: ConnectionTracker
    ) {
        connection = HTTP2Connection(role: .server, limits: service.http2Limits, now: worker.loop.now)
        super.init(worker, id, service, facts, tracker)
        if let limit = service.connectionAge { worker.loop.setTimer(after: limit, for: id, token: Timer.age) }
        becameDirty()
    }

    override var protocolName: String { "HTTP/2" }
    var closingTimeout: Duration? { service.closingTimeout }

    // MARK: Requests

    override func received(_ bytes: UnsafeRawBufferPointer) { receive(bytes) }

    func take(_ event: HTTP2Event) {
        switch event {
        case .headers(let stream, let head, let ends): begin(stream, head, ends)
        case .data(let stream, let bytes):
            guard let exchange = streams[stream]?.exchange else { return connection.consume(bytes.count, on: stream) }
            exchange.requestData(bytes)
            let isPaused = streams.update(stream) { state in
                if state.isPaused { state.unconsumed += bytes.count }
                return state.isPaused
            }
            if isPaused != true { connection.consume(bytes.count, on: stream) }
        case .trailers(let stream, let trailers): streams[stream]?.exchange.requestEnd(trailers)
        case .endOfStream(let stream): streams[stream]?.exchange.requestEnd(nil)
        case .writable(let stream): streams[stream]?.exchange.downstreamWritable()
        case .streamClosed(let stream, _, let byPeer):
            guard let state = streams.remove(stream) else { return }
            state.exchange.requestAborted(
                .downstreamTermination,
                details: byPeer ? "http2.remote_reset" : "http2.stream_closed")
        case .streamLimited: service.counters.tooLargeHeads += 1
        case .goAway: isDraining = true
        case .pingAcknowledged, .informational: break
        case .connectionFailed(let failure):
            service.counters.protocolErrors += 1
            abortAll(.downstreamProtocolError, "http2.\(failure.code)")
        }
    }

    private func begin(_ stream: HTTP2StreamID, _ head: HeaderList, _ ends: Bool) {
        requests += 1
        if let most = service.requestsPerConnection, requests >= most { drain(.ending) }
        var head = head
        let isOneHost = Self.settleHost(in: &head)
        var shape = HTTP1Head(request: head, ends: ends)
        if shape.isConnect, let name = head[":protocol"] {
            // Extended CONNECT is an upgrade in other words. Source: RFC 8441, section 4.
            shape.upgrade = name.lowercased()
            shape.method = .other
            head.remove(":protocol")
            head.set(":method", "GET")
        }
        // What follows is no body, as with HTTP/1.
        if shape.isConnect || shape.upgrade != nil { shape.framing = .none }
        if !ends, head.withValue(of: "expect", { $0.equalsIgnoringCase("100-continue") }) == true {
            shape.expectsContinue = true
            head.remove("expect")
        }
        let exchange = Exchange(self, stream: stream, head, shape)
        streams.insert(Stream(exchange: exchange), at: stream)
        exchange.start(refusing: isOneHost ? nil : "http2.host_mismatch")
        if shape.expectsContinue, streams[stream] != nil {
            sendInformational(HeaderList([(":status", "100")]), for: exchange)
        }
        if ends { exchange.requestEnd(nil) }
    }

    /// Leaves `:authority` alone: `host` stands for it where it is missing, and is not passed on beside it. A host that
    /// says otherwise is an attempt to be judged by one and served by the other. Source: RFC 9113, section 8.3.1.
    /// - Returns: false if they differ.
    private static func settleHost(in head: inout HeaderList) -> Bool {
        guard head.contains("host") else { return true }
        var hosts: [[UInt8]] = []
        head.forEachValue(of: "host") { hosts.append(Array($0)) }
        head.remove("host")
        if !head.contains(":authority"), let host = hosts.first {
            host.withUnsafeBytes { head.insert(name: (":authority" as StaticString).bytes, value: $0) }
        }
        let defaultPort = head.value(of: ":scheme", equals: "https") ? ":443" : ":80"
        func name(_ bytes: some Sequence<UInt8>) -> String {
            let text = String(decoding: Array(bytes), as: UTF8.self).lowercased()
            return text.hasSuffix(defaultPort) ? String(text.dropLast(defaultPort.count)) : text
        }
        let authority = head.withValue(of: ":authority") { name($0) }
        return hosts.allSatisfy { name($0) == authority }
    }

    override func peerEnded() {
        abortAll(.downstreamTermination, "downstream_remote_disconnect")
        loop.close(id)
    }

    private func abortAll(_ flag: ResponseFlag, _ details: String) {
        for stream in streams.streams {
            streams.remove(stream)?.exchange.requestAborted(flag, details: details)
        }
    }

    // MARK: Responses

    override func sendInformational(_ head: HeaderList, for exchange: Exchange) {
        connection.respondInformational(head, on: exchange.stream)
        becameDirty()
    }

    override func sendHead(_ head: HeaderList, _ framing: HTTP1Framing, for exchange: Exchange) {
        var head = head
        if exchange.isTunnel, exchange.shape.upgrade != nil, framing == .untilClose { head.set(":status", "200") }
        if isDraining || worker.isEnding, !connection.isDraining { connection.drain(now: loop.now) }
        connection.respond(head, on: exchange.stream, endStream: framing == .none)
        becameDirty()
    }

    override func sendData(_ bytes: UnsafeRawBufferPointer, for exchange: Exchange) {
        sendBody(bytes, on: exchange.stream, orReset: .internalError)
    }

    override func sendEnd(_ trailers: HeaderList?, for exchange: Exchange) {
        sendLast(trailers, on: exchange.stream)
    }

    override func abort(_ exchange: Exchange) {
        connection.reset(exchange.stream, .internalError)
        becameDirty()
    }

    override func ended(_ exchange: Exchange) {
        guard let state = streams.remove(exchange.stream) else { return }
        if state.unconsumed > 0 { connection.consume(state.unconsumed, on: exchange.stream) }
    }

    override func isWritable(for exchange: Exchange) -> Bool {
        connection.unsentBytes(on: exchange.stream) < Worker.streamBuffer || connection.isWritable(exchange.stream)
    }

    override func pauseRequest(of exchange: Exchange) {
        _ = streams.update(exchange.stream) { $0.isPaused = true }
    }

    override func resumeRequest(of exchange: Exchange) {
        let owed = streams.update(exchange.stream) { state -> Int in
            defer { state.unconsumed = 0 }
            state.isPaused = false
            return state.unconsumed
        }
        guard let owed, owed > 0 else { return }
        connection.consume(owed, on: exchange.stream)
        becameDirty()
    }

    // MARK: The socket

    override func writable() { becameDirty() }

    override func timerFired(_ token: UInt64) {
        switch token {
        case HTTP2Timer.deadline: tick()
        case Timer.age: drain(.ending)
        default: break
        }
    }

    override func closed(_ reason: CloseReason) {
        abortAll(.downstreamTermination, "downstream_remote_disconnect")
        service.connectionEnded(self)
        tracker.ended(id)
    }

    override func drain(_: DrainReason) {
        isDraining = true
        guard !connection.isDraining else { return }
        connection.drain(now: loop.now)
        becameDirty()
    }
}
