import GRPC
import Reactor
import Synchronization

/// What was decided about streams of one loop, on its way there from any thread.
///
/// Never refused, as a job may be: a stream would wait for its deadline. What waits is bounded by the open streams, of
/// which each asks one question at a time.
final class StreamVerdicts: Sendable {
    enum Outcome: Sendable {
        case decided(AdmissionDecision)
        /// nil: go on.
        case prepared(GRPCStatus?)
    }

    private struct Verdict: Sendable {
        var connection: ConnectionID
        var call: GRPCCallID
        var outcome: Outcome
    }

    private final class Waiting: Sendable {
        let list = Mutex<[Verdict]>([])
    }

    private let waiting: Waiting
    private let doorbell: Doorbell<ServerConnection>

    init(_ mailbox: Mailbox<ServerConnection>) {
        let waiting = Waiting()
        self.waiting = waiting
        doorbell = mailbox.doorbell { loop in
            let verdicts = waiting.list.withLock { list in
                defer { list = [] }
                return list
            }
            for verdict in verdicts {
                loop.withHandler(verdict.connection) { $0.take(verdict.outcome, for: verdict.call, loop: loop) }
            }
        }
    }

    /// From any thread. Even on the loop's own thread it waits for the next turn: the connection is in a callback.
    func add(_ outcome: Outcome, connection: ConnectionID, call: GRPCCallID) {
        waiting.list.withLock { $0.append(Verdict(connection: connection, call: call, outcome: outcome)) }
        doorbell.ring()
    }
}
