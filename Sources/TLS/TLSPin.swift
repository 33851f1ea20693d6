import COpenSSL
import Certificates

/// A certificate that is known by what it is, whoever vouches for it.
public enum TLSPin: Sendable, Hashable {
    /// SHA-256 of the certificate's DER.
    case certificate([UInt8])
    /// SHA-256 of its SubjectPublicKeyInfo's DER.
    case key([UInt8])

    /// Whether a certificate is this one.
    func matches(_ leaf: OpaquePointer) -> Bool {
        switch self {
        case .certificate(let digest): Digest.sha256(of: derBytes(of: leaf)) == digest
        case .key(let digest): Self.keyBytes(of: leaf).map { Digest.sha256(of: $0) == digest } ?? false
        }
    }

    private static func keyBytes(of leaf: OpaquePointer) -> [UInt8]? {
        guard let key = X509_get_X509_PUBKEY(leaf) else { return nil }
        let count = i2d_X509_PUBKEY(key, nil)
        guard count > 0 else { return nil }
        return [UInt8](unsafeUninitializedCapacity: Int(count)) { buffer, length in
            var cursor = buffer.baseAddress
            length = Int(max(0, i2d_X509_PUBKEY(key, &cursor)))
        }
    }
}
