import COpenSSL
import Identity
import Time

/// What a certificate says. Reading only: nothing here is verified, see ``ChainVerification``.
public struct Certificate: Hashable, Sendable {
    /// One reference, however much it says.
    private let contents: CertificateContents
    public let der: [UInt8]

    /// Reads one DER certificate.
    /// - Throws: ``CertificateError/certificateUnreadable(source:position:reason:)``, also for bytes after its end.
    public init(der: some Collection<UInt8>) throws(CertificateError) {
        try self.init(der: Array(der), source: "DER bytes", position: 1)
    }

    /// Reads an X509, which stays the caller's.
    package init(_ library: OpaquePointer) throws(CertificateError) {
        try self.init(issued: derBytes(of: library))
    }

    init(der: [UInt8], source: String, position: Int) throws(CertificateError) {
        // libcrypto must accept it, too: what it refuses could not be used for anything.
        _ = try LibraryCertificate(der: der, source: source, position: position)
        do throws(DERFault) {
            contents = try CertificateContents(der)
        } catch {
            throw .certificateUnreadable(source: source, position: position, reason: error.reason)
        }
        self.der = der
    }

    /// What we, or libcrypto, wrote: libcrypto's decoder takes longer than a signature.
    init(issued der: [UInt8]) throws(CertificateError) {
        do throws(DERFault) {
            contents = try CertificateContents(der)
        } catch {
            throw .certificateUnreadable(source: "DER bytes", position: 1, reason: error.reason)
        }
        self.der = der
    }

    /// All `CERTIFICATE` blocks, in order; text around them is ignored. At least one.
    /// - Parameter source: names the bytes in errors.
    public static func list(
        pem: some Collection<UInt8>, source: String = "the certificate chain"
    ) throws(CertificateError) -> [Certificate] {
        let blocks: [PEMBlock]
        do throws(PEMFault) {
            blocks = try PEMBlock.all(
                Array(pem), labels: ["CERTIFICATE", "X509 CERTIFICATE"])
        } catch {
            throw .certificateUnreadable(source: source, position: error.position, reason: error.reason)
        }
        guard !blocks.isEmpty else { throw .certificateMissing(source: source) }
        var certificates: [Certificate] = []
        for block in blocks {
            certificates.append(
                try Certificate(der: block.der, source: source, position: certificates.count + 1))
        }
        return certificates
    }

    public var pem: [UInt8] { PEMBlock.text("CERTIFICATE", der) }

    public static func == (left: Certificate, right: Certificate) -> Bool { left.der == right.der }
    public func hash(into hasher: inout Hasher) { hasher.combine(der) }

    public var subjectName: DistinguishedName { contents.subject }
    public var issuerName: DistinguishedName { contents.issuer }
    /// RFC 2253 text, most specific part first: `CN=web,O=Example`.
    public var subject: String { contents.subject.description }
    public var issuer: String { contents.issuer.description }
    /// Upper-case hexadecimal, without leading zeros.
    public var serial: String { contents.serial }
    /// Both ends are included (RFC 5280, 4.1.2.5). A date past 2262 is held as the last moment that
    /// a ``Timestamp`` has: "no well-defined expiration" is written 99991231235959Z.
    public var notBefore: Timestamp { contents.notBefore }
    public var notAfter: Timestamp { contents.notAfter }
    /// `notBefore ..< notAfter`; empty if they are reversed.
    public var validity: Range<Timestamp> { notBefore..<max(notBefore, notAfter) }
    public var names: AlternativeNames { contents.names }
    public var uris: [String] { contents.names.uris }
    public var dnsNames: [String] { contents.names.dnsNames }
    public var ipAddresses: [String] { contents.names.ipAddresses }
    public var isAuthority: Bool { contents.isAuthority }
    /// How many authorities may stand between this one and a leaf; nil: any number.
    public var pathLength: Int? { contents.pathLength }
    /// nil: everything is allowed (RFC 5280, 4.2.1.3).
    public var keyUsage: KeyUsage? { contents.keyUsage }
    public var keyIdentifier: KeyIdentifier? { contents.keyIdentifier }
    public var authorityKeyIdentifier: KeyIdentifier? { contents.authorityKeyIdentifier }
    /// SubjectPublicKeyInfo, DER.
    public var spki: [UInt8] { contents.spki }
    public var publicKey: PublicKey {
        get throws(CertificateError) { try PublicKey(spki: contents.spki) }
    }
    /// Whether its own key signed it, which is verified.
    public var isSelfSigned: Bool {
        guard issuerName == subjectName, let key = try? publicKey else { return false }
        return isSigned(by: key)
    }

    /// The name that a person recognises: URI, else DNS name, else subject, and always the serial.
    public var shortName: String {
        let name = uris.first.map { "URI \($0)" } ?? dnsNames.first.map { "DNS \($0)" }
        return "\(name ?? (contents.subject.isEmpty ? "no subject" : subject)) (serial \(serial))"
    }

    func isSigned(by key: PublicKey) -> Bool {
        guard let algorithm = try? SignatureAlgorithm(contents.signatureAlgorithm) else { return false }
        return key.verifyCertificateSignature(
            Array(der[contents.signature]), over: Array(der[contents.signed]), by: algorithm)
    }
}

extension Certificate: CustomStringConvertible, CustomReflectable {
    public var description: String { "\(shortName), notAfter \(notAfter.utcText)" }
    public var customMirror: Mirror { Mirror(self, children: ["name": description]) }
}

/// What the key of a certificate may be used for. Source: RFC 5280, 4.2.1.3.
public struct KeyUsage: OptionSet, Hashable, Sendable {
    public let rawValue: UInt16
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    // Bit n of the BIT STRING is bit 15 - n here.
    public static let digitalSignature = KeyUsage(rawValue: 0x8000)
    public static let keyEncipherment = KeyUsage(rawValue: 0x2000)
    public static let certificateSigning = KeyUsage(rawValue: 0x0400)
    public static let crlSigning = KeyUsage(rawValue: 0x0200)
}

/// One X509 of libcrypto, which counts its references atomically and caches extensions under its own lock, so
/// threads may share it; nobody changes it after it is made.
package final class LibraryCertificate: Sendable {
    package nonisolated(unsafe) let pointer: OpaquePointer

    package convenience init(_ certificate: Certificate) throws(CertificateError) {
        try self.init(der: certificate.der, source: "DER bytes", position: 1)
    }

    init(der: [UInt8], source: String, position: Int) throws(CertificateError) {
        _ = CurveKeys.areDecodedDirectly
        ERR_clear_error()
        let parsed = der.withUnsafeBufferPointer { bytes -> (OpaquePointer?, atEnd: Bool) in
            var cursor = bytes.baseAddress
            let certificate = d2i_X509(nil, &cursor, bytes.count)
            return (certificate, cursor == bytes.baseAddress.map { $0 + bytes.count })
        }
        guard let pointer = parsed.0 else {
            let reason = libraryReason()
            ERR_clear_error()
            throw .certificateUnreadable(source: source, position: position, reason: reason)
        }
        self.pointer = pointer
        guard parsed.atEnd else {
            throw .certificateUnreadable(
                source: source, position: position, reason: "bytes after the certificate's end")
        }
    }

    deinit {
        X509_free(pointer)
    }
}

/// The DER encoding of an X509, which stays the caller's.
package func derBytes(of certificate: OpaquePointer) -> [UInt8] {
    let count = Int(i2d_X509(certificate, nil))
    guard count > 0 else { return [] }
    return [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
        var cursor = buffer.baseAddress
        initialized = max(0, Int(i2d_X509(certificate, &cursor)))
    }
}
