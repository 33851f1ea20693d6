import Documents

// The types with a JSON form of their own. Source: proto3 JSON mapping. They are found by name, and their fields by
// number, so that this works for every generated copy of them.

extension TextDecoder {
    mutating func wellKnownMessage(
        _ node: DocumentNode, _ type: WellKnownType, _ descriptor: MessageDescriptor, depth: Int
    ) throws(TextFormatError) -> DynamicMessage {
        let message = arena.make(descriptor)
        switch type {
        case .any: try fillAny(message, node, depth: depth)
        case .structure, .listValue:
            // A Struct is its one map, a ListValue its one list.
            try fillOnlyField(message, node, depth: depth)
        case .value: try fillValue(message, node, depth: depth)
        case .duration:
            let text = try text(of: node, "a duration like 1.5s")
            guard let value = SecondsAndNanos(durationText: text) else {
                throw mismatch("a duration like 1.5s", node, mend: "write seconds and the letter s: 0.25s, 60s")
            }
            guard value.isDuration else {
                throw error(.outOfRange(text, range: "±315576000000s"), node.position)
            }
            store(value, in: message)
        case .timestamp:
            let text = try text(of: node, "a time like 2025-01-31T12:00:00Z")
            guard let value = SecondsAndNanos(timestampText: text) else {
                throw mismatch("a time like 2025-01-31T12:00:00Z", node, mend: "write it as RFC 3339 says, with zone")
            }
            guard value.isTimestamp else {
                throw error(.outOfRange(text, range: "the years 1 to 9999"), node.position)
            }
            store(value, in: message)
        case .fieldMask:
            let text = try text(of: node, "field paths separated by commas")
            guard !text.utf8.contains(0) else { throw error(.embeddedNUL, node.position) }
            let paths = text.split(separator: ",").map { snakeCase(String($0)) }
            let field = requiredField(message, 1)
            message.reserve(field, count: paths.count, in: arena)
            for (index, path) in paths.enumerated() {
                message.element(of: field, index).storeBytes(of: arena(path), as: UnsafeMutablePointer<CChar>.self)
            }
        case .wrapper:
            let field = requiredField(message, 1)
            try store(node, field, at: message.address(of: field), depth: depth)
        }
        return message
    }

    private func requiredField(_ message: DynamicMessage, _ number: UInt32) -> FieldDescriptor {
        guard let field = message.descriptor.field(number: number) else {
            preconditionFailure("\(message.descriptor.fullName) without field \(number)")
        }
        return field
    }

    private func text(of node: DocumentNode, _ expected: String) throws(TextFormatError) -> String {
        guard case .scalar(let scalar) = node, scalar.style == .quoted || scalar.style == .plain, !scalar.isNull else {
            throw mismatch(expected, node, mend: "write a text")
        }
        return scalar.text
    }

    private func store(_ value: SecondsAndNanos, in message: DynamicMessage) {
        message.address(of: requiredField(message, 1)).storeBytes(of: value.seconds, as: Int64.self)
        message.address(of: requiredField(message, 2)).storeBytes(of: value.nanos, as: Int32.self)
    }

    private mutating func fillOnlyField(
        _ message: DynamicMessage, _ node: DocumentNode, depth: Int
    ) throws(TextFormatError) {
        let field = requiredField(message, 1)
        if let entry = field.mapEntry(in: message.descriptor) {
            try setMap(field, entry, of: message, to: node, depth: depth)
            return
        }
        guard case .sequence(let elements, _) = node else { throw mismatch("a list", node, mend: "write a list") }
        message.reserve(field, count: elements.count, in: arena)
        for (index, element) in elements.enumerated() {
            path.push(.index(index))
            try store(element, field, at: message.element(of: field, index), depth: depth)
            path.pop()
        }
    }

    private mutating func fillValue(
        _ message: DynamicMessage, _ node: DocumentNode, depth: Int
    ) throws(TextFormatError) {
        func choose(_ number: UInt32) -> (FieldDescriptor, UnsafeMutableRawPointer) {
            let field = requiredField(message, number)
            message.markSet(field)
            return (field, message.address(of: field))
        }
        switch node {
        case .mapping:
            let (field, address) = choose(5)
            try store(node, field, at: address, depth: depth)
        case .sequence:
            let (field, address) = choose(6)
            try store(node, field, at: address, depth: depth)
        case .scalar(let scalar):
            guard scalar.style != .quoted else {
                choose(3).1.storeBytes(of: try text(scalar), as: UnsafeMutablePointer<CChar>.self)
                return
            }
            switch PlainValue(scalar) {
            case .null: choose(1).1.storeBytes(of: 0, as: Int32.self)
            case .number: choose(2).1.storeBytes(of: try number(scalar, .double), as: Double.self)
            case .text: choose(3).1.storeBytes(of: try text(scalar), as: UnsafeMutablePointer<CChar>.self)
            case .bool(let value): choose(4).1.storeBytes(of: value ? 1 : 0, as: Int32.self)
            case .notFinite: throw mismatch("a finite number", node, mend: "put a text in quotes")
            case .ambiguous:
                throw mismatch("a value", node, mend: "put a text in quotes, write a number without leading zeros")
            }
        }
    }

    /// The form is flat, `{"@type": …, field: …}`, but for contents with a JSON form of their own
    /// `{"@type": …, "value": …}`.
    private mutating func fillAny(
        _ message: DynamicMessage, _ node: DocumentNode, depth: Int
    ) throws(TextFormatError) {
        guard case .mapping(let members, let place) = node else {
            throw mismatch("a google.protobuf.Any", node, mend: "write a mapping with @type")
        }
        if members.isEmpty { return }  // The Any that holds nothing.
        guard let typeIndex = members.firstIndex(where: { $0.key.text == "@type" }) else {
            throw error(.missingType, place)
        }
        let type = members[typeIndex].value
        path.push(.field("@type"))
        let url = try text(of: type, "a type URL")
        guard let descriptor = types.descriptor(typeURL: url) else {
            let name = url.split(separator: "/").last.map { String($0) } ?? ""
            let near = suggestion(for: name, among: types.descriptors.map(\.fullName)).flatMap { types[$0]?.typeURL }
            throw error(.unknownType(url, suggestion: near), type.position)
        }
        path.pop()
        var rest = members[...]
        rest.remove(at: typeIndex)
        let content: DynamicMessage
        // Empty is flat for some libraries and has a `value` for others.
        let isEmptyWithValue =
            descriptor.fullName == "google.protobuf.Empty" && rest.count == 1 && rest.first?.key.text == "value"
        if WellKnownType(descriptor) != nil || isEmptyWithValue {
            guard rest.count == 1, let value = rest.first, value.key.text == "value" else {
                let odd = rest.first { $0.key.text != "value" }
                throw error(
                    .mismatch(
                        expected: "`value` and nothing else beside @type",
                        found: odd.map { "`\(excerpt($0.key.text))`" } ?? "nothing",
                        mend: "write the \(descriptor.fullName) under the key `value`"), odd?.key.position ?? place)
            }
            path.push(.field("value"))
            content = try self.message(value.value, descriptor, depth: depth + 1)
            path.pop()
        } else {
            guard depth < limits.depth else { throw error(.tooDeep(limit: limits.depth), place) }
            content = arena.make(descriptor)
            try fill(content, rest, depth: depth + 1)
        }
        let quoted = DocumentScalar(url, .quoted, at: type.position)
        try store(quoted, requiredField(message, 1), at: message.address(of: requiredField(message, 1)))
        arena.storeBytes(encode(content), at: message.address(of: requiredField(message, 2)))
    }
}
