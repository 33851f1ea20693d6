import Reactor
import Time

/// Where a call comes from, as far as it is proved.
public struct CallOrigin: Sendable {
    /// How the peer is connected.
    public enum Transport: String, Sendable, CaseIterable {
        case plaintext, tls, mtls, unix
    }

    public var transport: Transport
    /// Address and port, or `unix`.
    public var peer: String
    public var isLoopback: Bool
    /// DER, leaf first; verified. Empty unless the transport is `mtls`.
    public var certificates: [[UInt8]]
    /// The user at the other end of a Unix socket.
    public var userID: UInt32?
    /// The process at the other end of a Unix socket.
    public var credentials: PeerCredentials?
    /// When the connection was accepted, on the clock of ``Reactor/EventLoop/readClock()``. What the peer said on it
    /// was said since.
    public var acceptedAt: Instant?

    public init(
        transport: Transport, peer: String, isLoopback: Bool = false, certificates: [[UInt8]] = [],
        userID: UInt32? = nil, credentials: PeerCredentials? = nil
    ) {
        self.transport = transport
        self.peer = peer
        self.isLoopback = isLoopback
        self.certificates = certificates
        self.userID = userID
        self.credentials = credentials
    }

    /// ``peer`` without the port: connections of one machine have it in common.
    public var host: String {
        guard transport != .unix, let colon = peer.lastIndex(of: ":") else { return peer }
        return String(peer[..<colon])
    }
}

extension CallOrigin {
    init(_ peer: Peer, isSecure: Bool) {
        self.init(
            transport: peer.address.isUnix ? .unix : isSecure ? .tls : .plaintext,
            peer: peer.address.isUnix ? "unix" : "\(peer.address)", isLoopback: peer.address.isLoopback,
            certificates: [], userID: peer.credentials?.user, credentials: peer.credentials)
    }

    /// What the TLS handshake has proved.
    mutating func note(_ peer: Peer) {
        guard let secure = peer.secure, !secure.certificates.isEmpty else { return }
        transport = .mtls
        certificates = secure.certificates
    }
}
