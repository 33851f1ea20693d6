import GRPC
import Synchronization
import Time

/// A JWT-SVID as the control plane signed it.
struct IssuedToken: Sendable {
    var text: String
    var spiffeID: String
    var issuedAt: Timestamp
    var expiresAt: Timestamp

    /// Until when it is handed out: half of its life, so that who gets it last can use it.
    var freshUntil: Timestamp { issuedAt + (expiresAt - issuedAt) / 2 }
}

/// Which tokens there are and who waits for which: a value.
struct TokenTable: Sendable {
    typealias Completion = @Sendable (Result<IssuedToken, GRPCStatus>) -> Void

    enum Outcome {
        case cached(IssuedToken)
        /// The first to ask: have it signed.
        case begins
        /// Asked for already.
        case waits
        case refused(GRPCStatus)
    }

    /// Tokens that are kept.
    static let mostTokens = 1000
    /// Callers that wait, for all tokens together.
    static let mostWaiting = 1000

    private var tokens: [[String]: IssuedToken] = [:]
    private var waiting: [[String]: [Completion]] = [:]
    private var waitingCount = 0

    /// - Parameter audience: sorted, each name once.
    mutating func ask(_ audience: [String], now: Timestamp, _ completion: @escaping Completion) -> Outcome {
        if let token = tokens[audience], now < token.freshUntil { return .cached(token) }
        guard waitingCount < Self.mostWaiting else {
            return .refused(GRPCStatus(.resourceExhausted, "too many calls wait for tokens; try again"))
        }
        waitingCount += 1
        let isFirst = waiting[audience] == nil
        waiting[audience, default: []].append(completion)
        return isFirst ? .begins : .waits
    }

    /// - Returns: who waited for it.
    mutating func answer(
        _ audience: [String], _ result: Result<IssuedToken, GRPCStatus>, now: Timestamp
    ) -> [Completion] {
        if case .success(let token) = result, now < token.freshUntil {
            if tokens.count >= Self.mostTokens { makeRoom(now: now) }
            tokens[audience] = token
        }
        let completions = waiting.removeValue(forKey: audience) ?? []
        waitingCount -= completions.count
        return completions
    }

    /// What is over, and if nothing is, the one that is over next.
    private mutating func makeRoom(now: Timestamp) {
        tokens = tokens.filter { now < $0.value.freshUntil }
        guard tokens.count >= Self.mostTokens else { return }
        let next = tokens.min { ($0.value.freshUntil, "\($0.key)") < ($1.value.freshUntil, "\($1.key)") }
        if let next { tokens[next.key] = nil }
    }

    /// Tokens of an identity or of keys that are no more.
    mutating func forgetTokens() { tokens = [:] }

    var counts: (tokens: Int, waiting: Int) { (tokens.count, waitingCount) }
}

/// Where workloads ask for tokens, and the agent's thread signs them. Safe to use from any thread.
final class TokenDesk: Sendable {
    /// Audiences of one token, and bytes of one of them.
    static let mostNames = 32
    static let longestName = 1024

    private struct State {
        var table = TokenTable()
        /// Audiences that are to be signed for.
        var orders: [[String]] = []
        var ring: (@Sendable () -> Void)?
    }

    private let state = Mutex(State())

    /// - Parameter ring: tells the agent's thread that there are orders to take.
    func open(_ ring: @escaping @Sendable () -> Void) { state.withLock { $0.ring = ring } }

    func fetch(_ audience: [String], _ completion: @escaping TokenTable.Completion) {
        let names = Set(audience).sorted()
        let (outcome, ring) = state.withLock { state in
            let outcome = state.table.ask(names, now: .systemClock(), completion)
            if case .begins = outcome { state.orders.append(names) }
            return (outcome, state.ring)
        }
        switch outcome {
        case .cached(let token): completion(.success(token))
        case .refused(let status): completion(.failure(status))
        case .begins: ring?()
        case .waits: break
        }
    }

    func takeOrders() -> [[String]] {
        state.withLock { state in
            defer { state.orders = [] }
            return state.orders
        }
    }

    func answer(_ audience: [String], _ result: Result<IssuedToken, GRPCStatus>) {
        let waiting = state.withLock { $0.table.answer(audience, result, now: .systemClock()) }
        for completion in waiting { completion(result) }
    }

    /// The keys that sign tokens have changed: those that are kept may be by one that is no more.
    func forgetTokens() { state.withLock { $0.table.forgetTokens() } }
}
