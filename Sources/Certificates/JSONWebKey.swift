import FoundationEssentials

/// One key of a JWKS document. Members that are not understood are ignored. Source: RFC 7517, 4; RFC 7518, 6.
struct JSONWebKey: Codable {
    var kty: String?
    var use: String?
    var kid: String?
    var alg: String?
    var crv: String?
    var x: String?
    var y: String?
    var n: String?
    var e: String?
    /// Base64, not base64url (RFC 7517, 4.7).
    var x5c: [String]?

    init(_ key: PublicKey, use: String, kid: String? = nil, chain: [Certificate] = []) {
        self.use = use
        self.kid = kid
        x5c = chain.isEmpty ? nil : chain.map { String(decoding: Base64.encode($0.der), as: UTF8.self) }
        switch key.algorithm {
        case .ecdsaP256, .ecdsaP384:
            let half = key.bits.count / 2
            kty = "EC"
            crv = key.algorithm == .ecdsaP256 ? "P-256" : "P-384"
            x = Base64.encodeURL(key.bits[1...half])
            y = Base64.encodeURL(key.bits[(half + 1)...])
        case .ed25519:
            kty = "OKP"
            crv = "Ed25519"
            x = Base64.encodeURL(key.bits)
        case .rsa:
            kty = "RSA"
            if let (modulus, exponent) = try? PublicKey.rsaNumbers(key.bits) {
                n = Base64.encodeURL(modulus)
                e = Base64.encodeURL(exponent)
            }
        }
    }

    func publicKey() throws(CertificateError) -> PublicKey {
        switch (kty, crv) {
        case ("EC", "P-256"): try PublicKey(algorithm: .ecdsaP256, bits: [4] + bytes(x, 32) + bytes(y, 32))
        case ("EC", "P-384"): try PublicKey(algorithm: .ecdsaP384, bits: [4] + bytes(x, 48) + bytes(y, 48))
        case ("OKP", "Ed25519"): try PublicKey(algorithm: .ed25519, bits: bytes(x, 32))
        case ("RSA", _): try rsaKey()
        default: throw .keyUnsupported("JWK of type \(kty ?? "none"), curve \(crv ?? "none")")
        }
    }

    private func rsaKey() throws(CertificateError) -> PublicKey {
        let (modulus, exponent) = (try bytes(n, nil), try bytes(e, nil))
        let bits = DERWriter.bytes {
            $0.element(DERTag.sequence) {
                $0.positiveInteger(exponent)
                $0.positiveInteger(modulus)
            }
        }
        return try PublicKey(algorithm: .rsa(bits: modulus.count * 8), bits: bits)
    }

    private func bytes(_ text: String?, _ count: Int?) throws(CertificateError) -> [UInt8] {
        guard let text, let bytes = Base64.decodeURL(text.utf8), count == nil || bytes.count == count else {
            throw .keyInvalid(reason: "a JWK with a member that is missing, no base64url or of the wrong length")
        }
        return bytes
    }
}
