import HTTP
import HTTP1
import Reactor
import Time

/// An HTTP/1.1 connection to a host: one request at a time.
final class HTTP1Upstream: SingleUserUpstream {
    private enum Timer { static let idle: UInt64 = 1 }

    private var receiver: HTTP1Receiver
    private var isChunked = false
    /// What follows the head is no body.
    private var isTunnel = false
    /// The request is sent whole.
    private var requestEnded = true
    private var keepsAlive = true
    /// A byte of the answer is there.
    private var hasHeard = false
    private var idleSince: Instant
    let opened: Instant

    init(_ worker: Worker, _ id: ConnectionID, _ pool: HostConnections, limits: HTTP1Limits) {
        receiver = HTTP1Receiver(role: .client, limits: limits)
        idleSince = worker.loop.now
        opened = worker.loop.now
        super.init(worker, id, pool)
    }

    override func established(_ peer: Peer) {
        if let limit = pool.idleTimeout { loop.setTimer(after: limit, for: id, token: Timer.idle) }
    }

    override var hasRoom: Bool { user == nil && !isDraining }

    override func send(
        _ head: HeaderList, _ framing: HTTP1Framing, ends: Bool, upgrade: String?, for user: UpstreamUser
    ) -> RequestSending {
        guard self.user === user else { return .refused }
        let method = head.withValue(of: ":method") { HTTP1Method($0) } ?? .other
        let framing = ends && framing == .chunked ? .none : framing
        var isWritten = true
        worker.withScratch { bytes in
            do throws(HTTP1WriteError) {
                try HTTP1Writer.appendRequest(
                    head, framing: framing, persistence: upgrade.map { .upgrade($0) } ?? .implied, to: &bytes)
                if pool.configuration.http.http1.capitalises { HTTP1Writer.capitaliseNames(&bytes) }
            } catch {
                isWritten = false
            }
            if isWritten { loop.write(bytes, to: id) }
        }
        guard isWritten else { return .unsayable }
        isChunked = framing == .chunked
        isTunnel = upgrade != nil || method == .connect
        requestEnded = ends
        keepsAlive = true
        hasHeard = false
        requests += 1
        receiver.expectResponse(to: method, upgrade: upgrade != nil)
        if let most = pool.requestsPerConnection, requests >= most { isDraining = true }
        return .sent
    }

    override func giveBack(_ user: UpstreamUser) {
        guard self.user === user else { return }
        detach()
        idleSince = loop.now
        worker.later { [self] in
            // It may be among the idle ones already.
            pool.left(self)
            pool.gotRoom(self)
        }
    }

    override func sendData(_ bytes: UnsafeRawBufferPointer, for user: UpstreamUser) {
        guard self.user === user, !bytes.isEmpty else { return }
        writeBody(bytes, isChunked: isChunked)
    }

    override func sendEnd(_ trailers: HeaderList?, for user: UpstreamUser) {
        guard self.user === user, !requestEnded else { return }
        requestEnded = true
        if isTunnel { return loop.halfClose(id) }
        guard isChunked else { return }
        worker.withScratch { scratch in
            HTTP1Writer.appendLastChunk(trailers: pool.passesTrailers ? trailers : nil, to: &scratch)
            loop.write(scratch, to: id)
        }
    }

    override func cancel(_ user: UpstreamUser) {
        guard self.user === user else { return }
        detach()
        isDraining = true
        // The last that was said into a tunnel is still to arrive.
        if isTunnel { loop.closeAfterFlush(id) } else { loop.close(id) }
    }

    // MARK: What the loop tells

    override func received(_ bytes: UnsafeRawBufferPointer) {
        guard user != nil else {
            // Bytes that nobody asked for: the next response would not be the next request's.
            isDraining = true
            pool.left(self)
            return loop.close(id, reason: .violation("the upstream spoke without being asked"))
        }
        hasHeard = true
        worker.withHTTP1Events { events in
            _ = receiver.receive(bytes, events: &events)
            // Bytes behind the response: nobody else may get this connection.
            if case .failed? = events.last { keepsAlive = false }
            for place in events.indices { take(events.takeOut(at: place)) }
        }
    }

    private func take(_ event: consuming HTTP1Event) {
        guard let user else { return }
        switch event {
        case .head(let head, let shape):
            if !shape.keepsAlive { keepsAlive = false }
            user.upstreamHead(head, shape)
        case .informational(let head): user.upstreamInformational(head)
        case .data(let bytes): user.upstreamData(bytes)
        case .end(let trailers): responseEnded(user, trailers)
        case .failed(let failure):
            detach()
            isDraining = true
            loop.close(id, reason: .violation("\(failure)"))
            user.upstreamFailed(
                failure.problem == .closedEarly ? ended("\(failure)") : .protocolError("\(failure)"))
        }
    }

    private func responseEnded(_ user: UpstreamUser, _ trailers: HeaderList?) {
        // What follows an upgrade, or a response until the end, ends with the connection.
        if !requestEnded || !keepsAlive { isDraining = true }
        detach()
        user.upstreamEnd(trailers)
        if isDraining {
            pool.left(self)
            loop.close(id)
        } else {
            loop.resumeReading(id)
            idleSince = loop.now
            pool.gotRoom(self)
        }
    }

    override func peerEnded() {
        isDraining = true
        worker.withHTTP1Events { events in
            receiver.endOfInput(events: &events)
            for place in events.indices { take(events.takeOut(at: place)) }
        }
        if let user = detach() { user.upstreamFailed(ended("the upstream closed the connection")) }
        loop.close(id)
    }

    /// The host has ended the connection.
    private func ended(_ problem: String) -> UpstreamFailure {
        requests > 1 && !hasHeard ? .stale(problem) : .terminated(problem)
    }

    override func timerFired(_ token: UInt64) {
        guard let limit = pool.idleTimeout else { return }
        let due = idleSince.advanced(by: limit)
        if user == nil, due <= loop.now {
            isDraining = true
            pool.left(self)
            return loop.close(id)
        }
        loop.setTimer(at: user == nil ? due : loop.now.advanced(by: limit), for: id, token: Timer.idle)
    }

    override func closed(_ reason: CloseReason) {
        isDraining = true
        pool.closed(self)
        guard let user = detach() else { return }
        if case .failed = reason {
            user.upstreamFailed(ended("\(reason)"))
        } else {
            user.upstreamFailed(.terminated("\(reason)"))
        }
    }

    override func drain() {
        isDraining = true
        if user == nil { loop.close(id) }
    }
}
