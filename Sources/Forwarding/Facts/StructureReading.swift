import CEnvoyAPI
import EnvoyAPI

extension StructureValue {
    /// A `google.protobuf.Value` of a decoded message, whose depth the decoder has bounded.
    public init(_ message: ProtobufValue) {
        switch message.kind {
        case .none, .null_value: self = .null
        case .number_value(let number): self = .number(number)
        case .string_value(let text): self = .string(text)
        case .bool_value(let flag): self = .bool(flag)
        case .struct_value(let structure): self = .object(Self.fields(structure.pointee))
        case .list_value(let list): self = .list(list.pointee.values_list.map { StructureValue($0.pointee) })
        }
    }

    /// The fields of a `google.protobuf.Struct`, in its order.
    public static func fields(_ message: ProtobufStruct) -> [Field] {
        message.fields_list.map { entry in
            Field(entry.pointee.key.string, entry.pointee.value.map { StructureValue($0.pointee) } ?? .null)
        }
    }
}

extension FilterMetadata {
    /// The `filter_metadata` of a resource; its typed part is for extensions that are not here.
    public init(_ message: EnvoyAPI.Metadata) {
        self.init()
        for entry in message.filter_metadata_list {
            merge(entry.pointee.key.string, entry.pointee.value.map { StructureValue.fields($0.pointee) } ?? [])
        }
    }
}
