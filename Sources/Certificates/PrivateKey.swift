import COpenSSL

/// A private key. It is wiped when the last reference goes, and no description, mirror or dump shows it.
public final class PrivateKey: Sendable {
    package let handle: KeyHandle
    public let publicKey: PublicKey

    private init(_ handle: KeyHandle, _ publicKey: PublicKey) {
        self.handle = handle
        self.publicKey = publicKey
    }

    /// A new key from libcrypto's random numbers.
    /// - Throws: ``CertificateError/keyWeak(_:)`` for RSA under 2048 bits.
    public static func generate(_ algorithm: KeyAlgorithm) throws(CertificateError) -> PrivateKey {
        ERR_clear_error()
        let key: OpaquePointer?
        switch algorithm {
        case .ecdsaP256, .ecdsaP384: key = martinet_ec_generate(Curve.group(algorithm))
        case .ed25519: key = martinet_ed25519_generate()
        case .rsa(let bits):
            guard bits >= 2048 else { throw .keyWeak("RSA of \(bits) bits") }
            guard bits <= 8192 else { throw .keyUnsupported("RSA of \(bits) bits") }
            key = martinet_rsa_generate(bits)
        }
        guard let key else { throw .libraryFailure(operation: "making a key", reason: libraryReason()) }
        let handle = KeyHandle(owning: key)
        guard algorithm.scalarBytes != nil else { return try PrivateKey(owning: handle) }
        // The way through SubjectPublicKeyInfo takes longer than the key itself.
        let point = [UInt8](unsafeUninitializedCapacity: 97) { buffer, count in
            count = martinet_ec_point(key, buffer.baseAddress, buffer.count)
        }
        return PrivateKey(handle, PublicKey(algorithm: algorithm, bits: point, handle: handle))
    }

    /// - Throws: what ``PublicKey/init(spki:)`` throws.
    convenience init(owning handle: KeyHandle) throws(CertificateError) {
        ERR_clear_error()
        var address: UnsafeMutablePointer<UInt8>?
        let count = Int(i2d_PUBKEY(handle.pointer, &address))
        guard count > 0, let address else {
            throw .keyUnsupported("a key without a public part: \(libraryReason())")
        }
        defer { martinet_openssl_free(address) }
        self.init(handle, try PublicKey(spki: Array(UnsafeBufferPointer(start: address, count: count))))
    }

    /// PKCS#8, DER. Source: RFC 5958.
    public func pkcs8() throws(CertificateError) -> SecretBytes {
        try withPKCS8 { information throws(CertificateError) in
            var address: UnsafeMutablePointer<UInt8>?
            let count = Int(i2d_PKCS8_PRIV_KEY_INFO(information, &address))
            guard count > 0, let address else {
                throw .libraryFailure(operation: "writing a key", reason: libraryReason())
            }
            defer {
                OPENSSL_cleanse(address, count)
                martinet_openssl_free(address)
            }
            return SecretBytes(copying: UnsafeRawBufferPointer(start: address, count: count))
        }
    }

    func withPKCS8<Result>(
        _ body: (OpaquePointer) throws(CertificateError) -> Result
    ) throws(CertificateError) -> Result {
        ERR_clear_error()
        guard let information = EVP_PKEY2PKCS8(handle.pointer) else {
            throw .libraryFailure(operation: "writing a key", reason: libraryReason())
        }
        defer { PKCS8_PRIV_KEY_INFO_free(information) }
        return try body(information)
    }
}

extension PrivateKey: CustomStringConvertible, CustomReflectable {
    public var description: String { "private key \(publicKey.identifier) (\(publicKey.algorithm))" }
    public var customMirror: Mirror { Mirror(self, children: []) }
}
