/// Where and why bytes are no DER, or not the structure that was expected.
struct DERFault: Error {
    let reason: String
    /// Bytes from the start.
    let offset: Int
}

/// One element: tag, length and contents.
struct DERElement {
    let tag: UInt8
    let content: Range<Int>
    let whole: Range<Int>
}

/// The tags that certificates use. Source: X.690, 8.1.2 and 8.14.
enum DERTag {
    static let boolean: UInt8 = 0x01
    static let integer: UInt8 = 0x02
    static let bitString: UInt8 = 0x03
    static let octetString: UInt8 = 0x04
    static let null: UInt8 = 0x05
    static let objectIdentifier: UInt8 = 0x06
    static let utf8String: UInt8 = 0x0C
    static let utcTime: UInt8 = 0x17
    static let generalizedTime: UInt8 = 0x18
    static let sequence: UInt8 = 0x30
    static let set: UInt8 = 0x31
    static func context(_ number: UInt8) -> UInt8 { 0x80 | number }
    static func contextConstructed(_ number: UInt8) -> UInt8 { 0xA0 | number }
}

/// Walks the elements of DER bytes, strictly: lengths are definite and minimal, tags have one byte. It holds
/// nothing per element and never recurses. Source: X.690, 10.
struct DERReader {
    let bytes: [UInt8]
    private(set) var position: Int
    let end: Int

    init(_ bytes: [UInt8]) {
        self.init(bytes, 0..<bytes.count)
    }

    init(_ bytes: [UInt8], _ range: Range<Int>) {
        self.bytes = bytes
        position = range.lowerBound
        end = range.upperBound
    }

    var isAtEnd: Bool { position == end }
    var nextTag: UInt8? { position < end ? bytes[position] : nil }

    func inside(_ element: DERElement) -> DERReader {
        DERReader(bytes, element.content)
    }

    func content(of element: DERElement) -> ArraySlice<UInt8> {
        bytes[element.content]
    }

    func whole(of element: DERElement) -> [UInt8] {
        Array(bytes[element.whole])
    }

    func fault(_ reason: String) -> DERFault {
        DERFault(reason: reason, offset: position)
    }

    mutating func next() throws(DERFault) -> DERElement {
        let start = position
        guard end - start >= 2 else { throw fault("cut short") }
        let tag = bytes[start]
        guard tag & 0x1F != 0x1F else { throw fault("a tag of several bytes") }
        var content = start + 2
        var length = Int(bytes[start + 1])
        if length >= 0x80 {
            let count = length & 0x7F
            guard (1...4).contains(count), end - content >= count else { throw fault("a length that is not DER") }
            length = bytes[content..<content + count].reduce(0) { $0 << 8 | Int($1) }
            guard length >= 0x80, bytes[content] != 0 else { throw fault("a length that is not minimal") }
            content += count
        }
        guard length <= end - content else { throw fault("cut short") }
        position = content + length
        return DERElement(tag: tag, content: content..<position, whole: start..<position)
    }

    mutating func next(_ tag: UInt8, _ what: StaticString) throws(DERFault) -> DERElement {
        guard nextTag == tag else { throw fault("\(what) is missing") }
        return try next()
    }

    mutating func optional(_ tag: UInt8) throws(DERFault) -> DERElement? {
        guard nextTag == tag else { return nil }
        return try next()
    }

    /// The contents of a BIT STRING of whole bytes.
    mutating func nextBits(_ what: StaticString) throws(DERFault) -> Range<Int> {
        let element = try next(DERTag.bitString, what)
        guard let unused = content(of: element).first, unused == 0 else {
            throw fault("\(what) is no string of whole bytes")
        }
        return element.content.dropFirst()
    }

    /// A small INTEGER that is not negative.
    mutating func nextCount(_ what: StaticString) throws(DERFault) -> Int {
        let element = try next(DERTag.integer, what)
        let content = content(of: element)
        guard (1...4).contains(content.count), let first = content.first, first < 0x80 else {
            throw fault("\(what) is out of range")
        }
        return content.reduce(0) { $0 << 8 | Int($1) }
    }

    func finish(_ what: StaticString) throws(DERFault) {
        guard isAtEnd else { throw fault("bytes after the end of \(what)") }
    }
}

/// An object identifier as its DER contents.
struct ObjectIdentifier: Hashable, Sendable {
    let content: [UInt8]

    init(_ content: some Sequence<UInt8>) {
        self.content = Array(content)
    }

    /// Dotted: `2.5.29.17`. Arcs over 2^53 are cut: only for messages.
    var text: String {
        var arcs: [UInt64] = []
        var value: UInt64 = 0
        for byte in content {
            value = (value & (1 << 53 - 1)) << 7 | UInt64(byte & 0x7F)
            if byte & 0x80 == 0 {
                if arcs.isEmpty {
                    let first = min(value / 40, 2)
                    arcs = [first, value - first * 40]
                } else {
                    arcs.append(value)
                }
                value = 0
            }
        }
        return arcs.map(String.init).joined(separator: ".")
    }

    static let ecPublicKey = ObjectIdentifier([0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01])
    static let p256 = ObjectIdentifier([0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07])
    static let p384 = ObjectIdentifier([0x2B, 0x81, 0x04, 0x00, 0x22])
    static let rsaEncryption = ObjectIdentifier([0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01])
    static let ed25519 = ObjectIdentifier([0x2B, 0x65, 0x70])
    static let ecdsaSHA256 = ObjectIdentifier([0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02])
    static let ecdsaSHA384 = ObjectIdentifier([0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x03])
    static let ecdsaSHA512 = ObjectIdentifier([0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x04])
    static let rsaSHA256 = ObjectIdentifier([0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0B])
    static let rsaSHA384 = ObjectIdentifier([0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0C])
    static let rsaSHA512 = ObjectIdentifier([0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0D])
    /// MD2, MD4, MD5 and SHA-1 with RSA, and SHA-1 with ECDSA.
    static let brokenSignatures: Set<ObjectIdentifier> = [
        ObjectIdentifier([0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x02]),
        ObjectIdentifier([0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x03]),
        ObjectIdentifier([0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x04]),
        ObjectIdentifier([0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x05]),
        ObjectIdentifier([0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x01]),
    ]
    static let extensionRequest = ObjectIdentifier([0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x09, 0x0E])
    static let subjectKeyIdentifier = ObjectIdentifier([0x55, 0x1D, 0x0E])
    static let keyUsage = ObjectIdentifier([0x55, 0x1D, 0x0F])
    static let subjectAlternativeName = ObjectIdentifier([0x55, 0x1D, 0x11])
    static let basicConstraints = ObjectIdentifier([0x55, 0x1D, 0x13])
    static let authorityKeyIdentifier = ObjectIdentifier([0x55, 0x1D, 0x23])
    static let extendedKeyUsage = ObjectIdentifier([0x55, 0x1D, 0x25])
    static let serverAuthentication = ObjectIdentifier([0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01])
    static let clientAuthentication = ObjectIdentifier([0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02])
    static let organization = ObjectIdentifier([0x55, 0x04, 0x0A])
    static let commonName = ObjectIdentifier([0x55, 0x04, 0x03])
}
