/// What is wrong with the bytes of a text.
package enum ByteFault: Hashable, Sendable {
    case notUTF8
    case embeddedNUL
}

/// The first byte at which a protobuf string is not acceptable: not UTF-8 (overlong forms, surrogates and code points
/// past U+10FFFF included), or a NUL, which would cut the string short in C.
/// - Returns: nil if every byte is fine. Source: Unicode 15, table 3-7.
package func firstUnacceptableByte(
    in start: UnsafePointer<UInt8>, count: Int
) -> (offset: Int, fault: ByteFault)? {
    let raw = UnsafeRawPointer(start)
    var at = 0
    while at < count {
        // Eight ASCII bytes that are not 0 at once.
        while at + 8 <= count {
            let word = raw.loadUnaligned(fromByteOffset: at, as: UInt64.self)
            let hasZero = (word &- 0x0101_0101_0101_0101) & ~word & 0x8080_8080_8080_8080
            guard (word & 0x8080_8080_8080_8080) | hasZero == 0 else { break }
            at += 8
        }
        guard at < count else { return nil }
        let byte = start[at]
        if byte < 0x80 {
            if byte == 0 { return (at, .embeddedNUL) }
            at += 1
            continue
        }
        let length: Int
        let second: ClosedRange<UInt8>
        switch byte {
        case 0xC2...0xDF: (length, second) = (2, 0x80...0xBF)
        case 0xE0: (length, second) = (3, 0xA0...0xBF)
        case 0xE1...0xEC, 0xEE...0xEF: (length, second) = (3, 0x80...0xBF)
        case 0xED: (length, second) = (3, 0x80...0x9F)
        case 0xF0: (length, second) = (4, 0x90...0xBF)
        case 0xF1...0xF3: (length, second) = (4, 0x80...0xBF)
        case 0xF4: (length, second) = (4, 0x80...0x8F)
        default: return (at, .notUTF8)
        }
        guard at + length <= count, second.contains(start[at + 1]) else { return (at, .notUTF8) }
        for index in 2..<max(length, 2) where start[at + index] & 0xC0 != 0x80 { return (at, .notUTF8) }
        at += length
    }
    return nil
}
