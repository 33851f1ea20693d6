import Documents

/// How a message is written as text.
public struct TextStyle: Hashable, Sendable {
    public enum Format: Hashable, Sendable {
        case json, compactJSON, yaml
    }
    public enum FieldNames: Hashable, Sendable {
        /// `lb_policy`, as the .proto files and Envoy's documentation have it.
        case snakeCase
        /// `lbPolicy`
        case lowerCamelCase
    }

    public var format: Format
    public var fieldNames: FieldNames
    /// Whether an `Any` whose type is unknown is written with its content in Base64 under `value`, instead of being an
    /// error. Such text is for people: it does not read back.
    public var showsUnknownTypes: Bool

    public init(_ format: Format, fieldNames: FieldNames = .snakeCase, showsUnknownTypes: Bool = false) {
        self.format = format
        self.fieldNames = fieldNames
        self.showsUnknownTypes = showsUnknownTypes
    }
}

/// The message in its proto3 JSON form. Fields that are not set are left out, as are fields unknown to its type; map
/// entries are sorted by key.
/// - Throws: `.unknownType` or `.malformedAny` for an `Any`, `.notRepresentable` for a value without a JSON form.
public func json(
    of message: DynamicMessage, types: TypeRegistry, isPretty: Bool = true,
    fieldNames: TextStyle.FieldNames = .snakeCase
) throws(TextFormatError) -> String {
    try text(of: message, TextStyle(isPretty ? .json : .compactJSON, fieldNames: fieldNames), types: types)
}

/// The message as a YAML document, otherwise like ``json(of:types:isPretty:fieldNames:)``. When it is read again, a text
/// that begins with U+FEFF loses that one, because Yams takes it for a byte order mark.
public func yaml(
    of message: DynamicMessage, types: TypeRegistry, fieldNames: TextStyle.FieldNames = .snakeCase
) throws(TextFormatError) -> String {
    try text(of: message, TextStyle(.yaml, fieldNames: fieldNames), types: types)
}

/// The message as text of any style.
public func text(
    of message: DynamicMessage, _ style: TextStyle, types: TypeRegistry
) throws(TextFormatError) -> String {
    let node = try document(of: message, style, types: types)
    switch style.format {
    case .json: return node.json()
    case .compactJSON: return node.json(isPretty: false)
    case .yaml: return node.yaml()
    }
}

/// The message as a neutral tree, to be put into an envelope. All positions in it are 1:1.
public func document(
    of message: DynamicMessage, _ style: TextStyle, types: TypeRegistry
) throws(TextFormatError) -> DocumentNode {
    var encoder = TextEncoder(style: style, types: types)
    return try encoder.node(message, depth: 1)
}

/// Turns messages into documents.
struct TextEncoder {
    let style: TextStyle
    let types: TypeRegistry
    var path = DocumentPath()

    static let nowhere = SourcePosition(line: 1, column: 1)

    init(style: TextStyle, types: TypeRegistry) {
        self.style = style
        self.types = types
    }

    func error(_ problem: TextFormatError.Problem) -> TextFormatError {
        TextFormatError(position: nil, path: path.description, problem: problem)
    }

    mutating func node(_ message: DynamicMessage, depth: Int) throws(TextFormatError) -> DocumentNode {
        guard depth <= DecodingLimits.standard.depth else {
            throw error(.tooDeep(limit: DecodingLimits.standard.depth))
        }
        if let type = WellKnownType(message.descriptor) { return try wellKnownNode(message, type, depth: depth) }
        return .mapping(try members(message, depth: depth), at: Self.nowhere)
    }

    mutating func members(_ message: DynamicMessage, depth: Int) throws(TextFormatError) -> [DocumentNode.Member] {
        var members: [DocumentNode.Member] = []
        for field in message.descriptor.fields where message.isSet(field) {
            let name: String
            switch style.fieldNames {
            case .snakeCase: name = field.name
            case .lowerCamelCase: name = field.jsonName
            }
            path.push(.field(name))
            let value: DocumentNode
            if let entry = field.mapEntry(in: message.descriptor) {
                value = try mapNode(message, field, entry, depth: depth)
            } else if field.isRepeated {
                value = try listNode(message, field, depth: depth)
            } else {
                value = try node(at: message.address(of: field), field, of: message, depth: depth)
            }
            path.pop()
            members.append(.init(key: DocumentScalar(name, .quoted), value: value))
        }
        return members
    }

    mutating func listNode(
        _ message: DynamicMessage, _ field: FieldDescriptor, depth: Int
    ) throws(TextFormatError) -> DocumentNode {
        var elements: [DocumentNode] = []
        for index in 0..<message.count(of: field) {
            path.push(.index(index))
            elements.append(try node(at: message.element(of: field, index), field, of: message, depth: depth))
            path.pop()
        }
        return .sequence(elements, at: Self.nowhere)
    }

    mutating func mapNode(
        _ message: DynamicMessage, _ field: FieldDescriptor, _ entry: MapEntry, depth: Int
    ) throws(TextFormatError) -> DocumentNode {
        // The last of several entries with one key counts. Source: protobuf encoding, maps.
        var pairs: [[UInt8]: DynamicMessage] = [:]
        for index in 0..<message.count(of: field) {
            guard let pair = message.message(at: message.element(of: field, index), field) else { continue }
            pairs[Array(Self.keyText(pair, entry.key).utf8)] = pair
        }
        let isNumeric = entry.key.kind.isInteger && entry.key.kind != .bool
        let keys = pairs.keys.sorted { isNumeric ? isLess($0, $1) : $0.lexicographicallyPrecedes($1) }
        var members: [DocumentNode.Member] = []
        for key in keys {
            guard let pair = pairs[key] else { continue }
            let text = String(decoding: key, as: UTF8.self)
            path.push(.key(text))
            let address = pair.address(of: entry.value)
            let value: DocumentNode
            if case .message(let type) = entry.value.kind, pair.message(at: address, entry.value) == nil {
                // An entry whose value is a message that was left out on the wire: the empty one.
                let arena = Arena()
                value = try node(arena.make(type), depth: depth + 2)
            } else {
                value = try node(at: address, entry.value, of: pair, depth: depth + 1)
            }
            members.append(.init(key: DocumentScalar(text, .quoted), value: value))
            path.pop()
        }
        return .mapping(members, at: Self.nowhere)
    }

    /// Numbers as text, by their value.
    private func isLess(_ one: [UInt8], _ other: [UInt8]) -> Bool {
        let minus = UInt8(ascii: "-")
        switch (one.first == minus, other.first == minus) {
        case (true, false): return true
        case (false, true): return false
        case (let isNegative, _):
            let isSmaller =
                one.count == other.count ? one.lexicographicallyPrecedes(other) : one.count < other.count
            return isNegative ? !isSmaller && one != other : isSmaller
        }
    }

    /// The key of a map entry as JSON has it.
    static func keyText(_ pair: DynamicMessage, _ key: FieldDescriptor) -> String {
        let address = pair.address(of: key)
        switch key.kind {
        case .int32, .enumeration: return String(address.load(as: Int32.self))
        case .uint32: return String(address.load(as: UInt32.self))
        case .int64: return String(address.load(as: Int64.self))
        case .uint64: return String(address.load(as: UInt64.self))
        case .bool: return address.load(as: Int32.self) != 0 ? "true" : "false"
        case .string: return pair.text(at: address)
        case .float, .double, .bytes, .message: preconditionFailure("no key type of protobuf")
        }
    }

    /// One value that is not a list.
    mutating func node(
        at address: UnsafeMutableRawPointer, _ field: FieldDescriptor, of message: DynamicMessage, depth: Int
    ) throws(TextFormatError) -> DocumentNode {
        func scalar(_ text: String, _ style: DocumentScalar.Style) -> DocumentNode {
            .scalar(DocumentScalar(text, style))
        }
        // JSON readers keep 53 bits of a number, so 64-bit ones are texts there. YAML needs no such care.
        let wide: DocumentScalar.Style
        switch style.format {
        case .json, .compactJSON: wide = .quoted
        case .yaml: wide = .number
        }
        switch field.kind {
        case .int32: return scalar(String(address.load(as: Int32.self)), .number)
        case .uint32: return scalar(String(address.load(as: UInt32.self)), .number)
        case .int64: return scalar(String(address.load(as: Int64.self)), wide)
        case .uint64: return scalar(String(address.load(as: UInt64.self)), wide)
        case .float: return floatNode(address.load(as: Float.self))
        case .double: return floatNode(address.load(as: Double.self))
        case .bool: return scalar(address.load(as: Int32.self) != 0 ? "true" : "false", .keyword)
        case .string: return scalar(message.text(at: address), .quoted)
        case .bytes: return scalar(base64(message.bytes(at: address)), .quoted)
        case .enumeration(let type):
            let number = address.load(as: Int32.self)
            if type.fullName == "google.protobuf.NullValue" { return scalar("null", .keyword) }
            return type.name(of: number).map { scalar($0, .quoted) } ?? scalar(String(number), .number)
        case .message:
            guard let inner = message.message(at: address, field) else {
                throw error(.notRepresentable("a missing message"))
            }
            return try node(inner, depth: depth + 1)
        }
    }

    private func floatNode<F: BinaryFloatingPoint & LosslessStringConvertible>(_ value: F) -> DocumentNode {
        if value.isNaN { return .scalar(DocumentScalar("NaN", .quoted)) }
        if value.isInfinite { return .scalar(DocumentScalar(value < 0 ? "-Infinity" : "Infinity", .quoted)) }
        return .scalar(DocumentScalar(jsonText(value), .number))
    }
}
