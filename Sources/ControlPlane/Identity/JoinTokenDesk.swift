import Discovery
import GRPC
import Identity
import Reactor
import Synchronization
import Time

/// Where other threads show tokens. The control thread takes all that came meanwhile in one turn: a storm of proxies
/// that join costs one wait for the disk, and not one each.
public final class JoinTokenDesk: TokenRedeeming {
    public typealias Outcome = Result<JoinTokenLedger.Grant, JoinFailure>

    /// Visits that wait at the same time; beyond it they are refused as ``JoinFailure/busy``.
    public static let mostWaiting = 50_000

    private struct Waiting: Sendable {
        var visits: [JoinTokenLedger.Visit] = []
        var completions: [@Sendable (Outcome) -> Void] = []
        var isClosed = false
    }

    private let waiting = Mutex(Waiting())
    private let doorbell = Mutex<Doorbell<NoConnections>?>(nil)

    private let trustDomain: TrustDomain
    private let clock: @Sendable () -> Timestamp

    /// - Parameter clock: UTC; this machine's unless a test has its own.
    public init(trustDomain: TrustDomain, clock: @escaping @Sendable () -> Timestamp = { .systemClock() }) {
        self.trustDomain = trustDomain
        self.clock = clock
    }

    /// Once; the ledger is asked on the control thread.
    func open(_ mailbox: Mailbox<NoConnections>, ledger: OnControlThread<JoinTokenLedger>) {
        let clock = clock
        let bell = mailbox.doorbell { [weak self] _ in self?.serve(ledger.value, now: clock()) }
        doorbell.withLock { $0 = bell }
        bell.ring()
    }

    /// From now on, and for those who wait: ``JoinFailure/busy``.
    func close() {
        let left = waiting.withLock { waiting in
            defer { waiting = Waiting(isClosed: true) }
            return waiting.completions
        }
        for completion in left { completion(.failure(.busy)) }
    }

    /// From any thread.
    /// - Parameters:
    ///   - nodeID: of who joins; empty for who has none.
    ///   - objection: see ``JoinTokenLedger/Visit/objection``.
    ///   - completion: called once, on the control thread or, if too much waits, on this one.
    public func redeem(
        _ token: String, nodeID: String,
        objection: @escaping @Sendable (JoinTokenLedger.Grant) -> StreamRefusal? = { _ in nil },
        completion: @escaping @Sendable (Outcome) -> Void
    ) {
        let isTaken = waiting.withLock { waiting in
            guard !waiting.isClosed, waiting.visits.count < Self.mostWaiting else { return false }
            waiting.visits.append(JoinTokenLedger.Visit(token: token, nodeID: nodeID, objection: objection))
            waiting.completions.append(completion)
            return true
        }
        guard isTaken else { return completion(.failure(.busy)) }
        doorbell.withLock { $0 }?.ring()
    }

    public func redeem(
        _ token: String, node: String, objection: @escaping Objection,
        completion: @escaping @Sendable (Result<SPIFFEID, StreamRefusal>) -> Void
    ) {
        let domain = trustDomain
        @Sendable func identity(_ grant: JoinTokenLedger.Grant) -> Result<SPIFFEID, StreamRefusal> {
            do throws(SPIFFEIDError) {
                return .success(
                    try SPIFFEID(domain, namespace: grant.namespace, serviceAccount: grant.serviceAccount))
            } catch {
                return .failure(StreamRefusal(.badName(error)))
            }
        }
        let objectionToGrant: @Sendable (JoinTokenLedger.Grant) -> StreamRefusal? = { grant in
            switch identity(grant) {
            case .success(let identity): objection(identity)
            case .failure(let refusal): refusal
            }
        }
        redeem(token, nodeID: node, objection: objectionToGrant) { outcome in
            switch outcome {
            case .success(let grant): completion(identity(grant))
            case .failure(.refused(let refusal)): completion(.failure(StreamRefusal(.token(refusal))))
            case .failure(.objected(let refusal)): completion(.failure(refusal))
            case .failure(let failure):
                let status = GRPCStatus(.unavailable, "\(failure); \(failure.hint)")
                completion(.failure(StreamRefusal(status, reason: "token_store")))
            }
        }
    }

    private func serve(_ ledger: JoinTokenLedger, now: Timestamp) {
        let batch = waiting.withLock { waiting in
            defer { waiting = Waiting(isClosed: waiting.isClosed) }
            return waiting
        }
        guard !batch.visits.isEmpty else { return }
        for (completion, outcome) in zip(batch.completions, ledger.redeem(batch.visits, now: now)) {
            completion(outcome)
        }
    }
}
