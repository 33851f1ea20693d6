import HTTP
import HTTP1
import HTTP2
import Reactor
import Time

/// An HTTP/2 connection to a host: many requests at a time.
final class HTTP2Upstream: HTTPUpstream, HTTP2Transport {
    private struct Stream {
        var user: UpstreamUser
        var isPaused = false
        /// Bytes that were received and not yet given back to the window.
        var unconsumed = 0
        var requestEnded = false
        /// It asked for another protocol.
        var isUpgrade = false
        var informationalResponses = 0
    }

    let connection: HTTP2Connection
    var isDirty = false
    var deadline: (at: Instant, timer: TimerID)?
    private var streams = StreamTable<Stream>()
    private let mostStreams: Int
    /// Who asks for another protocol, before the peer has told whether it takes such requests.
    private var unsettled: [UpstreamUser] = []

    init(_ worker: Worker, _ id: ConnectionID, _ pool: HostConnections, limits: HTTP2Limits, mostStreams: Int) {
        connection = HTTP2Connection(role: .client, limits: limits, now: worker.loop.now)
        self.mostStreams = mostStreams
        super.init(worker, id, pool)
    }

    override func established(_ peer: Peer) { becameDirty() }

    override var hasRoom: Bool {
        !isDraining && !connection.isDraining && connection.failure == nil
            && connection.mayOpenStreams
            && streams.count + unsettled.count < min(mostStreams, connection.peerConcurrentStreams)
    }
    override var isIdle: Bool { streams.isEmpty && unsettled.isEmpty }
    override var protocolName: String { "HTTP/2" }

    override func send(
        _ head: HeaderList, _ framing: HTTP1Framing, ends: Bool, upgrade: String?, for user: UpstreamUser
    ) -> RequestSending {
        var head = head
        if let upgrade {
            switch connection.peerTakesExtendedConnect {
            case nil:
                unsettled.append(user)
                (user.upstream, user.upstreamStream) = (self, 0)
                return .waits
            case false?: return .refused
            case true?: head.becomeExtendedConnect(to: upgrade)
            }
        } else if !ends, framing == .none, head.value(of: ":method", equals: "CONNECT") {
            // Source: RFC 9113, section 8.5.
            head.remove(":scheme")
            head.remove(":path")
        }
        guard let stream = connection.open(head, endStream: ends, now: loop.now) else {
            guard !connection.mayOpenStreams else { return .unsayable }
            drain()
            return .refused
        }
        user.upstream = self
        user.upstreamStream = stream
        streams.insert(Stream(user: user, requestEnded: ends, isUpgrade: upgrade != nil), at: stream)
        requests += 1
        let hasDoneItsShare = pool.requestsPerConnection.map { requests >= $0 } ?? false
        if hasDoneItsShare || !connection.mayOpenStreams {
            isDraining = true
            pool.left(self)
        }
        becameDirty()
        return .sent
    }

    override func giveBack(_ user: UpstreamUser) { user.upstream = nil }

    override func sendData(_ bytes: UnsafeRawBufferPointer, for user: UpstreamUser) {
        sendBody(bytes, on: user.upstreamStream, orReset: .cancel)
    }

    override func sendEnd(_ trailers: HeaderList?, for user: UpstreamUser) {
        let wasOpen = streams.update(user.upstreamStream) { state -> Bool in
            defer { state.requestEnded = true }
            return !state.requestEnded
        }
        guard wasOpen == true else { return }
        sendLast(trailers, on: user.upstreamStream)
    }

    override func isWritable(for user: UpstreamUser) -> Bool {
        connection.unsentBytes(on: user.upstreamStream) < Worker.streamBuffer
            || connection.isWritable(user.upstreamStream)
    }

    override func handOver(_ user: UpstreamUser, to other: UpstreamUser) {
        guard streams.update(user.upstreamStream, { $0.user = other }) != nil else { return }
        (other.upstream, other.upstreamStream) = (self, user.upstreamStream)
        user.upstream = nil
    }

    override func cancel(_ user: UpstreamUser) {
        if let place = unsettled.firstIndex(where: { $0 === user }) {
            unsettled.remove(at: place).upstream = nil
            worker.later { [self] in gotRoom() }
            return
        }
        guard streams.remove(user.upstreamStream) != nil else { return }
        user.upstream = nil
        connection.reset(user.upstreamStream, .cancel)
        becameDirty()
        worker.later { [self] in gotRoom() }
    }

    override func pauseResponse(for user: UpstreamUser) {
        _ = streams.update(user.upstreamStream) { $0.isPaused = true }
    }

    override func resumeResponse(for user: UpstreamUser) {
        let stream = user.upstreamStream
        let owed = streams.update(stream) { state -> Int in
            defer { state.unconsumed = 0 }
            state.isPaused = false
            return state.unconsumed
        }
        guard let owed, owed > 0 else { return }
        connection.consume(owed, on: stream)
        becameDirty()
    }

    // MARK: What the loop tells

    override func received(_ bytes: UnsafeRawBufferPointer) {
        receive(bytes)
        guard !unsettled.isEmpty, connection.peerTakesExtendedConnect != nil else { return }
        let ready = unsettled
        unsettled = []
        for user in ready where user.upstream === self { user.upstreamReady() }
    }
    override func writable() { becameDirty() }

    func take(_ event: HTTP2Event) {
        switch event {
        case .headers(let stream, let head, let ends):
            guard let state = streams[stream] else { return }
            var shape = HTTP1Head(response: head, ends: ends)
            if state.isUpgrade, shape.status == 200 {
                // What HTTP/1 says in other words. Source: RFC 8441, section 5.
                shape.status = 101
                var changed = head
                changed.set(":status", "101")
                state.user.upstreamHead(changed, shape)
            } else {
                state.user.upstreamHead(head, shape)
            }
            if ends { responseEnded(stream, nil) }
        case .informational(let stream, let head):
            let count = streams.update(stream) { state in
                state.informationalResponses += 1
                return state.informationalResponses
            }
            guard let count, let user = streams[stream]?.user else { return }
            guard count > HTTP1Limits().informationalResponses else { return user.upstreamInformational(head) }
            cancel(user)
            user.upstreamFailed(.protocolError("too many informational responses"))
        case .data(let stream, let bytes):
            guard let user = streams[stream]?.user else { return connection.consume(bytes.count, on: stream) }
            user.upstreamData(bytes)
            let isPaused = streams.update(stream) { state in
                if state.isPaused { state.unconsumed += bytes.count }
                return state.isPaused
            }
            if isPaused != true { connection.consume(bytes.count, on: stream) }
        case .trailers(let stream, let trailers): responseEnded(stream, trailers)
        case .endOfStream(let stream): responseEnded(stream, nil)
        case .writable(let stream): streams[stream]?.user.upstreamWritable()
        case .streamClosed(let stream, let code, _):
            guard let state = streams.remove(stream) else { break }
            state.user.upstream = nil
            state.user.upstreamFailed(code == .refusedStream ? .refused : .reset)
            gotRoom()
        case .streamLimited(let stream, let limit, _, _):
            guard let state = streams.remove(stream) else { break }
            state.user.upstream = nil
            state.user.upstreamFailed(.protocolError("limit \(limit.rawValue)"))
            gotRoom()
        case .goAway: drain()
        case .pingAcknowledged: break
        case .connectionFailed(let failure):
            isDraining = true
            pool.left(self)
            failAll { .protocolError("\(failure)") }
        }
    }

    private func responseEnded(_ stream: HTTP2StreamID, _ trailers: HeaderList?) {
        guard let state = streams.remove(stream) else { return }
        state.user.upstream = nil
        if state.unconsumed > 0 { connection.consume(state.unconsumed, on: stream) }
        // Nobody reads what is left of the request.
        if !state.requestEnded || connection.unsentBytes(on: stream) > 0 { connection.reset(stream, .cancel) }
        state.user.upstreamEnd(trailers)
        gotRoom()
    }

    private func gotRoom() {
        if isDraining {
            guard isIdle else { return }
            connection.drain(now: loop.now)
            becameDirty()
        } else {
            pool.gotRoom(self)
        }
    }

    private func failAll(_ failure: () -> UpstreamFailure) {
        let waited = unsettled
        unsettled = []
        for user in waited where user.upstream === self {
            user.upstream = nil
            user.upstreamFailed(failure())
        }
        for stream in streams.streams {
            guard let state = streams.remove(stream) else { continue }
            state.user.upstream = nil
            state.user.upstreamFailed(failure())
        }
    }

    override func peerEnded() {
        isDraining = true
        pool.left(self)
        failAll { .terminated("the upstream closed the connection") }
        loop.close(id)
    }

    override func timerFired(_ token: UInt64) { if token == HTTP2Timer.deadline { tick() } }

    override func closed(_ reason: CloseReason) {
        isDraining = true
        pool.closed(self)
        failAll { .terminated("\(reason)") }
    }

    override func drain() {
        guard !isDraining else { return }
        isDraining = true
        pool.left(self)
        // The host hears of it when it has answered: a GOAWAY goes out before requests that are queued, and a server that
        // has heard one while nothing is open ends the connection.
        gotRoom()
    }
}

extension HTTP1Head {
    /// What the head of a response over HTTP/2 says in HTTP/1's terms.
    init(response head: HeaderList, ends: Bool) {
        self.init()
        status = head.withValue(of: ":status") { $0.reduce(0) { $0 * 10 + Int($1 &- 0x30) } } ?? 0
        framing = ends ? .none : HTTP1Framing(lengthOf: head)
    }

    /// What the head of a request over HTTP/2 says in HTTP/1's terms.
    init(request head: HeaderList, ends: Bool) {
        self.init()
        method = head.withValue(of: ":method") { HTTP1Method($0) } ?? .other
        framing = ends ? .none : HTTP1Framing(lengthOf: head)
    }
}

extension HTTP1Framing {
    /// The framing of a body whose length the library has checked against `content-length`.
    init(lengthOf head: HeaderList) {
        let length = head.withValue(of: "content-length") { value in
            value.count < 19 ? UInt64(String(decoding: value, as: UTF8.self)) : nil
        }
        self = if let length, let length { .length(length) } else { .chunked }
    }
}

extension HeaderList {
    /// A request for another protocol in HTTP/2's words. Source: RFC 8441, section 4; what HTTP/1 says of lengths and the
    /// connection has no place in it.
    mutating func becomeExtendedConnect(to name: String) {
        set(":method", "CONNECT")
        remove("content-length")
        Array(name.utf8).withUnsafeBytes { insert(name: (":protocol" as StaticString).bytes, value: $0, at: 1) }
    }
}
