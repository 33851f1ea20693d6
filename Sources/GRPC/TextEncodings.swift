import HTTP

/// The encoding of `grpc-message`. Source: gRPC over HTTP2, "Percent-Encoded".
enum PercentEncoding {
    private static let digits = Array("0123456789ABCDEF".utf8)

    /// Spaces at the ends are encoded too: HTTP allows none there (RFC 9113, section 8.2.1).
    static func encode(_ bytes: some Collection<UInt8>) -> String {
        var result: [UInt8] = []
        for (index, byte) in bytes.enumerated() {
            let isOuterSpace = byte == 0x20 && (index == 0 || index == bytes.count - 1)
            if byte >= 0x20, byte <= 0x7e, byte != UInt8(ascii: "%"), !isOuterSpace {
                result.append(byte)
            } else {
                result.append(contentsOf: [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]])
            }
        }
        return String(decoding: result, as: UTF8.self)
    }

    /// What is not properly encoded stays as it is: a message must not be lost for it.
    static func decode(_ text: String) -> String {
        Array(text.utf8).withUnsafeBytes { String(decoding: percentDecoded($0), as: UTF8.self) }
    }
}

/// The encoding of `-bin` metadata: written without padding, read with or without.
/// Source: gRPC over HTTP2, "Binary-Header"; RFC 4648, section 4.
enum Base64 {
    private static let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    static func encode(_ bytes: [UInt8]) -> String {
        var result: [UInt8] = []
        result.reserveCapacity((bytes.count * 4 + 2) / 3)
        var (bits, count) = (UInt32(0), 0)
        for byte in bytes {
            bits = bits << 8 | UInt32(byte)
            count += 8
            while count >= 6 {
                count -= 6
                result.append(digits[Int(bits >> count & 63)])
            }
        }
        if count > 0 { result.append(digits[Int(bits << (6 - count) & 63)]) }
        return String(decoding: result, as: UTF8.self)
    }

    /// - Returns: nil if the text is no base64.
    static func decode(_ text: String) -> [UInt8]? {
        var digits = Array(text.utf8)
        while digits.last == UInt8(ascii: "=") { digits.removeLast() }
        guard digits.count % 4 != 1 else { return nil }
        var result: [UInt8] = []
        var (bits, count) = (UInt32(0), 0)
        for digit in digits {
            guard let value = value(digit) else { return nil }
            bits = bits << 6 | value
            count += 6
            guard count >= 8 else { continue }
            count -= 8
            result.append(UInt8(truncatingIfNeeded: bits >> count))
        }
        return result
    }

    private static func value(_ digit: UInt8) -> UInt32? {
        switch digit {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): UInt32(digit - UInt8(ascii: "A"))
        case UInt8(ascii: "a")...UInt8(ascii: "z"): UInt32(digit - UInt8(ascii: "a")) + 26
        case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(digit - UInt8(ascii: "0")) + 52
        case UInt8(ascii: "+"): 62
        case UInt8(ascii: "/"): 63
        default: nil
        }
    }
}
