import COpenSSL

extension PrivateKey {
    /// A signature as X.509 carries it: DER for ECDSA.
    func certificateSignature(over message: [UInt8]) throws(CertificateError) -> [UInt8] {
        let algorithm = SignatureAlgorithm(for: publicKey.algorithm)
        guard let context = EVP_MD_CTX_new() else {
            throw .libraryFailure(operation: "EVP_MD_CTX_new", reason: libraryReason())
        }
        defer { EVP_MD_CTX_free(context) }
        ERR_clear_error()
        var count = 0
        guard EVP_DigestSignInit(context, nil, algorithm.digest, nil, handle.pointer) == 1,
            EVP_DigestSign(context, nil, &count, message, message.count) == 1
        else { throw .libraryFailure(operation: "signing", reason: libraryReason()) }
        var signature = [UInt8](repeating: 0, count: count)
        guard EVP_DigestSign(context, &signature, &count, message, message.count) == 1 else {
            throw .libraryFailure(operation: "signing", reason: libraryReason())
        }
        signature.removeLast(signature.count - count)
        return signature
    }

    /// A signature as JWS carries it: ES256 and ES384 are `r` and `s` side by side, RS256, EdDSA.
    /// Source: RFC 7518, 3.4 and 3.3; RFC 8037, 3.1.
    public func sign(_ message: [UInt8]) throws(CertificateError) -> [UInt8] {
        let signature = try certificateSignature(over: message)
        guard let half = publicKey.algorithm.scalarBytes else { return signature }
        guard let raw = rawSignature(signature, half: half) else {
            throw .libraryFailure(operation: "signing", reason: "unreadable signature")
        }
        return raw
    }
}

extension PublicKey {
    /// Whether `signature`, as X.509 carries it, is this key's over `message`.
    func verifyCertificateSignature(
        _ signature: [UInt8], over message: [UInt8], by algorithm: SignatureAlgorithm
    ) -> Bool {
        ERR_clear_error()
        defer { ERR_clear_error() }
        switch (algorithm, self.algorithm) {
        case (.ecdsa(let bits), .ecdsaP256), (.ecdsa(let bits), .ecdsaP384):
            let digest = digest(message, algorithm.digest, length: bits / 8)
            return martinet_ec_verify(handle.pointer, digest, digest.count, signature, signature.count) == 1
        case (.rsa, .rsa), (.ed25519, .ed25519):
            guard let context = EVP_MD_CTX_new() else { return false }
            defer { EVP_MD_CTX_free(context) }
            return EVP_DigestVerifyInit(context, nil, algorithm.digest, nil, handle.pointer) == 1
                && EVP_DigestVerify(context, signature, signature.count, message, message.count) == 1
        case (.ecdsa, .rsa), (.ecdsa, .ed25519), (.rsa, .ecdsaP256), (.rsa, .ecdsaP384), (.rsa, .ed25519),
            (.ed25519, .ecdsaP256), (.ed25519, .ecdsaP384), (.ed25519, .rsa):
            return false
        }
    }

    /// Whether `signature`, as JWS carries it (see ``PrivateKey/sign(_:)``), is this key's over `message`.
    public func verify(_ signature: [UInt8], over message: [UInt8]) -> Bool {
        let kind = SignatureAlgorithm(for: algorithm)
        guard let half = algorithm.scalarBytes else {
            return verifyCertificateSignature(signature, over: message, by: kind)
        }
        guard signature.count == 2 * half else { return false }
        let der = DERWriter.bytes(reserving: 128) {
            $0.element(DERTag.sequence) {
                $0.positiveInteger(signature[half...])
                $0.positiveInteger(signature[..<half])
            }
        }
        return verifyCertificateSignature(der, over: message, by: kind)
    }
}

extension KeyAlgorithm {
    /// Bytes of one half of a raw ECDSA signature; nil for other kinds.
    var scalarBytes: Int? {
        switch self {
        case .ecdsaP256: 32
        case .ecdsaP384: 48
        case .rsa, .ed25519: nil
        }
    }

    /// The `alg` of a JWS. Source: RFC 7518, 3.1.
    var joseName: String {
        switch self {
        case .ecdsaP256: "ES256"
        case .ecdsaP384: "ES384"
        case .rsa: "RS256"
        case .ed25519: "EdDSA"
        }
    }
}

private func rawSignature(_ der: [UInt8], half: Int) -> [UInt8]? {
    func padded(_ number: ArraySlice<UInt8>) -> [UInt8]? {
        let digits = number.drop { $0 == 0 }
        return digits.count <= half ? [UInt8](repeating: 0, count: half - digits.count) + digits : nil
    }
    do throws(DERFault) {
        var outer = DERReader(der)
        var numbers = outer.inside(try outer.next(DERTag.sequence, "the signature"))
        let r = try numbers.next(DERTag.integer, "r")
        let s = try numbers.next(DERTag.integer, "s")
        guard let left = padded(der[r.content]), let right = padded(der[s.content]) else { return nil }
        return left + right
    } catch {
        return nil
    }
}

extension DERWriter {
    /// An INTEGER that is not negative, from its bytes with or without leading zeros.
    mutating func positiveInteger(_ bytes: some Collection<UInt8>) {
        let digits = Array(bytes.drop { $0 == 0 })
        primitive(DERTag.integer, (digits.first ?? 0x80) >= 0x80 ? [0] + digits : digits)
    }
}
