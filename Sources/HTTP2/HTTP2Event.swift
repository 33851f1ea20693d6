import HTTP

/// Which end of a connection this is.
public enum HTTP2Role: Sendable {
    case server, client
}

/// A stream's number: odd, and rising, for what clients open. Source: RFC 9113, section 5.1.1.
public typealias HTTP2StreamID = Int32

/// What the peer did, in the order in which it did it.
public enum HTTP2Event {
    /// A request (on a server) or the final response (on a client).
    case headers(HTTP2StreamID, HeaderList, endStream: Bool)
    /// An informational response (on a client); the final one follows.
    case informational(HTTP2StreamID, HeaderList)
    /// A part of a body: at least one byte, valid until the bytes given to `receive` are gone. To be
    /// `consume`d, or the peer's window stays shut.
    case data(HTTP2StreamID, UnsafeRawBufferPointer)
    /// The peer's trailers; nothing follows from it on this stream.
    case trailers(HTTP2StreamID, HeaderList)
    /// The body ended without trailers; nothing follows from the peer on this stream.
    case endOfStream(HTTP2StreamID)
    /// The unsent bytes of a stream that had been asked for or refused are gone: `send` takes more.
    case writable(HTTP2StreamID)
    /// The last event of a stream. `noError` after both sides ended it.
    case streamClosed(HTTP2StreamID, HTTP2ErrorCode, byPeer: Bool)
    /// A stream was reset because it passed a limit; on a server it was not reported before.
    case streamLimited(HTTP2StreamID, HTTP2Limit, count: Int, allowed: Int)
    /// The peer takes no streams above `last`; those were not worked on and may be repeated elsewhere.
    case goAway(last: HTTP2StreamID, HTTP2ErrorCode, text: String)
    /// The answer to `ping`.
    case pingAcknowledged(UInt64)
    /// The last event: what is left to send is a GOAWAY. All streams are over.
    case connectionFailed(HTTP2Failure)
}

/// Why a connection ended before its time.
public enum HTTP2Failure: Error, Equatable, Sendable {
    /// The peer broke the protocol.
    case violation(HTTP2ErrorCode, String)
    /// The peer asked for too much.
    case limit(HTTP2Limit, count: Int, allowed: Int)
    /// The peer was too slow.
    case timeout(HTTP2Timeout, after: Duration)

    /// The code that the GOAWAY carries.
    public var code: HTTP2ErrorCode {
        switch self {
        case .violation(let code, _): code
        case .limit: .enhanceYourCalm
        case .timeout(.handshakeTimeout, _): .settingsTimeout
        case .timeout(.frameTimeout, _), .timeout(.stallTimeout, _): .enhanceYourCalm
        case .timeout(.keepaliveTimeout, _), .timeout(.drainTimeout, _): .noError
        }
    }
}

extension HTTP2Failure: CustomStringConvertible {
    /// What happened and where, for logs; the GOAWAY carries it too.
    public var description: String {
        switch self {
        case .violation(let code, let text): text.isEmpty ? "\(code)" : "\(code): \(text)"
        case .limit(.pingStrikes, let count, let allowed): "too_many_pings: pingStrikes \(count) of \(allowed) allowed"
        case .limit(let limit, let count, let allowed): "limit \(limit.rawValue): \(count), allowed \(allowed)"
        case .timeout(let timeout, let after): "\(timeout.rawValue): nothing within \(after)"
        }
    }

    /// What to do about it.
    public var hint: String {
        switch self {
        case .violation: "the peer does not speak HTTP/2 as RFC 9113 has it: check what connects here"
        case .limit(.pingStrikes, _, _): "raise the keepalive time of the peer, or lower minimumPingInterval here"
        case .limit(let limit, _, _): "a flood, or a busy peer: raise \(limit.rawValue) if the peer is to be trusted"
        case .timeout(.keepaliveTimeout, _): "the peer or the network between is gone"
        case .timeout(.stallTimeout, _): "the peer does not read what it asked for"
        case .timeout(let timeout, _): "a peer that stalls: raise \(timeout.rawValue) if the network is slow"
        }
    }
}
