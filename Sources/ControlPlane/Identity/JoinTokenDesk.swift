import Discovery
import GRPC
import Glibc
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
    public init(trustDomain: TrustDomain, clock: @escaping @Sendable () -> Timestamp = JoinTokenDesk.systemClock) {
        self.trustDomain = trustDomain
        self.clock = clock
    }

    /// This machine's, UTC.
    public static let systemClock: @Sendable () -> Timestamp = {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        return Timestamp(nanoseconds: Int64(now.tv_sec) * 1_000_000_000 + Int64(now.tv_nsec))
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
    ///   - completion: called once, on the control thread or, if too much waits, on this one.
    public func redeem(_ token: String, nodeID: String, completion: @escaping @Sendable (Outcome) -> Void) {
        let isTaken = waiting.withLock { waiting in
            guard !waiting.isClosed, waiting.visits.count < Self.mostWaiting else { return false }
            waiting.visits.append(JoinTokenLedger.Visit(token: token, nodeID: nodeID))
            waiting.completions.append(completion)
            return true
        }
        guard isTaken else { return completion(.failure(.busy)) }
        doorbell.withLock { $0 }?.ring()
    }

    public func redeem(
        _ token: String, node: String, completion: @escaping @Sendable (Result<SPIFFEID, StreamRefusal>) -> Void
    ) {
        redeem(token, nodeID: node) { [trustDomain] outcome in
            switch outcome {
            case .success(let grant):
                do throws(SPIFFEIDError) {
                    completion(
                        .success(
                            try SPIFFEID(
                                trustDomain, namespace: grant.namespace, serviceAccount: grant.serviceAccount)))
                } catch {
                    completion(.failure(StreamRefusal(.badName(error))))
                }
            case .failure(.refused(let refusal)): completion(.failure(StreamRefusal(.token(refusal))))
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
