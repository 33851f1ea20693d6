// What module EnvoyAPI needs of module Protobuf, in its shortest form.
import CProtobufC

public protocol ProtobufMessage {
    init()
    static var descriptor: MessageDescriptor { get }
}

public struct MessageDescriptor: Hashable, @unchecked Sendable {
    let pointer: UnsafePointer<ProtobufCMessageDescriptor>
    public init(_ pointer: UnsafePointer<ProtobufCMessageDescriptor>) { self.pointer = pointer }
    public var fullName: String { String(cString: pointer.pointee.name) }
    public var typeURL: String { "type.googleapis.com/" + fullName }
}

public struct TypeRegistry: Sendable {
    private let byName: [String: MessageDescriptor]
    public init(descriptors: [MessageDescriptor]) {
        byName = Dictionary(descriptors.map { ($0.fullName, $0) }, uniquingKeysWith: { first, _ in first })
    }
    public subscript(fullName: String) -> MessageDescriptor? { byName[fullName] }
    public var descriptors: [MessageDescriptor] { byName.values.sorted { $0.fullName < $1.fullName } }
}

public struct ProtobufError: Error {}

public final class Arena {
    private var blocks: [UnsafeMutableRawPointer] = []
    private var decoded: [UnsafeMutablePointer<ProtobufCMessage>] = []
    public init() {}
    deinit {
        for block in blocks { block.deallocate() }
        for message in decoded { protobuf_c_message_free_unpacked(message, nil) }
    }

    private func allocate(_ size: Int) -> UnsafeMutableRawPointer {
        let block = UnsafeMutableRawPointer.allocate(byteCount: max(size, 1), alignment: 16)
        blocks.append(block)
        return block
    }

    public func make<M: ProtobufMessage>(
        _ type: M.Type = M.self, _ fill: (inout M) -> Void = { _ in }
    ) -> UnsafeMutablePointer<M> {
        let memory = allocate(MemoryLayout<M>.size)
        M.descriptor.pointer.pointee.message_init(memory.assumingMemoryBound(to: ProtobufCMessage.self))
        let message = memory.bindMemory(to: M.self, capacity: 1)
        fill(&message.pointee)
        return message
    }

    public func callAsFunction(_ string: String) -> UnsafeMutablePointer<CChar> {
        let utf8 = Array(string.utf8CString)
        let copy = allocate(utf8.count).bindMemory(to: CChar.self, capacity: utf8.count)
        copy.initialize(from: utf8, count: utf8.count)
        return copy
    }

    public func bytes(_ source: [UInt8]) -> ProtobufCBinaryData {
        let copy = allocate(source.count).bindMemory(to: UInt8.self, capacity: source.count)
        copy.initialize(from: source, count: source.count)
        return ProtobufCBinaryData(len: source.count, data: copy)
    }

    public func list<M>(
        _ items: UnsafeMutablePointer<M>...
    ) -> (Int, UnsafeMutablePointer<UnsafeMutablePointer<M>?>?) { list(items) }

    public func list<M>(
        _ items: [UnsafeMutablePointer<M>]
    ) -> (Int, UnsafeMutablePointer<UnsafeMutablePointer<M>?>?) { values(items.map { Optional($0) }) }

    public func strings(_ items: [String]) -> (Int, UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?) {
        values(items.map { Optional(self($0)) })
    }

    public func values<T: BitwiseCopyable>(_ items: [T]) -> (Int, UnsafeMutablePointer<T>?) {
        guard !items.isEmpty else { return (0, nil) }
        let array = allocate(items.count * MemoryLayout<T>.stride).bindMemory(to: T.self, capacity: items.count)
        array.initialize(from: items, count: items.count)
        return (items.count, array)
    }

    public func decode<M: ProtobufMessage>(
        _ type: M.Type = M.self, from bytes: [UInt8]
    ) throws(ProtobufError) -> UnsafeMutablePointer<M> {
        guard let message = protobuf_c_message_unpack(M.descriptor.pointer, nil, bytes.count, bytes) else {
            throw ProtobufError()
        }
        decoded.append(message)
        return UnsafeMutableRawPointer(message).assumingMemoryBound(to: M.self)
    }
}

public func encode<M: ProtobufMessage>(_ message: UnsafePointer<M>) -> [UInt8] {
    let base = UnsafeRawPointer(message).assumingMemoryBound(to: ProtobufCMessage.self)
    return [UInt8](unsafeUninitializedCapacity: protobuf_c_message_get_packed_size(base)) { buffer, count in
        guard let start = buffer.baseAddress else { return }
        count = protobuf_c_message_pack(base, start)
    }
}

public func encode<M: ProtobufMessage>(_ message: UnsafeMutablePointer<M>) -> [UInt8] {
    encode(UnsafePointer(message))
}
