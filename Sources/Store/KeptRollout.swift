import Foundation
import GRDB

/// How the newest revision comes to the proxies, for a control plane that begins again in the middle of it.
extension Store {
    static func registerRolloutTable(in migrator: inout DatabaseMigrator) {
        migrator.registerMigration("the newest roll-out") { db in
            try db.execute(
                sql: """
                    CREATE TABLE rollout (
                        id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
                        body BLOB NOT NULL
                    ) STRICT
                    """)
        }
    }

    /// As the control plane wrote it; nil: there was none.
    public func rollout() throws(StoreError) -> Data? {
        try fetch("SELECT body FROM rollout") { row -> Data in row["body"] }.first
    }

    /// Keeps the roll-out in place of the one before.
    public func keep(rollout body: Data) throws(StoreError) {
        try StoreError.wrap(path) {
            try database.write { db in try Self.put(rollout: body, into: db) }
        }
    }

    static func put(rollout body: Data, into db: Database) throws {
        try db.execute(sql: "INSERT OR REPLACE INTO rollout VALUES (1, ?)", arguments: [body])
    }
}
