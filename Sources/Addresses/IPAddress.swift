/// An IPv4 or IPv6 address: a plain value, which costs nothing to copy.
public struct IPAddress: Hashable, Sendable, Comparable {
    /// The first eight bytes of IPv6's; 0 for IPv4.
    public let high: UInt64
    /// The last eight bytes of IPv6's, or IPv4's four.
    public let low: UInt64
    public let isIPv4: Bool

    /// In host byte order: 10.0.0.1 is 0x0A00_0001.
    public init(ipv4 number: UInt32) {
        (high, low, isIPv4) = (0, UInt64(number), true)
    }

    /// In host byte order.
    public init(ipv6High high: UInt64, low: UInt64) {
        (self.high, self.low, isIPv4) = (high, low, false)
    }

    /// - Returns: nil if the text is none. Zones (`%eth0`) are none. Source: RFC 4291, section 2.2.
    public init?(_ text: String) {
        guard text.utf8.count <= 45, let bytes = text.contains(":") ? Self.sixteen(text) : Self.four(text[...]) else {
            return nil
        }
        self.init(bytes: bytes)
    }

    /// - Returns: nil unless there are four bytes, or sixteen.
    public init?(bytes: [UInt8]) {
        func number(_ bytes: ArraySlice<UInt8>) -> UInt64 { bytes.reduce(0) { $0 << 8 | UInt64($1) } }
        switch bytes.count {
        case 4: self.init(ipv4: UInt32(number(bytes[...])))
        case 16: self.init(ipv6High: number(bytes[..<8]), low: number(bytes[8...]))
        default: return nil
        }
    }

    /// 32 or 128.
    public var bitCount: Int { isIPv4 ? 32 : 128 }

    /// `0.0.0.0` or `::`.
    public var isUnspecified: Bool { high == 0 && low == 0 }

    /// Four or sixteen, the most significant first.
    public var bytes: [UInt8] {
        func bytes(_ number: UInt64, _ count: Int) -> [UInt8] {
            (1...count).map { UInt8(truncatingIfNeeded: number >> UInt64(8 * (count - $0))) }
        }
        return isIPv4 ? bytes(low, 4) : bytes(high, 8) + bytes(low, 8)
    }

    private static func four(_ text: Substring) -> [UInt8]? {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var bytes: [UInt8] = []
        for part in parts {
            guard (1...3).contains(part.utf8.count), part == "0" || part.first != "0",
                part.utf8.allSatisfy({ (48...57).contains($0) }), let byte = UInt8(part)
            else { return nil }
            bytes.append(byte)
        }
        return bytes
    }

    private static func sixteen(_ text: String) -> [UInt8]? {
        let halves = text.split(separator: "::", maxSplits: 2, omittingEmptySubsequences: false)
        guard halves.count <= 2 else { return nil }
        var groups: [[UInt8]] = []
        for half in halves {
            guard let bytes = Self.groups(half) else { return nil }
            groups.append(bytes)
        }
        if groups.count == 1 { return groups[0].count == 16 ? groups[0] : nil }
        let missing = 16 - groups[0].count - groups[1].count
        guard missing >= 2 else { return nil }
        return groups[0] + [UInt8](repeating: 0, count: missing) + groups[1]
    }

    private static func groups(_ text: Substring) -> [UInt8]? {
        if text.isEmpty { return [] }
        var bytes: [UInt8] = []
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        for (index, part) in parts.enumerated() {
            if index == parts.count - 1, part.contains(".") {
                guard let last = four(part) else { return nil }
                bytes += last
            } else {
                guard (1...4).contains(part.utf8.count), part.utf8.allSatisfy({ $0 != 0x2B && $0 != 0x2D }),
                    let group = UInt16(part, radix: 16)
                else { return nil }
                bytes += [UInt8(group >> 8), UInt8(group & 0xFF)]
            }
        }
        return bytes
    }

    public static func < (left: IPAddress, right: IPAddress) -> Bool {
        if left.isIPv4 != right.isIPv4 { return left.isIPv4 }
        return (left.high, left.low) < (right.high, right.low)
    }
}

extension IPAddress: CustomStringConvertible {
    /// `10.0.0.1`, `2001:db8::1`. Source: RFC 5952, section 4.
    public var description: String {
        let bytes = bytes
        if isIPv4 { return bytes.map(String.init).joined(separator: ".") }
        let groups = stride(from: 0, to: 16, by: 2).map { Int(bytes[$0]) << 8 | Int(bytes[$0 + 1]) }
        var longest = 0..<0
        var start: Int?
        for index in 0...8 {
            if index < 8, groups[index] == 0 {
                start = start ?? index
            } else if let first = start {
                if index - first > longest.count { longest = first..<index }
                start = nil
            }
        }
        func text(_ range: Range<Int>) -> String {
            groups[range].map { String($0, radix: 16) }.joined(separator: ":")
        }
        // One group of zeros alone is written.
        if longest.count < 2 { return text(0..<8) }
        return text(0..<longest.lowerBound) + "::" + text(longest.upperBound..<8)
    }
}

/// An address with the number of its leading bits that count: `10.0.0.0/8`; all of them where none is written.
public struct AddressBlock: Hashable, Sendable {
    public let address: IPAddress
    public let bits: Int

    public init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard (1...2).contains(parts.count), let address = IPAddress(String(parts[0])) else { return nil }
        let all = address.bitCount
        guard parts.count == 2 else {
            (self.address, bits) = (address, all)
            return
        }
        guard (1...3).contains(parts[1].utf8.count), parts[1].utf8.allSatisfy({ (48...57).contains($0) }),
            let bits = Int(parts[1]), bits <= all
        else { return nil }
        (self.address, self.bits) = (address, bits)
    }

    public func contains(_ other: IPAddress) -> Bool {
        other.isIPv4 == address.isIPv4 && other.cut(to: bits) == address.cut(to: bits)
    }

    /// The block with the bits that do not count as 0, so that equal blocks are equal.
    public var masked: AddressBlock { AddressBlock(address.cut(to: bits), bits: bits) }

    private init(_ address: IPAddress, bits: Int) {
        (self.address, self.bits) = (address, bits)
    }
}

extension IPAddress {
    /// The first bits as they are, the others 0.
    fileprivate func cut(to bits: Int) -> IPAddress {
        // A shift by all 64 leaves nothing, by none everything.
        if isIPv4 { return IPAddress(ipv4: UInt32(truncatingIfNeeded: low) & ~0 << UInt32(32 - bits)) }
        return IPAddress(ipv6High: high & ~0 << UInt64(max(0, 64 - bits)), low: low & ~0 << UInt64(min(64, 128 - bits)))
    }
}
