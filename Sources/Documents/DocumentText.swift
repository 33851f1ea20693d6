extension DocumentNode {
    /// The tree as JSON.
    /// - Parameter isPretty: indented by two spaces, with a newline at the end; or on one line without spaces.
    public func json(isPretty: Bool = true) -> String {
        var writer = DocumentWriter()
        writer.writeJSON(self, indent: isPretty ? 0 : nil)
        return isPretty ? writer.text + "\n" : writer.text
    }

    /// The tree as one YAML document in block style, with a newline at the end.
    public func yaml() -> String {
        var writer = DocumentWriter()
        switch self {
        case .scalar, .sequence([], _), .mapping([], _): writer.writeYAMLInline(self)
        case .sequence, .mapping: writer.writeYAML(self, indent: 0)
        }
        return writer.text.hasSuffix("\n") ? writer.text : writer.text + "\n"
    }
}

private struct DocumentWriter {
    var text = ""

    // MARK: JSON

    mutating func writeJSON(_ node: DocumentNode, indent: Int?) {
        switch node {
        case .scalar(let scalar):
            switch scalar.style {
            case .quoted: writeQuoted(scalar.text)
            case .number, .keyword: text += scalar.text
            case .plain: writePlainAsJSON(scalar)
            }
        case .sequence([], _): text += "[]"
        case .mapping([], _): text += "{}"
        case .sequence(let elements, _):
            writeJSONGroup("[", "]", elements, indent: indent) { writer, element, inner in
                writer.writeJSON(element, indent: inner)
            }
        case .mapping(let members, _):
            writeJSONGroup("{", "}", members, indent: indent) { writer, member, inner in
                writer.writeQuoted(member.key.text)
                writer.text += inner == nil ? ":" : ": "
                writer.writeJSON(member.value, indent: inner)
            }
        }
    }

    private mutating func writeJSONGroup<T>(
        _ open: String, _ close: String, _ items: [T], indent: Int?, _ write: (inout DocumentWriter, T, Int?) -> Void
    ) {
        let inner = indent.map { $0 + 2 }
        text += open
        for (index, item) in items.enumerated() {
            if index > 0 { text += "," }
            if let inner { text += "\n" + String(repeating: " ", count: inner) }
            write(&self, item, inner)
        }
        if let indent { text += "\n" + String(repeating: " ", count: indent) }
        text += close
    }

    /// A plain YAML scalar has no type of its own: the core schema gives it one.
    private mutating func writePlainAsJSON(_ scalar: DocumentScalar) {
        switch PlainValue(scalar) {
        case .null: text += "null"
        case .bool(let value): text += value ? "true" : "false"
        case .number(let literal): text += literal
        case .text, .ambiguous, .notFinite: writeQuoted(scalar.text)
        }
    }

    private mutating func writeQuoted(_ string: String) { text += quotedText(string) }

    // MARK: YAML

    /// A list or mapping that is not empty; the cursor is at the start of a line or behind `- `.
    mutating func writeYAML(_ node: DocumentNode, indent: Int) {
        let margin = String(repeating: " ", count: indent)
        switch node {
        case .scalar: writeYAMLInline(node)
        case .sequence(let elements, _):
            for (index, element) in elements.enumerated() {
                if index > 0 { text += margin }
                text += "- "
                if element.isGroup {
                    writeYAML(element, indent: indent + 2)
                } else {
                    writeYAMLInline(element, indent: indent + 2)
                    text += "\n"
                }
            }
        case .mapping(let members, _):
            for (index, member) in members.enumerated() {
                if index > 0 { text += margin }
                // libyaml takes a key of up to 1,024 characters before a colon; one of these may become six, escaped.
                let isLong = member.key.text.utf8.count > 150
                if isLong { text += "? " }
                writeYAMLText(member.key.text, indent: nil)
                text += isLong ? "\n" + margin + ":" : ":"
                if member.value.isGroup {
                    text += "\n"
                    // Lists are indented too, so that every level is two columns.
                    text += margin + "  "
                    writeYAML(member.value, indent: indent + 2)
                } else {
                    text += " "
                    writeYAMLInline(member.value, indent: indent + 2)
                    text += "\n"
                }
            }
        }
    }

    /// A scalar or an empty list or mapping.
    mutating func writeYAMLInline(_ node: DocumentNode, indent: Int = 2) {
        switch node {
        case .scalar(let scalar):
            if scalar.style == .quoted { writeYAMLText(scalar.text, indent: indent) } else { text += scalar.text }
        case .sequence: text += "[]"
        case .mapping: text += "{}"
        }
    }

    /// - Parameter indent: where the lines of a block start; nil where no block is allowed.
    private mutating func writeYAMLText(_ string: String, indent: Int?) {
        if isPlainYAML(string) {
            text += string
        } else if let indent, isBlockYAML(string) {
            // Without its last newline a text keeps that (`|`); without one at its end it says so (`|-`).
            let keepsNewline = string.hasSuffix("\n")
            text += keepsNewline ? "|" : "|-"
            let lines = (keepsNewline ? string.dropLast() : string[...])
                .split(separator: "\n", omittingEmptySubsequences: false)
            for line in lines {
                text += "\n"
                if !line.isEmpty { text += String(repeating: " ", count: indent) + line }
            }
        } else {
            writeQuoted(string)
        }
    }

    /// Whether every YAML reader takes the text without quotes for this very text.
    private func isPlainYAML(_ string: String) -> Bool {
        guard let first = string.utf8.first, string.utf8.count <= 200 else { return false }
        if SecondsAndNanos(durationText: string) != nil { return true }
        var previous: UInt8 = 0
        for byte in string.utf8 {
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "_"), UInt8(ascii: "-"), UInt8(ascii: "."),
                UInt8(ascii: "/"), UInt8(ascii: "@"), UInt8(ascii: "+"), UInt8(ascii: "="), UInt8(ascii: ":"):
                break
            case UInt8(ascii: " ") where previous != UInt8(ascii: ":"): break
            default: return false
            }
            previous = byte
        }
        let isLetter = (first | 0x20) >= UInt8(ascii: "a") && (first | 0x20) <= UInt8(ascii: "z")
        let startsWell = isLetter || first == UInt8(ascii: "/") || first == UInt8(ascii: "_")
        guard startsWell, previous != UInt8(ascii: " "), previous != UInt8(ascii: ":") else { return false }
        return !["null", "true", "false", "yes", "no", "on", "off", "y", "n"].contains(string.lowercased())
    }

    private func isBlockYAML(_ string: String) -> Bool {
        guard string.utf8.contains(0x0A), let first = string.utf8.first, first != 0x0A, first != 0x20,
            !string.hasSuffix("\n\n")
        else { return false }
        return string.unicodeScalars.allSatisfy {
            $0 == "\n" || ($0.value >= 0x20 && !(0x7F...0x9F).contains($0.value) && !isLineBreakOrMark($0))
        } && !string.contains(" \n") && !string.hasSuffix(" ")
    }
}

extension DocumentNode {
    fileprivate var isGroup: Bool {
        switch self {
        case .scalar, .sequence([], _), .mapping([], _): false
        case .sequence, .mapping: true
        }
    }
}

/// What a plain YAML scalar is where nothing else says it. Source: YAML 1.2 core schema.
package enum PlainValue: Equatable {
    case null
    case bool(Bool)
    /// A JSON number.
    case number(String)
    /// `.inf`, `.nan`.
    case notFinite
    /// `0644`.
    case ambiguous
    case text

    package init(_ scalar: DocumentScalar) {
        switch scalar.text {
        case _ where scalar.isNull: self = .null
        case "true", "True", "TRUE": self = .bool(true)
        case "false", "False", "FALSE": self = .bool(false)
        case ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF", ".nan", ".NaN", ".NAN":
            self = .notFinite
        default:
            switch NumberLiteral(plain: scalar.text) {
            case .number(let literal): self = .number(literal)
            case .ambiguous: self = .ambiguous
            case .notANumber: self = .text
            }
        }
    }
}

/// A text in double quotes, as JSON and YAML both read it.
package func quotedText(_ string: String) -> String {
    var text = "\""
    for scalar in string.unicodeScalars {
        switch scalar {
        case "\"": text += "\\\""
        case "\\": text += "\\\\"
        case "\n": text += "\\n"
        case "\r": text += "\\r"
        case "\t": text += "\\t"
        case _ where scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value) || isLineBreakOrMark(scalar):
            let digits = String(scalar.value, radix: 16)
            text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
        default: text.unicodeScalars.append(scalar)
        }
    }
    return text + "\""
}

/// What YAML takes for a line break, or does not count as printable, within the first 65,536 code points.
private func isLineBreakOrMark(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0x2028, 0x2029, 0xFEFF, 0xFFFE, 0xFFFF: true
    default: false
    }
}
