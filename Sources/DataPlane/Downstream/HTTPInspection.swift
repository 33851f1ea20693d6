/// Whether the first bytes of a connection are HTTP, and which. Bytes in, a verdict out; nothing is consumed.
/// Source: Envoy's HTTP inspector: a method token, a target, a version; or the preface of HTTP/2.
package enum HTTPInspection: Equatable {
    case incomplete
    case notHTTP
    case http10, http11
    /// HTTP/2 with prior knowledge.
    case http2

    /// How filter chains name it.
    var applicationProtocol: String? {
        switch self {
        case .incomplete, .notHTTP: nil
        case .http10: "http/1.0"
        case .http11: "http/1.1"
        case .http2: "h2c"
        }
    }

    /// A request line that is longer is taken for something else, and so is a longer method.
    static let longestLine = 8192
    private static let longestMethod = 32
    static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)

    /// - Parameter bytes: all that came so far. What more of them follow changes nothing of a verdict.
    package static func inspect(_ bytes: UnsafeRawBufferPointer) -> HTTPInspection {
        if bytes.isEmpty { return .incomplete }
        if bytes.prefix(preface.count).elementsEqual(preface.prefix(bytes.count)) {
            return bytes.count >= preface.count ? .http2 : .incomplete
        }
        // The method ends within a few letters, or it is something else.
        var position = 0
        while position < bytes.count, position <= longestMethod, isToken(bytes[position]) { position += 1 }
        if position > longestMethod { return .notHTTP }
        if position == bytes.count { return .incomplete }
        guard position > 0, bytes[position] == 0x20 else { return .notHTTP }
        var line = bytes.prefix(longestLine)
        let end = line.firstIndex(of: 0x0A)
        line = line[..<(end ?? line.endIndex)]
        if line.contains(where: { $0 < 0x20 && $0 != 0x0D }) { return .notHTTP }
        if end == nil { return bytes.count >= longestLine ? .notHTTP : .incomplete }
        if line.last == 0x0D { line = line.dropLast() }
        if line.count >= 10 {
            let version = line.suffix(9)
            if version.elementsEqual(" HTTP/1.1".utf8) { return .http11 }
            if version.elementsEqual(" HTTP/1.0".utf8) { return .http10 }
        }
        return .notHTTP
    }

    private static func isToken(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."),
            UInt8(ascii: "!"), UInt8(ascii: "#"), UInt8(ascii: "$"), UInt8(ascii: "%"), UInt8(ascii: "&"),
            UInt8(ascii: "'"), UInt8(ascii: "*"), UInt8(ascii: "+"), UInt8(ascii: "^"), UInt8(ascii: "`"),
            UInt8(ascii: "|"), UInt8(ascii: "~"):
            true
        default: false
        }
    }
}
