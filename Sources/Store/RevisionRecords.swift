import GRDB
import Time

/// The text of an object as its user wrote it, and where.
public struct ObjectSpelling: Hashable, Sendable {
    /// One document with one object.
    public var text: String
    /// `yaml` or `json`.
    public var format: String
    /// The name that the user gave for the text; empty: none.
    public var file: String
    /// The line of the file on which the text begins, from 1.
    public var line: Int

    public init(text: String, format: String, file: String, line: Int) {
        self.text = text
        self.format = format
        self.file = file
        self.line = line
    }
}

/// What names an object in the database.
public struct StoredObjectKey: Hashable, Sendable, Comparable {
    /// `virtualservice.networking.istio.io`
    public var kind: String
    /// Empty for kinds that have none.
    public var namespace: String
    public var name: String

    public init(kind: String, namespace: String, name: String) {
        self.kind = kind
        self.namespace = namespace
        self.name = name
    }

    public static func < (left: StoredObjectKey, right: StoredObjectKey) -> Bool {
        (left.kind, left.namespace, left.name) < (right.kind, right.namespace, right.name)
    }
}

/// An object of the mesh as it stands.
public struct StoredObject: Hashable, Sendable {
    public var key: StoredObjectKey
    public var spelling: ObjectSpelling
    /// The revision that last changed what it says.
    public var revision: Int64

    public init(key: StoredObjectKey, spelling: ObjectSpelling, revision: Int64) {
        self.key = key
        self.spelling = spelling
        self.revision = revision
    }
}

/// A step in the history of the mesh.
public struct StoredRevision: Hashable, Sendable {
    /// From 1; each is one more than the one before.
    public var number: Int64
    public var time: Timestamp
    public var author: String
    /// Why; may be empty.
    public var message: String
    /// The revision that its author had looked at; that before it where nobody said.
    public var base: Int64
    /// How many objects it changed.
    public var created: Int
    public var configured: Int
    public var removed: Int

    public init(
        number: Int64, time: Timestamp, author: String, message: String, base: Int64, created: Int = 0,
        configured: Int = 0, removed: Int = 0
    ) {
        self.number = number
        self.time = time
        self.author = author
        self.message = message
        self.base = base
        self.created = created
        self.configured = configured
        self.removed = removed
    }
}

/// What a revision has done to one object.
public struct StoredObjectChange: Hashable, Sendable {
    public var key: StoredObjectKey
    /// nil: it was not there.
    public var before: ObjectSpelling?
    /// nil: it is gone.
    public var after: ObjectSpelling?

    public init(key: StoredObjectKey, before: ObjectSpelling?, after: ObjectSpelling?) {
        self.key = key
        self.before = before
        self.after = after
    }

    var bytes: Int { (before?.text.utf8.count ?? 0) + (after?.text.utf8.count ?? 0) }
}

/// How much history is kept. Older revisions are folded into the state that they led to.
public struct HistoryBounds: Hashable, Sendable {
    public var revisions: Int
    /// Of the texts before and after. The newest revision is kept however large it is.
    public var bytes: Int

    public init(revisions: Int = 1_000, bytes: Int = 256 << 20) {
        precondition(revisions >= 1 && bytes >= 0, "the newest revision is always kept")
        self.revisions = revisions
        self.bytes = bytes
    }

    /// 1,000 revisions, 256 MiB.
    public static let standard = HistoryBounds()
}

// MARK: - Rows

extension StoredObjectKey {
    init(_ row: Row) { self.init(kind: row["kind"], namespace: row["namespace"], name: row["name"]) }
}

extension ObjectSpelling {
    init(_ row: Row) {
        self.init(text: row["text"], format: row["format"], file: row["file"], line: row["line"])
    }

    /// - Parameter side: `before` or `after`.
    init?(_ row: Row, _ side: String) {
        guard let text: String = row[side + "Text"] else { return nil }
        self.init(text: text, format: row[side + "Format"], file: row[side + "File"], line: row[side + "Line"])
    }
}

extension StoredRevision {
    init(_ row: Row) {
        self.init(
            number: row["number"], time: row.time("time"), author: row["author"], message: row["message"],
            base: row["base"], created: row["created"], configured: row["configured"], removed: row["removed"])
    }
}

extension StoredObjectChange {
    init(_ row: Row) {
        self.init(
            key: StoredObjectKey(row), before: ObjectSpelling(row, "before"), after: ObjectSpelling(row, "after"))
    }
}
