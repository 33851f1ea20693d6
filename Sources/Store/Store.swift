import Foundation
import GRDB
import Time

/// What outlives the process: one SQLite database, `martinet.db`, in the data directory.
///
/// A call that returned is on disk: it survives `kill -9` and a torn write (write-ahead log, synchronous commits).
/// A call that threw changed nothing.
public final class Store: Sendable {
    /// The database's file.
    public let path: String
    let database: DatabaseQueue

    /// Opens the database, or makes it, and brings its schema up to date.
    /// - Parameter directory: made with mode 0700 where it is missing.
    /// - Throws: ``StoreError`` with what to mend: no permission, a full disk, a file that is no database, one that
    ///   another process holds.
    public init(directory: String) throws(StoreError) {
        let path = directory + "/martinet.db"
        self.path = path
        do {
            try FileManager.default.createDirectory(
                atPath: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        } catch {
            throw .directoryUnusable(directory, reason: error.localizedDescription)
        }
        database = try StoreError.wrap(path) {
            var configuration = Configuration()
            configuration.busyMode = .timeout(2)
            configuration.prepareDatabase { db in
                try db.execute(sql: "PRAGMA journal_mode = WAL")
                try db.execute(sql: "PRAGMA synchronous = FULL")
            }
            let database = try DatabaseQueue(path: path, configuration: configuration)
            try Self.schema.migrate(database)
            return database
        }
    }

    private static var schema: DatabaseMigrator {
        var migrator = DatabaseMigrator()
        migrator.registerMigration("applied resources") { db in
            try db.execute(
                sql: """
                    CREATE TABLE appliedResource (
                        scope TEXT NOT NULL,
                        typeURL TEXT NOT NULL,
                        name TEXT NOT NULL,
                        version TEXT NOT NULL,
                        body BLOB NOT NULL,
                        PRIMARY KEY (scope, typeURL, name)
                    ) STRICT
                    """)
        }
        migrator.registerMigration("versions of applied types") { db in
            try db.execute(
                sql: """
                    CREATE TABLE appliedVersion (
                        scope TEXT NOT NULL,
                        typeURL TEXT NOT NULL,
                        version TEXT NOT NULL,
                        PRIMARY KEY (scope, typeURL)
                    ) STRICT
                    """)
        }
        migrator.registerMigration("last good files") { db in
            try db.execute(
                sql: """
                    CREATE TABLE lastGoodFile (
                        path TEXT NOT NULL PRIMARY KEY,
                        content BLOB NOT NULL
                    ) STRICT
                    """)
        }
        Self.registerIdentityTables(in: &migrator)
        Self.registerRevisionTables(in: &migrator)
        Self.registerWorkloadTable(in: &migrator)
        Self.registerRolloutTable(in: &migrator)
        return migrator
    }
}

extension Store {
    /// Bounds the database's size, in pages of 4 KiB: what lies beyond is refused as a full disk is.
    func limitSize(pages: Int) throws(StoreError) {
        try StoreError.wrap(path) {
            try database.writeWithoutTransaction { db in
                try db.execute(sql: "PRAGMA max_page_count = \(pages)")
            }
        }
    }
}
