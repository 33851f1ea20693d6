/// An IPv4 or IPv6 address.
public struct IPAddress: Hashable, Sendable, Comparable {
    /// Four or sixteen, the most significant first.
    public let bytes: [UInt8]

    public var isIPv4: Bool { bytes.count == 4 }

    /// - Returns: nil if the text is none. Zones (`%eth0`) are none. Source: RFC 4291, section 2.2.
    public init?(_ text: String) {
        guard text.utf8.count <= 45, let bytes = text.contains(":") ? Self.sixteen(text) : Self.four(text[...]) else {
            return nil
        }
        self.bytes = bytes
    }

    /// - Returns: nil unless there are four bytes, or sixteen.
    public init?(bytes: [UInt8]) {
        guard bytes.count == 4 || bytes.count == 16 else { return nil }
        self.bytes = bytes
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
        left.bytes.count != right.bytes.count
            ? left.bytes.count < right.bytes.count : left.bytes.lexicographicallyPrecedes(right.bytes)
    }
}

extension IPAddress: CustomStringConvertible {
    /// `10.0.0.1`, `2001:db8::1`. Source: RFC 5952, section 4.
    public var description: String {
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
        let all = address.bytes.count * 8
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
        guard other.bytes.count == address.bytes.count else { return false }
        for (index, (one, another)) in zip(address.bytes, other.bytes).enumerated() {
            let counted = min(8, max(0, bits - index * 8))
            let mask = UInt8(truncatingIfNeeded: 0xFF00 >> counted)
            if one & mask != another & mask { return false }
        }
        return true
    }
}
