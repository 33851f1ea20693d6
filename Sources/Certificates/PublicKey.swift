import COpenSSL

/// A kind of key that this mesh uses: those that Envoy and gRPC verify.
public enum KeyAlgorithm: Hashable, Sendable, CustomStringConvertible {
    case ecdsaP256
    case ecdsaP384
    case rsa(bits: Int)
    case ed25519

    public var description: String {
        switch self {
        case .ecdsaP256: "ECDSA P-256"
        case .ecdsaP384: "ECDSA P-384"
        case .rsa(let bits): "RSA \(bits)"
        case .ed25519: "Ed25519"
        }
    }
}

/// The name of a key: SHA-1 of its bits. Source: RFC 5280, 4.2.1.2, method 1.
public struct KeyIdentifier: Hashable, Comparable, Sendable, CustomStringConvertible {
    public let bytes: [UInt8]

    public init(bytes: some Sequence<UInt8>) {
        self.bytes = Array(bytes)
    }

    /// Lower-case hexadecimal.
    public var description: String { hexadecimal(bytes) }
    public static func < (left: KeyIdentifier, right: KeyIdentifier) -> Bool {
        left.bytes.lexicographicallyPrecedes(right.bytes)
    }
}

/// A public key of a kind that this mesh uses. One on a curve is known to lie on it.
public struct PublicKey: Hashable, Sendable {
    /// SubjectPublicKeyInfo, DER. Source: RFC 5280, 4.1.2.7.
    public let spki: [UInt8]
    public let algorithm: KeyAlgorithm
    /// The key's own bits: an uncompressed point, RSAPublicKey, or 32 bytes.
    let bits: [UInt8]
    /// How libcrypto holds it, made once.
    let handle: KeyHandle

    /// - Throws: ``CertificateError/keyUnsupported(_:)`` for other kinds, ``CertificateError/keyWeak(_:)`` for RSA
    ///   under 2048 bits, ``CertificateError/keyInvalid(reason:)`` for bytes that are no key of their kind.
    public init(spki: [UInt8]) throws(CertificateError) {
        let fields: (kind: ObjectIdentifier, parameters: [UInt8]?, bits: [UInt8])
        do throws(DERFault) {
            fields = try Self.fields(of: spki)
        } catch {
            throw .keyInvalid(reason: error.reason)
        }
        self.spki = spki
        bits = fields.bits
        algorithm = try Self.algorithm(fields.kind, fields.parameters, fields.bits)
        handle = try KeyHandle(algorithm, bits: fields.bits)
    }

    /// A key that libcrypto made.
    init(algorithm: KeyAlgorithm, bits: [UInt8], handle: KeyHandle) {
        self.algorithm = algorithm
        self.bits = bits
        self.handle = handle
        spki = spkiPrefix(algorithm) + bits
    }

    /// SHA-1 of the key's bits, as certificates carry it.
    public var identifier: KeyIdentifier {
        KeyIdentifier(bytes: digest(bits, EVP_sha1(), length: 20))
    }

    public static func == (left: PublicKey, right: PublicKey) -> Bool { left.spki == right.spki }
    public func hash(into hasher: inout Hasher) { hasher.combine(spki) }

    private static func fields(
        of spki: [UInt8]
    ) throws(DERFault) -> (kind: ObjectIdentifier, parameters: [UInt8]?, bits: [UInt8]) {
        var outer = DERReader(spki)
        let whole = try outer.next(DERTag.sequence, "the key")
        try outer.finish("the key")
        var fields = outer.inside(whole)
        var algorithm = fields.inside(try fields.next(DERTag.sequence, "the key's algorithm"))
        let kind = try algorithm.next(DERTag.objectIdentifier, "the key's algorithm")
        let parameters = algorithm.isAtEnd ? nil : try algorithm.next()
        try algorithm.finish("the key's algorithm")
        let bits = try fields.nextBits("the key")
        try fields.finish("the key")
        return (
            ObjectIdentifier(algorithm.content(of: kind)), parameters.map { algorithm.whole(of: $0) },
            Array(spki[bits])
        )
    }

    private static func algorithm(
        _ kind: ObjectIdentifier, _ parameters: [UInt8]?, _ bits: [UInt8]
    ) throws(CertificateError) -> KeyAlgorithm {
        switch kind {
        case .ecPublicKey:
            guard let parameters, parameters.first == DERTag.objectIdentifier else {
                throw .keyUnsupported("an elliptic curve that is given by its parameters")
            }
            switch ObjectIdentifier(parameters.dropFirst(2)) {
            case .p256: return .ecdsaP256
            case .p384: return .ecdsaP384
            case let other: throw .keyUnsupported("elliptic curve \(libraryName(of: other))")
            }
        case .rsaEncryption:
            guard parameters == [DERTag.null, 0] else { throw .keyInvalid(reason: "RSA with parameters") }
            return .rsa(bits: try modulusBits(bits))
        case .ed25519:
            guard parameters == nil else { throw .keyInvalid(reason: "Ed25519 with parameters") }
            return .ed25519
        default: throw .keyUnsupported(libraryName(of: kind))
        }
    }

    /// Bounded before libcrypto sees it: a verification with a huge modulus or exponent takes seconds.
    private static func modulusBits(_ key: [UInt8]) throws(CertificateError) -> Int {
        let (modulus, exponent): ([UInt8], [UInt8])
        do throws(DERFault) {
            (modulus, exponent) = try rsaNumbers(key)
        } catch {
            throw .keyInvalid(reason: error.reason)
        }
        let count = modulus.count * 8 - (modulus.first?.leadingZeroBitCount ?? 0)
        guard count >= 2048 else { throw .keyWeak("RSA of \(count) bits") }
        guard count <= 8192 else { throw .keyUnsupported("RSA of \(count) bits") }
        guard exponent.count <= 4, let last = exponent.last, last & 1 == 1, exponent != [1] else {
            throw .keyInvalid(reason: "an RSA exponent of \(exponent.count) bytes that is even, 1 or too long")
        }
        return count
    }

    /// Modulus and exponent without leading zeros. Source: RFC 8017, A.1.1.
    static func rsaNumbers(_ key: [UInt8]) throws(DERFault) -> (modulus: [UInt8], exponent: [UInt8]) {
        var outer = DERReader(key)
        var numbers = outer.inside(try outer.next(DERTag.sequence, "the RSA key"))
        try outer.finish("the RSA key")
        let modulus = try numbers.next(DERTag.integer, "the modulus")
        let exponent = try numbers.next(DERTag.integer, "the exponent")
        try numbers.finish("the RSA key")
        return (Array(key[modulus.content].drop { $0 == 0 }), Array(key[exponent.content].drop { $0 == 0 }))
    }
}

/// SubjectPublicKeyInfo up to the key's bits.
private func spkiPrefix(_ algorithm: KeyAlgorithm) -> [UInt8] {
    switch algorithm {
    case .ecdsaP256: p256Prefix
    case .ecdsaP384: p384Prefix
    case .ed25519: [0x30, 0x2A, 0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70, 0x03, 0x21, 0x00]
    case .rsa: preconditionFailure("an RSA key's information has no fixed length")
    }
}

private let p256Prefix: [UInt8] =
    [0x30, 0x59, 0x30, 0x13, 0x06, 0x07] + ObjectIdentifier.ecPublicKey.content + [0x06, 0x08]
    + ObjectIdentifier.p256.content + [0x03, 0x42, 0x00]
private let p384Prefix: [UInt8] =
    [0x30, 0x76, 0x30, 0x10, 0x06, 0x07] + ObjectIdentifier.ecPublicKey.content + [0x06, 0x05]
    + ObjectIdentifier.p384.content + [0x03, 0x62, 0x00]

extension PublicKey {
    /// From what a JWK holds: a point's halves, a modulus and exponent, or 32 bytes.
    init(algorithm: KeyAlgorithm, bits: [UInt8]) throws(CertificateError) {
        if case .rsa = algorithm {
            try self.init(
                spki: DERWriter.bytes {
                    $0.element(DERTag.sequence) {
                        $0.bits(bits)
                        $0.element(DERTag.sequence) {
                            $0.primitive(DERTag.null, [])
                            $0.identifier(.rsaEncryption)
                        }
                    }
                })
        } else {
            try self.init(spki: spkiPrefix(algorithm) + bits)
        }
    }
}
