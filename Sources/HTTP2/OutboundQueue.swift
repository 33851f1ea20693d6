/// The DATA of one stream that waits to be sent: buffers that are shared with other streams, never copied
/// here, and how far the first one went out.
struct OutboundQueue {
    private var head: [UInt8] = []
    private var offset = 0
    /// Empty while one message at a time is under way: then a stream needs no memory for its queue.
    private var tail: [[UInt8]] = []
    private var tailStart = 0
    private(set) var unsent = 0

    mutating func append(_ bytes: [UInt8]) {
        guard !bytes.isEmpty else { return }
        if unsent == 0 {
            head = bytes
            offset = 0
        } else {
            tail.append(bytes)
        }
        unsent += bytes.count
    }

    /// Copies the next bytes out; there must be as many.
    mutating func move(into target: UnsafeMutableRawBufferPointer) {
        precondition(target.count <= unsent)
        var filled = 0
        while filled < target.count {
            let taken = min(head.count - offset, target.count - filled)
            head.withUnsafeBytes { source in
                UnsafeMutableRawBufferPointer(rebasing: target[filled...])
                    .copyMemory(from: UnsafeRawBufferPointer(rebasing: source[offset..<offset + taken]))
            }
            filled += taken
            offset += taken
            if offset == head.count { advance() }
        }
        unsent -= filled
    }

    mutating func removeAll() {
        self = OutboundQueue()
    }

    private mutating func advance() {
        offset = 0
        guard tailStart < tail.count else {
            head = []
            tail = []
            tailStart = 0
            return
        }
        head = tail[tailStart]
        tail[tailStart] = []
        tailStart += 1
        if tailStart > 32, tailStart * 2 > tail.count {
            tail.removeFirst(tailStart)
            tailStart = 0
        }
    }
}
