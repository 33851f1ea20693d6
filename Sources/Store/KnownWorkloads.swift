import Foundation
import GRDB

/// The workloads whose proxies are connected: after a restart nobody misses them while their proxies come back.
extension Store {
    static func registerWorkloadTable(in migrator: inout DatabaseMigrator) {
        migrator.registerMigration("workloads whose proxies are connected") { db in
            try db.execute(
                sql: """
                    CREATE TABLE knownWorkload (
                        namespace TEXT NOT NULL,
                        name TEXT NOT NULL,
                        spiffeID TEXT NOT NULL,
                        body BLOB NOT NULL,
                        PRIMARY KEY (namespace, name)
                    ) STRICT
                    """)
        }
    }

    /// By namespace and name.
    public func knownWorkloads() throws(StoreError) -> [KnownWorkload] {
        try StoreError.wrap(path) {
            try database.read { db in
                try KnownWorkload.order(Column("namespace"), Column("name")).fetchAll(db)
            }
        }
    }

    /// Changes which are known, in one transaction.
    /// - Parameter forgetting: names, with their namespaces, that need not be there.
    public func keep(
        _ workloads: [KnownWorkload], forgetting: [(namespace: String, name: String)] = []
    ) throws(StoreError) {
        try StoreError.wrap(path) {
            try database.write { db in
                for gone in forgetting {
                    try db.execute(
                        sql: "DELETE FROM knownWorkload WHERE namespace = ? AND name = ?",
                        arguments: [gone.namespace, gone.name])
                }
                for workload in workloads { try workload.upsert(db) }
            }
        }
    }
}

/// A workload as its proxy told of it.
public struct KnownWorkload: Hashable, Sendable, Codable, FetchableRecord, PersistableRecord {
    public var namespace: String
    public var name: String
    /// What its proxy proved.
    public var spiffeID: String
    /// As the control plane writes it.
    public var body: Data

    public init(namespace: String, name: String, spiffeID: String, body: Data) {
        self.namespace = namespace
        self.name = name
        self.spiffeID = spiffeID
        self.body = body
    }
}
