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

    /// By full message name and field name.
    private(set) var messages: [String: [String: Support]] = [:]

    /// - Parameter messages: the fields by full message name, apart by white space:
    ///   `"envoy.config.route.v3.Route": "name match metadata* priority=DEFAULT|HIGH"`. A star says that the field's
    ///   value is not looked into; `=` lists the values of an enumeration that are supported; a tilde says that nobody
    ///   reads it and nobody misses it, which a comment beside it explains.
    public init(_ messages: [String: String]) {
        for (message, words) in messages {
            var fields: [String: Support] = [:]
            for word in words.split(whereSeparator: \.isWhitespace) {
                let word = word.hasSuffix("~") ? word.dropLast() : word
                if word.hasSuffix("*") {
                    fields[String(word.dropLast())] = .opaque
                } else if let sign = word.firstIndex(of: "=") {
                    let values = word[word.index(after: sign)...].split(separator: "|").map(String.init)
                    fields[String(word[..<sign])] = .values(Set(values))
                } else {
                    fields[String(word)] = .whole
                }
            }
            self.messages[message] = fields
        }
    }

    /// Both tables; a message that is in both has the fields of both.
    public static func + (left: SupportedFields, right: SupportedFields) -> SupportedFields {
        var result = left
        for (message, fields) in right.messages {
            result.messages[message, default: [:]].merge(fields) { _, new in new }
        }
        return result
    }
}
