/// Classes of bytes, eight at a time where that is quicker.
enum Characters {
    /// By byte: itself in lower case where it may stand in a token, else NUL. Source: RFC 9110, section 5.6.2.
    static let token: StaticString = """
        \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0!\0#$%&'\0\0*+\0-.\00123456789\0\0\
        \0\0\0\0\0abcdefghijklmnopqrstuvwxyz\0\0\0^_`abcdefghijklmnopqrstuvwxyz\0|\0~\0\0\0\0\0\0\0\0\0\0\0\
        \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
        \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
        \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0
        """

    /// By byte: `1` where it may stand in a host: letters, digits and what registered names may hold; no comma, which would
    /// make a list of it. Source: RFC 3986, section 3.2.2.
    static let name: StaticString = """
        0000000000000000000000000000000001001111111101101111111111010100\
        0111111111111111111111111110000101111111111111111111111111100010\
        0000000000000000000000000000000000000000000000000000000000000000\
        0000000000000000000000000000000000000000000000000000000000000000
        """

    private static let ones: UInt64 = 0x0101_0101_0101_0101
    private static let highs: UInt64 = 0x8080_8080_8080_8080

    /// Whether one of the bytes is below `limit` (at most 128).
    @inline(__always)
    private static func hasByte(in word: UInt64, below limit: UInt64) -> Bool {
        (word &- ones &* limit) & ~word & highs != 0
    }

    @inline(__always)
    private static func hasByte(in word: UInt64, equalTo byte: UInt64) -> Bool {
        hasByte(in: word ^ (ones &* byte), below: 1)
    }

    /// Source: RFC 9110, section 5.5: VCHAR, SP, HTAB and obs-text.
    @inline(__always)
    static func isFieldByte(_ byte: UInt8) -> Bool { byte >= 0x20 ? byte != 0x7f : byte == 0x09 }

    /// Copies a field value.
    /// - Returns: whether all of its bytes may stand in one.
    @inline(__always)
    static func copyValue(_ source: UnsafeRawPointer, _ count: Int, to target: UnsafeMutableRawPointer) -> Bool {
        var index = 0
        while index + 8 <= count {
            let word = source.loadUnaligned(fromByteOffset: index, as: UInt64.self)
            if hasByte(in: word, below: 0x20) || hasByte(in: word, equalTo: 0x7f) {
                for place in index..<index + 8 {
                    guard isFieldByte(source.load(fromByteOffset: place, as: UInt8.self)) else { return false }
                }
            }
            target.storeBytes(of: word, toByteOffset: index, as: UInt64.self)
            index += 8
        }
        while index < count {
            let byte = source.load(fromByteOffset: index, as: UInt8.self)
            guard isFieldByte(byte) else { return false }
            target.storeBytes(of: byte, toByteOffset: index, as: UInt8.self)
            index += 1
        }
        return true
    }

    /// Whether all of the bytes may stand in a field value.
    static func areFieldBytes(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard let base = bytes.baseAddress else { return true }
        var index = 0
        while index + 8 <= bytes.count {
            let word = base.loadUnaligned(fromByteOffset: index, as: UInt64.self)
            if hasByte(in: word, below: 0x20) || hasByte(in: word, equalTo: 0x7f) {
                guard bytes[index..<index + 8].allSatisfy(isFieldByte) else { return false }
            }
            index += 8
        }
        return bytes[index...].allSatisfy(isFieldByte)
    }

    /// Whether all of the bytes may stand in a request target: visible ASCII, but no fragment.
    static func areTargetBytes(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard let base = bytes.baseAddress, !bytes.isEmpty else { return false }
        var index = 0
        while index + 8 <= bytes.count {
            let word = base.loadUnaligned(fromByteOffset: index, as: UInt64.self)
            if word & highs != 0 || hasByte(in: word, below: 0x21) || hasByte(in: word, equalTo: 0x7f)
                || hasByte(in: word, equalTo: UInt64(UInt8(ascii: "#")))
            {
                return false
            }
            index += 8
        }
        return bytes[index...].allSatisfy { $0 > 0x20 && $0 < 0x7f && $0 != UInt8(ascii: "#") }
    }

    static func isToken(_ bytes: UnsafeRawBufferPointer) -> Bool {
        let table = token.utf8Start
        return !bytes.isEmpty && bytes.allSatisfy { table[Int($0)] != 0 }
    }

    static func isLowerCaseToken(_ bytes: UnsafeRawBufferPointer) -> Bool {
        let table = token.utf8Start
        return !bytes.isEmpty && bytes.allSatisfy { $0 != 0 && table[Int($0)] == $0 }
    }

    /// Without spaces and tabs at both ends.
    static func trimmed(_ bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        var (start, end) = (0, bytes.count)
        while start < end, bytes[start] == 0x20 || bytes[start] == 0x09 { start += 1 }
        while end > start, bytes[end - 1] == 0x20 || bytes[end - 1] == 0x09 { end -= 1 }
        return UnsafeRawBufferPointer(rebasing: bytes[start..<end])
    }

    /// A decimal number of 63 bits without sign or spaces.
    static func number(_ bytes: UnsafeRawBufferPointer) -> UInt64? {
        guard !bytes.isEmpty, bytes.count <= 19 else { return nil }
        var value: UInt64 = 0
        for byte in bytes {
            guard byte >= 0x30, byte <= 0x39 else { return nil }
            value = value &* 10 &+ UInt64(byte &- 0x30)
        }
        return value <= UInt64(Int64.max) ? value : nil
    }
}
