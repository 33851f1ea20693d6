import GRPC
import Reactor
import Time

/// Calls unary methods, one after the other, on the calling thread: for command lines.
public enum UnaryCallClient {
    /// Sends one request and waits for the answer.
    /// - Parameters:
    ///   - path: `/package.Service/Method`.
    ///   - request: the packed message.
    ///   - timeout: for all of it, connecting included.
    ///   - answerSize: bytes that the answer may have.
    /// - Returns: the packed answer.
    /// - Throws: the server's status; UNAVAILABLE with the reason when there is no server.
    public static func call(
        _ path: String, _ request: [UInt8], at server: ServerAddress, timeout: Duration = .seconds(30),
        answerSize: Int = 256 << 20
    ) throws(GRPCStatus) -> [UInt8] {
        let loop: EventLoop<ClientConnection>
        do {
            loop = try EventLoop(LoopConfiguration())
        } catch {
            throw GRPCStatus(.internalError, "\(error)")
        }
        let call = Call(path, request, timeout, loop)
        var limits = GRPCLimits()
        limits.messageSize = answerSize
        let connection = ClientConnection.open(server, owner: call, loop: loop, limits: limits)
        loop.schedule(after: timeout) { _ in
            call.finish(.failure(GRPCStatus(.deadlineExceeded, "no answer within \(timeout)")))
        }
        loop.run()
        withExtendedLifetime(connection) {}
        guard let result = call.result else { throw GRPCStatus(.unavailable, "the connection was closed") }
        return try result.get()
    }

    private final class Call: ClientConnectionOwner {
        private(set) var result: Result<[UInt8], GRPCStatus>?
        private let path: String
        private let request: [UInt8]
        private let timeout: Duration
        private let loop: EventLoop<ClientConnection>
        private var answer: [UInt8]?

        init(_ path: String, _ request: [UInt8], _ timeout: Duration, _ loop: EventLoop<ClientConnection>) {
            self.path = path
            self.request = request
            self.timeout = timeout
            self.loop = loop
        }

        func finish(_ result: Result<[UInt8], GRPCStatus>) {
            if self.result == nil { self.result = result }
            loop.stop()
        }

        func connected(_ connection: ClientConnection) {
            guard let call = connection.grpc.start(path, timeout: timeout, now: loop.now) else {
                return finish(.failure(GRPCStatus(.unavailable, "the server takes no calls")))
            }
            _ = connection.grpc.send(GRPC.frame(request), on: call, last: true)
        }

        func received(_ event: GRPCClientEvent, on connection: ClientConnection) {
            switch event {
            case .message(_, let message): answer = message.bytes
            case .ended(_, let status, _):
                guard status.code == .ok else { return finish(.failure(status)) }
                guard let answer else { return finish(.failure(GRPCStatus(.internalError, "an empty answer"))) }
                finish(.success(answer))
            case .metadata, .writable, .serverDrains: break
            case .connectionFailed(let reason): finish(.failure(GRPCStatus(.unavailable, "\(reason)")))
            }
        }

        func disconnected(_ connection: ClientConnection, reason: String) {
            finish(.failure(GRPCStatus(.unavailable, reason)))
        }
    }
}
