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
    /// How many nodes may join with it; nil: any number.
    public var uses: Int?
    /// nil: it was not.
    public var revokedAt: Timestamp?

    public init(
        id: String, hash: Data, namespace: String, serviceAccount: String, createdAt: Timestamp,
        expiresAt: Timestamp, uses: Int?, revokedAt: Timestamp? = nil
    ) {
        self.id = id
        self.hash = hash
        self.namespace = namespace
        self.serviceAccount = serviceAccount
        self.createdAt = createdAt
        self.expiresAt = expiresAt
        self.uses = uses
        self.revokedAt = revokedAt
    }

    fileprivate init(_ row: Row) {
        let revokedAt: Int64? = row["revokedAt"]
        self.init(
            id: row["id"], hash: row["hash"], namespace: row["namespace"], serviceAccount: row["serviceAccount"],
            createdAt: row.time("createdAt"), expiresAt: row.time("expiresAt"), uses: row["uses"],
            revokedAt: revokedAt.map(Timestamp.init(nanoseconds:)))
    }
}

/// A node that has joined with a token.
public struct JoinedNode: Hashable, Sendable {
    /// The token's id.
    public var token: String
    /// Any mark of the node that is short.
    public var node: String

    public init(token: String, node: String) {
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

    /// In the order in which they joined.
    public func joinedNodes() throws(StoreError) -> [JoinedNode] {
        try fetch("SELECT token, node FROM joinedNode ORDER BY number") {
            JoinedNode(token: $0["token"], node: $0["node"])
        }
    }

    /// Puts tokens, notes who joined with them, and forgets tokens, in one transaction.
    /// - Parameters:
    ///   - putting: of a token that is there only its revocation is changed.
    ///   - forgetting: ids that need not be there; who joined with them is forgotten too.
    public func commit(
        putting: [StoredJoinToken] = [], joined: [JoinedNode] = [], forgetting: [String] = []
    ) throws(StoreError) {
        try StoreError.wrap(path) {
            try database.write { db in
                for id in forgetting { try db.execute(sql: "DELETE FROM joinToken WHERE id = ?", arguments: [id]) }
                let put = try db.cachedStatement(
                    sql: """
                        INSERT INTO joinToken VALUES (?, ?, ?, ?, ?, ?, ?, ?)
                        ON CONFLICT (id) DO UPDATE SET revokedAt = excluded.revokedAt
                        """)
                for token in putting {
                    try put.execute(arguments: [
                        token.id, token.hash, token.namespace, token.serviceAccount, token.createdAt.nanoseconds,
                        token.expiresAt.nanoseconds, token.uses, token.revokedAt?.nanoseconds,
                    ])
                }
                let join = try db.cachedStatement(sql: "INSERT OR IGNORE INTO joinedNode (token, node) VALUES (?, ?)")
                for node in joined { try join.execute(arguments: [node.token, node.node]) }
            }
        }
    }
}
