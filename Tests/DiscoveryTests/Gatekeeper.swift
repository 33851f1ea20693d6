import Discovery
import GRPC
import Synchronization
import XDS

/// Decides what a test says, and notes what it is told.
final class Gatekeeper: Admission {
    struct Notes {
        var applicants: [Applicant] = []
        var decide: [@Sendable (AdmissionDecision) -> Void] = []
        var prepared: [[String]] = []
        var ready: [@Sendable (GRPCStatus?) -> Void] = []
        var answered: [TypeHoldings] = []
        var ended: [StreamToken] = []
    }

    private let notes = Mutex(Notes())
    private let policy: (@Sendable (Applicant) -> AdmissionDecision)?

    /// - Parameter policy: nil: the test decides by hand.
    init(_ policy: (@Sendable (Applicant) -> AdmissionDecision)? = nil) { self.policy = policy }

    func read<Result>(_ body: (Notes) -> Result) -> Result { notes.withLock { body($0) } }

    func admit(_ applicant: Applicant, decide: @escaping @Sendable (AdmissionDecision) -> Void) {
        notes.withLock { notes in
            notes.applicants.append(applicant)
            notes.decide.append(decide)
        }
        if let policy { decide(policy(applicant)) }
    }

    func prepare(
        _ names: [String], of type: ResourceType, for stream: StreamToken, node: Node,
        ready: @escaping @Sendable (GRPCStatus?) -> Void
    ) {
        notes.withLock { notes in
            notes.prepared.append(names)
            notes.ready.append(ready)
        }
    }

    func answered(_ stream: StreamToken, node: Node, holdings: TypeHoldings) {
        notes.withLock { $0.answered.append(holdings) }
    }

    func listening(_ stream: StreamToken) {}

    func ended(_ stream: StreamToken) { notes.withLock { $0.ended.append(stream) } }
}
