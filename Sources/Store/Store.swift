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
    private let database: DatabaseQueue

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

    /// Every applied resource, ordered by scope, type and name.
    public func appliedResources() throws(StoreError) -> [AppliedResource] {
        try StoreError.wrap(path) {
            try database.read { db in
                try AppliedResource.order(Column("scope"), Column("typeURL"), Column("name")).fetchAll(db)
            }
        }
    }

    /// The versions given to whole types, ordered by scope and type.
    public func appliedVersions() throws(StoreError) -> [AppliedVersion] {
        try StoreError.wrap(path) {
            try database.read { db in
                try AppliedVersion.order(Column("scope"), Column("typeURL")).fetchAll(db)
            }
        }
    }

    /// Puts and removes applied resources in one transaction.
    /// - Parameters:
    ///   - removing: keys that need not be there.
    ///   - versions: of the types that change; an empty one takes the type's version away.
    public func commit(
        putting: [AppliedResource], removing: [AppliedResource.Key], versions: [AppliedVersion] = []
    ) throws(StoreError) {
        try StoreError.wrap(path) {
            try database.write { db in
                for key in removing {
                    try db.execute(
                        sql: "DELETE FROM appliedResource WHERE scope = ? AND typeURL = ? AND name = ?",
                        arguments: [key.scope, key.typeURL, key.name])
                }
                for resource in putting { try resource.upsert(db) }
                for version in versions {
                    if version.version.isEmpty { try version.delete(db) } else { try version.upsert(db) }
                }
            }
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
        return migrator
    }
}

/// A raw resource that a user applied through the control service.
public struct AppliedResource: Hashable, Sendable, Codable, FetchableRecord, PersistableRecord {
    /// Empty for all proxies, `node-cluster=NAME` or `node-id=ID`.
    public var scope: String
    public var typeURL: String
    public var name: String
    /// As the user gave it; empty for a hash of the content.
    public var version: String
    /// The packed envoy.service.discovery.v3.Resource around the message: it has its time to live and its aliases.
    public var body: Data

    public init(scope: String, typeURL: String, name: String, version: String, body: Data) {
        self.scope = scope
        self.typeURL = typeURL
        self.name = name
        self.version = version
        self.body = body
    }

    public struct Key: Hashable, Sendable {
        public var scope: String
        public var typeURL: String
        public var name: String

        public init(scope: String, typeURL: String, name: String) {
            self.scope = scope
            self.typeURL = typeURL
            self.name = name
        }
    }

    public var key: Key { Key(scope: scope, typeURL: typeURL, name: name) }
}

/// The version that a user gave to what was applied of one type for one scope, with its last change.
public struct AppliedVersion: Hashable, Sendable, Codable, FetchableRecord, PersistableRecord {
    public var scope: String
    public var typeURL: String
    public var version: String

    public init(scope: String, typeURL: String, version: String) {
        self.scope = scope
        self.typeURL = typeURL
        self.version = version
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
