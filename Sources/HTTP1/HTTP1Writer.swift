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
        try restoring(&output) { output throws(HTTP1WriteError) in
            let isConnect = head.value(of: ":method", equals: "CONNECT")
            output.reserveCapacity(output.count + head.listSize)
            try appendPseudo(":method", of: head, to: &output, if: Characters.isToken)
            output.append(0x20)
            if isConnect {
                try appendPseudo(":authority", of: head, to: &output) { Authority($0)?.port != nil }
            } else {
                try appendPseudo(":path", of: head, to: &output, if: isPath)
            }
            output.append(" HTTP/1.1\r\nhost: ")
            try appendPseudo(":authority", of: head, to: &output) { Authority($0) != nil }
            output.append("\r\n")
            try appendFields(head, keepsLength: false, to: &output)
            append(framing, to: &output)
            append(persistence, to: &output)
            output.append("\r\n")
        }
    }

    /// Appends a response's head. Framing and connection fields of the list are left out: `framing` and `persistence`
    /// say what is true here. With `.none` a `content-length` of the list stays: in answers to HEAD and with 304 it
    /// tells of another response.
    public static func appendResponse(
        _ head: HeaderList, framing: HTTP1Framing, persistence: HTTP1Persistence = .implied, to output: inout [UInt8]
    ) throws(HTTP1WriteError) {
        try restoring(&output) { output throws(HTTP1WriteError) in
            output.reserveCapacity(output.count + head.listSize)
            let status = try appendStatusLine(head, to: &output)
            let isBodiless = status < 200 || status == 204
            try appendFields(head, keepsLength: framing == .none && !isBodiless, to: &output)
            if !isBodiless { append(framing, to: &output) }
            append(persistence, to: &output)
            output.append("\r\n")
        }
    }

    /// Appends an informational response: 100, 102, 103.
    public static func appendInformational(_ head: HeaderList, to output: inout [UInt8]) throws(HTTP1WriteError) {
        try restoring(&output) { output throws(HTTP1WriteError) in
            _ = try appendStatusLine(head, to: &output)
            try appendFields(head, keepsLength: false, to: &output)
            output.append("\r\n")
        }
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
            if isToken(lowerCase: name), FieldKind.isAllowedInTrailers(name), Characters.areFieldBytes(value) {
                appendField(name, value, to: &output)
            }
        }
        output.append("\r\n")
    }

    // MARK: Parts

    private static func restoring(
        _ output: inout [UInt8], _ body: (inout [UInt8]) throws(HTTP1WriteError) -> Void
    ) throws(HTTP1WriteError) {
        let before = output.count
        do throws(HTTP1WriteError) {
            try body(&output)
        } catch {
            output.removeLast(output.count - before)
            throw error
        }
    }

    @inline(__always)
    private static func appendPseudo(
        _ name: StaticString, of head: HeaderList, to output: inout [UInt8],
        if isValid: (UnsafeRawBufferPointer) -> Bool
    ) throws(HTTP1WriteError) {
        let written: Bool? = head.withValue(of: name) { value in
            guard isValid(value) else { return false }
            output.append(contentsOf: value)
            return true
        }
        guard let written else { throw .missingField("\(name)") }
        guard written else { throw .malformedField(name: "\(name)") }
    }

    private static func appendStatusLine(
        _ head: HeaderList, to output: inout [UInt8]
    ) throws(HTTP1WriteError) -> Int {
        output.append("HTTP/1.1 ")
        try appendPseudo(":status", of: head, to: &output) { $0.count == 3 && (Characters.number($0) ?? 0) >= 100 }
        let status = output.suffix(3).reduce(0) { $0 * 10 + Int($1 - 0x30) }
        output.append(0x20)
        output.append(StatusReason.of(status))
        output.append("\r\n")
        return status
    }

    private static func isPath(_ path: UnsafeRawBufferPointer) -> Bool {
        guard Characters.areTargetBytes(path) else { return false }
        return path[0] == UInt8(ascii: "/") || path.count == 1 && path[0] == UInt8(ascii: "*")
    }

    private static func isToken(lowerCase name: UnsafeRawBufferPointer) -> Bool {
        let table = Characters.token.utf8Start
        return !name.isEmpty && name.allSatisfy { $0 != 0 && table[Int($0)] == $0 }
    }

    @inline(__always)
    private static func appendField(
        _ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer, to output: inout [UInt8]
    ) {
        output.append(contentsOf: name)
        output.append(": ")
        output.append(contentsOf: value)
        output.append("\r\n")
    }

    private static func appendFields(
        _ head: HeaderList, keepsLength: Bool, to output: inout [UInt8]
    ) throws(HTTP1WriteError) {
        var refused: String?
        head.forEachField { name, value in
            if name.first == UInt8(ascii: ":") || refused != nil { return }
            switch FieldKind(name) {
            case .ordinary: break
            // Names are checked by their kind here; `te` goes no further than to the next one, who may know trailers.
            case .te where value.equals(StaticString("trailers").bytes):
                output.append("te: trailers\r\nconnection: te\r\n")
                return
            case .contentLength where keepsLength && Characters.number(value) != nil: break
            case .te, .contentLength, .host, .expect, .upgrade, .connection, .dropped, .transferEncoding: return
            }
            guard isToken(lowerCase: name), Characters.areFieldBytes(value) else {
                refused = String(decoding: name, as: UTF8.self)
                return
            }
            appendField(name, value, to: &output)
        }
        if let refused { throw .malformedField(name: refused) }
    }

    private static func append(_ framing: HTTP1Framing, to output: inout [UInt8]) {
        switch framing {
        case .none, .untilClose: break
        case .length(let length):
            output.append("content-length: ")
            append(decimal: length, to: &output)
            output.append("\r\n")
        case .chunked: output.append("transfer-encoding: chunked\r\n")
        }
    }

    private static func append(decimal number: UInt64, to output: inout [UInt8]) {
        if number >= 10 { append(decimal: number / 10, to: &output) }
        output.append(0x30 + UInt8(number % 10))
    }

    private static func append(_ persistence: HTTP1Persistence, to output: inout [UInt8]) {
        switch persistence {
        case .implied: break
        case .keepAlive: output.append("connection: keep-alive\r\n")
        case .close: output.append("connection: close\r\n")
        case .upgrade(let name):
            output.append("connection: upgrade\r\nupgrade: ")
            // Comes from a head that was read or from configuration; what cannot stand in a value is left out.
            output.append(contentsOf: name.utf8.filter(Characters.isFieldByte))
            output.append("\r\n")
        }
    }
}

extension [UInt8] {
    fileprivate mutating func append(_ text: StaticString) {
        append(contentsOf: text.bytes)
    }
}
