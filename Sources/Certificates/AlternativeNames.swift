import Glibc

/// The subject alternative names of a certificate or a request. Source: RFC 5280, 4.2.1.6.
public struct AlternativeNames: Hashable, Sendable {
    /// In the order given, unprintable bytes escaped.
    public var uris: [String] = []
    public var dnsNames: [String] = []
    /// As text: `192.0.2.1`, `2001:db8::1`.
    public var ipAddresses: [String] = []
    /// Names of other kinds, one word for each: `email`, `directory name`, …
    public var otherKinds: [String] = []

    public init() {}

    public init(uris: [String], dnsNames: [String] = [], ipAddresses: [String] = []) {
        self.uris = uris
        self.dnsNames = dnsNames
        self.ipAddresses = ipAddresses
    }

    /// All names of workloads, for messages and comparisons.
    public var all: [String] { uris + dnsNames + ipAddresses }

    init(_ reader: DERReader) throws(DERFault) {
        var outer = reader
        var names = outer.inside(try outer.next(DERTag.sequence, "the list of names"))
        try outer.finish("the list of names")
        while !names.isAtEnd {
            let name = try names.next()
            let content = names.content(of: name)
            switch name.tag {
            case 0x86: uris.append(printable(content))
            case 0x82: dnsNames.append(printable(content))
            case 0x87: ipAddresses.append(addressText(Array(content)))
            case 0x81: otherKinds.append("email")
            case 0xA4: otherKinds.append("directory name")
            default: otherKinds.append("name of type \(name.tag & 0x1F)")
            }
        }
    }

    /// - Throws: ``CertificateError/nameInvalid(_:)`` for what is no URI, DNS name or address.
    func der() throws(CertificateError) -> [UInt8] {
        var content: [UInt8] = []
        for uri in uris {
            guard !uri.isEmpty, uri.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else { throw .nameInvalid(uri) }
            content += DERWriter.bytes { $0.primitive(0x86, Array(uri.utf8)) }
        }
        for name in dnsNames {
            guard Self.isDNSName(name) else { throw .nameInvalid(name) }
            content += DERWriter.bytes { $0.primitive(0x82, Array(name.utf8)) }
        }
        for address in ipAddresses {
            guard let bytes = addressBytes(address) else { throw .nameInvalid(address) }
            content += DERWriter.bytes { $0.primitive(0x87, bytes) }
        }
        return DERWriter.bytes { $0.primitive(DERTag.sequence, content) }
    }

    /// Source: RFC 1034, 3.5, with underscores; a leftmost `*` label is a wildcard (RFC 9525, 6.3).
    private static func isDNSName(_ name: String) -> Bool {
        guard (1...253).contains(name.utf8.count) else { return false }
        let labels = name.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        let rest = labels.count > 1 && labels[0].elementsEqual("*".utf8) ? labels.dropFirst() : labels[...]
        return rest.allSatisfy { label in
            (1...63).contains(label.count) && label.first != UInt8(ascii: "-") && label.last != UInt8(ascii: "-")
                && label.allSatisfy { byte in
                    switch byte {
                    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
                        true
                    default: false
                    }
                }
        }
    }
}

private func addressText(_ bytes: [UInt8]) -> String {
    switch bytes.count {
    case 4: return bytes.map(String.init).joined(separator: ".")
    case 16:
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        inet_ntop(AF_INET6, bytes, &text, socklen_t(text.count))
        return String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    default: return "invalid address of \(bytes.count) bytes"
    }
}

private func addressBytes(_ text: String) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: 16)
    if inet_pton(AF_INET, text, &bytes) == 1 { return Array(bytes[..<4]) }
    return inet_pton(AF_INET6, text, &bytes) == 1 ? bytes : nil
}
