import GRPC
import HTTP2
import Reactor

/// A call with streams of messages both ways, on a connection of its own. On the loop's thread alone.
public final class StreamingClientCall: ClientConnectionOwner {
    private let path: String
    private let server: ServerAddress
    private let loop: EventLoop<ClientConnection>
    private var received: ([UInt8]) -> Void
    private var ended: ((GRPCStatus) -> Void)?
    private var connection: ClientConnection?
    private var call: GRPCCallID?
    /// What was sent before there was a connection.
    private var waiting: [[UInt8]] = []

    /// - Parameters:
    ///   - received: gets each packed message.
    ///   - ended: called once, with why it ended, unless ``close()`` was called.
    init(
        _ path: String, at server: ServerAddress, answerSize: Int, on loop: EventLoop<ClientConnection>,
        received: @escaping ([UInt8]) -> Void, ended: @escaping (GRPCStatus) -> Void
    ) {
        (self.path, self.server, self.loop, self.received, self.ended) = (path, server, loop, received, ended)
        var limits = GRPCLimits()
        limits.messageSize = answerSize
        connection = ClientConnection.open(server, owner: self, loop: loop, limits: limits)
    }

    /// Sends a packed message. One that the server has no room for ends the call.
    public func send(_ message: [UInt8]) {
        guard let call, let connection else {
            if ended != nil { waiting.append(message) }
            return
        }
        switch connection.grpc.send(GRPC.frame(message), on: call) {
        case .queued: connection.flush()
        case .full: finish(GRPCStatus(.resourceExhausted, "the server does not read"))
        case .closed: break
        }
    }

    /// No more messages follow; the server may answer to the end.
    public func halfClose() {
        guard let call, let connection else { return close() }
        connection.grpc.halfClose(call)
        connection.flush()
    }

    /// Ends the call; nobody hears of it.
    public func close() {
        ended = nil
        release()
    }

    private func release() {
        call = nil
        waiting = []
        received = { _ in }
        guard let open = connection else { return }
        connection = nil
        // Out of the connection's own callback.
        loop.later { _ in open.close() }
    }

    private func finish(_ status: GRPCStatus) {
        guard let ended else { return }
        self.ended = nil
        release()
        ended(status)
    }

    func connected(_ connection: ClientConnection) {
        guard let call = connection.grpc.start(path, metadata: server.metadata, now: loop.now) else {
            return finish(GRPCStatus(.unavailable, "the server takes no calls"))
        }
        self.call = call
        let first = waiting
        waiting = []
        for message in first { send(message) }
    }

    func received(_ event: GRPCClientEvent, on connection: ClientConnection) {
        switch event {
        case .message(_, let message): received(message.bytes)
        case .ended(_, let status, _): finish(status)
        case .metadata, .writable, .serverDrains: break
        case .connectionFailed(let reason): finish(GRPCStatus(.unavailable, "\(reason)"))
        }
    }

    func disconnected(_ connection: ClientConnection, reason: String) {
        self.connection = nil
        finish(GRPCStatus(.unavailable, reason))
    }
}
