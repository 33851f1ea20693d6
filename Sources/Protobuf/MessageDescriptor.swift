import CProtobufC

/// A message type: an opaque handle of the generated descriptor, which lives as long as the program.
/// Equal handles are the same generated type.
public struct MessageDescriptor: Hashable, @unchecked Sendable {
    // Safe to send: it points to constant data of the program's image.
    let pointer: UnsafePointer<ProtobufCMessageDescriptor>

    /// - Parameter pointer: a descriptor that protoc-c generated; anything else is a bug of the caller.
    public init(_ pointer: UnsafePointer<ProtobufCMessageDescriptor>) {
        precondition(pointer.pointee.magic == 0x28aa_eef9, "not a protobuf-c message descriptor")
        self.pointer = pointer
    }

    /// The name with its package: `envoy.config.cluster.v3.Cluster`.
    public var fullName: String { String(cString: pointer.pointee.name) }

    /// `type.googleapis.com/` and the full name, as `Any` carries it.
    public var typeURL: String { "type.googleapis.com/" + fullName }

    /// The fields in the order of their numbers.
    public var fields: [FieldDescriptor] {
        (0..<Int(pointer.pointee.n_fields)).map { FieldDescriptor(pointer.pointee.fields + $0) }
    }

    /// The field of that number, or nil.
    public func field(number: UInt32) -> FieldDescriptor? {
        protobuf_c_message_descriptor_get_field(pointer, number).map { FieldDescriptor($0) }
    }

    /// The field of that name as the .proto file spells it (snake case), or nil.
    public func field(named name: String) -> FieldDescriptor? {
        // A name with a NUL would be cut short by C and could match another field.
        guard !name.utf8.contains(0) else { return nil }
        return protobuf_c_message_descriptor_get_field_by_name(pointer, name).map { FieldDescriptor($0) }
    }

    /// The field that text calls `name`, in snake case or lowerCamelCase (proto3 JSON mapping).
    func field(textName name: String) -> FieldDescriptor? {
        if let field = field(named: name) { return field }
        if let field = field(named: snakeCase(name)), field.jsonName == name { return field }
        return fields.first { $0.jsonName == name }
    }
}

/// One field of a message type.
public struct FieldDescriptor: Hashable, @unchecked Sendable {
    // Safe to send: it points to constant data of the program's image.
    let pointer: UnsafePointer<ProtobufCFieldDescriptor>

    init(_ pointer: UnsafePointer<ProtobufCFieldDescriptor>) {
        self.pointer = pointer
    }

    /// What one value of the field is in memory; the integer encodings of the wire (zigzag, fixed) are not told
    /// apart here.
    public enum Kind: Hashable, Sendable {
        case int32, uint32, int64, uint64, float, double, bool, string, bytes
        case enumeration(EnumDescriptor)
        case message(MessageDescriptor)
    }

    /// The name as the .proto file spells it: `lb_policy`.
    public var name: String { String(cString: pointer.pointee.name) }

    /// The name in lowerCamelCase: `lbPolicy`. Source: proto3 JSON mapping.
    public var jsonName: String { lowerCamelCase(name) }

    /// The number on the wire.
    public var number: UInt32 { pointer.pointee.id }

    /// Whether the field holds a list (maps included).
    public var isRepeated: Bool { pointer.pointee.label == PROTOBUF_C_LABEL_REPEATED }

    /// Whether the field is one of several of which at most one is set.
    public var isOneofMember: Bool { pointer.pointee.flags & PROTOBUF_C_FIELD_FLAG_ONEOF.rawValue != 0 }

    /// What one value is.
    public var kind: Kind {
        switch pointer.pointee.type {
        case PROTOBUF_C_TYPE_INT32, PROTOBUF_C_TYPE_SINT32, PROTOBUF_C_TYPE_SFIXED32: return .int32
        case PROTOBUF_C_TYPE_UINT32, PROTOBUF_C_TYPE_FIXED32: return .uint32
        case PROTOBUF_C_TYPE_INT64, PROTOBUF_C_TYPE_SINT64, PROTOBUF_C_TYPE_SFIXED64: return .int64
        case PROTOBUF_C_TYPE_UINT64, PROTOBUF_C_TYPE_FIXED64: return .uint64
        case PROTOBUF_C_TYPE_FLOAT: return .float
        case PROTOBUF_C_TYPE_DOUBLE: return .double
        case PROTOBUF_C_TYPE_BOOL: return .bool
        case PROTOBUF_C_TYPE_STRING: return .string
        case PROTOBUF_C_TYPE_BYTES: return .bytes
        case PROTOBUF_C_TYPE_ENUM:
            return .enumeration(
                EnumDescriptor(pointer.pointee.descriptor.assumingMemoryBound(to: ProtobufCEnumDescriptor.self)))
        default:
            precondition(pointer.pointee.type == PROTOBUF_C_TYPE_MESSAGE, "unknown protobuf-c field type")
            return .message(
                MessageDescriptor(
                    pointer.pointee.descriptor.assumingMemoryBound(to: ProtobufCMessageDescriptor.self)))
        }
    }

    /// Bytes from one value to the next in the array of a repeated field.
    var stride: Int {
        switch kind {
        case .int32, .uint32, .float, .bool, .enumeration: 4
        case .int64, .uint64, .double, .string, .message: 8
        case .bytes: MemoryLayout<ProtobufCBinaryData>.stride
        }
    }

    /// Two members of one oneof share the place where the chosen member's number is kept.
    var oneofIdentity: UInt32? { isOneofMember ? pointer.pointee.quantifier_offset : nil }

    /// The entry type if the field is a map. protobuf-c keeps no flag for it, so it is told by its shape: a list of
    /// `Parent.FieldNameEntry` with the fields `key` = 1 and `value` = 2.
    func mapEntry(in parent: MessageDescriptor) -> MapEntry? {
        guard isRepeated, case .message(let entry) = kind, entry.pointee.n_fields == 2,
            let key = entry.field(number: 1), let value = entry.field(number: 2),
            key.name == "key", value.name == "value", !key.isRepeated, !value.isRepeated,
            entry.fullName == parent.fullName + "." + upperCamelCase(name) + "Entry"
        else { return nil }
        return MapEntry(descriptor: entry, key: key, value: value)
    }
}

/// The entry type of a map field.
struct MapEntry {
    var descriptor: MessageDescriptor
    var key: FieldDescriptor
    var value: FieldDescriptor
}

/// An enumeration type.
public struct EnumDescriptor: Hashable, @unchecked Sendable {
    // Safe to send: it points to constant data of the program's image.
    let pointer: UnsafePointer<ProtobufCEnumDescriptor>

    init(_ pointer: UnsafePointer<ProtobufCEnumDescriptor>) {
        self.pointer = pointer
    }

    /// The name with its package.
    public var fullName: String { String(cString: pointer.pointee.name) }

    /// Every name, aliases too, sorted.
    public var names: [String] {
        (0..<Int(pointer.pointee.n_value_names)).map { String(cString: pointer.pointee.values_by_name[$0].name) }
    }

    /// The name of a number, or nil for one that this build does not know.
    public func name(of number: Int32) -> String? {
        protobuf_c_enum_descriptor_get_value(pointer, number).map { String(cString: $0.pointee.name) }
    }

    /// The number of a name, or nil.
    public func number(of name: String) -> Int32? {
        guard !name.utf8.contains(0) else { return nil }
        return protobuf_c_enum_descriptor_get_value_by_name(pointer, name)?.pointee.value
    }
}

extension MessageDescriptor {
    fileprivate var pointee: ProtobufCMessageDescriptor { pointer.pointee }
}

/// The types with a JSON form of their own. Source: proto3 JSON mapping.
enum WellKnownType {
    case any, structure, value, listValue, duration, timestamp, fieldMask, wrapper

    init?(_ descriptor: MessageDescriptor) {
        let name = descriptor.fullName
        guard name.hasPrefix("google.protobuf.") else { return nil }
        switch name.dropFirst("google.protobuf.".count) {
        case "Any": self = .any
        case "Struct": self = .structure
        case "Value": self = .value
        case "ListValue": self = .listValue
        case "Duration": self = .duration
        case "Timestamp": self = .timestamp
        case "FieldMask": self = .fieldMask
        case "DoubleValue", "FloatValue", "Int64Value", "UInt64Value", "Int32Value", "UInt32Value", "BoolValue",
            "StringValue", "BytesValue":
            self = .wrapper
        default: return nil
        }
    }
}

/// `lb_policy` → `lbPolicy`. Source: protoc's ToJsonName.
func lowerCamelCase(_ name: String) -> String { camelCase(name, capital: false) }

/// `lb_policy` → `LbPolicy`.
func upperCamelCase(_ name: String) -> String { camelCase(name, capital: true) }

private func camelCase(_ name: String, capital: Bool) -> String {
    var capital = capital
    var result: [UInt8] = []
    result.reserveCapacity(name.utf8.count)
    for byte in name.utf8 {
        if byte == UInt8(ascii: "_") {
            capital = true
        } else {
            let isLower = byte >= UInt8(ascii: "a") && byte <= UInt8(ascii: "z")
            result.append(capital && isLower ? byte - 32 : byte)
            capital = false
        }
    }
    return String(decoding: result, as: UTF8.self)
}

/// `lbPolicy` → `lb_policy`.
func snakeCase(_ name: String) -> String {
    var result: [UInt8] = []
    for byte in name.utf8 {
        if byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "Z") {
            result.append(UInt8(ascii: "_"))
            result.append(byte + 32)
        } else {
            result.append(byte)
        }
    }
    return String(decoding: result, as: UTF8.self)
}
