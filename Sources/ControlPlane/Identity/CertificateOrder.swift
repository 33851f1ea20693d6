import Certificates
import Discovery
import GRPC
import Identity
import Time

/// A signing request of a caller that has proved who it is, with everything checked that needs no authority.
struct CertificateOrder: Sendable {
    var call: ServiceCall
    var identity: SPIFFEID
    /// The node id of the caller's xDS streams; nil: it did not say, and its machine stands for it.
    var node: String?
    var key: PublicKey
    /// nil: as long as the authority gives.
    var wanted: Duration?
    /// How far the caller's clock is off; nil: it did not say what it shows.
    var skew: ClockSkew?
}

/// A request for a JWT-SVID of a caller that has proved who it is.
struct TokenOrder: Sendable {
    var call: ServiceCall
    var identity: SPIFFEID
    var audience: [String]
    /// nil: as long as the authority gives.
    var wanted: Duration?
}

extension CertificateOrder {
    /// What stands for the caller among the holders. It is another one than the node's that takes its key by SDS: an
    /// agent may do both, and each certificate is replaced for itself.
    var holder: HolderID { HolderID(node: HolderID.keptKey + (node ?? call.origin.host), identity: identity) }
}

extension HolderID {
    static let keptKey = "csr/"

    /// The holder of the same node that keeps its own key.
    var keepingKey: HolderID { HolderID(node: Self.keptKey + node, identity: identity) }
}
