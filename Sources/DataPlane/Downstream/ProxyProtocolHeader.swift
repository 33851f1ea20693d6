import Addresses
import Forwarding

/// What a proxy before this one says of the client, ahead of the client's bytes. Bytes in, a verdict out.
/// Source: HAProxy, "The PROXY protocol", versions 1 and 2.
package enum ProxyProtocolHeader: Equatable {
    /// What came so far may be the start of a header.
    case incomplete
    /// It is none; the text says why.
    case invalid(String)
    /// - length: of the header in bytes; what follows is the client's.
    /// - addresses: nil where the proxy speaks for itself (health checks), or says that it does not know.
    /// - version: 1 or 2.
    case header(length: Int, addresses: Addresses?, version: Int)

    package struct Addresses: Equatable {
        package var source: NetworkAddress
        package var destination: NetworkAddress
    }

    static let longestText = 107
    /// Addresses and what may follow them; the format allows 64 KiB.
    static let longestBinary = 4096
    private static let signature: [UInt8] = [0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A]

    /// - Parameter bytes: all that came so far. What more of them follow changes nothing of a verdict.
    package static func read(_ bytes: UnsafeRawBufferPointer) -> ProxyProtocolHeader {
        guard let first = bytes.first else { return .incomplete }
        return first == signature[0] ? binary(bytes) : text(bytes)
    }

    private static func text(_ bytes: UnsafeRawBufferPointer) -> ProxyProtocolHeader {
        let start = Array("PROXY ".utf8)
        guard bytes.prefix(start.count).elementsEqual(start.prefix(bytes.count)) else {
            return .invalid("the connection does not begin with a PROXY header")
        }
        let head = bytes.prefix(longestText)
        guard let end = head.firstIndex(of: 0x0A) else {
            return bytes.count >= longestText ? .invalid("the PROXY line has no end") : .incomplete
        }
        guard end > 0, head[end - 1] == 0x0D else { return .invalid("the PROXY line does not end with CR LF") }
        let line = String(decoding: head[..<(end - 1)], as: UTF8.self)
        let words = line.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
        if words.count >= 2, words[1] == "UNKNOWN" { return .header(length: end + 1, addresses: nil, version: 1) }
        guard words.count == 6, words[1] == "TCP4" || words[1] == "TCP6",
            let source = IPAddress(words[2]), let destination = IPAddress(words[3]),
            source.isIPv4 == (words[1] == "TCP4"), destination.isIPv4 == source.isIPv4,
            let sourcePort = port(words[4]), let destinationPort = port(words[5])
        else { return .invalid("the PROXY line is malformed") }
        return .header(
            length: end + 1,
            addresses: Addresses(
                source: .ip(source, port: sourcePort), destination: .ip(destination, port: destinationPort)), version: 1
        )
    }

    private static func port(_ text: String) -> UInt16? {
        text.utf8.allSatisfy { (0x30...0x39).contains($0) } ? UInt16(text) : nil
    }

    private static func binary(_ bytes: UnsafeRawBufferPointer) -> ProxyProtocolHeader {
        guard bytes.prefix(12).elementsEqual(signature.prefix(bytes.count)) else {
            return .invalid("the connection does not begin with a PROXY header")
        }
        guard bytes.count >= 16 else { return .incomplete }
        let size = Int(bytes[14]) << 8 | Int(bytes[15])
        guard bytes[12] >> 4 == 2 else { return .invalid("version \(bytes[12] >> 4) of the PROXY protocol") }
        guard size <= longestBinary else { return .invalid("the PROXY header has \(size) bytes") }
        guard bytes.count >= 16 + size else { return .incomplete }
        let end = 16 + size
        switch bytes[12] & 15 {
        case 0: return .header(length: end, addresses: nil, version: 2)  // LOCAL
        case 1: break
        default: return .invalid("command \(bytes[12] & 15) of the PROXY protocol")
        }
        func address(_ offset: Int, _ width: Int, _ port: Int) -> NetworkAddress? {
            guard let ip = IPAddress(bytes: Array(bytes[(16 + offset)..<(16 + offset + width)])) else { return nil }
            return .ip(ip, port: UInt16(bytes[16 + port]) << 8 | UInt16(bytes[16 + port + 1]))
        }
        let width: Int
        switch bytes[13] {
        case 0x11: width = 4
        case 0x21: width = 16
        default: return .header(length: end, addresses: nil, version: 2)  // UNSPEC, and what is not TCP over IP
        }
        guard size >= 2 * width + 4, let source = address(0, width, 2 * width),
            let destination = address(width, width, 2 * width + 2)
        else { return .invalid("the PROXY header is too short for its addresses") }
        return .header(
            length: end, addresses: Addresses(source: source, destination: destination), version: 2)
    }
}
