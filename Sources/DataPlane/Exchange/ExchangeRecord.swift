import Forwarding
import HTTP
import Reactor
import Time

/// What is known of an exchange when it is over, for logs and counts.
struct ExchangeRecord {
    var start = Timestamp(nanoseconds: 0)
    var began = Instant(nanoseconds: 0)
    var requestEnded: Instant?
    /// The request's head went out to the host that answered.
    var sent: Instant?
    var responded: Instant?
    var ended: Instant?
    var status = 0
    var flags: ResponseFlag = []
    /// Why there is this response. Source: Envoy, `%RESPONSE_CODE_DETAILS%`.
    var details = ""
    var transportFailure: String?
    var bytesReceived: UInt64 = 0
    var bytesSent: UInt64 = 0
    var response = HeaderList()
    var trailers: HeaderList?
    var upstreamLocal: SocketAddress?
    var upstreamProtocolName = ""
    /// The last of the host's response came.
    var responseEnded: Instant?
}
