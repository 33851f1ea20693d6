import EnvoyAPI
import Protobuf

/// Looks for what a resource asks and this proxy would ignore: fields that are set and not supported, values of
/// enumerations, unknown fields, and contents of `Any` whose type nobody knows.
public enum FieldAudit {
    /// The most levels of messages, contents of `Any` counted. The decoder's own bound is as large.
    static let deepest = 100

    /// - Throws: the first field, in the order of the message's fields, that is not in the table.
    public static func check(_ message: DynamicMessage, _ supported: SupportedFields) throws(ConfigurationError) {
        try check(message, supported, depth: 1)
    }

    /// Decodes a message from outside bytes, then looks it through.
    public static func decode<M: ProtobufMessage>(
        _ type: M.Type = M.self, _ bytes: [UInt8], in arena: Arena, _ supported: SupportedFields
    ) throws(ConfigurationError) -> UnsafeMutablePointer<M> {
        let message: UnsafeMutablePointer<M>
        do {
            message = try arena.decode(M.self, from: bytes, types: envoyTypes)
        } catch {
            throw ConfigurationError(error)
        }
        try check(DynamicMessage(message), supported)
        return message
    }

    /// Decodes what an `Any` holds, then looks it through.
    /// - Throws: also for an `Any` of another type.
    public static func decode<M: ProtobufMessage>(
        _ type: M.Type = M.self, _ any: ProtobufAny, in arena: Arena, _ supported: SupportedFields
    ) throws(ConfigurationError) -> UnsafeMutablePointer<M> {
        let name = typeName(any)
        guard name == M.descriptor.fullName else {
            throw .unsupported(
                path: "", message: "`\(name.isEmpty ? "no type" : name)` where \(M.descriptor.fullName) is expected")
        }
        return try decode(M.self, Array(any.value_bytes), in: arena, supported)
    }

    /// What an `Any` says it holds: the full name after the last slash of its type URL; empty without one.
    public static func typeName(_ any: ProtobufAny) -> String {
        let url = any.type_url.string
        guard let slash = url.lastIndex(of: "/") else { return "" }
        return String(url[url.index(after: slash)...])
    }

    private static func check(
        _ message: DynamicMessage, _ supported: SupportedFields, depth: Int
    ) throws(ConfigurationError) {
        let name = message.descriptor.fullName
        guard depth <= deepest else { throw .invalid(path: "", message: "nested deeper than \(deepest) levels") }
        guard message.unknownFieldCount == 0 else {
            throw .unsupported(
                path: "", message: "\(message.unknownFieldCount) fields that \(name) does not have in this version")
        }
        if plainTypes.contains(name) { return }
        if name == "google.protobuf.Any" { return try checkContent(of: message, supported, depth: depth) }
        guard let fields = supported[name] else {
            throw .unsupported(path: "", message: "\(name) is not supported here")
        }
        for field in message.descriptor.fields where message.isSet(field) {
            guard let support = fields[field.name] else {
                throw .unsupported(path: field.name, message: "the field of \(name) is not supported")
            }
            if support == .opaque { continue }
            if case .enumeration(let type) = field.kind {
                try checkValues(message, field, type, support)
                continue
            }
            for (place, value) in message.placedMessages(of: field) {
                do {
                    try check(value, supported, depth: depth + 1)
                } catch {
                    throw error.under(field.name + place)
                }
            }
        }
    }

    private static func checkValues(
        _ message: DynamicMessage, _ field: FieldDescriptor, _ type: EnumDescriptor, _ support: SupportedFields.Support
    ) throws(ConfigurationError) {
        for number in message.enumerationValues(field) {
            guard let name = type.name(of: number) else {
                throw .unsupported(path: field.name, message: "\(type.fullName) has no value \(number) in this version")
            }
            if case .values(let names) = support, !names.contains(name) {
                throw .unsupported(
                    path: field.name,
                    message: "`\(name)` is not supported, only \(names.sorted().joined(separator: ", "))")
            }
        }
    }

    private static func checkContent(
        of any: DynamicMessage, _ supported: SupportedFields, depth: Int
    ) throws(ConfigurationError) {
        let url = any.string("type_url") ?? ""
        guard let type = envoyTypes.descriptor(typeURL: url) else {
            throw .unsupported(path: "", message: "the type `\(url)` is not known")
        }
        let arena = Arena()
        let content: DynamicMessage
        do {
            content = try arena.decode(type, from: any.bytes("value") ?? [], types: envoyTypes)
        } catch {
            throw ConfigurationError(error)
        }
        try check(content, supported, depth: depth + 1)
    }

    /// Messages that are values as a whole.
    private static let plainTypes: Set<String> = [
        "google.protobuf.Duration", "google.protobuf.Timestamp", "google.protobuf.Struct", "google.protobuf.Value",
        "google.protobuf.ListValue", "google.protobuf.BoolValue", "google.protobuf.StringValue",
        "google.protobuf.BytesValue", "google.protobuf.Int32Value", "google.protobuf.Int64Value",
        "google.protobuf.UInt32Value", "google.protobuf.UInt64Value", "google.protobuf.FloatValue",
        "google.protobuf.DoubleValue", "google.protobuf.Empty", "google.protobuf.FieldMask",
    ]
}
