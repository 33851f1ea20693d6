import COpenSSL
import Glibc
import Time

/// What a certificate says, as far as others need it. Reading only: nothing here is verified.
public struct CertificateSummary: Equatable, Sendable {
    /// RFC 2253 text, most specific part first: `CN=web,O=Example`.
    public var subject: String
    public var issuer: String
    /// Upper-case hexadecimal, without leading zeros.
    public var serial: String
    /// Subject alternative names, in the certificate's order.
    public var uris: [String]
    public var dnsNames: [String]
    public var ipAddresses: [String]
    /// Validity, both ends included (RFC 5280, 4.1.2.5). A date past 2262 is held as the last moment that
    /// a ``Timestamp`` has: "no well-defined expiration" is written 99991231235959Z.
    public var notBefore: Timestamp
    public var notAfter: Timestamp

    /// Reads one DER certificate.
    /// - Throws: ``TLSError/certificateUnreadable(source:position:reason:)``, also for bytes after its end.
    public init(der: some Collection<UInt8>) throws(TLSError) {
        self = try Certificate(der: Array(der)).summary()
    }

    /// The name that a person recognises: URI, else DNS name, else subject, and always the serial.
    var shortName: String {
        let name = uris.first.map { "URI \($0)" } ?? dnsNames.first.map { "DNS \($0)" }
        return "\(name ?? (subject.isEmpty ? "no subject" : subject)) (serial \(serial))"
    }

    /// What name checks compare.
    var presentedNames: [String] {
        uris + dnsNames + ipAddresses
    }
}

/// One parsed certificate. libcrypto counts its references atomically and caches extensions under its own
/// lock, so threads may share it; nobody changes it after it is made.
final class Certificate: Sendable {
    nonisolated(unsafe) let pointer: OpaquePointer

    /// Takes over the caller's reference.
    init(owning pointer: OpaquePointer) {
        self.pointer = pointer
    }

    convenience init(der: [UInt8]) throws(TLSError) {
        ERR_clear_error()
        let parsed = der.withUnsafeBufferPointer { bytes -> (OpaquePointer?, atEnd: Bool) in
            var cursor = bytes.baseAddress
            let certificate = d2i_X509(nil, &cursor, bytes.count)
            return (certificate, cursor == bytes.baseAddress.map { $0 + bytes.count })
        }
        guard let pointer = parsed.0 else {
            throw .certificateUnreadable(source: "DER bytes", position: 1, reason: libraryReason())
        }
        self.init(owning: pointer)
        guard parsed.atEnd else {
            throw .certificateUnreadable(source: "DER bytes", position: 1, reason: "bytes after the certificate's end")
        }
    }

    deinit {
        X509_free(pointer)
    }

    func summary() throws(TLSError) -> CertificateSummary {
        try CertificateSummary(pointer)
    }

    var der: [UInt8] {
        derBytes(of: pointer)
    }
}

/// The DER encoding of an X509, which stays the caller's.
func derBytes(of certificate: OpaquePointer) -> [UInt8] {
    let count = Int(i2d_X509(certificate, nil))
    guard count > 0 else { return [] }
    return [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
        var cursor = buffer.baseAddress
        initialized = max(0, Int(i2d_X509(certificate, &cursor)))
    }
}

extension CertificateSummary {
    /// Reads an X509, which stays the caller's.
    init(_ certificate: OpaquePointer) throws(TLSError) {
        guard let notBefore = Timestamp(X509_get0_notBefore(certificate)),
            let notAfter = Timestamp(X509_get0_notAfter(certificate))
        else {
            throw .certificateUnreadable(source: "DER bytes", position: 1, reason: "invalid date")
        }
        subject = nameText(X509_get_subject_name(certificate))
        issuer = nameText(X509_get_issuer_name(certificate))
        serial = serialText(X509_get0_serialNumber(certificate))
        self.notBefore = notBefore
        self.notAfter = notAfter
        uris = []
        dnsNames = []
        ipAddresses = []
        readAlternativeNames(certificate)
    }

    private mutating func readAlternativeNames(_ certificate: OpaquePointer) {
        guard let extensionValue = X509_get_ext_d2i(certificate, NID_subject_alt_name, nil, nil) else { return }
        let names = OpaquePointer(extensionValue)
        defer { GENERAL_NAMES_free(names) }
        for index in 0..<max(0, martinet_general_name_count(names)) {
            var kind: Int32 = 0
            guard let value = GENERAL_NAME_get0_value(martinet_general_name_at(names, index), &kind) else { continue }
            let string = value.assumingMemoryBound(to: ASN1_STRING.self)
            switch kind {
            case GEN_URI: uris.append(printable(contents(of: string)))
            case GEN_DNS: dnsNames.append(printable(contents(of: string)))
            case GEN_IPADD: ipAddresses.append(addressText(contents(of: string)))
            default: continue  // Directory names and others: not names of workloads.
            }
        }
    }
}

private func contents(of string: UnsafePointer<ASN1_STRING>) -> UnsafeBufferPointer<UInt8> {
    UnsafeBufferPointer(start: ASN1_STRING_get0_data(string), count: max(0, Int(ASN1_STRING_length(string))))
}

private func addressText(_ bytes: UnsafeBufferPointer<UInt8>) -> String {
    switch bytes.count {
    case 4: return bytes.map(String.init).joined(separator: ".")
    case 16:
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        inet_ntop(AF_INET6, bytes.baseAddress, &text, socklen_t(text.count))
        return String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    default: return "invalid address of \(bytes.count) bytes"
    }
}

private func nameText(_ name: OpaquePointer?) -> String {
    guard let name, let out = BIO_new(BIO_s_mem()) else { return "" }
    defer { BIO_free(out) }
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

private func serialText(_ serial: UnsafePointer<ASN1_INTEGER>?) -> String {
    guard let serial, let number = ASN1_INTEGER_to_BN(serial, nil) else { return "" }
    defer { BN_free(number) }
    guard let text = BN_bn2hex(number) else { return "" }
    defer { martinet_openssl_free(text) }
    let digits = String(cString: text).drop { $0 == "0" }
    return digits.isEmpty ? "0" : String(digits)
}

extension Timestamp {
    /// UTCTime or GeneralizedTime; nil if it is neither.
    fileprivate init?(_ time: UnsafePointer<ASN1_TIME>?) {
        var parts = tm()
        guard let time, ASN1_TIME_to_tm(time, &parts) == 1 else { return nil }
        let days = daysSince1970(
            year: Int64(parts.tm_year) + 1900, month: Int64(parts.tm_mon) + 1, day: Int64(parts.tm_mday))
        let seconds = days * 86_400 + Int64(parts.tm_hour * 3600 + parts.tm_min * 60 + parts.tm_sec)
        let (nanoseconds, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        self.init(nanoseconds: overflow ? (seconds < 0 ? .min : .max) : nanoseconds)
    }
}
