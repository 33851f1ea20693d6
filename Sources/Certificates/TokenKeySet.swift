import COpenSSL
import FoundationEssentials

/// How a JSON Web Signature is made, by names of keys that anybody may publish: none with a shared secret.
/// Source: RFC 7518, 3.1; RFC 8037, 3.1.
public enum TokenAlgorithm: String, Hashable, Sendable, CaseIterable {
    case rs256 = "RS256"
    case rs384 = "RS384"
    case rs512 = "RS512"
    case ps256 = "PS256"
    case ps384 = "PS384"
    case ps512 = "PS512"
    case es256 = "ES256"
    case es384 = "ES384"
    case edDSA = "EdDSA"
}

/// The keys that an issuer of tokens publishes. Source: RFC 7517, 5.
public struct TokenKeySet: Sendable {
    /// The most bytes and keys that are read.
    public static let maximumBytes = 1 << 20
    public static let maximumKeys = 256

    public struct Key: Sendable {
        public let keyID: String?
        /// What it signs with; nil: all that its kind can.
        public let algorithm: TokenAlgorithm?
        public let publicKey: PublicKey

        public init(keyID: String?, algorithm: TokenAlgorithm? = nil, publicKey: PublicKey) {
            (self.keyID, self.algorithm, self.publicKey) = (keyID, algorithm, publicKey)
        }
    }

    public let keys: [Key]

    public init(keys: [Key]) { self.keys = keys }

    /// Keys of kinds that are not known here, for encryption, or too weak, are left out.
    /// - Throws: for what is no key set, and for one without a key that can be used.
    public init(jwks: [UInt8]) throws(CertificateError) {
        guard jwks.count <= Self.maximumBytes else {
            throw .keyInvalid(reason: "a key set of \(jwks.count) bytes, and \(Self.maximumBytes) are allowed")
        }
        guard let document = try? JSONDecoder().decode(Document.self, from: Data(jwks)) else {
            throw .keyInvalid(reason: "no JSON object with a list of keys")
        }
        guard document.keys.count <= Self.maximumKeys else {
            throw .keyInvalid(reason: "a set of \(document.keys.count) keys, and \(Self.maximumKeys) are allowed")
        }
        keys = document.keys.compactMap { entry in
            guard let key = entry.key, key.use != "enc" else { return nil }
            let algorithm = key.alg.flatMap(TokenAlgorithm.init(rawValue:))
            guard key.alg == nil || key.alg == "" || algorithm != nil, let publicKey = try? key.publicKey() else {
                return nil
            }
            return Key(keyID: key.kid, algorithm: algorithm, publicKey: publicKey)
        }
        if keys.isEmpty { throw .keyInvalid(reason: "a key set without a key that can be used") }
    }

    private struct Document: Decodable { var keys: [Entry] }

    /// A key of an unknown shape takes no other with it.
    private struct Entry: Decodable {
        var key: JSONWebKey?

        init(from decoder: any Decoder) { key = try? JSONWebKey(from: decoder) }
    }
}

extension PublicKey {
    /// Whether a JWS's signature is this key's, made in that way. A key of another kind never is.
    public func verify(_ signature: [UInt8], over message: [UInt8], as algorithm: TokenAlgorithm) -> Bool {
        switch (algorithm, self.algorithm) {
        case (.es256, .ecdsaP256), (.es384, .ecdsaP384), (.edDSA, .ed25519): return verify(signature, over: message)
        case (.rs256, .rsa): return verifyRSA(signature, message, EVP_sha256(), isProbabilistic: false)
        case (.rs384, .rsa): return verifyRSA(signature, message, EVP_sha384(), isProbabilistic: false)
        case (.rs512, .rsa): return verifyRSA(signature, message, EVP_sha512(), isProbabilistic: false)
        case (.ps256, .rsa): return verifyRSA(signature, message, EVP_sha256(), isProbabilistic: true)
        case (.ps384, .rsa): return verifyRSA(signature, message, EVP_sha384(), isProbabilistic: true)
        case (.ps512, .rsa): return verifyRSA(signature, message, EVP_sha512(), isProbabilistic: true)
        default: return false
        }
    }

    /// - Parameter isProbabilistic: RSASSA-PSS, with a salt as long as the digest (RFC 7518, 3.5).
    private func verifyRSA(
        _ signature: [UInt8], _ message: [UInt8], _ digest: OpaquePointer?, isProbabilistic: Bool
    ) -> Bool {
        ERR_clear_error()
        defer { ERR_clear_error() }
        guard let context = EVP_MD_CTX_new() else { return false }
        defer { EVP_MD_CTX_free(context) }
        var keyContext: OpaquePointer?
        guard EVP_DigestVerifyInit(context, &keyContext, digest, nil, handle.pointer) == 1 else { return false }
        if isProbabilistic {
            guard EVP_PKEY_CTX_set_rsa_padding(keyContext, RSA_PKCS1_PSS_PADDING) == 1,
                EVP_PKEY_CTX_set_rsa_pss_saltlen(keyContext, RSA_PSS_SALTLEN_DIGEST) == 1
            else { return false }
        }
        return EVP_DigestVerify(context, signature, signature.count, message, message.count) == 1
    }
}
