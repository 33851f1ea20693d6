import HTTP
import HTTP1
import Reactor

/// What became of a request's head.
enum RequestSending {
    case sent
    /// Nothing was sent yet: `upstreamReady` comes again when it can be.
    case waits
    /// Nothing was sent: it cannot be said in this protocol, to no host.
    case unsayable
    /// Nothing was sent: this connection takes no more.
    case refused
}

/// A connection to an upstream host that speaks HTTP.
class HTTPUpstream: SocketUser {
    final let pool: HostConnections
    /// Requests that were sent on it.
    final var requests = 0
    /// Takes no more requests.
    final var isDraining = false
    private(set) final lazy var localAddress: SocketAddress? = loop.localAddress(of: id)

    init(_ worker: Worker, _ id: ConnectionID, _ pool: HostConnections) {
        self.pool = pool
        super.init(worker, id)
    }

    /// As access logs have it; empty: none that is HTTP.
    var protocolName: String { "HTTP/1.1" }
    /// Whether another request may be sent now.
    var hasRoom: Bool { preconditionFailure() }
    var isIdle: Bool { preconditionFailure() }

    /// Sends a request's head. With `ends` it is the whole request.
    func send(
        _ head: HeaderList, _ framing: HTTP1Framing, ends: Bool, upgrade: String?, for user: UpstreamUser
    ) -> RequestSending {
        preconditionFailure()
    }
    /// Takes no more requests, and ends with those that it has.
    func drain() { preconditionFailure() }
    override final func drain(_: DrainReason) { drain() }
    /// The user sent nothing and does not want the connection: it is there for others.
    func giveBack(_ user: UpstreamUser) { preconditionFailure() }
    func sendData(_ bytes: UnsafeRawBufferPointer, for user: UpstreamUser) { preconditionFailure() }
    func sendEnd(_ trailers: HeaderList?, for user: UpstreamUser) { preconditionFailure() }
    /// Whether more may be sent now; if not, `upstreamWritable` comes.
    func isWritable(for user: UpstreamUser) -> Bool { preconditionFailure() }
    /// Another takes the place of a user whose request is sent: it gets the response.
    func handOver(_ user: UpstreamUser, to other: UpstreamUser) { preconditionFailure() }
    /// The user wants no more of the response. It hears no more.
    func cancel(_ user: UpstreamUser) { preconditionFailure() }
    func pauseResponse(for user: UpstreamUser) { preconditionFailure() }
    func resumeResponse(for user: UpstreamUser) { preconditionFailure() }
}

extension CloseReason {
    /// Whether this side ended the connection for reasons of its own: that says nothing of the host.
    var isOwnDoing: Bool {
        switch self {
        case .requested, .loopStopped, .finished: true
        case .violation, .failed, .connectFailed, .connectTimedOut, .handshakeTimedOut, .handshakeBrokenOff, .tls,
            .outputLimit:
            false
        }
    }

    /// What an attempt to connect that ended so means.
    var connectFailure: UpstreamFailure {
        switch self {
        case .connectTimedOut: .connectTimedOut
        case .tls(let error): .tlsFailed("\(error)")
        case .handshakeTimedOut: .connectTimedOut
        case .finished, .requested, .violation, .failed, .connectFailed, .handshakeBrokenOff, .outputLimit,
            .loopStopped:
            .connectFailed("\(self)")
        }
    }
}
