import CProtobufC

/// A message whose type is known at run time only: its descriptor and its place in memory. It owns nothing: it is
/// valid as long as the arena that holds the message.
public struct DynamicMessage {
    public let descriptor: MessageDescriptor
    /// The C struct.
    public let pointer: UnsafeMutableRawPointer

    init(descriptor: MessageDescriptor, pointer: UnsafeMutableRawPointer) {
        self.descriptor = descriptor
        self.pointer = pointer
    }

    public init<M: ProtobufMessage>(_ message: UnsafePointer<M>) {
        self.init(UnsafeMutablePointer(mutating: message))
    }

    public init<M: ProtobufMessage>(_ message: UnsafeMutablePointer<M>) {
        descriptor = M.descriptor
        pointer = UnsafeMutableRawPointer(message)
        precondition(
            pointer.load(as: ProtobufCMessage.self).descriptor == descriptor.pointer,
            "the message was not made by an arena")
    }

    /// The message as its Swift type.
    /// - Returns: nil if it is of another type.
    public func cast<M: ProtobufMessage>(to type: M.Type = M.self) -> UnsafeMutablePointer<M>? {
        descriptor == M.descriptor ? pointer.assumingMemoryBound(to: M.self) : nil
    }

    /// How many fields came in that the type does not know.
    public var unknownFieldCount: Int { Int(pointer.load(as: ProtobufCMessage.self).n_unknown_fields) }
}

// MARK: - Reading by name

extension DynamicMessage {
    /// Whether the field is set: a list with elements, the chosen member of a oneof, a message that is there, a number
    /// that is not 0, a text that is not empty. False for a name that is no field.
    public func has(_ name: String) -> Bool {
        descriptor.field(named: name).map { isSet($0) } ?? false
    }

    /// The text of a string field, `""` if it is not set.
    /// - Returns: nil if there is no such field, it is a list, or no string.
    public func string(_ name: String) -> String? {
        guard let field = singular(name), case .string = field.kind else { return nil }
        return isSet(field) ? text(at: address(of: field)) : ""
    }

    /// The number of an integer, bool or enum field, 0 if it is not set.
    /// - Returns: nil if there is no such field, it is a list or of another kind, or the number is past Int64.
    public func integer(_ name: String) -> Int64? {
        guard let field = singular(name) else { return nil }
        guard isSet(field) else { return field.kind.isInteger ? 0 : nil }
        let address = address(of: field)
        switch field.kind {
        case .int32, .enumeration, .bool: return Int64(address.load(as: Int32.self))
        case .uint32: return Int64(address.load(as: UInt32.self))
        case .int64: return address.load(as: Int64.self)
        case .uint64: return Int64(exactly: address.load(as: UInt64.self))
        case .float, .double, .string, .bytes, .message: return nil
        }
    }

    /// The message of a message field.
    /// - Returns: nil if it is not set, there is no such field, it is a list, or no message.
    public func message(_ name: String) -> DynamicMessage? {
        guard let field = singular(name), isSet(field) else { return nil }
        return message(at: address(of: field), field)
    }

    /// The bytes of a bytes field, none if it is not set.
    /// - Returns: nil if there is no such field, it is a list, or of another kind.
    public func bytes(_ name: String) -> [UInt8]? {
        guard let field = singular(name), case .bytes = field.kind else { return nil }
        return isSet(field) ? Array(bytes(at: address(of: field))) : []
    }

    /// The messages of a list; map entries are messages with `key` and `value`. Empty for every other name.
    public func messages(_ name: String) -> [DynamicMessage] {
        guard let field = descriptor.field(named: name), field.isRepeated else { return [] }
        return (0..<count(of: field)).compactMap { message(at: element(of: field, $0), field) }
    }

    /// The texts of a list of strings. Empty for every other name.
    public func strings(_ name: String) -> [String] {
        guard let field = descriptor.field(named: name), field.isRepeated, case .string = field.kind else { return [] }
        return (0..<count(of: field)).map { text(at: element(of: field, $0)) }
    }

    /// The numbers of an enum field: each element of a list, or the one value that is set.
    public func enumerationValues(_ field: FieldDescriptor) -> [Int32] {
        guard case .enumeration = field.kind, isSet(field) else { return [] }
        guard field.isRepeated else { return [address(of: field).load(as: Int32.self)] }
        return (0..<count(of: field)).map { element(of: field, $0).load(as: Int32.self) }
    }

    /// The messages of a field with their places: `[3]` in a list, `["key"]` in a map (the map's values), nothing for
    /// a field of one message. Empty for fields of other kinds.
    public func placedMessages(of field: FieldDescriptor) -> [(place: String, message: DynamicMessage)] {
        guard case .message = field.kind, isSet(field) else { return [] }
        guard field.isRepeated else {
            return message(at: address(of: field), field).map { [("", $0)] } ?? []
        }
        let items = (0..<count(of: field)).compactMap { message(at: element(of: field, $0), field) }
        guard let entry = field.mapEntry(in: descriptor) else {
            return items.enumerated().map { ("[\($0.offset)]", $0.element) }
        }
        return items.compactMap { pair in
            guard let value = pair.message(at: pair.address(of: entry.value), entry.value) else { return nil }
            return ("[\"\(TextEncoder.keyText(pair, entry.key))\"]", value)
        }
    }

    private func singular(_ name: String) -> FieldDescriptor? {
        guard let field = descriptor.field(named: name), !field.isRepeated else { return nil }
        return field
    }
}

extension FieldDescriptor.Kind {
    var isInteger: Bool {
        switch self {
        case .int32, .uint32, .int64, .uint64, .bool, .enumeration: true
        case .float, .double, .string, .bytes, .message: false
        }
    }
}

// MARK: - Memory

extension DynamicMessage {
    /// Where the field's value is, or for a list the pointer to its array.
    func address(of field: FieldDescriptor) -> UnsafeMutableRawPointer {
        pointer + Int(field.pointer.pointee.offset)
    }

    /// How many elements a list has.
    func count(of field: FieldDescriptor) -> Int {
        pointer.load(fromByteOffset: Int(field.pointer.pointee.quantifier_offset), as: Int.self)
    }

    /// Where an element of a list is.
    func element(of field: FieldDescriptor, _ index: Int) -> UnsafeMutableRawPointer {
        let array = address(of: field).load(as: UnsafeMutableRawPointer?.self)
        guard let array else { preconditionFailure("\(field.name): a count of elements and no array") }
        return array + index * field.stride
    }

    /// The chosen member of the field's oneof, 0 for none.
    func chosenMember(of field: FieldDescriptor) -> UInt32 {
        pointer.load(fromByteOffset: Int(field.pointer.pointee.quantifier_offset), as: UInt32.self)
    }

    /// Whether the field, one of this message's type, goes on the wire.
    public func isSet(_ field: FieldDescriptor) -> Bool {
        if field.isRepeated { return count(of: field) > 0 }
        let address = address(of: field)
        if field.isOneofMember {
            guard chosenMember(of: field) == field.number else { return false }
            switch field.kind {
            // Case without a member: protobuf-c writes nothing.
            case .string, .message: return address.load(as: UnsafeRawPointer?.self) != nil
            case .int32, .uint32, .int64, .uint64, .float, .double, .bool, .bytes, .enumeration: return true
            }
        }
        if field.pointer.pointee.label == PROTOBUF_C_LABEL_OPTIONAL, field.pointer.pointee.quantifier_offset != 0 {
            return pointer.load(fromByteOffset: Int(field.pointer.pointee.quantifier_offset), as: Int32.self) != 0
        }
        switch field.kind {
        case .int32, .uint32, .bool, .enumeration: return address.load(as: UInt32.self) != 0
        case .int64, .uint64: return address.load(as: UInt64.self) != 0
        case .float: return address.load(as: Float.self) != 0
        case .double: return address.load(as: Double.self) != 0
        case .string: return (address.load(as: UnsafePointer<CChar>?.self)?.pointee ?? 0) != 0
        case .bytes: return address.load(as: ProtobufCBinaryData.self).len > 0
        case .message: return address.load(as: UnsafeRawPointer?.self) != nil
        }
    }

    func text(at address: UnsafeMutableRawPointer) -> String {
        address.load(as: UnsafePointer<CChar>?.self).map { String(cString: $0) } ?? ""
    }

    func bytes(at address: UnsafeMutableRawPointer) -> UnsafeBufferPointer<UInt8> {
        let binary = address.load(as: ProtobufCBinaryData.self)
        return UnsafeBufferPointer(start: binary.data, count: binary.data == nil ? 0 : binary.len)
    }

    func message(at address: UnsafeMutableRawPointer, _ field: FieldDescriptor) -> DynamicMessage? {
        guard case .message(let type) = field.kind, let place = address.load(as: UnsafeMutableRawPointer?.self) else {
            return nil
        }
        return DynamicMessage(descriptor: type, pointer: place)
    }

    /// Notes that the field is the chosen member of its oneof, or that an optional scalar is there.
    func markSet(_ field: FieldDescriptor) {
        let quantifier = Int(field.pointer.pointee.quantifier_offset)
        if field.isOneofMember {
            pointer.storeBytes(of: field.number, toByteOffset: quantifier, as: UInt32.self)
        } else if field.pointer.pointee.label == PROTOBUF_C_LABEL_OPTIONAL, quantifier != 0 {
            pointer.storeBytes(of: 1, toByteOffset: quantifier, as: Int32.self)
        }
    }

    /// Gives a list its array of `count` elements, zeroed, from the arena.
    func reserve(_ field: FieldDescriptor, count: Int, in arena: Arena) {
        guard count > 0 else { return }
        let size = count * field.stride
        let array = arena.allocate(size)
        array.initializeMemory(as: UInt8.self, repeating: 0, count: size)
        address(of: field).storeBytes(of: array, as: UnsafeMutableRawPointer.self)
        pointer.storeBytes(of: count, toByteOffset: Int(field.pointer.pointee.quantifier_offset), as: Int.self)
    }
}
