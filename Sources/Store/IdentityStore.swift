import Foundation
import GRDB
import Time

/// Everything that one turn of the authority changes. All of it is on disk when the commit returns, or none of it.
public struct IdentityChange: Sendable {
    public var authorities: [StoredAuthority] = []
    /// Ids that need not be there.
    public var forgettingAuthorities: [String] = []
    /// nil: unchanged.
    public var rotation: StoredRotation?
    /// Added to the journal, in this order.
    public var issued: [IssuedCertificate] = []
    public var holders: [StoredHolder] = []
    /// Keys that need not be there.
    public var forgettingHolders: [StoredHolder.Key] = []
    public var bundles: [StoredBundle] = []
    /// Trust domains that need not be there.
    public var forgettingBundles: [String] = []
    public var jwtKeys: [StoredJWTKey] = []
    /// Ids that need not be there.
    public var forgettingJWTKeys: [String] = []

    public init() {}

    public var isEmpty: Bool {
        authorities.isEmpty && forgettingAuthorities.isEmpty && rotation == nil && issued.isEmpty && holders.isEmpty
            && forgettingHolders.isEmpty && bundles.isEmpty && forgettingBundles.isEmpty && jwtKeys.isEmpty
            && forgettingJWTKeys.isEmpty
    }
}

/// The certificate authority's part of the database.
extension Store {
    /// Makes a change in one transaction: a journal of 1,000 certificates costs one wait for the disk.
    /// - Throws: ``StoreError/outOfStep(path:expected:found:)`` when the rotation's revision is not the next one.
    public func commit(_ change: IdentityChange) throws(StoreError) {
        guard !change.isEmpty else { return }
        try StoreError.wrap(path) {
            try database.write { db in
                try Self.forget(change, in: db)
                if let rotation = change.rotation { try put(rotation, in: db) }
                try Self.put(change, in: db)
                try Self.append(change.issued, to: db)
            }
        }
    }

    /// Oldest first.
    public func authorities() throws(StoreError) -> [StoredAuthority] {
        try fetch("SELECT * FROM authority ORDER BY createdAt, id", StoredAuthority.init)
    }

    /// nil: nothing was decided yet.
    public func rotation() throws(StoreError) -> StoredRotation? {
        try fetch("SELECT revision, body FROM rotation") {
            StoredRotation(revision: $0["revision"], body: $0["body"])
        }.first
    }

    /// By node id and SPIFFE ID.
    public func holders() throws(StoreError) -> [StoredHolder] {
        try fetch("SELECT * FROM holder ORDER BY nodeID, spiffeID", StoredHolder.init)
    }

    /// By trust domain.
    public func federatedBundles() throws(StoreError) -> [StoredBundle] {
        try fetch("SELECT * FROM federatedBundle ORDER BY trustDomain", StoredBundle.init)
    }

    /// Oldest first.
    public func jwtKeys() throws(StoreError) -> [StoredJWTKey] {
        try fetch("SELECT * FROM jwtKey ORDER BY createdAt, id", StoredJWTKey.init)
    }

    /// The newest lines of the journal, newest first.
    /// - Parameter spiffeID: nil: of everyone.
    public func issued(to spiffeID: String? = nil, limit: Int) throws(StoreError) -> [IssuedCertificate] {
        let limit = max(0, limit)
        guard let spiffeID else {
            return try fetch(
                "SELECT * FROM issued ORDER BY number DESC LIMIT ?", arguments: [limit], IssuedCertificate.init)
        }
        return try fetch(
            "SELECT * FROM issued WHERE spiffeID = ? ORDER BY number DESC LIMIT ?", arguments: [spiffeID, limit],
            IssuedCertificate.init)
    }

    /// What was issued and is not past at `now`, oldest first.
    public func outstanding(now: Timestamp) throws(StoreError) -> [IssuedCertificate] {
        try fetch(
            "SELECT * FROM issued WHERE notAfter > ? ORDER BY number", arguments: [now.nanoseconds],
            IssuedCertificate.init)
    }

    /// Takes lines out of the journal whose certificates ended before `past`, the oldest first.
    /// - Parameter limit: of one call, which keeps the wait for the disk short.
    /// - Returns: how many; as many as `limit` when there may be more.
    public func pruneIssued(endedBefore past: Timestamp, limit: Int = 10_000) throws(StoreError) -> Int {
        try StoreError.wrap(path) {
            try database.write { db in
                try db.execute(
                    sql: """
                        DELETE FROM issued WHERE number IN
                        (SELECT number FROM issued WHERE notAfter < ? ORDER BY notAfter LIMIT ?)
                        """, arguments: [past.nanoseconds, limit])
                return db.changesCount
            }
        }
    }

    // MARK: Statements

    func fetch<Value>(
        _ sql: String, arguments: StatementArguments = StatementArguments(), _ make: (Row) -> Value
    ) throws(StoreError) -> [Value] {
        try StoreError.wrap(path) {
            try database.read { db in
                var values: [Value] = []
                let rows = try Row.fetchCursor(db, sql: sql, arguments: arguments)
                while let row = try rows.next() { values.append(make(row)) }
                return values
            }
        }
    }

    private static func forget(_ change: IdentityChange, in db: Database) throws {
        for id in change.forgettingAuthorities {
            try db.execute(sql: "DELETE FROM authority WHERE id = ?", arguments: [id])
        }
        let holder = try db.cachedStatement(sql: "DELETE FROM holder WHERE nodeID = ? AND spiffeID = ?")
        for key in change.forgettingHolders { try holder.execute(arguments: [key.nodeID, key.spiffeID]) }
        for domain in change.forgettingBundles {
            try db.execute(sql: "DELETE FROM federatedBundle WHERE trustDomain = ?", arguments: [domain])
        }
        for id in change.forgettingJWTKeys {
            try db.execute(sql: "DELETE FROM jwtKey WHERE id = ?", arguments: [id])
        }
    }

    private func put(_ rotation: StoredRotation, in db: Database) throws {
        let found = try Int64.fetchOne(db, sql: "SELECT revision FROM rotation") ?? 0
        guard rotation.revision == found + 1 else {
            throw StoreError.outOfStep(path: path, expected: rotation.revision - 1, found: found)
        }
        try db.execute(
            sql: "INSERT OR REPLACE INTO rotation (only, revision, body) VALUES (1, ?, ?)",
            arguments: [rotation.revision, rotation.body])
    }

    private static func put(_ change: IdentityChange, in db: Database) throws {
        for authority in change.authorities {
            try db.execute(
                sql: "INSERT OR REPLACE INTO authority VALUES (?, ?, ?, ?, ?, ?)",
                arguments: [
                    authority.id, authority.tier, authority.certificates, authority.crossSigned, authority.keyFile,
                    authority.createdAt.nanoseconds,
                ])
        }
        let holder = try db.cachedStatement(sql: "INSERT OR REPLACE INTO holder VALUES (?, ?, ?, ?, ?, ?)")
        for value in change.holders {
            try holder.execute(arguments: [
                value.key.nodeID, value.key.spiffeID, value.lastSeen.nanoseconds, value.authority,
                value.notAfter.nanoseconds, value.body,
            ])
        }
        for bundle in change.bundles {
            try db.execute(
                sql: "INSERT OR REPLACE INTO federatedBundle VALUES (?, ?, ?, ?)",
                arguments: [bundle.trustDomain, bundle.source, bundle.document, bundle.refreshedAt.nanoseconds])
        }
        for key in change.jwtKeys {
            try db.execute(
                sql: "INSERT OR REPLACE INTO jwtKey VALUES (?, ?, ?, ?, ?, ?, ?)",
                arguments: [
                    key.id, key.publicKey, key.keyFile, key.createdAt.nanoseconds, key.signs.lowerBound.nanoseconds,
                    key.signs.upperBound.nanoseconds, key.publishedUntil.nanoseconds,
                ])
        }
    }

    private static func append(_ issued: [IssuedCertificate], to db: Database) throws {
        let statement = try db.cachedStatement(
            sql: """
                INSERT INTO issued (serial, spiffeID, notBefore, notAfter, authority, holder, reason, issuedAt)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?)
                """)
        for line in issued {
            try statement.execute(arguments: [
                line.serial, line.spiffeID, line.validity.lowerBound.nanoseconds,
                line.validity.upperBound.nanoseconds, line.authority, line.holder, line.reason,
                line.issuedAt.nanoseconds,
            ])
        }
    }
}
