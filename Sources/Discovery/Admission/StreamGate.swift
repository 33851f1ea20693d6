import GRPC
import Time

/// What stands between the requests of one stream and the protocol: while something is being decided, requests wait.
struct StreamGate {
    enum State {
        case open
        /// Whether the stream may be.
        case deciding
        /// Secrets that the stream asked for are being made.
        case preparing(DecodedRequest?)
        /// Decided against; the status is sent at ``deadline``.
        case refusing(GRPCStatus)
        /// The status was sent.
        case closed
    }

    /// Messages of one stream that wait.
    static let mostMessages = 32
    /// Bytes of them.
    static let mostBytes = 1 << 20

    private(set) var state = State.open
    /// When to stop waiting.
    private(set) var deadline: Instant?
    private var waiting: [[UInt8]] = []
    private var waitingBytes = 0

    var isOpen: Bool {
        if case .open = state { return true }
        return false
    }

    var isRefusing: Bool {
        if case .refusing = state { return true }
        return false
    }

    mutating func close(_ state: State, until deadline: Instant?) {
        self.state = state
        self.deadline = deadline
        switch state {
        case .refusing, .closed: (waiting, waitingBytes) = ([], 0)
        case .open, .deciding, .preparing: break
        }
    }

    mutating func open() {
        state = .open
        deadline = nil
    }

    /// Keeps a message for later. Those of a stream that is refused are dropped.
    /// - Returns: false when too much waits.
    mutating func hold(_ message: UnsafeRawBufferPointer) -> Bool {
        switch state {
        case .refusing, .closed: return true
        case .open, .deciding, .preparing: break
        }
        guard waiting.count < Self.mostMessages, waitingBytes + message.count <= Self.mostBytes else { return false }
        waiting.append(Array(message))
        waitingBytes += message.count
        return true
    }

    /// The oldest message that waits, if the gate is open.
    mutating func next() -> [UInt8]? {
        guard isOpen, !waiting.isEmpty else { return nil }
        let message = waiting.removeFirst()
        waitingBytes -= message.count
        return message
    }
}
