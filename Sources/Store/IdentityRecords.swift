import Foundation
import GRDB
import Time

/// A root or an intermediate that the authority has. Its key is a file of its own, never in the database.
public struct StoredAuthority: Hashable, Sendable {
    /// Hexadecimal subject key identifier.
    public var id: String
    /// `root` or `intermediate`.
    public var tier: String
    /// PEM: its certificate, then what leads from it to its root.
    public var certificates: String
    /// PEM: the same key certified by the root before it; empty: none.
    public var crossSigned: String
    /// The name of its key's file in the authority's directory; empty: the key is elsewhere.
    public var keyFile: String
    public var createdAt: Timestamp

    public init(
        id: String, tier: String, certificates: String, crossSigned: String = "", keyFile: String,
        createdAt: Timestamp
    ) {
        self.id = id
        self.tier = tier
        self.certificates = certificates
        self.crossSigned = crossSigned
        self.keyFile = keyFile
        self.createdAt = createdAt
    }
}

/// What the rotation has decided, as bytes that only it can read.
public struct StoredRotation: Hashable, Sendable {
    /// One more with each change. A commit is refused unless it is the next one: two authorities on one database
    /// would undo each other's steps.
    public var revision: Int64
    public var body: Data

    public init(revision: Int64, body: Data) {
        self.revision = revision
        self.body = body
    }
}

/// Who was last seen with which certificate.
public struct StoredHolder: Hashable, Sendable {
    public var key: Key
    public var lastSeen: Timestamp
    /// Who signed its leaf; empty: it has none.
    public var authority: String
    /// The end of its leaf; 1970 where it has none.
    public var notAfter: Timestamp
    /// What else the authority knows of it, as bytes that only it can read.
    public var body: Data

    public struct Key: Hashable, Sendable {
        public var nodeID: String
        public var spiffeID: String

        public init(nodeID: String, spiffeID: String) {
            self.nodeID = nodeID
            self.spiffeID = spiffeID
        }
    }

    public init(key: Key, lastSeen: Timestamp, authority: String, notAfter: Timestamp, body: Data = Data()) {
        self.key = key
        self.lastSeen = lastSeen
        self.authority = authority
        self.notAfter = notAfter
        self.body = body
    }
}

/// The last good bundle of another trust domain.
public struct StoredBundle: Hashable, Sendable {
    public var trustDomain: String
    /// A file or an HTTPS address.
    public var source: String
    /// As it came.
    public var document: Data
    public var refreshedAt: Timestamp

    public init(trustDomain: String, source: String, document: Data, refreshedAt: Timestamp) {
        self.trustDomain = trustDomain
        self.source = source
        self.document = document
        self.refreshedAt = refreshedAt
    }
}

/// A key that signs, or signed, JWT-SVIDs.
public struct StoredJWTKey: Hashable, Sendable {
    /// Its `kid`.
    public var id: String
    /// SubjectPublicKeyInfo in DER.
    public var publicKey: Data
    /// The name of its file in the authority's directory; empty: it signs no more.
    public var keyFile: String
    public var createdAt: Timestamp
    /// When it signs: peers have its public half before, and keep it until the last of its tokens is past.
    public var signs: Range<Timestamp>
    public var publishedUntil: Timestamp

    public init(
        id: String, publicKey: Data, keyFile: String, createdAt: Timestamp, signs: Range<Timestamp>,
        publishedUntil: Timestamp
    ) {
        self.id = id
        self.publicKey = publicKey
        self.keyFile = keyFile
        self.createdAt = createdAt
        self.signs = signs
        self.publishedUntil = publishedUntil
    }
}

/// A line of the journal: one certificate that was issued.
public struct IssuedCertificate: Hashable, Sendable {
    /// Hexadecimal.
    public var serial: String
    public var spiffeID: String
    public var validity: Range<Timestamp>
    /// Who signed it: hexadecimal subject key identifier.
    public var authority: String
    /// The node or the peer that it was made for.
    public var holder: String
    /// `first`, `renewal`, `rotation`, `csr`, `server`.
    public var reason: String
    public var issuedAt: Timestamp

    public init(
        serial: String, spiffeID: String, validity: Range<Timestamp>, authority: String, holder: String,
        reason: String, issuedAt: Timestamp
    ) {
        self.serial = serial
        self.spiffeID = spiffeID
        self.validity = validity
        self.authority = authority
        self.holder = holder
        self.reason = reason
        self.issuedAt = issuedAt
    }
}

// MARK: - Rows

extension Row {
    func time(_ column: String) -> Timestamp { Timestamp(nanoseconds: self[column]) }

    /// A range that was stored upside down is empty: rows are ours, and a damaged one must not end the process.
    func range(_ from: String, _ to: String) -> Range<Timestamp> {
        let start = time(from)
        return start..<Swift.max(start, time(to))
    }
}

extension StoredAuthority {
    init(_ row: Row) {
        self.init(
            id: row["id"], tier: row["tier"], certificates: row["certificates"], crossSigned: row["crossSigned"],
            keyFile: row["keyFile"], createdAt: row.time("createdAt"))
    }
}

extension StoredHolder {
    init(_ row: Row) {
        self.init(
            key: Key(nodeID: row["nodeID"], spiffeID: row["spiffeID"]), lastSeen: row.time("lastSeen"),
            authority: row["authority"], notAfter: row.time("notAfter"), body: row["body"])
    }
}

extension StoredBundle {
    init(_ row: Row) {
        self.init(
            trustDomain: row["trustDomain"], source: row["source"], document: row["document"],
            refreshedAt: row.time("refreshedAt"))
    }
}

extension StoredJWTKey {
    init(_ row: Row) {
        self.init(
            id: row["id"], publicKey: row["publicKey"], keyFile: row["keyFile"], createdAt: row.time("createdAt"),
            signs: row.range("signsFrom", "signsUntil"), publishedUntil: row.time("publishedUntil"))
    }
}

extension IssuedCertificate {
    init(_ row: Row) {
        self.init(
            serial: row["serial"], spiffeID: row["spiffeID"], validity: row.range("notBefore", "notAfter"),
            authority: row["authority"], holder: row["holder"], reason: row["reason"],
            issuedAt: row.time("issuedAt"))
    }
}
