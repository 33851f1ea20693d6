import CLinux
import TLS

/// The process at the other end of a Unix socket, as the kernel says. Source: unix(7), SO_PEERCRED.
public struct PeerCredentials: Hashable, Sendable {
    public let process: Int32
    public let user: UInt32
    public let group: UInt32

    public init(process: Int32, user: UInt32, group: UInt32) {
        (self.process, self.user, self.group) = (process, user, group)
    }

    init?(descriptor: Int32) {
        var (process, user, group): (Int32, UInt32, UInt32) = (0, 0, 0)
        guard linux_peer_credentials(descriptor, &process, &user, &group) == 0 else { return nil }
        (self.process, self.user, self.group) = (process, user, group)
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
    /// A session ticket stood for the certificates' verification of an earlier connection.
    public let isResumed: Bool

    init(_ engine: TLSEngine) {
        alpn = engine.alpn
        certificates = engine.peerCertificates
        serverName = engine.serverName
        version = engine.version
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
