import COpenSSL
import Certificates
import Synchronization

/// The keys under which a server seals session tickets (RFC 5077, 4; RFC 8446, 4.6.1). It is one object
/// for the life of a server: settings come and go with the certificate, and clients still resume.
/// Several replicas resume each other's sessions if they are given the same secrets.
///
/// Rotate it, say, every twelve hours: a ticket under one of the two keys before still resumes, and is
/// replaced by one under the current key; older ones lead to a full handshake.
public final class TLSTicketKeys: Sendable {
    /// Bytes of one secret: 16 that name it, 32 for AES-256, 32 for HMAC-SHA-256.
    public static let secretLength = 80
    /// How many keys open tickets, the current one included.
    public static let keptKeys = 3

    private let keys: Mutex<[TicketKey]>

    /// One random key.
    public init() throws(TLSError) {
        keys = Mutex([try TicketKey.random()])
    }

    /// - Parameter secrets: the current one first; no more than ``keptKeys`` are used.
    /// - Throws: ``TLSError/SettingProblem/ticketSecretLength(_:)``, also for an empty list.
    public init(secrets: [[UInt8]]) throws(TLSError) {
        keys = Mutex(try TLSTicketKeys.read(secrets))
    }

    /// Makes a new random key current.
    public func rotate() throws(TLSError) {
        let new = try TicketKey.random()
        keys.withLock { $0 = Array(([new] + $0).prefix(TLSTicketKeys.keptKeys)) }
    }

    /// Takes secrets that are shared with other replicas, the current one first.
    public func replace(with secrets: [[UInt8]]) throws(TLSError) {
        let new = try TLSTicketKeys.read(secrets)
        keys.withLock { $0 = new }
    }

    private static func read(_ secrets: [[UInt8]]) throws(TLSError) -> [TicketKey] {
        guard !secrets.isEmpty else { throw .settingInvalid(.ticketSecretLength(0)) }
        var keys: [TicketKey] = []
        for secret in secrets.prefix(keptKeys) {
            guard secret.count == secretLength else { throw .settingInvalid(.ticketSecretLength(secret.count)) }
            keys.append(TicketKey(copying: secret))
        }
        return keys
    }

    var current: TicketKey {
        keys.withLock { $0[0] }
    }

    /// The key with this 16-byte name, and whether it is the current one.
    func key(named name: UnsafePointer<UInt8>) -> (key: TicketKey, isCurrent: Bool)? {
        keys.withLock { keys in
            guard let index = keys.firstIndex(where: { $0.isNamed(name) }) else { return nil }
            return (keys[index], index == 0)
        }
    }
}

/// One secret, wiped with its last reference. The memory is written only in the initializer.
final class TicketKey: Sendable {
    nonisolated(unsafe) private let secret: UnsafeMutablePointer<UInt8>

    private init(filling fill: (UnsafeMutablePointer<UInt8>) -> Bool) throws(TLSError) {
        secret = .allocate(capacity: TLSTicketKeys.secretLength)
        secret.initialize(repeating: 0, count: TLSTicketKeys.secretLength)
        guard fill(secret) else { throw .libraryFailure(operation: "RAND_priv_bytes", reason: libraryReason()) }
    }

    static func random() throws(TLSError) -> TicketKey {
        ERR_clear_error()
        return try TicketKey { RAND_priv_bytes($0, Int32(TLSTicketKeys.secretLength)) == 1 }
    }

    init(copying bytes: [UInt8]) {
        precondition(bytes.count == TLSTicketKeys.secretLength)
        secret = .allocate(capacity: bytes.count)
        secret.initialize(from: bytes, count: bytes.count)
    }

    deinit {
        OPENSSL_cleanse(secret, TLSTicketKeys.secretLength)
        secret.deallocate()
    }

    var name: UnsafePointer<UInt8> { UnsafePointer(secret) }
    var encryptionKey: UnsafePointer<UInt8> { UnsafePointer(secret + 16) }
    var macKey: UnsafePointer<UInt8> { UnsafePointer(secret + 48) }

    func isNamed(_ other: UnsafePointer<UInt8>) -> Bool {
        CRYPTO_memcmp(secret, other, 16) == 0
    }
}

extension TLSTicketKeys: CustomStringConvertible, CustomReflectable {
    public var description: String { "\(keys.withLock { $0.count }) session ticket keys" }
    public var customMirror: Mirror { Mirror(self, children: [:]) }
}
