import CLinux
import Glibc
import TLS

/// The process at the other end of a Unix socket, as the kernel says. Source: unix(7), SO_PEERCRED.
public struct PeerCredentials: Hashable, Sendable {
    public let process: Int32
    public let user: UInt32
    public let group: UInt32
    /// When the process started, as ``startTime(of:)`` told it while the connection was accepted: a later process that
    /// got the same number has another. nil: it was over already, or is of another namespace.
    public let startTime: UInt64?

    public init(process: Int32, user: UInt32, group: UInt32, startTime: UInt64? = nil) {
        (self.process, self.user, self.group, self.startTime) = (process, user, group, startTime)
    }

    init?(descriptor: Int32) {
        var (process, user, group): (Int32, UInt32, UInt32) = (0, 0, 0)
        guard linux_peer_credentials(descriptor, &process, &user, &group) == 0 else { return nil }
        (self.process, self.user, self.group) = (process, user, group)
        startTime = process > 0 ? Self.startTime(of: process) : nil
    }

    /// When a process started, in clock ticks since the machine did; nil: there is no such process.
    /// Source: proc(5), /proc/PID/stat, field 22.
    public static func startTime(of process: Int32) -> UInt64? {
        let descriptor = open("/proc/\(process)/stat", O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 1024)
        let count = read(descriptor, &bytes, bytes.count)
        // The program's name is in parentheses, and may itself hold some.
        guard count > 0, let end = bytes[..<count].lastIndex(of: UInt8(ascii: ")")) else { return nil }
        let fields = bytes[(end + 1)..<count].split(separator: UInt8(ascii: " "))
        return fields.count > 19 ? UInt64(String(decoding: fields[19], as: UTF8.self)) : nil
    }
}

/// What a finished TLS handshake says of the peer.
public struct SecurePeer: Sendable {
    /// The protocol both sides agreed on, for example `h2`; nil without ALPN.
    public let alpn: String?
    /// DER, leaf first; empty when the peer showed none. Verified by the TLS engine's rules.
    public let certificates: [[UInt8]]
    /// The name that the client asked for (SNI).
    public let serverName: String?
    /// The version of TLS spoken.
    public let version: TLSVersion?
    /// The cipher suite, as OpenSSL names it: `TLS_AES_128_GCM_SHA256`, `ECDHE-RSA-AES128-GCM-SHA256`.
    public let cipher: String?
    /// Its number in IANA's registry; 0 without one.
    public let cipherNumber: UInt16
    /// A session ticket stood for the certificates' verification of an earlier connection.
    public let isResumed: Bool

    init(_ engine: TLSEngine) {
        alpn = engine.alpn
        certificates = engine.peerCertificates
        serverName = engine.serverName
        version = engine.version
        let suite = engine.cipherSuite
        (cipher, cipherNumber) = (suite?.name, suite?.number ?? 0)
        isResumed = engine.isResumed
    }
}

/// Who is at the other end.
public struct Peer: Sendable {
    /// Unnamed (`unix:`) for most clients of Unix sockets.
    public let address: SocketAddress
    /// For Unix sockets.
    public let credentials: PeerCredentials?
    /// For TLS, once the handshake is finished; nil before, and for plaintext.
    public let secure: SecurePeer?
}
