import Reactor

/// A connection that gets back what it sends.
final class EchoDownstream: SocketUser {
    private let tracker: ConnectionTracker

    init(_ worker: Worker, _ id: ConnectionID, _ tracker: ConnectionTracker) {
        self.tracker = tracker
        super.init(worker, id)
    }

    override func received(_ bytes: UnsafeRawBufferPointer) {
        loop.write(bytes, to: id)
        if !loop.isWritable(id) { loop.pauseReading(id) }
    }

    override func writable() { loop.resumeReading(id) }
    override func peerEnded() { loop.closeAfterFlush(id) }
    override func closed(_ reason: CloseReason) { tracker.ended(id) }
}
