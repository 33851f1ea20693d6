import Certificates
import Time

/// What went wrong, in words: `description` says what and where, `hint` says the mend.
/// The first group comes from making settings, the second from a connection. After an error of the
/// second group the connection is over: every later call throws the same error.
public enum TLSError: Error, Equatable, Sendable {
    /// A PEM file cannot be read; `reason` is the operating system's.
    case fileUnreadable(path: String, reason: String)
    /// A certificate or key of ours that cannot be used.
    // Indirect: every connection has room for an error.
    indirect case certificate(CertificateError)
    /// A combination of settings that cannot work.
    case settingInvalid(SettingProblem)

    /// The peer's first bytes are no TLS record.
    case notTLS(firstBytes: String)
    /// The peer ended the connection with this alert (RFC 8446, 6.2).
    case peerAlert(name: String, code: UInt8)
    /// The peer's chain does not verify. `anchors` are the subjects that we trust.
    indirect case certificateRefused(CertificateProblem, certificate: Certificate, anchors: [String])
    /// The peer showed no certificate where one is required.
    case peerCertificateMissing
    /// The certificate is none of those that are expected, by its digest.
    case certificateNotPinned(subject: String)
    /// The chain verifies, but it is somebody else's.
    case peerNameRefused(presented: [String], expected: [String])
    /// No protocol in common (ALPN, RFC 7301).
    case applicationProtocolMissing(offered: [String], supported: [String])
    /// The server has no settings for the name that the client asked for; nil: the client sent none.
    case serverNameUnknown(String?)
    /// No protocol version in common.
    case versionRefused(minimum: TLSVersion, maximum: TLSVersion)
    /// No cipher suite or signature algorithm in common.
    case noSharedCipher(reason: String)
    /// The peer went over a bound.
    case limitExceeded(TLSLimit, allowed: Int)
    /// A record that does not decrypt: corrupted on the way, or forged.
    case recordCorrupt
    /// The byte stream ended without close_notify (RFC 8446, 6.1).
    case truncated(duringHandshake: Bool)
    /// `send` before the handshake was over.
    case notEstablished
    /// `send` after `close`.
    case closed
    /// Any other violation, in libssl's words.
    case protocolViolation(reason: String)
    /// libssl or libcrypto failed for a reason of its own, such as memory.
    case libraryFailure(operation: String, reason: String)

    /// Settings that contradict each other.
    public enum SettingProblem: Error, Equatable, Sendable {
        case serverWithoutIdentity
        case clientWithoutTrustAnchors
        case clientAuthenticationWithoutTrustAnchors
        case serverNameMissing
        case acceptedPeersEmpty
        case acceptedNameInvalid(String)
        case serverNameInvalid(String)
        case applicationProtocolInvalid(String)
        case applicationProtocolsEmpty
        case versionsReversed(minimum: TLSVersion, maximum: TLSVersion)
        case ticketSecretLength(Int)
        case identityRefused(reason: String)
        case nestedRoleMismatch(serverName: String)
        case revocationListUnreadable
        case notOffered(String)
    }
}

/// A bound on what a peer may make a connection do: see ``TLSLimits``.
public enum TLSLimit: String, Equatable, Sendable {
    case handshakeRecords = "records during the handshake"
    case handshakeBytes = "bytes during the handshake"
    case keyUpdates = "key updates"
    case recordsWithoutPayload = "records without application data"
}

extension TLSError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .fileUnreadable(let path, let reason): "cannot read \(path): \(reason)"
        case .certificate(let error): error.description
        case .settingInvalid(let problem): problem.description
        case .notTLS(let bytes): "wrong version number: the peer speaks plaintext? Its first bytes are \(bytes)"
        case .peerAlert(let name, let code): "the peer refused with alert \(code), \(name)"
        case .certificateRefused(let problem, let certificate, let anchors):
            problem.describe(certificate, anchors: anchors)
        case .peerCertificateMissing: "no client certificate: the peer showed none, and one is required"
        case .certificateNotPinned(let subject): "the peer's certificate, of \(subject), is none of the expected ones"
        case .peerNameRefused(let presented, let expected):
            "the peer is \(TLSError.list(presented, none: "without any name")), expected \(TLSError.list(expected))"
        case .applicationProtocolMissing(let offered, let supported):
            "no application protocol in common (ALPN): the peer offers "
                + "\(TLSError.list(offered, none: "none")), here \(TLSError.list(supported))"
        case .serverNameUnknown(let name):
            name.map { "no settings for the server name \($0)" } ?? "the client sent no server name (SNI)"
        case .versionRefused(let minimum, let maximum):
            "no protocol version in common: here \(minimum == maximum ? "\(minimum)" : "\(minimum) to \(maximum)")"
        case .noSharedCipher(let reason): "no cipher or signature algorithm in common: \(reason)"
        case .limitExceeded(let limit, let allowed): "more than \(allowed) \(limit.rawValue)"
        case .recordCorrupt: "a record does not decrypt: corrupted on the way, or forged"
        case .truncated(let duringHandshake):
            duringHandshake
                ? "the peer closed the connection during the TLS handshake"
                : "the peer closed the connection without close_notify: the data may be cut short"
        case .notEstablished: "data to send before the TLS handshake was over"
        case .closed: "data to send after close_notify"
        case .protocolViolation(let reason): "TLS protocol violation: \(reason)"
        case .libraryFailure(let operation, let reason): "\(operation) failed: \(reason)"
        }
    }

    /// At most eight of `names`: a peer chooses how many there are.
    private static func list(_ names: [String], none: String = "none") -> String {
        guard !names.isEmpty else { return none }
        let shown = names.prefix(8).joined(separator: ", ")
        return names.count > 8 ? "\(shown) and \(names.count - 8) more" : shown
    }
}

extension TLSError.SettingProblem: CustomStringConvertible {
    public var description: String {
        switch self {
        case .serverWithoutIdentity: "a TLS server has no certificate and key"
        case .clientWithoutTrustAnchors: "a TLS client has no trust anchors: it could not tell whom it talks to"
        case .clientAuthenticationWithoutTrustAnchors: "client certificates are wanted, but there are no trust anchors"
        case .serverNameMissing: "the server's name is to be checked, but no server name is set"
        case .acceptedPeersEmpty: "the list of accepted peer names is empty: every peer would be refused"
        case .acceptedNameInvalid(let name): "the accepted peer name \(name) is not a name"
        case .serverNameInvalid(let name): "the server name \(name) is not a host name"
        case .applicationProtocolInvalid(let name): "the ALPN protocol name \"\(name)\" is not 1 to 255 bytes long"
        case .applicationProtocolsEmpty: "an application protocol is required, but none is listed"
        case .versionsReversed(let minimum, let maximum):
            "the lowest version, \(minimum), is above the highest, \(maximum)"
        case .ticketSecretLength(let length): "a session ticket secret has \(length) bytes"
        case .identityRefused(let reason): "libssl refuses the certificate: \(reason)"
        case .nestedRoleMismatch(let name): "settings for the server name \(name) belong to a client"
        case .notOffered(let name): "the cipher suite or group \(name) is not offered here"
        case .revocationListUnreadable: "no list of revoked certificates in PEM, or one that cannot be read"
        }
    }
}
