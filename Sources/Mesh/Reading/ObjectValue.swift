import Documents

/// Something that a document's node can be read as.
///
/// Reading never stops at the first error: what cannot be read is logged and stands as nil or as a default until the
/// text is refused as a whole, so that a person sees all errors at once.
protocol ObjectValue {
    static func read(_ node: DocumentNode, at place: ObjectPlace) -> Self?
}

/// A value that is written as a mapping with known fields.
protocol ObjectPart: ObjectValue {
    init(_ fields: inout ObjectFields)
}

extension ObjectPart {
    static func read(_ node: DocumentNode, at place: ObjectPlace) -> Self? {
        guard case .mapping(let members, let position) = node else {
            place.mismatch("a mapping", node, mend: "write its fields as `name: value`")
            return nil
        }
        var fields = ObjectFields(members, at: place, position)
        let value = Self(&fields)
        fields.refuseTheRest()
        return value
    }
}

/// A value that is one of a few names.
protocol NamedValue: ObjectValue, RawRepresentable, CaseIterable, Hashable, Sendable where RawValue == String {}

extension NamedValue {
    static func read(_ node: DocumentNode, at place: ObjectPlace) -> Self? {
        guard let text = String.read(node, at: place) else { return nil }
        if let value = Self(rawValue: text) { return value }
        let names = allCases.map(\.rawValue)
        place.fail(
            .invalidValue, at: node.position, "`\(excerpt(text))` is none of \(names.joined(separator: ", "))",
            mend: suggestion(for: text, among: names).map { "did you mean `\($0)`?" } ?? "write one of them")
        return nil
    }
}

extension String: ObjectValue {
    /// A plain YAML scalar that other readers take for a number, a bool or null is no text: Kubernetes refuses it too.
    static func read(_ node: DocumentNode, at place: ObjectPlace) -> String? {
        guard case .scalar(let scalar) = node else {
            place.mismatch("a text", node, mend: "write one text")
            return nil
        }
        switch scalar.style {
        case .quoted: return scalar.text
        case .plain where PlainValue(scalar) == .text && !isBoolOfYAML11(scalar.text): return scalar.text
        case .plain, .number, .keyword:
            place.mismatch("a text", node, mend: "write it in quotes: \"\(excerpt(scalar.text))\"")
            return nil
        }
    }
}

/// What YAML 1.1 takes for a bool, as kubectl does.
private func isBoolOfYAML11(_ text: String) -> Bool {
    ["yes", "Yes", "YES", "no", "No", "NO", "on", "On", "ON", "off", "Off", "OFF"].contains(text)
}

extension Bool: ObjectValue {
    static func read(_ node: DocumentNode, at place: ObjectPlace) -> Bool? {
        if case .scalar(let scalar) = node {
            switch scalar.style {
            case .keyword where scalar.text == "true": return true
            case .keyword where scalar.text == "false": return false
            case .plain: if case .bool(let value) = PlainValue(scalar) { return value }
            case .keyword, .quoted, .number: break
            }
        }
        place.mismatch("true or false", node, mend: "write true or false, without quotes")
        return nil
    }
}

/// A JSON number, if the node is one.
private func numberText(_ node: DocumentNode) -> String? {
    guard case .scalar(let scalar) = node else { return nil }
    switch scalar.style {
    case .number: return scalar.text
    case .plain: if case .number(let text) = PlainValue(scalar) { return text } else { return nil }
    case .quoted, .keyword: return nil
    }
}

extension Int: ObjectValue {
    static func read(_ node: DocumentNode, at place: ObjectPlace) -> Int? {
        guard let text = numberText(node) else {
            place.mismatch("a whole number", node, mend: "write a whole number, without quotes")
            return nil
        }
        guard let value = IntegerReading(text).converted(to: Int.self) else {
            place.fail(
                .wrongType, at: node.position, "\(excerpt(text)) is no whole number that fits",
                mend: "write a whole number")
            return nil
        }
        return value
    }
}

extension Double: ObjectValue {
    static func read(_ node: DocumentNode, at place: ObjectPlace) -> Double? {
        guard let value = numberText(node).flatMap(Double.init), value.isFinite else {
            place.mismatch("a number", node, mend: "write a number, without quotes")
            return nil
        }
        return value
    }
}

extension Array: ObjectValue where Element: ObjectValue {
    static func read(_ node: DocumentNode, at place: ObjectPlace) -> [Element]? {
        guard case .sequence(let nodes, let position) = node else {
            place.mismatch("a list", node, mend: "write each element on a line of its own that begins with `- `")
            return nil
        }
        guard nodes.count <= ObjectLimits.elements else {
            place.fail(
                .tooMuch, at: position, "\(nodes.count) elements, \(ObjectLimits.elements) are allowed",
                mend: "split the object into several")
            return nil
        }
        var values: [Element] = []
        values.reserveCapacity(nodes.count)
        for (index, node) in nodes.enumerated() {
            if let value = Element.read(node, at: place.index(index)) { values.append(value) }
        }
        return values
    }
}

extension Dictionary: ObjectValue where Key == String, Value: ObjectValue {
    static func read(_ node: DocumentNode, at place: ObjectPlace) -> [String: Value]? {
        guard case .mapping(let members, let position) = node else {
            place.mismatch("a mapping", node, mend: "write `key: value`, one a line")
            return nil
        }
        guard members.count <= ObjectLimits.elements else {
            place.fail(
                .tooMuch, at: position, "\(members.count) keys, \(ObjectLimits.elements) are allowed",
                mend: "split the object into several")
            return nil
        }
        var values: [String: Value] = [:]
        for member in members {
            if let value = Value.read(member.value, at: place.key(member.key.text)) { values[member.key.text] = value }
        }
        return values
    }
}

/// What one object may hold.
enum ObjectLimits {
    /// Elements of one list, or keys of one mapping. An object as large as Kubernetes takes (1.5 MB) has fewer.
    static let elements = 50_000
    /// Characters of a regular expression.
    static let regex = 1024
}

/// A number or a text, as a Service's target port.
public enum IntOrString: Hashable, Sendable {
    case number(Int)
    case text(String)
}

extension IntOrString: ObjectValue {
    static func read(_ node: DocumentNode, at place: ObjectPlace) -> IntOrString? {
        if numberText(node) != nil { return Int.read(node, at: place).map { .number($0) } }
        return String.read(node, at: place).map { .text($0) }
    }
}

/// Any document, kept as it is.
struct AnyDocument: ObjectValue {
    var node: DocumentNode

    static func read(_ node: DocumentNode, at place: ObjectPlace) -> AnyDocument? { AnyDocument(node: node) }
}
