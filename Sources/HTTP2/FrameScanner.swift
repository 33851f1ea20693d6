/// The nine bytes before every frame. Source: RFC 9113, section 4.1.
struct FrameHeader: Equatable {
    var length = 0
    var type: UInt8 = 0
    var flags: UInt8 = 0
    var stream: HTTP2StreamID = 0

    static let size = 9

    enum Kind: UInt8 {
        case data, headers, priority, resetStream, settings, pushPromise, ping, goAway, windowUpdate, continuation
    }

    /// nil for extension frames.
    var kind: Kind? { Kind(rawValue: type) }
    /// END_STREAM, or ACK on SETTINGS and PING.
    var hasEndStream: Bool { flags & 0x1 != 0 }
    var isAcknowledgement: Bool { flags & 0x1 != 0 }
    var hasEndHeaders: Bool { flags & 0x4 != 0 }

    init(length: Int, type: UInt8, flags: UInt8, stream: HTTP2StreamID) {
        self.length = length
        self.type = type
        self.flags = flags
        self.stream = stream
    }

    /// - Parameter bytes: at least nine.
    init(_ bytes: UnsafeRawBufferPointer) {
        length = Int(bytes[0]) << 16 | Int(bytes[1]) << 8 | Int(bytes[2])
        type = bytes[3]
        flags = bytes[4]
        let raw = UInt32(bytes[5]) << 24 | UInt32(bytes[6]) << 16 | UInt32(bytes[7]) << 8 | UInt32(bytes[8])
        stream = HTTP2StreamID(bitPattern: raw & 0x7fff_ffff)
    }
}

/// What is done with the payload of the frame whose header was read.
enum FrameFate {
    /// Header and payload go to the library.
    case pass
    /// A payload of at most eight bytes is collected for us; the library does not see the frame.
    case collect
    /// Nobody sees the frame.
    case skip
}

/// Where in the peer's bytes we are: inside the preface, a frame header or a payload.
///
/// It stands before the library so that frames can be counted, judged and taken out by their headers alone.
struct FrameScanner {
    enum Position {
        case preface(matched: Int)
        case header
        case payload(FrameFate, left: Int)
    }

    /// Source: RFC 9113, section 3.4.
    static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)

    private(set) var position: Position
    private(set) var header = FrameHeader(length: 0, type: 0, flags: 0, stream: 0)
    /// The bytes of a header that was cut by the end of a read, or of a collected payload.
    private var stash: (UInt64, UInt64) = (0, 0)
    private var stashed = 0

    init(role: HTTP2Role) {
        switch role {
        case .server: position = .preface(matched: 0)
        case .client: position = .header
        }
    }

    /// Whether a frame has begun and is not complete.
    var isInsideFrame: Bool {
        switch position {
        case .preface(let matched): matched > 0
        case .header: stashed > 0
        case .payload: true
        }
    }

    /// Compares the next bytes with the preface.
    /// - Returns: how many were consumed; nil where they differ.
    mutating func matchPreface(_ bytes: UnsafeRawBufferPointer) -> Int? {
        guard case .preface(let matched) = position else { return 0 }
        let count = min(bytes.count, Self.preface.count - matched)
        for index in 0..<count where bytes[index] != Self.preface[matched + index] { return nil }
        position = matched + count == Self.preface.count ? .header : .preface(matched: matched + count)
        return count
    }

    /// Reads towards a frame header.
    /// - Returns: how many bytes were consumed, and whether ``header`` is now complete.
    mutating func readHeader(_ bytes: UnsafeRawBufferPointer) -> (consumed: Int, complete: Bool) {
        if stashed == 0, bytes.count >= FrameHeader.size {
            header = FrameHeader(bytes)
            return (FrameHeader.size, true)
        }
        let count = min(bytes.count, FrameHeader.size - stashed)
        keep(UnsafeRawBufferPointer(rebasing: bytes[..<count]))
        guard stashed == FrameHeader.size else { return (count, false) }
        header = withUnsafeBytes(of: &stash) { FrameHeader($0) }
        stashed = 0
        return (count, true)
    }

    /// Decides on the frame whose header is complete.
    mutating func begin(_ fate: FrameFate) {
        stashed = 0
        position = header.length == 0 ? .header : .payload(fate, left: header.length)
    }

    /// Counts payload bytes as read.
    mutating func advance(_ count: Int) {
        guard case .payload(let fate, let left) = position else { preconditionFailure("not in a payload") }
        position = left == count ? .header : .payload(fate, left: left - count)
    }

    /// Keeps a part of a collected payload.
    mutating func keep(_ bytes: UnsafeRawBufferPointer) {
        let offset = stashed
        withUnsafeMutableBytes(of: &stash) { target in
            UnsafeMutableRawBufferPointer(rebasing: target[offset...]).copyMemory(from: bytes)
        }
        stashed += bytes.count
    }

    /// The collected payload, as it came; what follows starts afresh.
    mutating func takeCollected() -> (UInt64, UInt64) {
        stashed = 0
        return stash
    }

    /// The bytes of a header that came in parts.
    var splitHeader: (UInt64, UInt64) { stash }
}
