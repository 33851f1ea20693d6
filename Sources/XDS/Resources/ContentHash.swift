import COpenSSL

/// The first 128 bits of a SHA-256, and sums of such hashes. A sum does not depend on the order, so the hash of a
/// set follows a change by one subtraction and one addition.
struct ContentHash: Hashable, Sendable {
    var high: UInt64
    var low: UInt64

    static let zero = ContentHash(high: 0, low: 0)

    private init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    init(of bytes: [UInt8]) {
        let digest = Self.sha256(of: bytes)
        high = digest[0..<8].reduce(0) { $0 << 8 | UInt64($1) }
        low = digest[8..<16].reduce(0) { $0 << 8 | UInt64($1) }
    }

    /// Hashes the fields with their lengths, so that no two lists of fields look alike.
    init(ofFields fields: [[UInt8]]) {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(fields.reduce(0) { $0 + $1.count + 8 })
        for field in fields {
            withUnsafeBytes(of: UInt64(field.count).littleEndian) { bytes.append(contentsOf: $0) }
            bytes.append(contentsOf: field)
        }
        self.init(of: bytes)
    }

    static func + (left: ContentHash, right: ContentHash) -> ContentHash {
        ContentHash(high: left.high &+ right.high, low: left.low &+ right.low)
    }

    static func - (left: ContentHash, right: ContentHash) -> ContentHash {
        ContentHash(high: left.high &- right.high, low: left.low &- right.low)
    }

    /// 32 lower-case hexadecimal digits.
    var hex: String {
        let digits = Array("0123456789abcdef".utf8)
        return String(unsafeUninitializedCapacity: 32) { text in
            for position in 0..<16 {
                text[position] = digits[Int(high >> UInt64(60 - 4 * position) & 15)]
                text[position + 16] = digits[Int(low >> UInt64(60 - 4 * position) & 15)]
            }
            return 32
        }
    }

    private static func sha256(of bytes: [UInt8]) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: 32) { output, count in
            let ok = bytes.withUnsafeBytes {
                EVP_Digest($0.baseAddress, $0.count, output.baseAddress, nil, EVP_sha256(), nil)
            }
            precondition(ok == 1, "libcrypto has no SHA-256")
            count = 32
        }
    }
}
