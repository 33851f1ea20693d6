import COpenSSL

/// An EVP_PKEY. libcrypto counts its references atomically; nobody changes it after it is made, and private
/// parts are wiped when the last reference goes.
package final class KeyHandle: Sendable {
    package nonisolated(unsafe) let pointer: OpaquePointer

    /// Takes over the caller's reference.
    package init(owning pointer: OpaquePointer) {
        self.pointer = pointer
    }

    deinit {
        EVP_PKEY_free(pointer)
    }

    /// A public key from its bits; a point is checked to lie on its curve.
    init(_ algorithm: KeyAlgorithm, bits: [UInt8]) throws(CertificateError) {
        ERR_clear_error()
        let key: OpaquePointer?
        switch algorithm {
        case .ecdsaP256, .ecdsaP384:
            // Compressed and hybrid points are legal and nobody sends them.
            guard bits.first == 4 else { throw .keyInvalid(reason: "a point that is not uncompressed") }
            key = martinet_ec_public_key(Curve.group(algorithm), bits, bits.count)
        case .rsa: key = martinet_rsa_public_key(bits, bits.count)
        case .ed25519: key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nil, bits, bits.count)
        }
        guard let key else { throw .keyInvalid(reason: libraryReason()) }
        pointer = key
    }
}

/// How libcrypto decodes keys on elliptic curves, in certificates that libssl reads too.
package enum CurveKeys {
    /// To be asked before certificates are read. False: as libcrypto does it without us, which takes longer before 3.2.
    package static let areDecodedDirectly = martinet_decode_ec_keys_directly() == 1
}

/// The groups of the curves, made once per process and never freed.
enum Curve {
    nonisolated(unsafe) private static let p256 = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1)
    nonisolated(unsafe) private static let p384 = EC_GROUP_new_by_curve_name(NID_secp384r1)

    static func group(_ algorithm: KeyAlgorithm) -> OpaquePointer? {
        algorithm == .ecdsaP384 ? p384 : p256
    }
}

/// What a certificate or a request is signed with.
enum SignatureAlgorithm {
    case ecdsa(bits: Int)
    case rsa(bits: Int)
    case ed25519

    /// What keys of ours sign with.
    init(for key: KeyAlgorithm) {
        self =
            switch key {
            case .ecdsaP256: .ecdsa(bits: 256)
            case .ecdsaP384: .ecdsa(bits: 384)
            case .rsa: .rsa(bits: 256)
            case .ed25519: .ed25519
            }
    }

    /// - Parameter identifier: of an AlgorithmIdentifier.
    init(_ identifier: ObjectIdentifier) throws(CertificateError) {
        switch identifier {
        case .ecdsaSHA256: self = .ecdsa(bits: 256)
        case .ecdsaSHA384: self = .ecdsa(bits: 384)
        case .ecdsaSHA512: self = .ecdsa(bits: 512)
        case .rsaSHA256: self = .rsa(bits: 256)
        case .rsaSHA384: self = .rsa(bits: 384)
        case .rsaSHA512: self = .rsa(bits: 512)
        case .ed25519: self = .ed25519
        default: throw .signatureAlgorithmRefused(libraryName(of: identifier))
        }
    }

    /// AlgorithmIdentifier, DER. Source: RFC 5758, 3.2; RFC 4055, 5; RFC 8410, 3.
    var identifier: [UInt8] {
        let (object, hasNull): (ObjectIdentifier, Bool) =
            switch self {
            case .ecdsa(384): (.ecdsaSHA384, false)
            case .ecdsa(512): (.ecdsaSHA512, false)
            case .ecdsa: (.ecdsaSHA256, false)
            case .rsa(384): (.rsaSHA384, true)
            case .rsa(512): (.rsaSHA512, true)
            case .rsa: (.rsaSHA256, true)
            case .ed25519: (.ed25519, false)
            }
        let content = [DERTag.objectIdentifier, UInt8(object.content.count)] + object.content
        let whole = content + (hasNull ? [DERTag.null, 0] : [])
        return [DERTag.sequence, UInt8(whole.count)] + whole
    }

    /// The digest, made once; nil for Ed25519.
    var digest: OpaquePointer? {
        switch self {
        case .ecdsa(384), .rsa(384): EVP_sha384()
        case .ecdsa(512), .rsa(512): EVP_sha512()
        case .ecdsa, .rsa: EVP_sha256()
        case .ed25519: nil
        }
    }
}

/// - Parameter length: of the digest, in bytes.
func digest(_ bytes: [UInt8], _ algorithm: OpaquePointer?, length: Int) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: length) { buffer, count in
        EVP_Digest(bytes, bytes.count, buffer.baseAddress, nil, algorithm, nil)
        count = length
    }
}

/// What libcrypto calls it, else its digits.
func libraryName(of identifier: ObjectIdentifier) -> String {
    let text = identifier.text
    let number = OBJ_txt2nid(text)
    guard number != NID_undef, let name = OBJ_nid2sn(number) else { return text }
    return String(cString: name)
}

/// Lower-case.
func hexadecimal(_ bytes: some Collection<UInt8>) -> String {
    let digits = Array("0123456789abcdef".utf8)
    return String(unsafeUninitializedCapacity: bytes.count * 2) { buffer in
        var position = 0
        for byte in bytes {
            buffer[position] = digits[Int(byte >> 4)]
            buffer[position + 1] = digits[Int(byte & 15)]
            position += 2
        }
        return position
    }
}
