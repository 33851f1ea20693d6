import Foundation
import GRDB
import Time

/// The objects of the mesh and the revisions that led to them.
extension Store {
    static func registerRevisionTables(in migrator: inout DatabaseMigrator) {
        migrator.registerMigration("objects in revisions") { db in
            try db.execute(
                sql: """
                    CREATE TABLE revision (
                        number INTEGER NOT NULL PRIMARY KEY,
                        time INTEGER NOT NULL,
                        author TEXT NOT NULL,
                        message TEXT NOT NULL,
                        base INTEGER NOT NULL,
                        created INTEGER NOT NULL,
                        configured INTEGER NOT NULL,
                        removed INTEGER NOT NULL,
                        bytes INTEGER NOT NULL
                    ) STRICT;
                    CREATE TABLE objectChange (
                        revision INTEGER NOT NULL REFERENCES revision (number) ON DELETE CASCADE,
                        kind TEXT NOT NULL,
                        namespace TEXT NOT NULL,
                        name TEXT NOT NULL,
                        beforeText TEXT,
                        beforeFormat TEXT,
                        beforeFile TEXT,
                        beforeLine INTEGER,
                        afterText TEXT,
                        afterFormat TEXT,
                        afterFile TEXT,
                        afterLine INTEGER,
                        PRIMARY KEY (revision, kind, namespace, name)
                    ) STRICT;
                    CREATE INDEX objectChangeByObject ON objectChange (kind, namespace, name, revision);
                    CREATE TABLE object (
                        kind TEXT NOT NULL,
                        namespace TEXT NOT NULL,
                        name TEXT NOT NULL,
                        text TEXT NOT NULL,
                        format TEXT NOT NULL,
                        file TEXT NOT NULL,
                        line INTEGER NOT NULL,
                        revision INTEGER NOT NULL,
                        PRIMARY KEY (kind, namespace, name)
                    ) STRICT;
                    """)
        }
    }

    // MARK: Reading

    /// By kind, namespace and name.
    public func meshObjects() throws(StoreError) -> [StoredObject] {
        try fetch("SELECT * FROM object ORDER BY kind, namespace, name") {
            StoredObject(key: StoredObjectKey($0), spelling: ObjectSpelling($0), revision: $0["revision"])
        }
    }

    /// The number of the newest revision; 0: there is none.
    public func newestRevision() throws(StoreError) -> Int64 {
        try fetch("SELECT COALESCE(MAX(number), 0) AS number FROM revision") { row -> Int64 in row["number"] }
            .first ?? 0
    }

    /// The number of the oldest revision that is kept; nil: there is none.
    public func oldestRevision() throws(StoreError) -> Int64? {
        try fetch("SELECT number FROM revision ORDER BY number LIMIT 1") { row -> Int64 in row["number"] }.first
    }

    /// Newest first.
    /// - Parameters:
    ///   - before: only older ones; nil: from the newest.
    ///   - key: only those that changed this object.
    public func revisions(
        limit: Int, before: Int64? = nil, of key: StoredObjectKey? = nil
    ) throws(StoreError) -> [StoredRevision] {
        let (limit, before) = (max(0, limit), before ?? .max)
        guard let key else {
            return try fetch(
                "SELECT * FROM revision WHERE number < ? ORDER BY number DESC LIMIT ?", arguments: [before, limit],
                StoredRevision.init)
        }
        return try fetch(
            """
            SELECT revision.* FROM revision JOIN objectChange ON objectChange.revision = revision.number
            WHERE number < ? AND kind = ? AND namespace = ? AND name = ? ORDER BY number DESC LIMIT ?
            """, arguments: [before, key.kind, key.namespace, key.name, limit], StoredRevision.init)
    }

    /// - Returns: nil where there is no such revision, or it was folded.
    public func revision(_ number: Int64) throws(StoreError) -> StoredRevision? {
        try fetch("SELECT * FROM revision WHERE number = ?", arguments: [number], StoredRevision.init).first
    }

    /// What one revision has changed, by kind, namespace and name.
    public func changes(of revision: Int64) throws(StoreError) -> [StoredObjectChange] {
        try fetch(
            "SELECT * FROM objectChange WHERE revision = ? ORDER BY kind, namespace, name", arguments: [revision],
            StoredObjectChange.init)
    }

    /// What leads from the newest state back to that of an older revision: of every object that changed since, how it
    /// was then. By kind, namespace and name.
    /// - Returns: the changes to make, `before` as the object is and `after` as it was.
    public func waysBack(to revision: Int64) throws(StoreError) -> [StoredObjectChange] {
        // The oldest change since tells how it was; SQLite takes the other columns of the row with the minimum.
        try fetch(
            """
            SELECT old.*, object.text, object.format, object.file, object.line FROM
                (SELECT *, MIN(revision) FROM objectChange WHERE revision > ? GROUP BY kind, namespace, name) AS old
            LEFT JOIN object USING (kind, namespace, name)
            ORDER BY old.kind, old.namespace, old.name
            """, arguments: [revision]
        ) { row in
            let now: String? = row["text"]
            return StoredObjectChange(
                key: StoredObjectKey(row), before: now == nil ? nil : ObjectSpelling(row),
                after: ObjectSpelling(row, "before"))
        }
    }

    /// Which objects were changed after a revision, the latest change of each, newest first: whom to ask.
    public func changedObjects(
        since revision: Int64, limit: Int
    ) throws(StoreError) -> [(key: StoredObjectKey, revision: StoredRevision)] {
        try fetch(
            """
            SELECT latest.kind, latest.namespace, latest.name, revision.* FROM
                (SELECT kind, namespace, name, MAX(revision) AS revision FROM objectChange WHERE revision > ?
                 GROUP BY kind, namespace, name) AS latest
            JOIN revision ON revision.number = latest.revision
            ORDER BY revision.number DESC, latest.kind, latest.namespace, latest.name LIMIT ?
            """, arguments: [revision, max(0, limit)]
        ) { (StoredObjectKey($0), StoredRevision($0)) }
    }

    // MARK: Writing

    /// Makes a revision: itself, what it changes, and the state after it, in one transaction; and folds what is beyond
    /// the bounds of the history.
    /// - Parameters:
    ///   - changes: each of another object; the counts of the revision are made of them.
    ///   - rollout: how it comes to the proxies, in place of what is kept of that; nil: that stays.
    ///   - base: of a roll-out under way: the revisions since then are kept beyond the bounds, up to twice as many.
    /// - Throws: ``StoreError/outOfStep(path:expected:found:)`` when its number is not the next one.
    public func commit(
        _ revision: StoredRevision, _ changes: [StoredObjectChange], bounds: HistoryBounds = .standard,
        rollout: Data? = nil, keepingSince base: Int64? = nil
    ) throws(StoreError) {
        try StoreError.wrap(path) {
            try database.write { db in
                let newest = try Int64.fetchOne(db, sql: "SELECT COALESCE(MAX(number), 0) FROM revision") ?? 0
                guard revision.number == newest + 1 else {
                    throw StoreError.outOfStep(path: path, expected: revision.number - 1, found: newest)
                }
                try Self.insert(revision, changes, into: db)
                let put = try db.cachedStatement(sql: Self.putObject)
                let remove = try db.cachedStatement(
                    sql: "DELETE FROM object WHERE kind = ? AND namespace = ? AND name = ?")
                for change in changes {
                    if let after = change.after {
                        try put.execute(arguments: Self.arguments(change.key, after, revision.number))
                    } else {
                        try remove.execute(arguments: [change.key.kind, change.key.namespace, change.key.name])
                    }
                }
                if let rollout { try Self.put(rollout: rollout, into: db) }
                try Self.fold(db, bounds, keepingSince: base ?? .max)
            }
        }
    }

    /// Keeps other texts of objects that say the same as before: no revision.
    /// - Parameter objects: those that are not there are left out.
    public func respell(_ objects: [(key: StoredObjectKey, spelling: ObjectSpelling)]) throws(StoreError) {
        guard !objects.isEmpty else { return }
        try StoreError.wrap(path) {
            try database.write { db in
                let update = try db.cachedStatement(
                    sql: """
                        UPDATE object SET text = ?, format = ?, file = ?, line = ?
                        WHERE kind = ? AND namespace = ? AND name = ?
                        """)
                for (key, spelling) in objects {
                    try update.execute(arguments: [
                        spelling.text, spelling.format, spelling.file, spelling.line, key.kind, key.namespace,
                        key.name,
                    ])
                }
            }
        }
    }

    private static let putObject = "INSERT OR REPLACE INTO object VALUES (?, ?, ?, ?, ?, ?, ?, ?)"

    private static func arguments(
        _ key: StoredObjectKey, _ spelling: ObjectSpelling, _ revision: Int64
    ) -> StatementArguments {
        [
            key.kind, key.namespace, key.name, spelling.text, spelling.format, spelling.file, spelling.line, revision,
        ]
    }

    private static func insert(
        _ revision: StoredRevision, _ changes: [StoredObjectChange], into db: Database
    ) throws {
        try db.execute(
            sql: "INSERT INTO revision VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            arguments: [
                revision.number, revision.time.nanoseconds, revision.author, revision.message, revision.base,
                changes.count { $0.before == nil }, changes.count { $0.before != nil && $0.after != nil },
                changes.count { $0.after == nil }, changes.reduce(0) { $0 + $1.bytes },
            ])
        let statement = try db.cachedStatement(
            sql: "INSERT INTO objectChange VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
        for change in changes {
            try statement.execute(arguments: [
                revision.number, change.key.kind, change.key.namespace, change.key.name, change.before?.text,
                change.before?.format, change.before?.file, change.before?.line, change.after?.text,
                change.after?.format, change.after?.file, change.after?.line,
            ])
        }
    }

    /// Forgets the oldest revisions: the state holds what they led to.
    private static func fold(_ db: Database, _ bounds: HistoryBounds, keepingSince base: Int64) throws {
        try db.execute(
            sql: """
                DELETE FROM revision WHERE number <= (SELECT MAX(number) FROM revision) - (? * IIF(number < ?, 1, 2))
                """, arguments: [bounds.revisions, base])
        try db.execute(
            sql: """
                DELETE FROM revision WHERE number < (SELECT MAX(number) FROM revision) AND number IN (
                    SELECT number FROM
                        (SELECT number, SUM(bytes) OVER (ORDER BY number DESC) AS total FROM revision)
                    WHERE total > (? * IIF(number < ?, 1, 2)))
                """, arguments: [bounds.bytes, base])
    }
}
