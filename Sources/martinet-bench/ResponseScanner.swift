/// Reads what the server sends, in whatever parts it comes: frame headers, gRPC's prefix, and of a response its type,
/// nonce, version and number of resources. Everything else is skipped; nothing is allocated.
struct ResponseScanner {
    enum Event {
        /// A response is complete: the properties tell what it is.
        case response
        case ping(UInt64)
        case pingAnswered
        /// The server has ended the stream or the connection.
        case ended
    }

    private(set) var nonce = ShortText()
    private(set) var version = ShortText()
    private(set) var resources = 0
    private var typeLength = 0

    var kind: RequestBytes.Kind? {
        RequestBytes.Kind.allCases.first { $0.typeURL.utf8.count == typeLength }
    }

    private var frameHeader: UInt64 = 0
    private var frameHeaderCount = 0
    private var frameType: UInt8 = 0
    private var frameFlags: UInt8 = 0
    private var frameLeft = 0
    private var payload: UInt64 = 0

    private enum Step { case prefix, tag, length, value }
    private var step = Step.prefix
    private var prefixCount = 0
    private var messageLeft = 0
    private var tag: UInt8 = 0
    private var shift = 0
    private var fieldLeft = 0

    /// Reads to the next event.
    /// - Parameters:
    ///   - bytes: what is left of them, on return.
    ///   - record: takes the message bytes as they come.
    /// - Returns: nil when all bytes are read.
    mutating func next(_ bytes: inout UnsafeRawBufferPointer, record: (UnsafeRawBufferPointer) -> Void) -> Event? {
        while !bytes.isEmpty {
            if frameHeaderCount < 9 {
                readFrameHeader(&bytes)
                if frameHeaderCount < 9 || (frameLeft > 0 && bytes.isEmpty) { return nil }
            }
            let part = UnsafeRawBufferPointer(rebasing: bytes.prefix(frameLeft))
            var used = part.count
            var event: Event?
            switch frameType {
            case 0:
                let (count, isComplete) = readMessage(part)
                record(UnsafeRawBufferPointer(rebasing: part[..<count]))
                used = count
                if isComplete { event = .response }
            case 6:
                for byte in part { payload = payload << 8 | UInt64(byte) }
            default: break
            }
            frameLeft -= used
            bytes = UnsafeRawBufferPointer(rebasing: bytes.dropFirst(used))
            if frameLeft == 0 {
                frameHeaderCount = 0
                event = event ?? frameEnded()
            }
            if let event { return event }
        }
        return nil
    }

    private func frameEnded() -> Event? {
        switch frameType {
        case 0, 1: frameFlags & 1 != 0 ? .ended : nil
        case 3, 7: .ended
        case 6: frameFlags & 1 != 0 ? .pingAnswered : .ping(payload)
        default: nil
        }
    }

    private mutating func readFrameHeader(_ bytes: inout UnsafeRawBufferPointer) {
        let count = min(9 - frameHeaderCount, bytes.count)
        for byte in bytes[..<count] {
            // The last four bytes are the stream: there is one only.
            if frameHeaderCount < 5 { frameHeader = frameHeader << 8 | UInt64(byte) }
            frameHeaderCount += 1
        }
        bytes = UnsafeRawBufferPointer(rebasing: bytes[count...])
        guard frameHeaderCount == 9 else { return }
        frameLeft = Int(frameHeader >> 16 & 0xff_ffff)
        frameType = UInt8(truncatingIfNeeded: frameHeader >> 8)
        frameFlags = UInt8(truncatingIfNeeded: frameHeader)
        frameHeader = 0
        payload = 0
    }

    private mutating func readMessage(_ bytes: UnsafeRawBufferPointer) -> (count: Int, isComplete: Bool) {
        var index = 0
        while index < bytes.count {
            switch step {
            case .prefix:
                let byte = bytes[index]
                index += 1
                messageLeft = prefixCount == 0 ? 0 : messageLeft << 8 | Int(byte)
                prefixCount += 1
                guard prefixCount == 5 else { continue }
                prefixCount = 0
                (nonce, version, resources, typeLength) = (ShortText(), ShortText(), 0, 0)
                if messageLeft == 0 { return (index, true) }
                step = .tag
            case .tag:
                tag = bytes[index]
                index += 1
                messageLeft -= 1
                (fieldLeft, shift) = (0, 0)
                step = .length
            case .length:
                let byte = bytes[index]
                index += 1
                messageLeft -= 1
                fieldLeft |= Int(byte & 0x7f) << shift
                shift += 7
                guard byte < 0x80 else { continue }
                fieldStarts()
                step = fieldLeft > 0 ? .value : .tag
            case .value:
                let count = min(fieldLeft, bytes.count - index)
                if tag == 0x2a || tag == 0x0a {
                    let part = UnsafeRawBufferPointer(rebasing: bytes[index..<index + count])
                    if tag == 0x2a { nonce.append(part) } else { version.append(part) }
                }
                index += count
                messageLeft -= count
                fieldLeft -= count
                if fieldLeft == 0 { step = .tag }
            }
            if messageLeft == 0, step == .tag {
                step = .prefix
                return (index, true)
            }
        }
        return (index, false)
    }

    /// Source: envoy.service.discovery.v3.DiscoveryResponse and DeltaDiscoveryResponse: the same numbers.
    private mutating func fieldStarts() {
        switch tag {
        case 0x12: resources += 1
        case 0x22: typeLength = fieldLeft
        default: if tag & 7 == 0 { fieldLeft = 0 }
        }
    }
}

/// At most 64 bytes, kept in place. More are cut off, which the server would answer with an error.
struct ShortText: Equatable {
    private var words: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0, 0, 0, 0, 0)
    private var count = 0

    mutating func append(_ bytes: UnsafeRawBufferPointer) {
        let offset = count
        let taken = min(bytes.count, 64 - offset)
        withUnsafeMutableBytes(of: &words) { target in
            for index in 0..<taken { target[offset + index] = bytes[index] }
        }
        count += taken
    }

    var bytes: [UInt8] { withUnsafeBytes(of: words) { Array($0.prefix(count)) } }

    static func == (left: ShortText, right: ShortText) -> Bool {
        left.count == right.count && left.words.0 == right.words.0 && left.words.1 == right.words.1
            && left.words.2 == right.words.2 && left.words.3 == right.words.3 && left.words.4 == right.words.4
            && left.words.5 == right.words.5 && left.words.6 == right.words.6 && left.words.7 == right.words.7
    }
}
