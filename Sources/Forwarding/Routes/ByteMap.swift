import HTTP

/// Numbers by bytes, to be looked up in bytes that belong to somebody else, without a copy. Made once.
struct ByteMap: Sendable {
    /// Open addressing, at most half full: the place of a key plus 1, or 0.
    private var slots: [UInt32] = [0, 0]
    private var keys: [(bytes: [UInt8], value: Int)] = []
    /// The least and the greatest length of a key.
    private(set) var lengths = Int.max...Int.max

    var isEmpty: Bool { keys.isEmpty }
    var count: Int { keys.count }

    /// - Returns: false where the key is there already; its value stays.
    @discardableResult
    mutating func insert(_ key: [UInt8], _ value: Int) -> Bool {
        if key.withUnsafeBytes({ self[$0] }) != nil { return false }
        lengths =
            keys.isEmpty
            ? key.count...key.count
            : min(lengths.lowerBound, key.count)...max(lengths.upperBound, key.count)
        keys.append((key, value))
        if keys.count * 2 > slots.count {
            slots = [UInt32](repeating: 0, count: slots.count * 2)
            for place in keys.indices { fill(place) }
        } else {
            fill(keys.count - 1)
        }
        return true
    }

    private mutating func fill(_ place: Int) {
        var slot = keys[place].bytes.withUnsafeBytes { Self.hash($0) } & (slots.count - 1)
        while slots[slot] != 0 { slot = (slot + 1) & (slots.count - 1) }
        slots[slot] = UInt32(place + 1)
    }

    /// The number of those bytes; capital letters count as small ones, as in the keys.
    subscript(key: UnsafeRawBufferPointer) -> Int? {
        guard lengths.contains(key.count) else { return nil }
        var slot = Self.hash(key) & (slots.count - 1)
        while slots[slot] != 0 {
            let candidate = keys[Int(slots[slot]) - 1]
            if key.equalsIgnoringCase(candidate.bytes) { return candidate.value }
            slot = (slot + 1) & (slots.count - 1)
        }
        return nil
    }

    /// FNV-1a, case ignored. Who sends requests cannot add keys, so nobody outside can make them collide.
    private static func hash(_ bytes: UnsafeRawBufferPointer) -> Int {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in bytes { hash = (hash ^ UInt64(byte.lowerCased)) &* 0x100_0000_01b3 }
        return Int(truncatingIfNeeded: hash ^ (hash >> 32)) & Int.max
    }
}
