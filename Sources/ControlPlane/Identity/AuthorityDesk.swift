import Discovery
import GRPC
import Identity
import Reactor
import Synchronization
import XDS

/// Where other threads leave what the authority is to do. The control thread takes all of it in one turn, so that what
/// came together is on disk after one wait.
final class AuthorityDesk: SecretIssuer {
    /// What was left.
    enum Errand: Sendable {
        case demanded(SecretHolder, ready: @Sendable (GRPCStatus?) -> Void)
        case connected(SecretHolder)
        case asked(SecretHolder, StreamToken, takesBundle: Bool)
        case answered(SecretHolder, StreamToken, SecretAnswer)
        case left(SecretHolder, StreamToken)
        case disconnected(SecretHolder)
        case sign(CertificateOrder)
        case signToken(TokenOrder)
    }

    /// Calls of the CSR service and of the token service that wait at the same time. Holders are bounded by the streams.
    static let mostCalls = 20_000

    private struct Pile {
        var errands: [Errand] = []
        var calls = 0
        var isClosed = false
    }

    private let pile = Mutex(Pile())
    private let doorbell = Mutex<Doorbell<NoConnections>?>(nil)

    /// - Parameter work: runs on the control thread when there is something new.
    func open(_ mailbox: Mailbox<NoConnections>, work: @escaping @Sendable () -> Void) {
        let bell = mailbox.doorbell { _ in work() }
        doorbell.withLock { $0 = bell }
        bell.ring()
    }

    /// From now on calls are refused.
    func close() {
        let left = pile.withLock { pile in
            defer { pile = Pile(isClosed: true) }
            return pile.errands
        }
        let status = GRPCStatus(.unavailable, "the control plane is stopping; try again")
        for errand in left {
            switch errand {
            case .demanded(_, let ready): ready(status)
            case .sign(let order): order.call.finish(status)
            case .signToken(let order): order.call.finish(status)
            case .connected, .asked, .answered, .left, .disconnected: break
            }
        }
    }

    /// All that was left, in order.
    func take() -> [Errand] {
        pile.withLock { pile in
            defer { pile = Pile(isClosed: pile.isClosed) }
            return pile.errands
        }
    }

    /// - Returns: false when too many calls wait, or the authority has ended.
    func submit(_ order: CertificateOrder) -> Bool { leaveCall(.sign(order)) }

    /// - Returns: false when too many calls wait, or the authority has ended.
    func submit(_ order: TokenOrder) -> Bool { leaveCall(.signToken(order)) }

    func demanded(_ holder: SecretHolder, ready: @escaping @Sendable (GRPCStatus?) -> Void) {
        if !leave(.demanded(holder, ready: ready)) {
            ready(GRPCStatus(.unavailable, "the control plane is stopping; connect again"))
        }
    }

    func connected(_ holder: SecretHolder) { _ = leave(.connected(holder)) }
    func asked(_ holder: SecretHolder, _ stream: StreamToken, takesBundle: Bool) {
        _ = leave(.asked(holder, stream, takesBundle: takesBundle))
    }
    func answered(_ holder: SecretHolder, _ stream: StreamToken, _ answer: SecretAnswer) {
        _ = leave(.answered(holder, stream, answer))
    }
    func left(_ holder: SecretHolder, _ stream: StreamToken) { _ = leave(.left(holder, stream)) }
    func disconnected(_ holder: SecretHolder) { _ = leave(.disconnected(holder)) }

    private func leaveCall(_ errand: Errand) -> Bool {
        let isTaken = pile.withLock { pile in
            guard !pile.isClosed, pile.calls < Self.mostCalls else { return false }
            pile.calls += 1
            pile.errands.append(errand)
            return true
        }
        if isTaken { ring() }
        return isTaken
    }

    private func leave(_ errand: Errand) -> Bool {
        let isTaken = pile.withLock { pile in
            if !pile.isClosed { pile.errands.append(errand) }
            return !pile.isClosed
        }
        if isTaken { ring() }
        return isTaken
    }

    private func ring() { doorbell.withLock { $0 }?.ring() }
}
