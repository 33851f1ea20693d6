import HTTP

/// What the `connection` field of a head says.
public enum HTTP1Persistence: Equatable, Sendable {
    /// Nothing: HTTP/1.1 connections live on.
    case implied
    /// `keep-alive`, for an HTTP/1.0 peer.
    case keepAlive
    /// `close`: this message is the last one.
    case close
    /// `upgrade`, with this protocol in `upgrade`.
    case upgrade(String)
}

/// Why a head cannot be written: what it says would mean something else on the wire.
public enum HTTP1WriteError: Error, Equatable, Sendable, CustomStringConvertible {
    case missingField(String)
    case malformedField(name: String)

    public var description: String {
        switch self {
        case .missingField(let name): "HTTP/1: a head without \(name)"
        case .malformedField(let name): "HTTP/1: the field \(name) holds what HTTP/1.1 cannot carry"
        }
    }
}

/// Heads, chunks and trailers as HTTP/1.1 bytes. Nothing that a name or a value holds can end its line: such a head
/// throws, and the output is as it was before.
public enum HTTP1Writer {
    /// Appends a request's head. Framing and connection fields of the list are left out: `framing` and `persistence`
    /// say what is true here.
    public static func appendRequest(
        _ head: HeaderList, framing: HTTP1Framing, persistence: HTTP1Persistence = .implied, to output: inout [UInt8]
    ) throws(HTTP1WriteError) {
        precondition(framing != .untilClose, "a request cannot end with its connection")
        let isConnect = head.value(of: ":method", equals: "CONNECT")
        try write(head, persistence, to: &output) { cursor throws(HTTP1WriteError) in
            try cursor.writePseudo(":method", of: head, if: Characters.isToken)
            cursor.write(" ")
            if isConnect {
                try cursor.writePseudo(":authority", of: head) { Authority($0)?.port != nil }
            } else {
                try cursor.writePseudo(":path", of: head, if: isPath)
            }
            cursor.write(" HTTP/1.1\r\nhost: ")
            try cursor.writePseudo(":authority", of: head) { Authority($0) != nil }
            cursor.write("\r\n")
            try cursor.writeFields(of: head, keepsLength: false)
            cursor.write(framing)
        }
    }

    /// Appends a response's head. Framing and connection fields of the list are left out: `framing` and `persistence`
    /// say what is true here. With `.none` a `content-length` of the list stays: in answers to HEAD and with 304 it
    /// tells of another response.
    public static func appendResponse(
        _ head: HeaderList, framing: HTTP1Framing, persistence: HTTP1Persistence = .implied, to output: inout [UInt8]
    ) throws(HTTP1WriteError) {
        try write(head, persistence, to: &output) { cursor throws(HTTP1WriteError) in
            let status = try cursor.writeStatusLine(of: head)
            let isBodiless = status < 200 || status == 204
            try cursor.writeFields(of: head, keepsLength: framing == .none && !isBodiless)
            if !isBodiless { cursor.write(framing) }
        }
    }

    /// Appends an informational response: 100, 102, 103.
    public static func appendInformational(_ head: HeaderList, to output: inout [UInt8]) throws(HTTP1WriteError) {
        try write(head, .implied, to: &output) { cursor throws(HTTP1WriteError) in
            _ = try cursor.writeStatusLine(of: head)
            try cursor.writeFields(of: head, keepsLength: false)
        }
    }

    /// Makes room for the head, lets `body` write into it, and ends it; nothing is left of what throws.
    @inline(__always)
    private static func write(
        _ head: HeaderList, _ persistence: HTTP1Persistence, to output: inout [UInt8],
        _ body: (inout HeadCursor) throws(HTTP1WriteError) -> Void
    ) throws(HTTP1WriteError) {
        let before = output.count
        // The fields with their separators take less than the list's size; `:authority` may be there twice.
        let room = head.listSize + (head.withValue(of: ":authority") { $0.count } ?? 0) + persistence.room + 192
        output.append(contentsOf: repeatElement(0, count: room))
        var problem: HTTP1WriteError?
        let written = output.withUnsafeMutableBytes { bytes in
            var cursor = HeadCursor(UnsafeMutableRawBufferPointer(rebasing: bytes[before...]))
            do throws(HTTP1WriteError) {
                try body(&cursor)
                cursor.write(persistence)
                cursor.write("\r\n")
                return cursor.count
            } catch {
                problem = error
                return 0
            }
        }
        output.removeLast(room - written)
        if let problem { throw problem }
    }

    /// Writes the names of fields as peers want them that know but one way: `Content-Type`.
    /// Source: Envoy, `ProperCaseHeaderKeyFormatter`.
    /// - Parameter head: a whole head, as it was appended here, and nothing else.
    public static func capitaliseNames(_ head: inout [UInt8]) {
        // The first line has no name, and names end with the first colon of their lines.
        guard var index = head.firstIndex(of: UInt8(ascii: "\n")) else { return }
        index += 1
        var isInName = true
        var startsWord = true
        while index < head.count {
            let byte = head[index]
            let isLetter = (0x61...0x7A).contains(byte) || (0x41...0x5A).contains(byte)
            if isInName, startsWord, (0x61...0x7A).contains(byte) { head[index] = byte - 0x20 }
            startsWord = !isLetter && !(0x30...0x39).contains(byte)
            if byte == UInt8(ascii: ":") { isInName = false }
            if byte == UInt8(ascii: "\n") { isInName = true }
            index += 1
        }
    }

    private static func isPath(_ path: UnsafeRawBufferPointer) -> Bool {
        guard Characters.areTargetBytes(path) else { return false }
        return path[0] == UInt8(ascii: "/") || path.count == 1 && path[0] == UInt8(ascii: "*")
    }

    public static func appendContinue(to output: inout [UInt8]) {
        output.append("HTTP/1.1 100 Continue\r\n\r\n")
    }

    /// Appends what stands before a chunk's bytes; `appendChunkEnd` follows them.
    /// - Parameter count: of bytes; 0 appends nothing: that would end the body.
    public static func appendChunkStart(_ count: Int, to output: inout [UInt8]) {
        guard count > 0 else { return }
        var shift = (63 - count.leadingZeroBitCount) & ~3
        while shift >= 0 {
            let digit = UInt8(truncatingIfNeeded: count >> shift) & 15
            output.append(digit < 10 ? 0x30 + digit : 0x61 + digit - 10)
            shift -= 4
        }
        output.append("\r\n")
    }

    public static func appendChunkEnd(to output: inout [UInt8]) {
        output.append("\r\n")
    }

    /// Appends one chunk; nothing for no bytes.
    public static func appendChunk(_ bytes: UnsafeRawBufferPointer, to output: inout [UInt8]) {
        guard !bytes.isEmpty else { return }
        appendChunkStart(bytes.count, to: &output)
        output.append(contentsOf: bytes)
        appendChunkEnd(to: &output)
    }

    /// Ends a chunked body. Trailers that no trailer may be are left out, and so is one that cannot be written: the
    /// body is out already, and nothing in it changes its end.
    public static func appendLastChunk(trailers: HeaderList? = nil, to output: inout [UInt8]) {
        output.append("0\r\n")
        trailers?.forEachField { name, value in
            if Characters.isLowerCaseToken(name), FieldKind.isAllowedInTrailers(name), Characters.areFieldBytes(value) {
                output.append(contentsOf: name)
                output.append(": ")
                output.append(contentsOf: value)
                output.append("\r\n")
            }
        }
        output.append("\r\n")
    }
}

extension [UInt8] {
    fileprivate mutating func append(_ text: StaticString) {
        append(contentsOf: text.bytes)
    }
}
