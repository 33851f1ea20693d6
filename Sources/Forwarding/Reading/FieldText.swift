/// What may stand in the head of a message. Whatever a resource, a token or another server gives to be written into one
/// goes by here: one byte too many makes two fields of one, or a request that nobody takes.
/// Source: RFC 9110, 5.1 and 5.5.
enum FieldText {
    /// Whether it is the name of a field as heads have it here, in lower case.
    static func isName(_ bytes: some Collection<UInt8>) -> Bool {
        !bytes.isEmpty
            && bytes.allSatisfy { byte in
                (97...122).contains(byte) || (48...57).contains(byte) || "!#$%&'*+-.^_`|~".utf8.contains(byte)
            }
    }

    /// Whether it can be (a part of) a value: without control characters, but for the tab.
    static func isValue(_ bytes: some Sequence<UInt8>) -> Bool { bytes.allSatisfy(isOfValue) }

    static func isOfValue(_ byte: UInt8) -> Bool { byte >= 0x20 && byte != 0x7F || byte == 0x09 }

    /// A name in lower case.
    static func name(_ text: String, _ field: String = "") throws(ConfigurationError) -> [UInt8] {
        let bytes = text.utf8.map(\.lowerCased)
        guard isName(bytes) else { throw .invalid(path: field, message: "`\(text)` is no header's name") }
        return bytes
    }

    /// - Returns: the text as bytes.
    @discardableResult
    static func value(_ text: String, _ field: String = "") throws(ConfigurationError) -> [UInt8] {
        let bytes = Array(text.utf8)
        guard isValue(bytes) else {
            throw .invalid(path: field, message: "a control character cannot be in a header")
        }
        return bytes
    }
}
