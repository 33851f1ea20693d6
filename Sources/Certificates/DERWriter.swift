import Time

/// Writes DER from the end to the start, so that a length is known when it is written. Source: X.690, 10.
struct DERWriter {
    /// The bytes so far, last first.
    private var reversed: [UInt8] = []

    init(reserving capacity: Int = 512) {
        reversed.reserveCapacity(capacity)
    }

    static func bytes(reserving capacity: Int = 512, _ write: (inout DERWriter) -> Void) -> [UInt8] {
        var writer = DERWriter(reserving: capacity)
        write(&writer)
        return writer.reversed.reversed()
    }

    /// An element; what `body` writes first comes last inside it.
    mutating func element(_ tag: UInt8, _ body: (inout DERWriter) -> Void) {
        let before = reversed.count
        body(&self)
        let length = reversed.count - before
        if length < 0x80 {
            reversed.append(UInt8(length))
        } else {
            var rest = length
            var count: UInt8 = 0
            while rest > 0 {
                reversed.append(UInt8(truncatingIfNeeded: rest))
                rest >>= 8
                count += 1
            }
            reversed.append(0x80 | count)
        }
        reversed.append(tag)
    }

    mutating func raw(_ bytes: [UInt8]) {
        reversed.append(contentsOf: bytes.reversed())
    }

    mutating func primitive(_ tag: UInt8, _ content: [UInt8]) {
        element(tag) { $0.raw(content) }
    }

    mutating func bits(_ content: [UInt8]) {
        element(DERTag.bitString) {
            $0.raw(content)
            $0.raw([0])
        }
    }

    mutating func identifier(_ identifier: ObjectIdentifier) {
        primitive(DERTag.objectIdentifier, identifier.content)
    }

    /// UTCTime until 2049, GeneralizedTime from 2050. Source: RFC 5280, 4.1.2.5.
    mutating func time(_ time: Timestamp) {
        let digits = time.utcText.utf8.filter { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
        let zulu = [UInt8(ascii: "Z")]
        let year = Int(String(decoding: digits.prefix(4), as: UTF8.self)) ?? 0
        if (1950..<2050).contains(year) {
            primitive(DERTag.utcTime, digits.dropFirst(2) + zulu)
        } else {
            primitive(DERTag.generalizedTime, digits + zulu)
        }
    }

    /// An X.509 extension. Source: RFC 5280, 4.1.
    mutating func certificateExtension(
        _ identifier: ObjectIdentifier, critical: Bool, _ value: (inout DERWriter) -> Void
    ) {
        element(DERTag.sequence) {
            $0.element(DERTag.octetString, value)
            if critical { $0.primitive(DERTag.boolean, [0xFF]) }
            $0.identifier(identifier)
        }
    }
}
