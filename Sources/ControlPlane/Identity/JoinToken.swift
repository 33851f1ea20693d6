import Certificates
import Identity

/// A join token as its bearer has it: `martinet-join-v1.ID.SECRET`.
///
/// ID is ten characters that may be seen by everybody. SECRET is 256 random bits and a checksum of 32, so that a token
/// that was cut short, or copied with a slip, is told from one that is wrong. Both are base32 in lower case.
///
/// At rest there is only the SHA-256 of the secret. It needs no salt and no slow hash: those make short passwords
/// costly to guess, and 256 random bits cannot be guessed at any price.
struct JoinToken: CustomStringConvertible, CustomReflectable {
    let id: String
    private let secret: [UInt8]

    private static let prefix = "martinet-join-v1"
    private static let idBytes = 6
    private static let secretBytes = 32
    private static let checksumBytes = 4

    /// A new one, of the operating system's random numbers.
    static func make() -> JoinToken {
        var random = SystemRandomNumberGenerator()
        func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8.random(in: .min ... .max, using: &random) } }
        return JoinToken(id: Base32.encode(bytes(idBytes)), secret: bytes(secretBytes))
    }

    private init(id: String, secret: [UInt8]) {
        self.id = id
        self.secret = secret
    }

    /// - Throws: `.malformed` for what is no token at all, `.cutShort` for what is not the whole of one.
    init(_ text: String) throws(TokenRefusal) {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        // Peers choose this text: nothing longer is looked at.
        guard text.utf8.count <= 200, parts[0] == Self.prefix else { throw .malformed }
        guard parts.count == 3, let id = Base32.decode(parts[1]), id.count == Self.idBytes,
            let body = Base32.decode(parts[2]), body.count == Self.secretBytes + Self.checksumBytes
        else { throw .cutShort }
        self.init(id: String(parts[1]), secret: Array(body.prefix(Self.secretBytes)))
        guard Array(body.suffix(Self.checksumBytes)) == checksum else { throw .cutShort }
    }

    private var checksum: [UInt8] {
        Array(Digest.sha256(of: Array("\(Self.prefix).\(id).".utf8) + secret).prefix(Self.checksumBytes))
    }

    /// What is kept of the secret.
    var hash: [UInt8] { Digest.sha256(of: secret) }

    /// For its bearer alone.
    var text: String { "\(Self.prefix).\(id).\(Base32.encode(secret + checksum))" }

    /// The id of a token that someone wrote in full where its id was wanted, or the text as it is.
    static func id(in text: String) -> String { (try? JoinToken(text).id) ?? text }

    var description: String { "join token \(id)" }
    var customMirror: Mirror { Mirror(self, children: ["id": id]) }
}

/// Base32 in lower case, not padded. Source: RFC 4648, 6.
enum Base32 {
    private static let alphabet = Array("abcdefghijklmnopqrstuvwxyz234567".utf8)

    static func encode(_ bytes: [UInt8]) -> String {
        var text: [UInt8] = []
        var (bits, count): (UInt32, UInt32) = (0, 0)
        for byte in bytes {
            bits = bits << 8 | UInt32(byte)
            count += 8
            while count >= 5 {
                count -= 5
                text.append(alphabet[Int(bits >> count & 31)])
            }
        }
        if count > 0 { text.append(alphabet[Int(bits << (5 - count) & 31)]) }
        return String(decoding: text, as: UTF8.self)
    }

    /// - Returns: nil for anything that ``encode(_:)`` would not write.
    static func decode(_ text: Substring) -> [UInt8]? {
        var bytes: [UInt8] = []
        var (bits, count): (UInt32, UInt32) = (0, 0)
        for character in text.utf8 {
            let value: UInt8
            switch character {
            case UInt8(ascii: "a")...UInt8(ascii: "z"): value = character - UInt8(ascii: "a")
            case UInt8(ascii: "2")...UInt8(ascii: "7"): value = character - UInt8(ascii: "2") + 26
            default: return nil
            }
            bits = bits << 5 | UInt32(value)
            count += 5
            if count >= 8 {
                count -= 8
                bytes.append(UInt8(truncatingIfNeeded: bits >> count))
            }
        }
        guard count < 5, bits & ((1 << count) - 1) == 0 else { return nil }
        return bytes
    }
}
