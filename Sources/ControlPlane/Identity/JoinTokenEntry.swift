import Store
import Time

/// What the bearer of a new token may be. Source: martinet.control.v1.CreateTokenRequest.
public struct JoinTokenOrder: Hashable, Sendable {
    public var namespace: String
    public var serviceAccount: String
    /// From now on.
    public var validity: Duration
    /// How many nodes may join with it; 0: any number.
    public var uses: Int

    public init(namespace: String, serviceAccount: String, validity: Duration, uses: Int = 1) {
        self.namespace = namespace
        self.serviceAccount = serviceAccount
        self.validity = validity
        self.uses = uses
    }
}

/// A token without its secret. Source: martinet.control.v1.JoinToken.
public struct JoinTokenEntry: Hashable, Sendable {
    public var id: String
    public var namespace: String
    public var serviceAccount: String
    public var createdAt: Timestamp
    public var expiresAt: Timestamp
    /// How many nodes may join with it; 0: any number.
    public var uses: Int
    /// How many have.
    public var used: Int
    public var isRevoked: Bool

    public init(
        id: String, namespace: String, serviceAccount: String, createdAt: Timestamp, expiresAt: Timestamp, uses: Int,
        used: Int, isRevoked: Bool
    ) {
        self.id = id
        self.namespace = namespace
        self.serviceAccount = serviceAccount
        self.createdAt = createdAt
        self.expiresAt = expiresAt
        self.uses = uses
        self.used = used
        self.isRevoked = isRevoked
    }

    init(_ token: StoredJoinToken) {
        self.init(
            id: token.id, namespace: token.namespace, serviceAccount: token.serviceAccount,
            createdAt: token.createdAt, expiresAt: token.expiresAt, uses: token.uses, used: token.used,
            isRevoked: token.isRevoked)
    }

    /// `revoked`, `expired`, `used up` or `open`.
    public func state(now: Timestamp) -> String {
        if isRevoked { return "revoked" }
        if expiresAt <= now { return "expired" }
        return uses > 0 && used >= uses ? "used up" : "open"
    }
}

/// Why an operator's order about tokens is refused; nothing has changed.
public enum JoinTokenProblem: Error, Hashable, Sendable, CustomStringConvertible {
    case badName(String, String)
    case badValidity
    case badUses(Int)
    case noSuchToken(String)
    case tooMany
    case storage(StoreError)

    public var description: String {
        switch self {
        case .badName(let what, let name): "`\(name)` is no \(what)"
        case .badValidity: "a token is valid for 1 minute to 365 days"
        case .badUses(let uses): "\(uses) uses are not possible"
        case .noSuchToken(let id): "there is no join token \(id)"
        case .tooMany: "\(JoinTokenLedger.Bounds.tokens) tokens are open, and no more can be"
        case .storage(let error): "\(error)"
        }
    }

    public var hint: String {
        switch self {
        case .badName:
            "use letters, digits, dots, hyphens and underscores, at most \(JoinTokenLedger.Bounds.name) of them"
        case .badValidity: "write for example --ttl 1h"
        case .badUses: "write 1 to \(JoinTokenLedger.Bounds.uses), or 0 for any number"
        case .noSuchToken: "`martinet token list` shows what there is"
        case .tooMany: "revoke some, or make one token for several nodes with --uses"
        case .storage(let error): error.hint
        }
    }
}
