/// Which fields of which messages a part of the proxy reads, or may ignore without harm. What is set and not here is
/// refused by ``FieldAudit``: nothing is silently ignored.
public struct SupportedFields: Sendable {
    /// How far a field is supported.
    enum Support: Hashable, Sendable {
        case whole
        /// The value is not looked into here: another part reads it with a table of its own, or nobody has to.
        case opaque
        /// Of an enumeration, these names only.
        case values(Set<String>)
    }

    /// What is said of one message's fields.
    struct Fields {
        /// Read as they are: most tables are asked for few of their fields, and taken apart they would be large.
        fileprivate let words: String

        /// - Returns: nil if it is not supported.
        subscript(field: String) -> Support? {
            var rest = words.utf8[...]
            while let start = rest.firstIndex(where: { !isSpace($0) }) {
                let end = rest[start...].firstIndex(where: isSpace) ?? rest.endIndex
                let word = rest[start..<end]
                rest = rest[end...]
                guard word.starts(with: field.utf8) else { continue }
                let mark = word.dropFirst(field.utf8.count)
                switch mark.first {
                case nil, UInt8(ascii: "~"): return .whole
                case UInt8(ascii: "*"): return .opaque
                case UInt8(ascii: "="):
                    return .values(Set(Substring(mark.dropFirst()).split(separator: "|").map(String.init)))
                default: continue
                }
            }
            return nil
        }
    }

    /// By full message name.
    private var messages: [String: String]

    /// - Parameter messages: the fields by full message name, apart by white space:
    ///   `"envoy.config.route.v3.Route": "name match metadata* priority=DEFAULT|HIGH"`. A star says that the field's
    ///   value is not looked into; `=` lists the values of an enumeration that are supported; a tilde says that nobody
    ///   reads it and nobody misses it, which a comment beside it explains.
    public init(_ messages: [String: String]) {
        self.messages = messages
    }

    /// - Parameter message: its full name.
    /// - Returns: nil if it is not supported.
    subscript(message: String) -> Fields? { messages[message].map(Fields.init) }

    /// Both tables; a message that is in both has the fields of both.
    public static func + (left: SupportedFields, right: SupportedFields) -> SupportedFields {
        // The first word about a field counts, so that what is said later is in front.
        SupportedFields(left.messages.merging(right.messages) { old, new in "\(new) \(old)" })
    }
}

private func isSpace(_ byte: UInt8) -> Bool { byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\n") }
