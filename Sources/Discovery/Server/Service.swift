import GRPC
import Reactor
import Synchronization

/// A gRPC service that is served beside xDS: control, health, reflection.
///
/// Calls arrive on the event loop of their connection. What takes long is handed to another thread by the service;
/// a ``ServiceCall`` may be answered from any.
public protocol Service: Sendable {
    /// What it serves. Two services on one server share no path.
    var methods: [GRPCMethod] { get }

    /// Takes a new call of one of ``methods``. A refusal is a handler that finishes the call at once.
    func open(_ call: ServiceCall) -> any ServiceCallHandler
}

/// Takes what the client says in one call, on the connection's event loop.
public protocol ServiceCallHandler: AnyObject {
    /// One message, valid during the call only.
    func received(_ message: UnsafeRawBufferPointer)
    /// The client sends no more.
    func halfClosed()
    /// The call is over: the client went away, the deadline passed, or the status was sent. Once, and last.
    func ended()
}

/// A unary method in a few lines: collects the one request, and gives it to `answer` when the client has finished.
public final class UnaryCall: ServiceCallHandler {
    private let call: ServiceCall
    private let answer: ([UInt8], ServiceCall) -> Void
    private var request: [UInt8]?

    /// - Parameter answer: gets the packed request; ends the call by `call.reply` or `call.finish`, now or later.
    public init(_ call: ServiceCall, _ answer: @escaping ([UInt8], ServiceCall) -> Void) {
        self.call = call
        self.answer = answer
    }

    public func received(_ message: UnsafeRawBufferPointer) {
        guard request == nil else {
            call.finish(GRPCStatus(.invalidArgument, "more than one message in a unary call"))
            return
        }
        request = Array(message)
    }

    public func halfClosed() {
        guard let request else {
            call.finish(GRPCStatus(.invalidArgument, "no message in a unary call"))
            return
        }
        answer(request, call)
    }

    public func ended() {}
}

/// One call, to be answered from any thread.
public final class ServiceCall: Sendable {
    public let request: GRPCRequest
    public let origin: CallOrigin
    private let answers: CallAnswers
    private let connection: ConnectionID
    private let id: GRPCCallID

    init(
        _ answers: CallAnswers, connection: ConnectionID, call: GRPCCallID, request: GRPCRequest,
        origin: CallOrigin
    ) {
        self.answers = answers
        self.connection = connection
        id = call
        self.request = request
        self.origin = origin
    }

    /// Sends a message; more may follow.
    /// - Parameter message: packed, without gRPC's prefix.
    public func send(_ message: [UInt8]) { answer(GRPC.frame(message), nil) }

    /// Sends the only message, and ends the call well.
    public func reply(_ message: [UInt8]) { answer(GRPC.frame(message), .ok) }

    /// Ends the call. What follows is ignored, as it is when the client has gone.
    public func finish(_ status: GRPCStatus) { answer(nil, status) }

    private func answer(_ frame: [UInt8]?, _ status: GRPCStatus?) {
        answers.add(CallAnswers.Answer(connection: connection, call: id, frame: frame, status: status))
    }
}

/// Answers of services on their way to one loop, in the order in which they were given.
///
/// Never refused, as a job may be: a call whose answer was dropped would stay open for ever. What waits is bounded by
/// the calls that are open and by the messages that a loop reads in one turn.
final class CallAnswers: Sendable {
    struct Answer: Sendable {
        var connection: ConnectionID
        var call: GRPCCallID
        var frame: [UInt8]?
        var status: GRPCStatus?
    }

    private let waiting: Waiting
    private let doorbell: Doorbell<ServerConnection>

    private final class Waiting: Sendable {
        let list = Mutex<[Answer]>([])
    }

    init(_ mailbox: Mailbox<ServerConnection>) {
        let waiting = Waiting()
        self.waiting = waiting
        doorbell = mailbox.doorbell { loop in
            let answers = waiting.list.withLock { list in
                defer { list = [] }
                return list
            }
            for answer in answers {
                loop.withHandler(answer.connection) {
                    $0.answer(answer.call, answer.frame, answer.status, loop: loop)
                }
            }
        }
    }

    /// From any thread. Even on the loop's own thread it waits for the next turn: the connection is in a callback.
    func add(_ answer: Answer) {
        waiting.list.withLock { $0.append(answer) }
        doorbell.ring()
    }
}
