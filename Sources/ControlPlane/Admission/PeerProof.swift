import Certificates
import Discovery
import GRPC
import Identity

/// What a peer shows to say who it is.
public enum PeerProof: Hashable, Sendable {
    /// Over a transport that carries no proof.
    case none
    /// A verified client certificate that names an identity.
    case certificate(SPIFFEID)
    /// A verified client certificate without a SPIFFE ID, by one of its names.
    case namedCertificate(String)
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
        if spiffe.isEmpty { return .namedCertificate(leaf.dnsNames.first ?? leaf.uris.first ?? leaf.subject) }
        guard leaf.uris.count == 1 else {
            throw StreamRefusal(
                GRPCStatus(
                    .unauthenticated,
                    "the client certificate names \(leaf.uris.count) URIs; an X.509-SVID names one, its SPIFFE ID"),
                reason: "certificate")
        }
        do throws(SPIFFEIDError) {
            return .certificate(try SPIFFEID(spiffe[0]))
        } catch {
            throw StreamRefusal(
                GRPCStatus(.unauthenticated, "the client certificate: \(error); \(error.hint)"),
                reason: "certificate")
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
