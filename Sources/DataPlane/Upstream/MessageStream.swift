import HTTP
import HTTP1
import Time

/// A gRPC call of the proxy's own that only sends, for as long as it lasts. What comes back is not read.
final class MessageStream: WorkerRequest {
    /// More may be sent.
    var hasRoom: () -> Void = {}
    /// The last event: the call is over, or could not begin.
    var hasEnded: () -> Void = {}
    /// It was said to an upstream.
    private(set) var wasOpen = false
    private var isFinished = false

    func start() { worker.later { [self] in begin() } }

    /// Its cluster has gone or is another now, or its connection takes no more.
    var isStale: Bool { cluster.isRetired || upstream?.isDraining == true }

    var isWritable: Bool { wasOpen && !isFinished && upstream?.isWritable(for: self) == true }

    /// - Parameter bytes: whole messages in their frames.
    func send(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { upstream?.sendData($0, for: self) }
    }

    /// Nothing more will be sent. A peer that does not answer that is cut off.
    func finish(within patience: Duration) {
        guard !isFinished else { return }
        isFinished = true
        guard wasOpen, let upstream else { return end() }
        upstream.sendEnd(nil, for: self)
        worker.loop.schedule(after: patience) { [weak self] _ in self?.end() }
    }

    private func end() {
        letGo()
        let ended = hasEnded
        (hasRoom, hasEnded) = ({}, {})
        ended()
    }

    override func upstreamReady() {
        guard let upstream else { return }
        guard case .sent = upstream.send(head, .chunked, ends: false, upgrade: nil, for: self) else {
            upstream.giveBack(self)
            return end()
        }
        wasOpen = true
        hasRoom()
    }

    override func upstreamData(_ bytes: UnsafeRawBufferPointer) {}
    override func upstreamEnd(_ trailers: HeaderList?) { end() }
    override func upstreamWritable() { hasRoom() }
    override func couldNot(_ failure: UpstreamFailure?) { end() }
}
