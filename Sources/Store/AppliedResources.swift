import Foundation
import GRDB

/// Resources that were applied, and files that were good once.
extension Store {
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

    /// The files whose last good state is kept, by path.
    public func lastGoodFiles() throws(StoreError) -> [LastGoodFile] {
        try StoreError.wrap(path) {
            try database.read { db in try LastGoodFile.order(Column("path")).fetchAll(db) }
        }
    }

    /// Keeps the last good state of files, and forgets that of others, in one transaction.
    /// - Parameter forgetting: paths that need not be there.
    public func keep(_ files: [LastGoodFile], forgetting: [String]) throws(StoreError) {
        try StoreError.wrap(path) {
            try database.write { db in
                for path in forgetting {
                    try db.execute(sql: "DELETE FROM lastGoodFile WHERE path = ?", arguments: [path])
                }
                for file in files { try file.upsert(db) }
            }
        }
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

/// What a file of resources said when it was last without an error, for as long as it has one.
public struct LastGoodFile: Hashable, Sendable, Codable, FetchableRecord, PersistableRecord {
    public var path: String
    public var content: Data

    public init(path: String, content: Data) {
        self.path = path
        self.content = content
    }
}
