import Forwarding
import HTTP
import HTTP1

/// What waits for an upstream connection, and then for the response on it. Nothing of this is called from within a call
/// to the pool or to the connection.
class UpstreamUser {
    /// The connection that carries the request; set by the pool, gone with the last event.
    final var upstream: HTTPUpstream?
    /// On HTTP/2 connections.
    final var upstreamStream: Int32 = 0
    /// The queue in which it waits for a connection.
    final var waitingIn: HostConnections?
    /// Whose breakers count it.
    var breakerPriority: RequestPriority { .normal }

    /// A connection is there and is this user's: `upstream` is set. The request is to be sent.
    func upstreamReady() { preconditionFailure() }
    /// A response with status 1xx; the final one follows.
    func upstreamInformational(_ head: HeaderList) {}
    func upstreamHead(_ head: consuming HeaderList, _ shape: HTTP1Head) { preconditionFailure() }
    func upstreamData(_ bytes: UnsafeRawBufferPointer) { preconditionFailure() }
    /// The response is whole. `upstream` is nil, or its request is not whole yet.
    func upstreamEnd(_ trailers: HeaderList?) { preconditionFailure() }
    /// The last event: there is no response, or no more of it.
    func upstreamFailed(_ failure: UpstreamFailure) { preconditionFailure() }
    /// What was sent has gone out.
    func upstreamWritable() {}
}

/// Why there is no response, or not all of it.
enum UpstreamFailure: Equatable {
    /// No connection could be made.
    case connectFailed(String)
    case connectTimedOut
    /// TLS could not be agreed on.
    case tlsFailed(String)
    /// Too many requests wait, or too many connections are open.
    case overflow
    /// The connection ended.
    case terminated(String)
    /// A connection that had carried requests before ended without a byte of an answer to this one: the host may have
    /// ended it before it had the request.
    case stale(String)
    /// The upstream reset the stream.
    case reset
    /// The upstream had not begun to work on the request.
    case refused
    /// The connection took the request no more: the host knows nothing of it.
    case unsent
    /// What came is no HTTP.
    case protocolError(String)

    /// As access logs have it. Source: Envoy, access logging, `%RESPONSE_FLAGS%`.
    var flag: ResponseFlag {
        switch self {
        case .connectFailed, .connectTimedOut, .tlsFailed: .upstreamConnectionFailure
        case .overflow: .upstreamOverflow
        case .terminated, .stale: .upstreamConnectionTermination
        case .reset, .refused, .unsent: .upstreamRemoteReset
        case .protocolError: .upstreamProtocolError
        }
    }

    /// The word for it in Envoy's local replies.
    var word: String {
        switch self {
        case .connectFailed, .tlsFailed: "remote connection failure"
        case .connectTimedOut: "connection timeout"
        case .overflow: "overflow"
        case .terminated, .stale: "connection termination"
        case .reset: "remote reset"
        case .refused, .unsent: "remote refused stream reset"
        case .protocolError: "protocol error"
        }
    }

    var transportFailure: String? {
        switch self {
        case .connectFailed(let text), .tlsFailed(let text): text
        case .connectTimedOut, .overflow, .terminated, .stale, .reset, .refused, .unsent, .protocolError: nil
        }
    }
}
