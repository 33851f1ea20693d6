import GRDB

extension Store {
    /// Times are nanoseconds since 1970, UTC.
    static func registerIdentityTables(in migrator: inout DatabaseMigrator) {
        migrator.registerMigration("the certificate authority") { db in
            try db.execute(
                sql: """
                    CREATE TABLE authority (
                        id TEXT NOT NULL PRIMARY KEY,
                        tier TEXT NOT NULL,
                        certificates TEXT NOT NULL,
                        crossSigned TEXT NOT NULL,
                        keyFile TEXT NOT NULL,
                        createdAt INTEGER NOT NULL
                    ) STRICT;
                    CREATE TABLE rotation (
                        only INTEGER NOT NULL PRIMARY KEY CHECK (only = 1),
                        revision INTEGER NOT NULL,
                        body BLOB NOT NULL
                    ) STRICT;
                    CREATE TABLE holder (
                        nodeID TEXT NOT NULL,
                        spiffeID TEXT NOT NULL,
                        lastSeen INTEGER NOT NULL,
                        authority TEXT NOT NULL,
                        notAfter INTEGER NOT NULL,
                        body BLOB NOT NULL,
                        PRIMARY KEY (nodeID, spiffeID)
                    ) STRICT;
                    CREATE TABLE federatedBundle (
                        trustDomain TEXT NOT NULL PRIMARY KEY,
                        source TEXT NOT NULL,
                        document BLOB NOT NULL,
                        refreshedAt INTEGER NOT NULL
                    ) STRICT;
                    CREATE TABLE jwtKey (
                        id TEXT NOT NULL PRIMARY KEY,
                        publicKey BLOB NOT NULL,
                        keyFile TEXT NOT NULL,
                        createdAt INTEGER NOT NULL,
                        signsFrom INTEGER NOT NULL,
                        signsUntil INTEGER NOT NULL,
                        publishedUntil INTEGER NOT NULL
                    ) STRICT;
                    """)
        }
        migrator.registerMigration("the journal of what was issued") { db in
            // Rows are added at the end; the number, not the serial, is what orders and indexes refer to.
            try db.execute(
                sql: """
                    CREATE TABLE issued (
                        number INTEGER NOT NULL PRIMARY KEY,
                        serial TEXT NOT NULL,
                        spiffeID TEXT NOT NULL,
                        notBefore INTEGER NOT NULL,
                        notAfter INTEGER NOT NULL,
                        authority TEXT NOT NULL,
                        holder TEXT NOT NULL,
                        reason TEXT NOT NULL,
                        issuedAt INTEGER NOT NULL
                    ) STRICT;
                    CREATE INDEX issuedBySPIFFEID ON issued (spiffeID);
                    CREATE INDEX issuedByHolder ON issued (holder);
                    CREATE INDEX issuedByNotAfter ON issued (notAfter);
                    """)
        }
        migrator.registerMigration("join tokens") { db in
            try db.execute(
                sql: """
                    CREATE TABLE joinToken (
                        id TEXT NOT NULL PRIMARY KEY,
                        hash BLOB NOT NULL,
                        namespace TEXT NOT NULL,
                        serviceAccount TEXT NOT NULL,
                        createdAt INTEGER NOT NULL,
                        expiresAt INTEGER NOT NULL,
                        uses INTEGER,
                        revokedAt INTEGER
                    ) STRICT;
                    CREATE TABLE joinedNode (
                        number INTEGER NOT NULL PRIMARY KEY,
                        token TEXT NOT NULL REFERENCES joinToken (id) ON DELETE CASCADE,
                        node TEXT NOT NULL,
                        UNIQUE (token, node)
                    ) STRICT;
                    """)
        }
        migrator.registerMigration("the journal without an index that nothing asks") { db in
            try db.execute(sql: "DROP INDEX issuedByHolder")
        }
    }
}
