import CProtobufC

/// A generated message struct (C layout). The conformances are generated in module `EnvoyAPI`.
public protocol ProtobufMessage {
    /// Zeroed, and therefore not yet a message: make messages with ``Arena/make(_:_:)``.
    init()
    static var descriptor: MessageDescriptor { get }
}

/// The message's bytes. Deterministic: fields by number, lists and maps in the order of the message, then the fields
/// that its type does not know, in the order in which they came.
///
/// A float or double of -0.0 outside a list, map or oneof is left out like 0.0 (protobuf-c compares with ==).
public func encode<M: ProtobufMessage>(_ message: UnsafePointer<M>) -> [UInt8] {
    encode(DynamicMessage(message))
}

/// The message's bytes.
public func encode<M: ProtobufMessage>(_ message: UnsafeMutablePointer<M>) -> [UInt8] {
    encode(DynamicMessage(message))
}

/// The message's bytes.
public func encode(_ message: DynamicMessage) -> [UInt8] {
    let base = UnsafePointer(message.pointer.assumingMemoryBound(to: ProtobufCMessage.self))
    let size = protobuf_c_message_get_packed_size(base)
    return [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
        guard let start = buffer.baseAddress else { return }  // an empty message
        count = protobuf_c_message_pack(base, start)
    }
}

extension Arena {
    /// Decodes a message from outside bytes into the arena, after the guard has walked them.
    /// - Parameters:
    ///   - bytes: the whole message; not kept.
    ///   - limits: what one message may cost.
    ///   - types: the contents of `Any` whose type is here are walked too; others stay opaque.
    /// - Returns: a message that lives as long as the arena.
    /// - Throws: the first thing that is wrong, with its path and byte offset. What the failed decoding took stays in
    ///   the arena until the arena goes.
    public func decode<M: ProtobufMessage>(
        _ type: M.Type = M.self, from bytes: UnsafeRawBufferPointer, limits: DecodingLimits = .standard,
        types: TypeRegistry = .empty
    ) throws(ProtobufError) -> UnsafeMutablePointer<M> {
        try decode(M.descriptor, from: bytes, limits: limits, types: types)
            .pointer.assumingMemoryBound(to: M.self)
    }

    /// Decodes a message from outside bytes into the arena, after the guard has walked them.
    public func decode<M: ProtobufMessage>(
        _ type: M.Type = M.self, from bytes: [UInt8], limits: DecodingLimits = .standard,
        types: TypeRegistry = .empty
    ) throws(ProtobufError) -> UnsafeMutablePointer<M> {
        try decode(M.descriptor, from: bytes, limits: limits, types: types)
            .pointer.assumingMemoryBound(to: M.self)
    }

    /// Decodes a message whose type is known at run time only.
    public func decode(
        _ descriptor: MessageDescriptor, from bytes: [UInt8], limits: DecodingLimits = .standard,
        types: TypeRegistry = .empty
    ) throws(ProtobufError) -> DynamicMessage {
        try bytes.withUnsafeBufferPointer { (buffer) throws(ProtobufError) -> DynamicMessage in
            try decode(descriptor, from: UnsafeRawBufferPointer(buffer), limits: limits, types: types)
        }
    }

    /// Decodes a message whose type is known at run time only.
    public func decode(
        _ descriptor: MessageDescriptor, from bytes: UnsafeRawBufferPointer, limits: DecodingLimits = .standard,
        types: TypeRegistry = .empty
    ) throws(ProtobufError) -> DynamicMessage {
        try guardWire(bytes, as: descriptor, limits: limits, types: types)
        let unpacked = withAllocator(limit: limits.memory) { allocator in
            protobuf_c_message_unpack(
                descriptor.pointer, allocator, bytes.count, bytes.baseAddress?.assumingMemoryBound(to: UInt8.self))
        }
        // The guard refuses what protobuf-c would; this is what is left should the two ever disagree.
        guard let unpacked else {
            throw ProtobufError(type: descriptor.fullName, path: "", offset: 0, problem: .undecodable)
        }
        return DynamicMessage(descriptor: descriptor, pointer: UnsafeMutableRawPointer(unpacked))
    }
}
