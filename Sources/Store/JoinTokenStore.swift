import Foundation
import GRDB
import Time

/// A join token without its secret, of which only the hash is kept.
public struct StoredJoinToken: Hashable, Sendable {
    public var id: String
    /// SHA-256 of the secret.
    public var hash: Data
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
        id: String, hash: Data, namespace: String, serviceAccount: String, createdAt: Timestamp,
        expiresAt: Timestamp, uses: Int, used: Int = 0, isRevoked: Bool = false
    ) {
        self.id = id
        self.hash = hash
        self.namespace = namespace
        self.serviceAccount = serviceAccount
        self.createdAt = createdAt
        self.expiresAt = expiresAt
        self.uses = uses
        self.used = used
        self.isRevoked = isRevoked
    }

    fileprivate init(_ row: Row) {
        self.init(
            id: row["id"], hash: row["hash"], namespace: row["namespace"], serviceAccount: row["serviceAccount"],
            createdAt: row.time("createdAt"), expiresAt: row.time("expiresAt"), uses: row["uses"], used: row["used"],
            isRevoked: row["isRevoked"])
    }
}

/// A node that has joined with a token, which another visit of it does not use up.
public struct JoinedNode: Hashable, Sendable {
    /// The token's id.
    public var token: String
    /// Any fixed mark of the node id: its hash, as a node's id may be long.
    public var node: Data

    public init(token: String, node: Data) {
        self.token = token
        self.node = node
    }
}

/// Join tokens: who may become whom, how often.
extension Store {
    /// Oldest first.
    public func joinTokens() throws(StoreError) -> [StoredJoinToken] {
        try fetch("SELECT * FROM joinToken ORDER BY createdAt, id", StoredJoinToken.init)
    }

    /// Whether a node has joined with a token before.
    public func hasJoined(_ node: JoinedNode) throws(StoreError) -> Bool {
        try !fetch(
            "SELECT 1 FROM joinedNode WHERE token = ? AND node = ?", arguments: [node.token, node.node]
        ) { _ in true }.isEmpty
    }

    /// Puts tokens, notes who joined with them, and forgets tokens, in one transaction.
    /// - Parameter forgetting: ids that need not be there; who joined with them is forgotten too.
    public func commit(
        putting: [StoredJoinToken] = [], joined: [JoinedNode] = [], forgetting: [String] = []
    ) throws(StoreError) {
        try StoreError.wrap(path) {
            try database.write { db in
                for id in forgetting { try db.execute(sql: "DELETE FROM joinToken WHERE id = ?", arguments: [id]) }
                let put = try db.cachedStatement(
                    sql: """
                        INSERT INTO joinToken VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
                        ON CONFLICT (id) DO UPDATE SET expiresAt = excluded.expiresAt, uses = excluded.uses,
                            used = excluded.used, isRevoked = excluded.isRevoked
                        """)
                for token in putting {
                    try put.execute(arguments: [
                        token.id, token.hash, token.namespace, token.serviceAccount, token.createdAt.nanoseconds,
                        token.expiresAt.nanoseconds, token.uses, token.used, token.isRevoked,
                    ])
                }
                let join = try db.cachedStatement(sql: "INSERT OR IGNORE INTO joinedNode VALUES (?, ?)")
                for node in joined { try join.execute(arguments: [node.token, node.node]) }
            }
        }
    }
}
