/// A place in a text: both count from 1, columns in Unicode scalars.
public struct SourcePosition: Hashable, Sendable {
    public var line: Int
    public var column: Int

    public init(line: Int, column: Int) {
        self.line = line
        self.column = column
    }
}

/// A value of a document that is neither list nor mapping, as it was written: whether `1` is a number or a text is for
/// the type of the field that takes it to say.
public struct DocumentScalar: Hashable, Sendable {
    public enum Style: Hashable, Sendable {
        /// YAML without quotes: text, number, bool or null, as the field wants it.
        case plain
        /// Quoted, or a YAML block: text.
        case quoted
        /// A JSON number.
        case number
        /// JSON's `true`, `false`, `null`.
        case keyword
    }

    /// Without quotes, escapes resolved.
    public var text: String
    public var style: Style
    public var position: SourcePosition

    public init(_ text: String, _ style: Style, at position: SourcePosition = SourcePosition(line: 1, column: 1)) {
        self.text = text
        self.style = style
        self.position = position
    }

    /// Whether it stands for no value. Source: RFC 8259; YAML 1.2 core schema.
    public var isNull: Bool {
        switch style {
        case .keyword: text == "null"
        case .plain: ["", "~", "null", "Null", "NULL"].contains(text)
        case .quoted, .number: false
        }
    }
}

/// A JSON or YAML document as a neutral tree. Each mapping has each key once.
public indirect enum DocumentNode: Hashable, Sendable {
    public struct Member: Hashable, Sendable {
        public var key: DocumentScalar
        public var value: DocumentNode

        public init(key: DocumentScalar, value: DocumentNode) {
            self.key = key
            self.value = value
        }
    }

    case scalar(DocumentScalar)
    case sequence([DocumentNode], at: SourcePosition)
    case mapping([Member], at: SourcePosition)

    /// Where it begins.
    public var position: SourcePosition {
        switch self {
        case .scalar(let scalar): scalar.position
        case .sequence(_, let position), .mapping(_, let position): position
        }
    }

    /// Whether it stands for no value.
    public var isNull: Bool {
        if case .scalar(let scalar) = self { scalar.isNull } else { false }
    }

    /// The value of a mapping's key; nil if there is none, or this is no mapping.
    public subscript(key: String) -> DocumentNode? {
        guard case .mapping(let members, _) = self else { return nil }
        return members.first { $0.key.text == key }?.value
    }

    /// The text of a scalar that is not null.
    public var text: String? {
        guard case .scalar(let scalar) = self, !scalar.isNull else { return nil }
        return scalar.text
    }

    /// The elements of a sequence.
    public var elements: [DocumentNode]? {
        if case .sequence(let elements, _) = self { elements } else { nil }
    }

    /// The members of a mapping.
    public var members: [Member]? {
        if case .mapping(let members, _) = self { members } else { nil }
    }

    /// For messages to people: `a list`.
    package var noun: String {
        switch self {
        case .sequence: "a list"
        case .mapping: "a mapping"
        case .scalar(let scalar):
            switch scalar.style {
            case _ where scalar.isNull: "null"
            case .plain: "`\(excerpt(scalar.text))`"
            case .quoted: "the text \"\(excerpt(scalar.text))\""
            case .number: "the number \(excerpt(scalar.text))"
            case .keyword: scalar.text
            }
        }
    }
}

/// The start of a text, short and on one line, for messages to people.
package func excerpt(_ text: String) -> String {
    let shown = String(text.unicodeScalars.prefix(40).map { $0.value < 0x20 ? " " : Character($0) })
    return shown.unicodeScalars.count < text.unicodeScalars.count ? shown + "…" : shown
}

/// What one text may cost.
public struct TextLimits: Hashable, Sendable {
    /// Bytes of text.
    public var bytes: Int
    /// Nodes of all documents in it, YAML aliases counted with all that they stand for.
    public var nodes: Int
    /// Levels of lists and mappings.
    public var depth: Int

    public init(bytes: Int = 16 << 20, nodes: Int = 1_000_000, depth: Int = 200) {
        precondition(depth >= 1 && depth <= 500, "the stack of a thread bounds the depth")
        self.bytes = bytes
        self.nodes = nodes
        self.depth = depth
    }

    /// 16 MiB, a million nodes, 200 levels.
    public static let standard = TextLimits()
}
