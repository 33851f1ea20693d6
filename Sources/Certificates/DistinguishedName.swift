import COpenSSL

/// The name of a subject or issuer, as its DER bytes: issuers are found by comparing them byte for byte.
/// Source: RFC 5280, 4.1.2.4.
public struct DistinguishedName: Hashable, Sendable, CustomStringConvertible {
    public let der: [UInt8]

    init(der: [UInt8]) {
        self.der = der
    }

    /// `CN=…,O=…`; neither may be longer than 64 characters (RFC 5280, appendix A.1) or empty.
    public init(commonName: String? = nil, organization: String? = nil) throws(CertificateError) {
        var content: [UInt8] = []
        for (kind, value) in [(ObjectIdentifier.organization, organization), (.commonName, commonName)] {
            guard let value else { continue }
            guard (1...64).contains(value.unicodeScalars.count) else { throw .nameInvalid(value) }
            content += DERWriter.bytes {
                $0.element(DERTag.set) {
                    $0.element(DERTag.sequence) {
                        $0.primitive(DERTag.utf8String, Array(value.utf8))
                        $0.identifier(kind)
                    }
                }
            }
        }
        der = DERWriter.bytes { $0.primitive(DERTag.sequence, content) }
    }

    public static let empty = DistinguishedName(der: [DERTag.sequence, 0])
    public var isEmpty: Bool { self == .empty }

    /// RFC 2253 text, most specific part first: `CN=web,O=Example`.
    public var description: String {
        guard !isEmpty else { return "" }
        var cursor: UnsafePointer<UInt8>?
        let name = der.withUnsafeBufferPointer { bytes in
            cursor = bytes.baseAddress
            return d2i_X509_NAME(nil, &cursor, bytes.count)
        }
        guard let name, let out = BIO_new(BIO_s_mem()) else { return "" }
        defer {
            X509_NAME_free(name)
            BIO_free(out)
        }
        guard martinet_x509_name_print(out, name) >= 0 else { return "" }
        var text = [UInt8]()
        var chunk = [UInt8](repeating: 0, count: 256)
        while true {
            let count = BIO_read(out, &chunk, Int32(chunk.count))
            guard count > 0 else { break }
            text += chunk[..<Int(count)]
        }
        return String(decoding: text, as: UTF8.self)
    }
}
