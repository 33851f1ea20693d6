import COpenSSL
import Identity
import Time

/// A certificate's number: 16 random bytes, positive. Source: RFC 5280, 4.1.2.2; CA/B baseline, 7.1 (64 bits or more).
public struct Serial: Hashable, Sendable, CustomStringConvertible {
    let bytes: [UInt8]

    /// From libcrypto's random numbers.
    /// - Throws: ``CertificateError/libraryFailure(operation:reason:)`` if it has none.
    public static func random() throws(CertificateError) -> Serial {
        var bytes = [UInt8](repeating: 0, count: 16)
        guard RAND_bytes(&bytes, Int32(bytes.count)) == 1 else {
            throw .libraryFailure(operation: "RAND_bytes", reason: libraryReason())
        }
        return Serial(random: bytes)
    }

    /// - Parameter random: 16 to 19 random bytes; the first two bits are overwritten, so that the number is positive
    ///   and always as long.
    public init(random: [UInt8]) {
        precondition((16...19).contains(random.count), "a serial has 16 to 19 bytes")
        var bytes = random
        bytes[0] = bytes[0] & 0x3F | 0x40
        self.bytes = bytes
    }

    /// Upper-case hexadecimal, as ``Certificate/serial``.
    public var description: String { hexadecimal(bytes).uppercased() }
}

/// What the certificate of a workload is to say. Source: X509-SVID, 3 to 5.
public struct LeafTemplate: Sendable, Hashable {
    public var spiffeID: SPIFFEID
    public var dnsNames: [String]
    public var ipAddresses: [String]
    /// Written in whole seconds, the upper bound as notAfter.
    public var validity: Range<Timestamp>
    public var serial: Serial

    public init(
        spiffeID: SPIFFEID, dnsNames: [String] = [], ipAddresses: [String] = [], validity: Range<Timestamp>,
        serial: Serial
    ) {
        self.spiffeID = spiffeID
        self.dnsNames = dnsNames
        self.ipAddresses = ipAddresses
        self.validity = validity
        self.serial = serial
    }
}

extension PrivateKey {
    /// Puts a signature under the signed part of a certificate or request.
    func sign(certificate signed: [UInt8]) throws(CertificateError) -> [UInt8] {
        let signature = try certificateSignature(over: signed)
        let algorithm = SignatureAlgorithm(for: publicKey.algorithm).identifier
        return DERWriter.bytes(reserving: signed.count + signature.count + 64) {
            $0.element(DERTag.sequence) {
                $0.bits(signature)
                $0.raw(algorithm)
                $0.raw(signed)
            }
        }
    }
}

extension DERWriter {
    /// Basic constraints and key usage of an authority, both critical. Source: RFC 5280, 4.2.1.9 and 4.2.1.3.
    mutating func authorityUsage(pathLength: Int?) {
        // keyCertSign and cRLSign: bits 5 and 6, so one unused bit.
        certificateExtension(.keyUsage, critical: true) { $0.primitive(DERTag.bitString, [1, 0x06]) }
        certificateExtension(.basicConstraints, critical: true) {
            $0.element(DERTag.sequence) {
                if let pathLength { $0.positiveInteger([UInt8(clamping: pathLength)]) }
                $0.primitive(DERTag.boolean, [0xFF])
            }
        }
    }
}

/// The signed part of a certificate, before its signature. Source: RFC 5280, 4.1.2.
struct SignedPart {
    enum Usage {
        case leaf
        case authority(pathLength: Int?)
    }

    var serial: Serial
    var issuer: DistinguishedName
    var subject: DistinguishedName
    var validity: Range<Timestamp>
    var key: PublicKey
    /// GeneralNames, DER.
    var names: [UInt8]
    var authorityKeyIdentifier: KeyIdentifier
    var usage: Usage

    /// - Parameter algorithm: of the signature, AlgorithmIdentifier as DER.
    func der(_ algorithm: [UInt8]) -> [UInt8] {
        DERWriter.bytes(reserving: 1024) {
            $0.element(DERTag.sequence) {
                $0.element(DERTag.contextConstructed(3)) { $0.element(DERTag.sequence, writeExtensions) }
                $0.raw(key.spki)
                $0.raw(subject.der)
                $0.element(DERTag.sequence) {
                    $0.time(validity.upperBound)
                    $0.time(validity.lowerBound)
                }
                $0.raw(issuer.der)
                $0.raw(algorithm)
                $0.primitive(DERTag.integer, serial.bytes)
                $0.raw([DERTag.contextConstructed(0), 3, DERTag.integer, 1, 2])
            }
        }
    }

    private func writeExtensions(_ writer: inout DERWriter) {
        writer.certificateExtension(.subjectAlternativeName, critical: subject.isEmpty) { $0.raw(names) }
        writer.certificateExtension(.authorityKeyIdentifier, critical: false) {
            $0.element(DERTag.sequence) { $0.primitive(DERTag.context(0), authorityKeyIdentifier.bytes) }
        }
        writer.certificateExtension(.subjectKeyIdentifier, critical: false) {
            $0.primitive(DERTag.octetString, key.identifier.bytes)
        }
        switch usage {
        case .authority(let pathLength): writer.authorityUsage(pathLength: pathLength)
        case .leaf:
            writer.certificateExtension(.basicConstraints, critical: true) { $0.primitive(DERTag.sequence, []) }
            writer.certificateExtension(.extendedKeyUsage, critical: false) {
                $0.element(DERTag.sequence) {
                    $0.identifier(.clientAuthentication)
                    $0.identifier(.serverAuthentication)
                }
            }
            let bits: [UInt8] = if case .rsa = key.algorithm { [5, 0xA0] } else { [7, 0x80] }
            writer.certificateExtension(.keyUsage, critical: true) { $0.primitive(DERTag.bitString, bits) }
        }
    }
}
