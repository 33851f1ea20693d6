/// The framing of messages. Source: gRPC over HTTP2, "Length-Prefixed-Message".
public enum GRPC {
    /// Bytes before each message: a flag and the length.
    public static let prefixSize = 5

    /// A message as it travels, encoded once for all streams that it goes to.
    public static func frame(_ message: UnsafeRawBufferPointer) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: prefixSize + message.count) { buffer, count in
            buffer[0] = 0
            for index in 0..<4 {
                buffer[1 + index] = UInt8(truncatingIfNeeded: message.count >> (24 - 8 * index))
            }
            UnsafeMutableRawBufferPointer(buffer)[prefixSize...].copyBytes(from: message)
            count = prefixSize + message.count
        }
    }

    public static func frame(_ message: [UInt8]) -> [UInt8] {
        message.withUnsafeBytes { frame($0) }
    }
}

extension Slice where Base == UnsafeMutableRawBufferPointer {
    fileprivate func copyBytes(from source: UnsafeRawBufferPointer) {
        UnsafeMutableRawBufferPointer(rebasing: self).copyMemory(from: source)
    }
}

/// One message that came. Where it lay whole in what was received it is not copied: then it is valid only
/// until those bytes are gone.
public struct GRPCMessage {
    private enum Storage {
        case slice(UnsafeRawBufferPointer)
        case assembled([UInt8])
    }

    private let storage: Storage
    /// What of the peer's window it still holds, to be given to `consume` where that is done by hand.
    public let windowBytes: Int

    init(slice: UnsafeRawBufferPointer, windowBytes: Int) {
        storage = .slice(slice)
        self.windowBytes = windowBytes
    }

    init(assembled: [UInt8], windowBytes: Int) {
        storage = .assembled(assembled)
        self.windowBytes = windowBytes
    }

    private init(_ storage: Storage, windowBytes: Int) {
        self.storage = storage
        self.windowBytes = windowBytes
    }

    /// The same message, that holds more of the window.
    func holding(_ more: Int) -> GRPCMessage {
        GRPCMessage(storage, windowBytes: windowBytes + more)
    }

    public var count: Int {
        switch storage {
        case .slice(let bytes): bytes.count
        case .assembled(let bytes): bytes.count
        }
    }

    /// Whether the message came in parts and was put together.
    public var wasAssembled: Bool {
        switch storage {
        case .slice: false
        case .assembled: true
        }
    }

    public func withUnsafeBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        switch storage {
        case .slice(let bytes): try body(bytes)
        case .assembled(let bytes): try bytes.withUnsafeBytes(body)
        }
    }

    /// A copy that lives as long as wanted.
    public var bytes: [UInt8] { withUnsafeBytes { Array($0) } }
}

/// Cuts the bytes of a call into messages. Holds at most one incomplete message, and never more of it than came.
struct MessageAssembler {
    enum Fault: Error, Equatable {
        /// The flag of the prefix is 1: the peer compressed, though no encoding was agreed on.
        case compressed
        case unknownFlag(UInt8)
        case tooLarge(Int)
    }

    private var prefix: UInt64 = 0
    private var prefixCount: UInt8 = 0
    private var isInsideMessage = false
    private var length = 0
    private var partial: [UInt8] = []

    /// Whether no message is under way.
    var isAtBoundary: Bool { prefixCount == 0 && !isInsideMessage }
    /// Bytes held.
    var heldBytes: Int { partial.count }

    /// - Parameters:
    ///   - limit: bytes that a message may have.
    ///   - emit: called with each message that is complete; false stops.
    /// - Returns: the bytes that went into an incomplete message or an incomplete prefix.
    mutating func receive(
        _ bytes: UnsafeRawBufferPointer, limit: Int, _ emit: (GRPCMessage) -> Bool
    ) throws(Fault) -> Int {
        var offset = 0
        while offset < bytes.count || (isInsideMessage && length == 0) {
            let start = offset
            if !isInsideMessage {
                while prefixCount < UInt8(GRPC.prefixSize), offset < bytes.count {
                    prefix = prefix << 8 | UInt64(bytes[offset])
                    prefixCount += 1
                    offset += 1
                }
                guard prefixCount == UInt8(GRPC.prefixSize) else { return offset - start }
                try beginMessage(limit: limit)
            }
            let available = min(bytes.count - offset, length - partial.count)
            let part = UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + available])
            offset += available
            guard partial.count + available == length else {
                partial.append(contentsOf: part)
                return offset - start
            }
            if !emit(finishMessage(part, windowBytes: offset - start)) { return 0 }
        }
        return 0
    }

    private mutating func beginMessage(limit: Int) throws(Fault) {
        let flag = UInt8(truncatingIfNeeded: prefix >> 32)
        length = Int(UInt32(truncatingIfNeeded: prefix))
        prefix = 0
        prefixCount = 0
        guard flag != 1 else { throw .compressed }
        guard flag == 0 else { throw .unknownFlag(flag) }
        guard length <= limit else { throw .tooLarge(length) }
        isInsideMessage = true
    }

    private mutating func finishMessage(_ last: UnsafeRawBufferPointer, windowBytes: Int) -> GRPCMessage {
        isInsideMessage = false
        guard !partial.isEmpty else { return GRPCMessage(slice: last, windowBytes: windowBytes) }
        partial.append(contentsOf: last)
        let assembled = partial
        partial = []
        return GRPCMessage(assembled: assembled, windowBytes: windowBytes)
    }
}

extension MessageAssembler.Fault {
    /// The status for the peer, with the limit and the mend.
    func status(limit: Int) -> GRPCStatus {
        switch self {
        case .compressed:
            GRPCStatus(.internalError, "a message is marked as compressed, but the call names no grpc-encoding")
        case .unknownFlag(let flag):
            GRPCStatus(.internalError, "a message has the flag \(flag); only 0 and 1 are defined")
        case .tooLarge(let size):
            GRPCStatus(
                .resourceExhausted,
                "a message of \(size) bytes is larger than the limit of \(limit): split it, or raise messageSize")
        }
    }
}
