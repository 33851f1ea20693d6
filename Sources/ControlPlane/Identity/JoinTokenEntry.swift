import Discovery
import Identity
import Store
import Time

/// What the bearer of a new token may be. Source: martinet.control.v1.CreateTokenRequest.
public struct JoinTokenOrder: Hashable, Sendable {
    public var namespace: String
    public var serviceAccount: String
    /// From now on.
    public var validity: Duration
    /// How many nodes may join with it; nil: any number.
    public var uses: Int?

    public init(namespace: String, serviceAccount: String, validity: Duration, uses: Int? = 1) {
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
    /// How many nodes may join with it; nil: any number, and they are not counted.
    public var uses: Int?
    /// How many have.
    public var used: Int
    public var isRevoked: Bool

    public init(
        id: String, namespace: String, serviceAccount: String, createdAt: Timestamp, expiresAt: Timestamp, uses: Int?,
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

    init(_ record: JoinTokenRecord) {
        self.init(
            id: record.id, namespace: record.namespace, serviceAccount: record.serviceAccount,
            createdAt: record.createdAt, expiresAt: record.expiresAt, uses: record.uses, used: record.used,
            isRevoked: record.revokedAt != nil)
    }

    /// `revoked`, `expired`, `used up` or `open`.
    public func state(now: Timestamp) -> String {
        if isRevoked { return "revoked" }
        if expiresAt <= now { return "expired" }
        return uses.map { used >= $0 } == true ? "used up" : "open"
    }
}

/// Why an operator's order about tokens is refused; nothing has changed.
public enum JoinTokenProblem: Error, Hashable, Sendable, CustomStringConvertible {
    case badName(String, String)
    /// Its life or its uses are out of bounds.
    case badOrder(TokenRefusal)
    case noSuchToken(String)
    case tooMany
    case storage(StoreError)

    public var description: String {
        switch self {
        case .badName(let what, let name): "`\(name)` is no \(what)"
        case .badOrder(let refusal): "\(refusal)"
        case .noSuchToken(let id): "there is no join token \(id)"
        case .tooMany: "\(JoinTokenLedger.mostTokens) tokens are open, and no more can be"
        case .storage(let error): "\(error)"
        }
    }

    public var hint: String {
        switch self {
        case .badName:
            "use letters, digits, dots, hyphens and underscores, at most \(JoinTokenLedger.longestName) of them"
        case .badOrder(let refusal): refusal.hint
        case .noSuchToken: "`martinet token list` shows what there is"
        case .tooMany: "revoke some, or make one token for several nodes with --uses"
        case .storage(let error): error.hint
        }
    }
}

/// Why the bearer of a token does not join.
public enum JoinFailure: Error, Hashable, Sendable, CustomStringConvertible {
    case refused(TokenRefusal)
    /// The token is good, and something else speaks against the bearer: it was not used up.
    case objected(StreamRefusal)
    /// Its use could not be written down, so it was not taken.
    case unwritten(StoreError)
    /// The control plane is stopping, or too many wait.
    case busy

    public var description: String {
        switch self {
        case .refused(let refusal): "\(refusal)"
        case .objected(let refusal): refusal.status.message
        case .unwritten(let error): "the use of the join token could not be written down: \(error)"
        case .busy: "join tokens cannot be looked up now"
        }
    }

    public var hint: String {
        switch self {
        case .refused(let refusal): refusal.hint
        case .objected: "mend what is said there; the token is as good as before"
        case .unwritten(let error): error.hint
        case .busy: "try again"
        }
    }
}
