import Documents

// What a fuzzer calls: each takes any bytes and stops the program where a promise of this module is broken. The
// property tests call the same.

/// Any bytes, as a message from a peer: they are refused, or the message survives encoding and decoding unchanged, in
/// memory within the limit.
/// - Returns: whether the bytes were accepted.
@discardableResult
public func fuzzWire(
    _ bytes: UnsafeRawBufferPointer, as descriptor: MessageDescriptor, types: TypeRegistry
) -> Bool {
    let arena = Arena()
    let limits = DecodingLimits(depth: 100, elements: 100_000, memory: 8 << 20)
    let message: DynamicMessage
    do {
        message = try arena.decode(descriptor, from: bytes, limits: limits, types: types)
    } catch {
        precondition(error.problem != .undecodable, "the guard let pass what protobuf-c refuses: \(error)")
        precondition(error.offset >= 0 && error.offset <= bytes.count, "an offset outside the message")
        _ = "\(error) \(error.hint)"
        return false
    }
    precondition(arena.reservedBytes <= 2 * limits.memory + 128 << 10, "more memory than the limit says")
    let encoded = encode(message)
    do {
        let again = try arena.decode(descriptor, from: encoded, types: types)
        precondition(encode(again) == encoded, "encoding is not stable")
        // What is fine to receive may have no JSON form, or hold types that are not known here.
        if let text = try? json(of: message, types: types, isPretty: false) {
            let read = try arena.decodeJSON(descriptor, text, types: types)
            let written = try json(of: read, types: types, isPretty: false)
            precondition(written == text, "JSON is not stable: \(text)")
            let document = try yaml(of: message, types: types)
            let fromYAML = try arena.decodeYAML(descriptor, document, types: types)
            let rewritten = try json(of: fromYAML, types: types, isPretty: false)
            // A byte order mark at the start of a text is lost in YAML: see yaml(of:).
            let isExcused = text.utf8.contains("\\ufeff".utf8)
            precondition(isExcused || rewritten == text, "YAML is not stable: \(document)\n\(text)\n\(rewritten)")
        }
        try walk(message, types: types) { _, _ in }
    } catch {
        preconditionFailure("what was accepted once is refused: \(error)")
    }
    return true
}

/// Any bytes, as a JSON or YAML text for a message: they are refused, or the message's own text reads back as the same.
/// - Returns: whether the text was accepted.
@discardableResult
public func fuzzText(
    _ bytes: UnsafeRawBufferPointer, _ format: TextStyle.Format, as descriptor: MessageDescriptor, types: TypeRegistry
) -> Bool {
    let arena = Arena()
    let text = String(decoding: bytes, as: UTF8.self)
    let message: DynamicMessage
    do {
        switch format {
        case .json, .compactJSON:
            let document = try DocumentNode.parseJSON(bytes: Array(bytes))
            message = try arena.decode(descriptor, from: document, types: types)
        case .yaml: message = try arena.decodeYAML(descriptor, text, types: types)
        }
    } catch {
        _ = "\(error) \(error.hint)"
        return false
    }
    do {
        let written = try json(of: message, types: types)
        let fromText = try json(of: try arena.decodeJSON(descriptor, written, types: types), types: types)
        precondition(fromText == written, "JSON is not stable: \(written)")
        let fromWire = try json(of: try arena.decode(descriptor, from: encode(message), types: types), types: types)
        precondition(fromWire == written, "the wire is not stable: \(written)")
    } catch {
        preconditionFailure("what was accepted once is refused: \(error)")
    }
    return true
}
