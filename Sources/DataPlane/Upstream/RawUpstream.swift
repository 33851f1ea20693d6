import HTTP
import HTTP1
import Reactor

/// A connection to a host for the bytes of one CONNECT request that ends here: it answers as soon as it is there, and
/// what follows is no HTTP to us. Source: RFC 9110, section 9.3.6; Envoy, `TcpUpstream`.
final class RawUpstream: SingleUserUpstream {
    private var isLent = false
    private var hasAnswered = false

    override var hasRoom: Bool { !isLent && !isDraining }
    override var protocolName: String { "" }

    /// Once.
    override func lend(to user: UpstreamUser) {
        isLent = true
        super.lend(to: user)
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

    override func cancel(_ user: UpstreamUser) {
        guard self.user === user else { return }
        detach()
        drain()
    }

    // MARK: What the loop tells

    override func received(_ bytes: UnsafeRawBufferPointer) {
        answer()
        user?.upstreamData(bytes)
    }

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
