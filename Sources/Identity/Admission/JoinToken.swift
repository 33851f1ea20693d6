import Time

/// What is kept of a join token: never the secret, only a hash of it.
public struct JoinTokenRecord: Hashable, Codable, Sendable {
    /// Public part: names the token in lists and logs.
    public let id: String
    /// SHA-256 of the secret. A secret of 256 random bits cannot be guessed, so no slow hash is needed.
    public let hash: [UInt8]
    public let namespace: String
    public let serviceAccount: String
    public let createdAt: Timestamp
    public let expiresAt: Timestamp
    /// How many nodes may join by it; `nil`: any number.
    public let uses: Int?
    /// The nodes that joined. One that comes again (it restarted) uses up nothing.
    public private(set) var nodes: Set<String>
    public private(set) var revokedAt: Timestamp?

    /// The shortest and the longest life of a token.
    public static let life = Duration.seconds(60)...Duration.days(365)
    /// Of a token with a count, so that its record stays small. One without a count keeps no nodes.
    public static let mostUses = 10_000

    /// - Throws: ``TokenRefusal/badLife(_:)`` or ``TokenRefusal/badUses(_:)``.
    public init(
        id: String, hash: [UInt8], namespace: String, serviceAccount: String, life: Duration, uses: Int?, now: Timestamp
    ) throws(TokenRefusal) {
        guard Self.life.contains(life) else { throw .badLife(life) }
        if let uses, !(1...Self.mostUses).contains(uses) { throw .badUses(uses) }
        self.init(
            id: id, hash: hash, namespace: namespace, serviceAccount: serviceAccount, createdAt: now,
            expiresAt: now + life, uses: uses, nodes: [], revokedAt: nil)
    }

    /// As it was kept.
    public init(
        id: String, hash: [UInt8], namespace: String, serviceAccount: String, createdAt: Timestamp,
        expiresAt: Timestamp, uses: Int?, nodes: Set<String>, revokedAt: Timestamp?
    ) {
        self.id = id
        self.hash = hash
        self.namespace = namespace
        self.serviceAccount = serviceAccount
        self.createdAt = createdAt
        self.expiresAt = expiresAt
        self.uses = uses
        self.nodes = nodes
        self.revokedAt = revokedAt
    }

    public var used: Int { nodes.count }

    /// Whether a node may join by this token, whose secret the caller has compared (``matches(_:)``).
    /// - Parameter newcomers: those that are about to join by it and are not in ``nodes`` yet.
    /// - Returns: whether it uses the token up: then ``join(_:)`` it, and keep that, before the node hears of it.
    public func admits(
        _ node: String, beside newcomers: Set<String> = [], now: Timestamp
    ) throws(TokenRefusal) -> Bool {
        if let revokedAt { throw .revoked(id: id, at: revokedAt) }
        guard now < expiresAt else { throw .expired(id: id, at: expiresAt) }
        guard let uses, !nodes.contains(node), !newcomers.contains(node) else { return false }
        guard nodes.count + newcomers.count < uses else { throw .usedUp(id: id, uses: uses) }
        return true
    }

    /// A node has joined.
    public mutating func join(_ node: String) { nodes.insert(node) }

    /// Compares without telling by time how many bytes agree.
    public func matches(_ other: [UInt8]) -> Bool {
        guard other.count == hash.count else { return false }
        return zip(hash, other).reduce(UInt8(0)) { $0 | ($1.0 ^ $1.1) } == 0
    }

    public mutating func revoke(now: Timestamp) { revokedAt = revokedAt ?? now }
}

/// Why a join token is not taken, or not made.
public enum TokenRefusal: Error, Hashable, Sendable, CustomStringConvertible {
    /// It has not the form of a token.
    case malformed
    /// Its checksum says that a part is missing or was changed.
    case cutShort
    case unknown
    case expired(id: String, at: Timestamp)
    case revoked(id: String, at: Timestamp)
    case usedUp(id: String, uses: Int)
    case badLife(Duration)
    case badUses(Int)

    /// A label for metrics.
    public var reason: String {
        switch self {
        case .malformed: "token_malformed"
        case .cutShort: "token_cut_short"
        case .unknown: "token_unknown"
        case .expired: "token_expired"
        case .revoked: "token_revoked"
        case .usedUp: "token_used_up"
        case .badLife, .badUses: "token_bad_order"
        }
    }

    public var description: String {
        switch self {
        case .malformed: "this is no join token"
        case .cutShort: "the join token was cut short or changed"
        case .unknown: "the join token is not known here"
        case .expired(let id, _): "the join token \(id) has expired"
        case .revoked(let id, _): "the join token \(id) was revoked"
        case .usedUp(let id, let uses):
            "the join token \(id) was for \(uses) node\(uses == 1 ? "" : "s"), and all have joined"
        case .badLife(let life): "a join token cannot live for \(life.brief)"
        case .badUses(let uses): "a join token cannot be for \(uses) nodes"
        }
    }

    public var hint: String {
        switch self {
        case .malformed: "a token begins with martinet-join-v1; see `martinet token create`"
        case .cutShort: "copy the whole line that `martinet token create` printed"
        case .unknown, .expired, .revoked, .usedUp: "make another one: `martinet token create`"
        case .badLife: "use \(JoinTokenRecord.life.lowerBound.brief) to \(JoinTokenRecord.life.upperBound.brief)"
        case .badUses: "use 1 to \(JoinTokenRecord.mostUses), or leave it out for any number"
        }
    }
}
