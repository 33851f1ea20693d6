/// What the first bytes of a connection say, before anything is decided: whether a TLS client greets, whom it asks for, and
/// which protocols it speaks. Bytes in, a verdict out; nothing is consumed.
/// Source: RFC 8446, sections 4.1.2 and 5.1; RFC 6066, section 3; RFC 7301, section 3.1.
public enum ClientHelloInspection: Equatable, Sendable {
    /// What came so far may be the start of a greeting.
    case incomplete
    /// It is not TLS, or no greeting as TLS has it.
    case notTLS
    /// - serverName: in lower case; nil if the client asks for none.
    case greeting(serverName: String?, applicationProtocols: [String])

    /// A greeting that is longer is taken for none. Source: Envoy's TLS inspector has 16 KiB.
    public static let longestGreeting = 16 << 10

    /// - Parameter bytes: all that came so far. What more of them follow changes nothing of a verdict.
    public static func inspect(_ bytes: UnsafeRawBufferPointer) -> ClientHelloInspection {
        var reader = GreetingReader()
        return reader.read(bytes)
    }
}

/// The handshake message that the first records carry.
private struct GreetingReader {
    private var message: [UInt8] = []

    mutating func read(_ bytes: UnsafeRawBufferPointer) -> ClientHelloInspection {
        var offset = 0
        while true {
            let rest = bytes.count - offset
            // A handshake record of some version 3.x.
            if rest > 0, bytes[offset] != 0x16 { return .notTLS }
            if rest > 1, bytes[offset + 1] != 3 { return .notTLS }
            guard rest >= 5 else { return tooLong(bytes) }
            let length = Int(bytes[offset + 3]) << 8 | Int(bytes[offset + 4])
            guard length > 0, length <= 16_640 else { return .notTLS }
            let here = min(length, rest - 5)
            message.append(contentsOf: bytes[(offset + 5)..<(offset + 5 + here)])
            if let first = message.first, first != 1 { return .notTLS }
            if message.count >= 4 {
                let wanted = 4 + Int(message[1]) << 16 + Int(message[2]) << 8 + Int(message[3])
                if wanted > ClientHelloInspection.longestGreeting { return .notTLS }
                if message.count >= wanted {
                    // Cut into many small records it is too long as well.
                    let end = offset + 5 + here - (message.count - wanted)
                    if end > Self.longestStart { return .notTLS }
                    return message.withUnsafeBufferPointer { greeting(UnsafeBufferPointer(rebasing: $0[4..<wanted])) }
                }
            }
            if here < length { return tooLong(bytes) }
            offset += 5 + length
        }
    }

    private func tooLong(_ bytes: UnsafeRawBufferPointer) -> ClientHelloInspection {
        bytes.count > Self.longestStart ? .notTLS : .incomplete
    }

    /// With the heads of records.
    private static let longestStart = ClientHelloInspection.longestGreeting + 1024

    private func greeting(_ body: UnsafeBufferPointer<UInt8>) -> ClientHelloInspection {
        var rest = body[...]
        func number(_ width: Int) -> Int? {
            guard rest.count >= width else { return nil }
            let value = rest.prefix(width).reduce(0) { $0 << 8 | Int($1) }
            rest = rest.dropFirst(width)
            return value
        }
        func skip(_ count: Int?) -> Bool {
            guard let count, rest.count >= count else { return false }
            rest = rest.dropFirst(count)
            return true
        }
        // Version and random; session, cipher suites, compression methods.
        guard skip(34), skip(number(1)), skip(number(2)), skip(number(1)) else { return .notTLS }
        guard let size = number(2) else { return .greeting(serverName: nil, applicationProtocols: []) }
        guard size <= rest.count else { return .notTLS }
        rest = rest.prefix(size)
        var serverName: String?
        var protocols: [String] = []
        while !rest.isEmpty {
            guard let kind = number(2), let length = number(2), rest.count >= length else { return .notTLS }
            let content = UnsafeBufferPointer(rebasing: rest.prefix(length))
            rest = rest.dropFirst(length)
            switch kind {
            case 0: serverName = ClientHello.serverName(content)
            case 16:
                guard content.count >= 2 else { break }
                let list = UnsafeBufferPointer(rebasing: content[2...])
                protocols = ClientHello.protocols(list).map { String(decoding: $0, as: UTF8.self) }
            default: break
            }
        }
        return .greeting(serverName: serverName, applicationProtocols: protocols)
    }
}
