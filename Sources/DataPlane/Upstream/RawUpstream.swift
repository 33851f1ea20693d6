import HTTP
import HTTP1
import Reactor

/// A connection to a host for the bytes of one CONNECT request that ends here: it answers as soon as it is there, and
/// what follows is no HTTP to us. Source: RFC 9110, section 9.3.6; Envoy, `TcpUpstream`.
final class RawUpstream: HTTPUpstream {
    private var user: UpstreamUser?
    private var isLent = false
    private var hasAnswered = false

    override var hasRoom: Bool { !isLent && !isDraining }
    override var isIdle: Bool { user == nil }
    override var protocolName: String { "" }

    /// Gives the connection to a user, once.
    func lend(to user: UpstreamUser) {
        isLent = true
        self.user = user
        user.upstream = self
    }

    override func send(
        _ head: HeaderList, _ framing: HTTP1Framing, ends: Bool, upgrade: String?, for user: UpstreamUser
    ) -> RequestSending {
        guard self.user === user else { return .refused }
        requests += 1
        isDraining = true
        if ends { loop.halfClose(id) }
        worker.later { [self] in answer() }
        return .sent
    }

    private func answer() {
        guard !hasAnswered, let user else { return }
        hasAnswered = true
        var shape = HTTP1Head()
        (shape.status, shape.framing, shape.keepsAlive) = (200, .untilClose, false)
        user.upstreamHead(HeaderList([(":status", "200")]), shape)
    }

    override func giveBack(_ user: UpstreamUser) { cancel(user) }

    override func sendData(_ bytes: UnsafeRawBufferPointer, for user: UpstreamUser) {
        guard self.user === user, !bytes.isEmpty else { return }
        loop.write(bytes, to: id)
    }

    override func sendEnd(_ trailers: HeaderList?, for user: UpstreamUser) {
        if self.user === user { loop.halfClose(id) }
    }

    override func isWritable(for user: UpstreamUser) -> Bool { loop.isWritable(id) }

    override func handOver(_ user: UpstreamUser, to other: UpstreamUser) {
        guard self.user === user else { return }
        user.upstream = nil
        lend(to: other)
    }

    override func cancel(_ user: UpstreamUser) {
        guard self.user === user else { return }
        detach()
        drain()
    }

    override func pauseResponse(for user: UpstreamUser) { loop.pauseReading(id) }
    override func resumeResponse(for user: UpstreamUser) { loop.resumeReading(id) }

    @discardableResult
    private func detach() -> UpstreamUser? {
        let last = user
        user?.upstream = nil
        user = nil
        return last
    }

    // MARK: What the loop tells

    override func received(_ bytes: UnsafeRawBufferPointer) {
        answer()
        user?.upstreamData(bytes)
    }

    override func writable() { user?.upstreamWritable() }

    override func peerEnded() {
        answer()
        detach()?.upstreamEnd(nil)
        drain()
    }

    override func closed(_ reason: CloseReason) {
        isDraining = true
        pool.closed(self)
        detach()?.upstreamFailed(.terminated("\(reason)"))
    }

    override func drain() {
        isDraining = true
        if user == nil { loop.closeAfterFlush(id) }
    }
}
