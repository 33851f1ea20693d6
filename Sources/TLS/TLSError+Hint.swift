extension TLSError {
    /// What to do about it, as the CLI prints it after "hint:".
    public var hint: String {
        switch self {
        case .fileUnreadable: "check the path, and that the process may read the file"
        case .certificate(let error): error.hint
        case .settingInvalid(let problem): problem.hint
        case .notTLS: "the peer must use TLS on this port, or both must use the plaintext port"
        case .peerAlert(_, let code): TLSError.hint(forAlert: code)
        case .certificateRefused(let problem, _, _): problem.hint
        case .peerCertificateMissing: "give the peer a certificate issued under our trust anchors"
        case .certificateNotPinned: "connect to the right peer, or add its certificate's digest to the expected ones"
        case .peerNameRefused: "connect to the right peer, or add the presented name to the accepted ones"
        case .applicationProtocolMissing: "let both sides list a protocol in common, such as h2"
        case .serverNameUnknown: "connect by a name that the server has settings for, or add it there"
        case .versionRefused: "let the peer speak TLS 1.3, or lower the minimum version"
        case .noSharedCipher: "let the peer offer TLS 1.3, or ECDHE with AES-GCM or ChaCha20-Poly1305"
        case .limitExceeded: "the peer is broken or hostile; if it is neither, raise the limit"
        case .recordCorrupt: "look for something on the way that changes bytes"
        case .truncated(let duringHandshake):
            duringHandshake
                ? "the peer's log says why: often a certificate that it does not trust, or a plaintext port"
                : "the peer crashed or was cut off: connect again"
        case .notEstablished: "wait for isEstablished"
        case .closed: "send before close"
        case .protocolViolation: "the peer's TLS is broken, or this is no TLS: try `openssl s_client` against it"
        case .libraryFailure: "look at memory and at the OpenSSL configuration (openssl.cnf)"
        }
    }

    private static func hint(forAlert code: UInt8) -> String {
        switch code {
        case 42, 43, 46, 48:
            "the peer does not trust our certificate: give it our trust anchor, or us one of its issuers"
        case 44, 45: "renew our certificate"
        case 70: "set both sides to a protocol version in common"
        case 112: "ask for a server name that the peer has"
        case 116: "the peer wants a client certificate: set an identity"
        case 120: "list an application protocol (ALPN) that the peer has"
        default: "the peer's log says why"
        }
    }
}

extension TLSError.SettingProblem {
    fileprivate var hint: String {
        switch self {
        case .serverWithoutIdentity: "set identity"
        case .clientWithoutTrustAnchors, .clientAuthenticationWithoutTrustAnchors: "set trustAnchors"
        case .serverNameMissing: "set serverName, or accept named peers or any trusted one"
        case .acceptedPeersEmpty: "name at least one peer, or accept any trusted one"
        case .acceptedNameInvalid: "use a host name, an IP address, a URI or a SPIFFE trust domain"
        case .serverNameInvalid: "use a host name such as web.example.org, or *.example.org in a server's table"
        case .applicationProtocolInvalid: "use a registered name such as h2"
        case .applicationProtocolsEmpty: "list the protocols, or do not require one"
        case .versionsReversed: "swap them"
        case .ticketSecretLength: "use \(TLSTicketKeys.secretLength) random bytes"
        case .identityRefused: "use an RSA key of 2048 bits or more, ECDSA P-256 or Ed25519"
        case .nestedRoleMismatch: "make the table of server settings only"
        case .revocationListUnreadable: "give the lists of revoked certificates in PEM, each whole"
        case .notOffered: "choose among the cipher suites and groups that are offered, or leave the list empty"
        }
    }
}
