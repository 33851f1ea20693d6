/// The hash functions by which Envoy spreads keys: the same key must reach the same host from either proxy.
public enum KeyHash {
    private static let prime1: UInt64 = 0x9E37_79B1_85EB_CA87
    private static let prime2: UInt64 = 0xC2B2_AE3D_27D4_EB4F
    private static let prime3: UInt64 = 0x1656_67B1_9E37_79F9
    private static let prime4: UInt64 = 0x85EB_CA77_C2B2_AE63
    private static let prime5: UInt64 = 0x27D4_EB2F_1656_67C5

    /// xxHash64. Source: the algorithm's specification, "XXH64 algorithm description".
    public static func xx(_ bytes: UnsafeRawBufferPointer, seed: UInt64 = 0) -> UInt64 {
        var offset = 0
        var hash: UInt64
        if bytes.count >= 32 {
            var one = seed &+ prime1 &+ prime2
            var two = seed &+ prime2
            var three = seed
            var four = seed &- prime1
            while offset + 32 <= bytes.count {
                one = round(one, word(bytes, offset))
                two = round(two, word(bytes, offset + 8))
                three = round(three, word(bytes, offset + 16))
                four = round(four, word(bytes, offset + 24))
                offset += 32
            }
            hash = rotated(one, 1) &+ rotated(two, 7) &+ rotated(three, 12) &+ rotated(four, 18)
            for lane in [one, two, three, four] { hash = ((hash ^ round(0, lane)) &* prime1) &+ prime4 }
        } else {
            hash = seed &+ prime5
        }
        hash = hash &+ UInt64(bytes.count)
        while offset + 8 <= bytes.count {
            hash = (rotated(hash ^ round(0, word(bytes, offset)), 27) &* prime1) &+ prime4
            offset += 8
        }
        if offset + 4 <= bytes.count {
            let half = UInt64(UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self)))
            hash = (rotated(hash ^ (half &* prime1), 23) &* prime2) &+ prime3
            offset += 4
        }
        while offset < bytes.count {
            hash = rotated(hash ^ (UInt64(bytes[offset]) &* prime5), 11) &* prime1
            offset += 1
        }
        hash = (hash ^ (hash >> 33)) &* prime2
        hash = (hash ^ (hash >> 29)) &* prime3
        return hash ^ (hash >> 32)
    }

    /// xxHash64 of a text's UTF-8.
    public static func xx(_ text: String, seed: UInt64 = 0) -> UInt64 {
        var text = text
        return text.withUTF8 { xx(UnsafeRawBufferPointer($0), seed: seed) }
    }

    /// MurmurHash2 for 64 bits, as libstdc++'s `std::hash` has it, with its seed.
    public static func murmur(_ bytes: UnsafeRawBufferPointer, seed: UInt64 = 0xC70F_6907) -> UInt64 {
        let factor: UInt64 = 0xC6A4_A793_5BD1_E995
        var hash = seed ^ (UInt64(bytes.count) &* factor)
        var offset = 0
        while offset + 8 <= bytes.count {
            let mixed = word(bytes, offset) &* factor
            hash = (hash ^ ((mixed ^ (mixed >> 47)) &* factor)) &* factor
            offset += 8
        }
        if offset < bytes.count {
            var rest: UInt64 = 0
            for index in stride(from: bytes.count - 1, through: offset, by: -1) {
                rest = rest << 8 | UInt64(bytes[index])
            }
            hash = (hash ^ rest) &* factor
        }
        hash = (hash ^ (hash >> 47)) &* factor
        return hash ^ (hash >> 47)
    }

    /// MurmurHash2 of a text's UTF-8.
    public static func murmur(_ text: String) -> UInt64 {
        var text = text
        return text.withUTF8 { murmur(UnsafeRawBufferPointer($0)) }
    }

    private static func word(_ bytes: UnsafeRawBufferPointer, _ offset: Int) -> UInt64 {
        UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
    }

    private static func round(_ lane: UInt64, _ input: UInt64) -> UInt64 {
        rotated(lane &+ (input &* prime2), 31) &* prime1
    }

    private static func rotated(_ value: UInt64, _ bits: UInt64) -> UInt64 {
        value << bits | value >> (64 - bits)
    }
}
