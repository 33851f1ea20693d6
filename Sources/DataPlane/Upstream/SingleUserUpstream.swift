import Reactor

/// A connection that serves one user at a time.
class SingleUserUpstream: HTTPUpstream {
    private(set) final var user: UpstreamUser?

    override final var isIdle: Bool { user == nil }

    /// Gives the connection to a user, whose request is the next thing sent.
    func lend(to user: UpstreamUser) {
        self.user = user
        user.upstream = self
    }

    /// - Returns: who had it, and hears no more of it.
    @discardableResult
    final func detach() -> UpstreamUser? {
        let last = user
        user?.upstream = nil
        user = nil
        return last
    }

    override final func handOver(_ user: UpstreamUser, to other: UpstreamUser) {
        guard self.user === user else { return }
        user.upstream = nil
        lend(to: other)
    }

    override final func isWritable(for user: UpstreamUser) -> Bool { loop.isWritable(id) }
    override final func pauseResponse(for user: UpstreamUser) { loop.pauseReading(id) }
    override final func resumeResponse(for user: UpstreamUser) { loop.resumeReading(id) }
    override final func writable() { user?.upstreamWritable() }
}
