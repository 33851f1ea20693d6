/// Visits a message and every message in it, outermost first, in the order of the fields, known contents of `Any`
/// included (after the `Any` itself, under the same path).
/// - Parameters:
///   - types: contents of `Any` whose type is not here are not visited.
///   - visit: gets the path (empty for the outermost message, `["key"]` for map values) and the message, which is
///     valid during the call only.
/// - Throws: `.tooDeep` past the limit, and what is wrong with the content of an `Any`.
public func walk(
    _ message: DynamicMessage, types: TypeRegistry, limits: DecodingLimits = .standard,
    visit: (_ path: String, _ message: DynamicMessage) -> Void
) throws(ProtobufError) {
    let walk = MessageWalk(root: message.descriptor.fullName, types: types, limits: limits)
    try walk.visitTree(message, path: "", depth: 1, visit)
}

private struct MessageWalk {
    let root: String
    let types: TypeRegistry
    let limits: DecodingLimits

    func visitTree(
        _ message: DynamicMessage, path: String, depth: Int, _ visit: (String, DynamicMessage) -> Void
    ) throws(ProtobufError) {
        guard depth <= limits.depth else {
            throw ProtobufError(type: root, path: path, offset: 0, problem: .tooDeep(limit: limits.depth))
        }
        visit(path, message)
        for field in message.descriptor.fields {
            guard case .message = field.kind, message.isSet(field) else { continue }
            let here = path.isEmpty ? field.name : path + "." + field.name
            if let entry = field.mapEntry(in: message.descriptor) {
                guard case .message = entry.value.kind else { continue }
                for index in 0..<message.count(of: field) {
                    guard let pair = message.message(at: message.element(of: field, index), field) else { continue }
                    guard let value = pair.message(at: pair.address(of: entry.value), entry.value) else { continue }
                    let key = TextEncoder.keyText(pair, entry.key)
                    try visitTree(value, path: "\(here)[\"\(key)\"]", depth: depth + 2, visit)
                }
            } else if field.isRepeated {
                for index in 0..<message.count(of: field) {
                    guard let item = message.message(at: message.element(of: field, index), field) else { continue }
                    try visitTree(item, path: "\(here)[\(index)]", depth: depth + 1, visit)
                }
            } else if let item = message.message(at: message.address(of: field), field) {
                try visitTree(item, path: here, depth: depth + 1, visit)
            }
        }
        guard case .any = WellKnownType(message.descriptor), let url = message.string("type_url"),
            let content = types.descriptor(typeURL: url), let value = message.descriptor.field(number: 2)
        else { return }
        let arena = Arena()
        var nested = limits
        nested.depth = max(1, limits.depth - depth)
        let inner: DynamicMessage
        do {
            let bytes = UnsafeRawBufferPointer(message.bytes(at: message.address(of: value)))
            inner = try arena.decode(content, from: bytes, limits: nested, types: types)
        } catch {
            throw ProtobufError(
                type: root, path: [path, error.path].filter { !$0.isEmpty }.joined(separator: "."),
                offset: error.offset, problem: error.problem)
        }
        try visitTree(inner, path: path, depth: depth + 1, visit)
    }
}
