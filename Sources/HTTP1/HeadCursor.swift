import HTTP

/// Writes a head into room that was made for all of it; values are checked while they are copied.
struct HeadCursor {
    private let room: UnsafeMutableRawBufferPointer
    private(set) var count = 0

    init(_ room: UnsafeMutableRawBufferPointer) {
        self.room = room
    }

    @inline(__always)
    private mutating func take(_ bytes: Int) -> UnsafeMutableRawPointer? {
        precondition(count + bytes <= room.count, "a head larger than its room")
        let start = room.baseAddress.map { $0 + count }
        count += bytes
        return start
    }

    @inline(__always)
    private mutating func write(_ bytes: UnsafeRawBufferPointer) {
        guard let source = bytes.baseAddress else { return }
        take(bytes.count)?.copyMemory(from: source, byteCount: bytes.count)
    }

    @inline(__always)
    mutating func write(_ text: StaticString) {
        write(text.bytes)
    }

    @inline(__always)
    mutating func writePseudo(
        _ name: StaticString, of head: HeaderList, if isValid: (UnsafeRawBufferPointer) -> Bool
    ) throws(HTTP1WriteError) {
        let written: Bool? = head.withValue(of: name) { value in
            guard isValid(value) else { return false }
            write(value)
            return true
        }
        guard let written else { throw .missingField("\(name)") }
        guard written else { throw .malformedField(name: "\(name)") }
    }

    /// - Returns: the status.
    mutating func writeStatusLine(of head: HeaderList) throws(HTTP1WriteError) -> Int {
        var status = 0
        write("HTTP/1.1 ")
        try writePseudo(":status", of: head) { value in
            status = Int(Characters.number(value) ?? 0)
            return value.count == 3 && status >= 100
        }
        write(" ")
        write(StatusReason.of(status))
        write("\r\n")
        return status
    }

    /// Writes the fields but for those that concern the connection, or frame the body.
    mutating func writeFields(of head: HeaderList, keepsLength: Bool) throws(HTTP1WriteError) {
        var refused: String?
        head.forEachField { name, value in
            if name.first == UInt8(ascii: ":") || refused != nil { return }
            switch FieldKind(name) {
            case .ordinary: break
            // It goes no further than to the next one, who may know trailers.
            case .te where value.equals(StaticString("trailers").bytes):
                write("te: trailers\r\nconnection: te\r\n")
                return
            case .contentLength where keepsLength && Characters.number(value) != nil: break
            case .te, .contentLength, .host, .expect, .upgrade, .connection, .dropped, .transferEncoding: return
            }
            if !writeField(name, value) { refused = String(decoding: name, as: UTF8.self) }
        }
        if let refused { throw .malformedField(name: refused) }
    }

    @inline(__always)
    private mutating func writeField(_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) -> Bool {
        guard let source = name.baseAddress, !name.isEmpty,
            let target = take(name.count + value.count + 4)?.assumingMemoryBound(to: UInt8.self)
        else { return false }
        let table = Characters.token.utf8Start
        for index in 0..<name.count {
            let byte = source.load(fromByteOffset: index, as: UInt8.self)
            guard byte != 0, table[Int(byte)] == byte else { return false }
            target[index] = byte
        }
        target[name.count] = UInt8(ascii: ":")
        target[name.count + 1] = 0x20
        if let source = value.baseAddress {
            guard Characters.copyValue(source, value.count, to: target + name.count + 2) else { return false }
        }
        target[name.count + value.count + 2] = 0x0d
        target[name.count + value.count + 3] = 0x0a
        return true
    }

    mutating func write(_ framing: HTTP1Framing) {
        switch framing {
        case .none, .untilClose: break
        case .length(let length):
            write("content-length: ")
            write(decimal: length)
            write("\r\n")
        case .chunked: write("transfer-encoding: chunked\r\n")
        }
    }

    private mutating func write(decimal number: UInt64) {
        if number >= 10 { write(decimal: number / 10) }
        take(1)?.storeBytes(of: 0x30 + UInt8(number % 10), as: UInt8.self)
    }

    mutating func write(_ persistence: HTTP1Persistence) {
        switch persistence {
        case .implied: break
        case .keepAlive: write("connection: keep-alive\r\n")
        case .close: write("connection: close\r\n")
        case .upgrade(let name):
            write("connection: upgrade\r\nupgrade: ")
            // Comes from a head that was read or from configuration; what cannot stand in a value is left out.
            for byte in name.utf8 where Characters.isFieldByte(byte) { take(1)?.storeBytes(of: byte, as: UInt8.self) }
            write("\r\n")
        }
    }
}

extension HTTP1Persistence {
    /// The most bytes that it takes.
    var room: Int {
        switch self {
        case .implied, .keepAlive, .close: 32
        case .upgrade(let name): 32 + name.utf8.count
        }
    }
}
