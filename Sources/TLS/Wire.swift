import COpenSSL
import Glibc

/// What lies between libssl and the caller's buffers: libssl reads records straight from the bytes of
/// the running `receive`, and what it writes is held only until its call returns. So an idle connection
/// owns no buffer. One per connection, at a fixed address that the BIO knows.
struct Wire {
    /// What is left of the bytes that the caller passed; empty outside `receive`.
    var input = UnsafeRawBufferPointer(start: nil, count: 0)

    /// Records written during the running libssl call: one record or one handshake flight.
    private var pending: UnsafeMutableRawPointer?
    private var pendingCount = 0
    private var pendingCapacity = 0

    var tally: Tally

    init(limits: TLSLimits) {
        tally = Tally(limits: limits)
    }

    /// Hands over what was written. The caller frees it. It counts as consumed from here on, so that a
    /// write from inside the caller's output or plaintext callback cannot send it again.
    mutating func takePending() -> UnsafeMutableRawBufferPointer? {
        guard let pending else { return nil }
        defer {
            self.pending = nil
            pendingCount = 0
            pendingCapacity = 0
        }
        return UnsafeMutableRawBufferPointer(start: pending, count: pendingCount)
    }

    fileprivate mutating func read(into target: UnsafeMutableRawPointer, capacity: Int) -> Int {
        let count = min(capacity, input.count)
        guard count > 0, let source = input.baseAddress else { return 0 }
        target.copyMemory(from: source, byteCount: count)
        input = UnsafeRawBufferPointer(rebasing: input[count...])
        return count
    }

    fileprivate mutating func write(_ bytes: UnsafeRawPointer, count: Int) -> Bool {
        if pendingCount + count > pendingCapacity {
            // The first write takes exactly its size: it is usually the only one.
            let capacity = pending == nil ? count : max(pendingCount + count, 2 * pendingCapacity)
            guard let grown = realloc(pending, capacity) else { return false }
            pending = grown
            pendingCapacity = capacity
        }
        guard let pending else { return count == 0 }
        (pending + pendingCount).copyMemory(from: bytes, byteCount: count)
        pendingCount += count
        return true
    }

    /// The BIO over a `Wire`, whose address is its data. Made once per process and never freed.
    nonisolated(unsafe) static let method: OpaquePointer? = {
        guard let method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "martinet wire") else { return nil }
        BIO_meth_set_read(method, readFromWire)
        BIO_meth_set_write(method, writeToWire)
        BIO_meth_set_ctrl(method, controlWire)
        return method
    }()
}

private func wire(of bio: OpaquePointer?) -> UnsafeMutablePointer<Wire>? {
    BIO_get_data(bio)?.assumingMemoryBound(to: Wire.self)
}

private func readFromWire(_ bio: OpaquePointer?, _ target: UnsafeMutablePointer<CChar>?, _ capacity: Int32) -> Int32 {
    martinet_bio_clear_retry(bio)
    guard let wire = wire(of: bio), let target, capacity > 0, wire.pointee.tally.exceeded == nil else { return -1 }
    let count = wire.pointee.read(into: target, capacity: Int(capacity))
    if count > 0, wire.pointee.tally.noteBytes(count) { return Int32(count) }
    if count == 0 { martinet_bio_wants_read(bio) }
    return -1
}

private func writeToWire(_ bio: OpaquePointer?, _ bytes: UnsafePointer<CChar>?, _ count: Int32) -> Int32 {
    martinet_bio_clear_retry(bio)
    guard let wire = wire(of: bio), let bytes, count >= 0 else { return -1 }
    return wire.pointee.write(bytes, count: Int(count)) ? count : -1
}

private func controlWire(_: OpaquePointer?, _ command: Int32, _: Int, _: UnsafeMutableRawPointer?) -> Int {
    command == BIO_CTRL_FLUSH ? 1 : 0
}
