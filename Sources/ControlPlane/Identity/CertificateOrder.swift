import Certificates
import Discovery
import GRPC
import Identity
import Time

/// A signing request of a caller that has proved who it is, with everything checked that needs no authority.
struct CertificateOrder: Sendable {
    var call: ServiceCall
    var identity: SPIFFEID
    /// What stands for the caller among the holders.
    var node: String
    var key: PublicKey
    /// nil: as long as the authority gives.
    var wanted: Duration?
}

/// A request for a JWT-SVID of a caller that has proved who it is.
struct TokenOrder: Sendable {
    var call: ServiceCall
    var identity: SPIFFEID
    var audience: [String]
    /// nil: as long as the authority gives.
    var wanted: Duration?
}
