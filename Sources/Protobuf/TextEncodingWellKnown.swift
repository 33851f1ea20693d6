import Documents

// The types with a JSON form of their own. Source: proto3 JSON mapping.

extension TextEncoder {
    mutating func wellKnownNode(
        _ message: DynamicMessage, _ type: WellKnownType, depth: Int
    ) throws(TextFormatError) -> DocumentNode {
        func quoted(_ text: String) -> DocumentNode { .scalar(DocumentScalar(text, .quoted)) }
        let first = field(message, 1)
        switch type {
        case .any: return try anyNode(message, depth: depth)
        case .structure:
            guard let entry = first.mapEntry(in: message.descriptor) else {
                preconditionFailure("google.protobuf.Struct without its map")
            }
            return try mapNode(message, first, entry, depth: depth)
        case .listValue: return try listNode(message, first, depth: depth)
        case .value: return try valueNode(message, depth: depth)
        case .duration:
            let value = secondsAndNanos(message)
            guard value.isDuration else {
                throw error(.notRepresentable("a duration of \(value.seconds) s and \(value.nanos) ns"))
            }
            return quoted(value.durationText)
        case .timestamp:
            let value = secondsAndNanos(message)
            guard value.isTimestamp else {
                throw error(.notRepresentable("a timestamp of \(value.seconds) s and \(value.nanos) ns"))
            }
            return quoted(value.timestampText)
        case .fieldMask:
            let paths = message.strings("paths")
            // A path that camel case cannot carry stays as it is; readers take snake case too.
            let texts = paths.map { snakeCase(lowerCamelCase($0)) == $0 ? lowerCamelCase($0) : $0 }
            if let odd = paths.first(where: { $0.isEmpty || $0.contains(",") || snakeCase($0) != $0 }) {
                throw error(.notRepresentable("the field path \"\(excerpt(odd))\""))
            }
            return quoted(texts.joined(separator: ","))
        case .wrapper: return try node(at: message.address(of: first), first, of: message, depth: depth)
        }
    }

    private func field(_ message: DynamicMessage, _ number: UInt32) -> FieldDescriptor {
        guard let field = message.descriptor.field(number: number) else {
            preconditionFailure("\(message.descriptor.fullName) without field \(number)")
        }
        return field
    }

    private func secondsAndNanos(_ message: DynamicMessage) -> SecondsAndNanos {
        SecondsAndNanos(
            seconds: message.address(of: field(message, 1)).load(as: Int64.self),
            nanos: message.address(of: field(message, 2)).load(as: Int32.self))
    }

    private mutating func valueNode(_ message: DynamicMessage, depth: Int) throws(TextFormatError) -> DocumentNode {
        guard let chosen = message.descriptor.fields.first(where: { message.isSet($0) }) else {
            throw error(.notRepresentable("a google.protobuf.Value without a value"))
        }
        let address = message.address(of: chosen)
        if case .double = chosen.kind, !address.load(as: Double.self).isFinite {
            throw error(.notRepresentable("a google.protobuf.Value of \(address.load(as: Double.self))"))
        }
        return try node(at: address, chosen, of: message, depth: depth)
    }

    private mutating func anyNode(_ message: DynamicMessage, depth: Int) throws(TextFormatError) -> DocumentNode {
        let url = message.text(at: message.address(of: field(message, 1)))
        let bytes = message.bytes(at: message.address(of: field(message, 2)))
        if url.isEmpty && bytes.isEmpty { return .mapping([], at: Self.nowhere) }
        let type = DocumentNode.Member(
            key: DocumentScalar("@type", .quoted), value: .scalar(DocumentScalar(url, .quoted)))
        guard let descriptor = types.descriptor(typeURL: url) else {
            guard style.showsUnknownTypes else { throw error(.unknownType(url, suggestion: nil)) }
            let shown = DocumentNode.scalar(DocumentScalar(base64(bytes), .quoted))
            return .mapping([type, .init(key: DocumentScalar("value", .quoted), value: shown)], at: Self.nowhere)
        }
        let arena = Arena()
        var limits = DecodingLimits.standard
        // Each level of nested Any is a copy of all within it: the guard counts them together, so this bounds their sum.
        guard depth < limits.depth else { throw error(.tooDeep(limit: limits.depth)) }
        limits.depth -= depth
        let content: DynamicMessage
        do {
            content = try arena.decode(descriptor, from: UnsafeRawBufferPointer(bytes), limits: limits, types: types)
        } catch {
            throw self.error(.malformedAny("\(error)", mend: error.hint))
        }
        if WellKnownType(descriptor) != nil {
            path.push(.field("value"))
            let value = try node(content, depth: depth + 1)
            path.pop()
            return .mapping([type, .init(key: DocumentScalar("value", .quoted), value: value)], at: Self.nowhere)
        }
        return .mapping([type] + (try members(content, depth: depth + 1)), at: Self.nowhere)
    }
}
