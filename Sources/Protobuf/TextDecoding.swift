import Documents

extension Arena {
    /// Decodes a message from its proto3 JSON form.
    /// - Parameters:
    ///   - types: what `Any` may hold.
    ///   - file: only for messages.
    /// - Throws: the first error with line, column and path.
    public func decodeJSON<M: ProtobufMessage>(
        _ type: M.Type = M.self, _ text: String, types: TypeRegistry, file: String? = nil
    ) throws(TextFormatError) -> UnsafeMutablePointer<M> {
        try decodeJSON(M.descriptor, text, types: types, file: file).pointer.assumingMemoryBound(to: M.self)
    }

    /// Decodes a message, whose type is known at run time only, from its proto3 JSON form.
    public func decodeJSON(
        _ descriptor: MessageDescriptor, _ text: String, types: TypeRegistry, file: String? = nil
    ) throws(TextFormatError) -> DynamicMessage {
        try decode(descriptor, from: try DocumentNode.parseJSON(text, file: file), types: types, file: file)
    }

    /// Decodes a message from a YAML text of one document.
    public func decodeYAML<M: ProtobufMessage>(
        _ type: M.Type = M.self, _ text: String, types: TypeRegistry, file: String? = nil
    ) throws(TextFormatError) -> UnsafeMutablePointer<M> {
        try decodeYAML(M.descriptor, text, types: types, file: file).pointer.assumingMemoryBound(to: M.self)
    }

    /// Decodes a message, whose type is known at run time only, from a YAML text of one document.
    public func decodeYAML(
        _ descriptor: MessageDescriptor, _ text: String, types: TypeRegistry, file: String? = nil
    ) throws(TextFormatError) -> DynamicMessage {
        let documents = try DocumentNode.parseYAML(text, file: file)
        guard documents.count <= 1 else {
            throw TextFormatError(
                file: file, position: documents[1].position, path: "",
                problem: .mismatch(
                    expected: "one document", found: "\(documents.count)", mend: "split the file at ---"))
        }
        let place = SourcePosition(line: 1, column: 1)
        let root = documents.first ?? .scalar(DocumentScalar("null", .plain, at: place))
        return try decode(descriptor, from: root, types: types, file: file)
    }

    /// Decodes a message from a part of a document.
    /// - Parameters:
    ///   - path: where the part is in its document, for messages: `resources[3]`.
    ///   - limits: depth and memory of the message; the text's limits bound its elements.
    public func decode(
        _ descriptor: MessageDescriptor, from node: DocumentNode, types: TypeRegistry, file: String? = nil,
        path: String = "", limits: DecodingLimits = .standard
    ) throws(TextFormatError) -> DynamicMessage {
        var decoder = TextDecoder(arena: self, types: types, file: file, limits: limits)
        if !path.isEmpty { decoder.path.push(.field(path)) }
        return try decoder.message(node, descriptor, depth: 1)
    }

    /// Decodes a message from a part of a document.
    public func decode<M: ProtobufMessage>(
        _ type: M.Type = M.self, from node: DocumentNode, types: TypeRegistry, file: String? = nil, path: String = ""
    ) throws(TextFormatError) -> UnsafeMutablePointer<M> {
        try decode(M.descriptor, from: node, types: types, file: file, path: path)
            .pointer.assumingMemoryBound(to: M.self)
    }
}

/// Fills messages from documents. Levels are counted as the wire has them, so that what is read here passes the guard.
struct TextDecoder {
    let arena: Arena
    let types: TypeRegistry
    let file: String?
    let limits: DecodingLimits
    /// What the arena held at the start.
    private let reservedBefore: Int
    var path = DocumentPath()

    init(arena: Arena, types: TypeRegistry, file: String?, limits: DecodingLimits) {
        self.arena = arena
        self.types = types
        self.file = file
        self.limits = limits
        reservedBefore = arena.reservedBytes
    }

    func error(_ problem: TextFormatError.Problem, _ place: SourcePosition) -> TextFormatError {
        TextFormatError(file: file, position: place, path: path.description, problem: problem)
    }

    func mismatch(_ expected: String, _ node: DocumentNode, mend: String) -> TextFormatError {
        error(.mismatch(expected: expected, found: node.noun, mend: mend), node.position)
    }

    mutating func message(
        _ node: DocumentNode, _ descriptor: MessageDescriptor, depth: Int
    ) throws(TextFormatError) -> DynamicMessage {
        guard depth <= limits.depth else { throw error(.tooDeep(limit: limits.depth), node.position) }
        // The text `{}` may make a struct of a thousand bytes.
        guard arena.reservedBytes - reservedBefore <= limits.memory else {
            throw error(.tooMuchMemory(limit: limits.memory), node.position)
        }
        if let wellKnown = WellKnownType(descriptor) {
            return try wellKnownMessage(node, wellKnown, descriptor, depth: depth)
        }
        guard case .mapping(let members, _) = node else {
            throw mismatch("a \(descriptor.fullName)", node, mend: "write a mapping of its fields")
        }
        let message = arena.make(descriptor)
        try fill(message, members[...], depth: depth)
        return message
    }

    /// Sets the fields that the members name.
    mutating func fill(
        _ message: DynamicMessage, _ members: ArraySlice<DocumentNode.Member>, depth: Int
    ) throws(TextFormatError) {
        var spellings: [FieldDescriptor: String] = [:]
        var chosen: [UInt32: String] = [:]
        for member in members {
            let name = member.key.text
            guard let field = message.descriptor.field(textName: name) else {
                let names = message.descriptor.fields.map { name.contains("_") ? $0.name : $0.jsonName }
                throw error(
                    .unknownField(
                        name, type: message.descriptor.fullName,
                        suggestion: suggestion(for: name, among: names + message.descriptor.fields.map(\.name))),
                    member.key.position)
            }
            if let other = spellings.updateValue(name, forKey: field) {
                throw error(.fieldGivenTwice(other, name), member.key.position)
            }
            if member.value.isNull && !field.takesNull { continue }
            if let oneof = field.oneofIdentity, let other = chosen.updateValue(name, forKey: oneof) {
                throw error(.oneofConflict(other, name), member.key.position)
            }
            path.push(.field(name))
            try set(field, of: message, to: member.value, depth: depth)
            path.pop()
        }
    }

    private mutating func set(
        _ field: FieldDescriptor, of message: DynamicMessage, to node: DocumentNode, depth: Int
    ) throws(TextFormatError) {
        if let entry = field.mapEntry(in: message.descriptor) {
            try setMap(field, entry, of: message, to: node, depth: depth)
        } else if field.isRepeated {
            guard case .sequence(let elements, _) = node else {
                throw mismatch("a list", node, mend: "write a list, also for one element")
            }
            message.reserve(field, count: elements.count, in: arena)
            for (index, element) in elements.enumerated() {
                path.push(.index(index))
                try store(element, field, at: message.element(of: field, index), depth: depth)
                path.pop()
            }
        } else {
            try store(node, field, at: message.address(of: field), depth: depth)
            message.markSet(field)
        }
    }

    mutating func setMap(
        _ field: FieldDescriptor, _ entry: MapEntry, of message: DynamicMessage, to node: DocumentNode, depth: Int
    ) throws(TextFormatError) {
        guard case .mapping(let members, _) = node else {
            throw mismatch("a mapping", node, mend: "write key: value pairs")
        }
        guard depth < limits.depth else { throw error(.tooDeep(limit: limits.depth), node.position) }
        message.reserve(field, count: members.count, in: arena)
        for (index, member) in members.enumerated() {
            path.push(.key(member.key.text))
            let pair = arena.make(entry.descriptor)
            try storeKey(member.key, entry.key, at: pair.address(of: entry.key))
            try store(member.value, entry.value, at: pair.address(of: entry.value), depth: depth + 1)
            message.element(of: field, index).storeBytes(of: pair.pointer, as: UnsafeMutableRawPointer.self)
            path.pop()
        }
    }

    /// Stores one value that is not a list.
    mutating func store(
        _ node: DocumentNode, _ field: FieldDescriptor, at address: UnsafeMutableRawPointer, depth: Int
    ) throws(TextFormatError) {
        if case .message(let type) = field.kind {
            let message = try message(node, type, depth: depth + 1)
            address.storeBytes(of: message.pointer, as: UnsafeMutableRawPointer.self)
            return
        }
        guard case .scalar(let scalar) = node else {
            throw mismatch(field.kind.noun, node, mend: "write one value")
        }
        guard !scalar.isNull || field.takesNull else {
            throw mismatch(field.kind.noun, node, mend: "write a value: null is allowed for whole fields only")
        }
        try store(scalar, field, at: address)
    }
}

extension FieldDescriptor {
    /// `null` is a value for these, and the absence of one for all others.
    var takesNull: Bool {
        switch kind {
        case .message(let type) where !isRepeated: type.fullName == "google.protobuf.Value"
        case .enumeration(let type) where !isRepeated: type.fullName == "google.protobuf.NullValue"
        default: false
        }
    }
}

extension FieldDescriptor.Kind {
    /// For messages to people.
    var noun: String {
        switch self {
        case .int32, .int64: "an integer"
        case .uint32, .uint64: "a non-negative integer"
        case .float, .double: "a number"
        case .bool: "true or false"
        case .string: "a text"
        case .bytes: "Base64"
        case .enumeration(let type): "a name of \(type.fullName)"
        case .message(let type): "a \(type.fullName)"
        }
    }
}
