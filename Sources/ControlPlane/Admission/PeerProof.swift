import Certificates
import Discovery
import GRPC
import Identity
import Time

/// What a peer shows to say who it is.
public enum PeerProof: Hashable, Sendable {
    /// Over a transport that carries no proof.
    case none
    /// A client certificate that names an identity; verified when the connection began.
    case certificate(SPIFFEID, notAfter: Timestamp)
    /// A client certificate without a SPIFFE ID, by one of its names; verified when the connection began.
    case namedCertificate(String, notAfter: Timestamp)
    /// A secret, `Bearer` in the call's `authorization`: not verified yet.
    case token(String)

    /// Bytes of the longest token.
    static let longestToken = 4096

    /// A certificate goes before a token: it is verified already.
    /// - Throws: a certificate or token that cannot be one.
    public init(_ origin: CallOrigin, _ metadata: GRPCMetadata) throws(StreamRefusal) {
        switch origin.transport {
        case .unix, .plaintext: self = .none
        case .mtls: self = try Self.certificate(origin)
        case .tls: self = try Self.token(metadata)
        }
    }

    private static func certificate(_ origin: CallOrigin) throws(StreamRefusal) -> PeerProof {
        guard let leaf = origin.certificates.first.flatMap({ try? Certificate(der: $0) }) else {
            throw StreamRefusal(
                GRPCStatus(.unauthenticated, "the client certificate cannot be read; show a valid one"),
                reason: "certificate")
        }
        let spiffe = leaf.uris.filter { $0.hasPrefix("spiffe:") }
        if spiffe.isEmpty {
            let name = leaf.dnsNames.first ?? leaf.uris.first ?? leaf.subject
            return .namedCertificate(name, notAfter: leaf.notAfter)
        }
        guard leaf.uris.count == 1 else {
            throw StreamRefusal(
                GRPCStatus(
                    .unauthenticated,
                    "the client certificate names \(leaf.uris.count) URIs; an X.509-SVID names one, its SPIFFE ID"),
                reason: "certificate")
        }
        do throws(SPIFFEIDError) {
            return .certificate(try SPIFFEID(spiffe[0]), notAfter: leaf.notAfter)
        } catch {
            throw StreamRefusal(
                GRPCStatus(.unauthenticated, "the client certificate: \(error); \(error.hint)"),
                reason: "certificate")
        }
    }

    /// When it ends; nil: only what it stands for may end.
    var notAfter: Timestamp? {
        switch self {
        case .certificate(_, let notAfter), .namedCertificate(_, let notAfter): notAfter
        case .none, .token: nil
        }
    }

    /// Whom a certificate names, as ``XDS/Node/principal`` has it; nil: it proves nothing yet.
    var principal: String? {
        switch self {
        case .certificate(let identity, _): "\(identity)"
        case .namedCertificate(let name, _): "certificate:\(name)"
        case .none, .token: nil
        }
    }

    private static func token(_ metadata: GRPCMetadata) throws(StreamRefusal) -> PeerProof {
        guard let header = metadata["authorization"] else { return .none }
        let words = header.split(separator: " ", maxSplits: 1)
        guard words.count == 2, words[0].lowercased() == "bearer", words[1].utf8.count <= longestToken else {
            throw StreamRefusal(
                GRPCStatus(
                    .unauthenticated,
                    "the metadata `authorization` is no join token; send `Bearer TOKEN` with a token of "
                        + "`martinet token create`"),
                reason: "token")
        }
        return .token(String(words[1]))
    }
}
