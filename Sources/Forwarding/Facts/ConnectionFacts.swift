import Addresses

/// Where a connection comes from or goes to.
public enum NetworkAddress: Hashable, Sendable {
    case ip(IPAddress, port: UInt16)
    /// A socket of the file system, or one without a name.
    case pipe(String)

    /// Nil for a pipe.
    public var ip: IPAddress? {
        if case .ip(let address, _) = self { address } else { nil }
    }

    /// Nil for a pipe.
    public var port: UInt16? {
        if case .ip(_, let port) = self { port } else { nil }
    }
}

extension NetworkAddress: CustomStringConvertible {
    /// `10.0.0.1:80`, `[::1]:80`, or a path.
    public var description: String {
        switch self {
        case .ip(let address, let port): address.isIPv4 ? "\(address):\(port)" : "[\(address)]:\(port)"
        case .pipe(let path): path
        }
    }
}

/// What a peer's certificate says. Shared by all that is asked on its connection.
public final class PeerCertificateFacts: Sendable {
    /// Whether somebody vouches for it; else it says what whoever connected wanted it to.
    public let isVerified: Bool
    /// Subject alternative names of the kind URI, in the certificate's order.
    public let uriNames: [String]
    /// Subject alternative names of the kind DNS, in the certificate's order.
    public let dnsNames: [String]
    /// The subject as RFC 2253 writes it: `CN=web,O=shop`; empty: it has none.
    public let subject: String
    /// Lower-case hexadecimal.
    public let serial: String
    /// SHA-256 of the certificate, lower-case hexadecimal.
    public let fingerprint: String
    /// The certificate in PEM, for those who pass it on.
    public let pem: String

    public init(
        uriNames: [String] = [], dnsNames: [String] = [], subject: String = "", serial: String = "",
        fingerprint: String = "", pem: String = "", isVerified: Bool = true
    ) {
        (self.uriNames, self.dnsNames, self.subject) = (uriNames, dnsNames, subject)
        (self.serial, self.fingerprint, self.pem) = (serial, fingerprint, pem)
        self.isVerified = isVerified
    }

    /// What authorization calls the principal: the first URI, else the first DNS name, else the subject.
    /// Source: Envoy, `config.rbac.v3.Principal.Authenticated.principal_name`.
    public var principal: String { uriNames.first ?? dnsNames.first ?? subject }

    /// The certificate as a header has it: everything of the PEM but letters, digits and `-_.~` in hexadecimal.
    /// Source: Envoy, `SslExtendedSocketInfo::urlEncodedPemEncodedPeerCertificate`.
    public var encodedPEM: String {
        var result = ""
        for byte in pem.utf8 {
            switch byte {
            case 48...57, 65...90, 97...122, 45, 46, 95, 126: result.unicodeScalars.append(Unicode.Scalar(byte))
            default: result += "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
            }
        }
        return result
    }
}

/// What was agreed on with a downstream connection's peer.
public final class TLSSessionFacts: Sendable {
    /// `TLSv1.3`.
    public let version: String
    /// As OpenSSL names it.
    public let cipher: String
    /// Of the cipher, in IANA's registry.
    public let cipherNumber: UInt16

    public init(version: String, cipher: String, cipherNumber: UInt16) {
        (self.version, self.cipher, self.cipherNumber) = (version, cipher, cipherNumber)
    }
}

/// What is known of a downstream connection before its first request. Shared by all that is asked on it.
public final class ConnectionFacts: Sendable {
    /// Who connected, as the PROXY protocol tells where it is in use.
    public let source: NetworkAddress
    /// The other end of the socket.
    public let directSource: NetworkAddress
    /// Whom the client meant: the original destination where connections are intercepted.
    public let destination: NetworkAddress
    /// Whether `destination` is another address than the one where the connection was accepted. Only then can it be
    /// gone on to: a proxy that connects to itself would do so for ever.
    public let isRestored: Bool
    /// From the TLS client hello, in lower case.
    public let serverName: String?
    public let isTLS: Bool
    /// Nil for plaintext.
    public let session: TLSSessionFacts?
    /// What ALPN agreed on.
    public let applicationProtocol: String?
    /// Nil: there is no certificate.
    public let peer: PeerCertificateFacts?

    /// Where clusters of original destinations connect to; nil: nowhere.
    public var restoredDestination: NetworkAddress? { isRestored ? destination : nil }

    /// - Parameter directSource: nil: the same as `source`.
    public init(
        source: NetworkAddress, directSource: NetworkAddress? = nil, destination: NetworkAddress,
        isRestored: Bool = false, serverName: String? = nil, isTLS: Bool = false, session: TLSSessionFacts? = nil,
        applicationProtocol: String? = nil, peer: PeerCertificateFacts? = nil
    ) {
        self.source = source
        self.directSource = directSource ?? source
        self.destination = destination
        self.isRestored = isRestored
        self.serverName = serverName
        self.isTLS = isTLS
        self.session = session
        self.applicationProtocol = applicationProtocol
        self.peer = peer
    }

    /// With what has become known since.
    /// - Parameter source: who connected, as somebody between tells.
    public func with(
        source: NetworkAddress? = nil, destination: NetworkAddress? = nil, isRestored: Bool? = nil,
        serverName: String? = nil
    ) -> ConnectionFacts {
        ConnectionFacts(
            source: source ?? self.source, directSource: directSource, destination: destination ?? self.destination,
            isRestored: isRestored ?? self.isRestored, serverName: serverName ?? self.serverName, isTLS: isTLS,
            session: session, applicationProtocol: applicationProtocol, peer: peer)
    }

    /// With what a TLS handshake has told.
    public func secured(
        _ session: TLSSessionFacts, serverName: String?, applicationProtocol: String?, peer: PeerCertificateFacts?
    ) -> ConnectionFacts {
        ConnectionFacts(
            source: source, directSource: directSource, destination: destination, isRestored: isRestored,
            serverName: serverName ?? self.serverName, isTLS: true, session: session,
            applicationProtocol: applicationProtocol, peer: peer)
    }
}
