import COpenSSL

/// Hashes and comparisons over libcrypto.
public enum Digest {
    /// The 32 bytes of SHA-256. Source: FIPS 180-4.
    public static func sha256(of bytes: [UInt8]) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: 32) { output, count in
            bytes.withUnsafeBufferPointer { _ = SHA256($0.baseAddress, $0.count, output.baseAddress) }
            count = 32
        }
    }

    /// Whether two secrets are equal; how long it takes tells nothing of where they differ.
    public static func areEqual(_ left: [UInt8], _ right: [UInt8]) -> Bool {
        guard left.count == right.count else { return false }
        return left.isEmpty || CRYPTO_memcmp(left, right, left.count) == 0
    }
}
