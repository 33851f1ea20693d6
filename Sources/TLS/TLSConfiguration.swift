import Time

/// A protocol version. Older ones are not spoken (RFC 8996).
public enum TLSVersion: String, Comparable, CaseIterable, Sendable, CustomStringConvertible {
    case tls12 = "TLS 1.2"
    case tls13 = "TLS 1.3"

    public var description: String { rawValue }

    public static func < (left: TLSVersion, right: TLSVersion) -> Bool {
        left == .tls12 && right == .tls13
    }
}

/// Everything that decides how connections are secured, as a value. ``TLSSettings`` checks it and makes
/// it ready for use.
public struct TLSConfiguration: Sendable {
    public enum Role: Sendable, Equatable {
        case server
        case client
    }

    /// Whether a server asks for a client certificate. One that is shown must verify in any case.
    public enum ClientAuthentication: Sendable, Equatable {
        case none
        case optional
        case required
    }

    /// What a server does with a name (SNI) that its table does not list, or without a name.
    public enum UnknownServerName: Sendable, Equatable {
        case useDefault
        /// Alert unrecognized_name (RFC 6066, 3).
        case refuse
    }

    /// Which of the peers with a valid chain are welcome.
    public enum AcceptedPeers: Sendable, Equatable {
        /// Whatever they show, if anything: privacy without knowing from whom. Nobody's certificate is verified.
        case anybody
        case anyTrusted
        /// Client: only the host of `serverName`.
        case serverName
        /// One of these.
        case named([PeerName])
    }

    public var role: Role
    /// Certificate chain and private key; a server must have one.
    public var identity: TLSIdentity?
    /// Whom to believe about peers; a client must have them, and a server that asks for certificates.
    public var trustAnchors: TrustAnchors?
    /// In place of `trustAnchors`, by trust domain: the anchors for peers whose certificate has a SPIFFE ID of it as
    /// only URI; others are refused.
    public var trustDomains: [String: TrustAnchors]?
    /// Of which certificates the authorities of a chain have taken back; nil: nobody asks.
    public var revocations: RevocationLists?
    /// Only the peer's own certificate is looked up in `revocations`, not those of its authorities.
    public var checksLeafRevocationOnly: Bool
    /// The peer's certificate must be one of these; empty: any will do. With them, and without anchors, nobody need
    /// vouch for it.
    public var pins: [TLSPin]
    public var acceptedPeers: AcceptedPeers
    public var clientAuthentication: ClientAuthentication
    /// Client: the host to ask for (SNI; not sent if it is an IP address, RFC 6066, 3).
    public var serverName: String?
    public var unknownServerName: UnknownServerName
    /// ALPN names. Server: by preference, the first that the client offers is taken.
    public var applicationProtocols: [String]
    /// End the handshake if no protocol is agreed; a server does so with alert no_application_protocol.
    public var requiresApplicationProtocol: Bool
    /// Of ``offeredCipherSuites``, those of TLS 1.2 to offer, by preference; empty: all. TLS 1.3 has its own, all fit.
    public var cipherSuites: [String]
    /// Of ``offeredGroups``, those to offer for the exchange of keys, by preference; empty: all.
    public var groups: [String]
    public var minimumVersion: TLSVersion
    public var maximumVersion: TLSVersion
    /// Server: keys for session tickets. Without them nothing is resumed. Give the same object to the
    /// settings that replace these, and clients resume across the swap.
    public var ticketKeys: TLSTicketKeys?
    /// Server: how long a ticket resumes.
    public var sessionLifetime: Duration
    /// Server: of the cipher suites in common, the one that the client likes best, not the one that is best here.
    public var prefersClientCiphers: Bool
    /// Client: how many sessions to keep for resumption, for all servers together; 0: none. Some 10 kB each.
    public var storedSessions: Int
    /// The moment at which certificates are checked. Nil: libssl reads the system clock at each handshake.
    /// (Ticket lifetimes always follow the system clock.)
    public var verificationTime: Timestamp?
    public var limits: TLSLimits

    /// Perfect forward secrecy and authenticated encryption only.
    public static let offeredCipherSuites = [
        "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305",
    ]
    /// No finite-field groups, whose large ones cost a server a hundred times as much.
    public static let offeredGroups = ["X25519", "P-256", "P-384"]

    /// A server that asks for no client certificate.
    public static func server(_ identity: TLSIdentity, applicationProtocols: [String] = []) -> TLSConfiguration {
        TLSConfiguration(
            role: .server, identity: identity, trustAnchors: nil, acceptedPeers: .anyTrusted, serverName: nil,
            applicationProtocols: applicationProtocols)
    }

    /// A server that refuses clients without a certificate under `trustAnchors`.
    public static func mutualServer(
        _ identity: TLSIdentity, trusting trustAnchors: TrustAnchors, accepting peers: AcceptedPeers = .anyTrusted,
        applicationProtocols: [String] = []
    ) -> TLSConfiguration {
        var configuration = TLSConfiguration(
            role: .server, identity: identity, trustAnchors: trustAnchors, acceptedPeers: peers, serverName: nil,
            applicationProtocols: applicationProtocols)
        configuration.clientAuthentication = .required
        return configuration
    }

    /// A client. By default the server must be the host `serverName`.
    public static func client(
        trusting trustAnchors: TrustAnchors, serverName: String? = nil, accepting peers: AcceptedPeers = .serverName,
        identity: TLSIdentity? = nil, applicationProtocols: [String] = []
    ) -> TLSConfiguration {
        TLSConfiguration(
            role: .client, identity: identity, trustAnchors: trustAnchors, acceptedPeers: peers,
            serverName: serverName, applicationProtocols: applicationProtocols)
    }

    private init(
        role: Role, identity: TLSIdentity?, trustAnchors: TrustAnchors?, acceptedPeers: AcceptedPeers,
        serverName: String?, applicationProtocols: [String]
    ) {
        self.role = role
        self.identity = identity
        self.trustAnchors = trustAnchors
        self.acceptedPeers = acceptedPeers
        self.serverName = serverName
        self.applicationProtocols = applicationProtocols
        checksLeafRevocationOnly = false
        cipherSuites = []
        groups = []
        pins = []
        clientAuthentication = .none
        unknownServerName = .useDefault
        requiresApplicationProtocol = false
        minimumVersion = .tls12
        maximumVersion = .tls13
        sessionLifetime = .seconds(7200)
        prefersClientCiphers = false
        storedSessions = 8
        limits = TLSLimits()
    }
}

/// What one connection may make us do. Going over ends it with ``TLSError/limitExceeded(_:allowed:)``.
public struct TLSLimits: Sendable, Equatable {
    /// Records received until the handshake is over. A chain of 64 KiB in records of 512 bytes takes 128.
    public var handshakeRecords = 256
    /// Bytes received until the handshake is over.
    public var handshakeBytes = 256 * 1024
    /// Bytes of a peer's certificate chain; libssl refuses longer ones before it parses them.
    public var certificateChainBytes = 64 * 1024
    /// Certificates between the peer's leaf and an anchor.
    public var intermediates = 8
    /// KeyUpdate messages received (RFC 8446, 4.6.3), beyond one for each MiB of data in either direction.
    public var keyUpdates = 32
    /// Records received that bring no application data (empty ones, tickets, key updates, refused
    /// renegotiations), beyond one for each MiB of data in either direction.
    public var recordsWithoutPayload = 64
    /// Records sent under one TLS 1.3 key before it is updated; RFC 8446, 5.5 allows AES-GCM 2^24.5.
    public var recordsPerKey: UInt32 = 1 << 23

    public init() {}
}
