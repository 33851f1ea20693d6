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
    ///   - stamp: adds what is known only when the call goes out to its metadata.
    /// - Returns: the packed answer.
    /// - Throws: the server's status; UNAVAILABLE with the reason when there is no server.
    public static func call(
        _ path: String, _ request: [UInt8], at server: ServerAddress, timeout: Duration = .seconds(30),
        answerSize: Int = 256 << 20, stamp: @escaping (inout GRPCMetadata) -> Void = { _ in }
    ) throws(GRPCStatus) -> [UInt8] {
        let loop: EventLoop<ClientConnection>
        do {
            loop = try EventLoop(LoopConfiguration())
        } catch {
            throw GRPCStatus(.internalError, "\(error)")
        }
        var result: Result<[UInt8], GRPCStatus>?
        let call = UnaryClientCall(
            path, request, at: server, timeout: timeout, answerSize: answerSize, stamp: stamp, on: loop
        ) {
            result = $0
            loop.stop()
        }
        loop.run()
        withExtendedLifetime(call) {}
        guard let result else { throw GRPCStatus(.unavailable, "the connection was closed") }
        return try result.get()
    }
}

/// One unary call on a connection of its own.
final class UnaryClientCall: ClientConnectionOwner {
    private let path: String
    private let request: [UInt8]
    private let server: ServerAddress
    private let timeout: Duration
    private let stamp: (inout GRPCMetadata) -> Void
    private let loop: EventLoop<ClientConnection>
    private var completion: ((Result<[UInt8], GRPCStatus>) -> Void)?
    private var connection: ClientConnection?
    private var timer: TimerID?
    private var answer: [UInt8]?

    /// - Parameters:
    ///   - stamp: adds what is known only when the call goes out to its metadata.
    ///   - completion: called once, on the loop's thread, after this returns.
    init(
        _ path: String, _ request: [UInt8], at server: ServerAddress, timeout: Duration, answerSize: Int,
        stamp: @escaping (inout GRPCMetadata) -> Void = { _ in }, on loop: EventLoop<ClientConnection>,
        _ completion: @escaping (Result<[UInt8], GRPCStatus>) -> Void
    ) {
        self.path = path
        self.request = request
        self.server = server
        self.timeout = timeout
        self.stamp = stamp
        self.loop = loop
        self.completion = completion
        var limits = GRPCLimits()
        limits.messageSize = answerSize
        timer = loop.schedule(after: timeout) { [weak self] _ in
            self?.timer = nil
            self?.finish(.failure(GRPCStatus(.deadlineExceeded, "no answer within \(timeout)")))
        }
        connection = ClientConnection.open(server, owner: self, loop: loop, limits: limits)
    }

    /// Ends the call; nobody hears of it.
    func cancel() {
        completion = nil
        close()
    }

    private func close() {
        if let timer { loop.cancelTimer(timer) }
        timer = nil
        // Out of the connection's own callback.
        guard let open = connection else { return }
        connection = nil
        loop.later { _ in open.close() }
    }

    private func finish(_ result: Result<[UInt8], GRPCStatus>) {
        guard let completion else { return }
        self.completion = nil
        close()
        completion(result)
    }

    func connected(_ connection: ClientConnection) {
        var metadata = server.metadata
        stamp(&metadata)
        guard let call = connection.grpc.start(path, metadata: metadata, timeout: timeout, now: loop.now) else {
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
        self.connection = nil
        finish(.failure(GRPCStatus(.unavailable, reason)))
    }
}
