import CProtobufC

/// Owns the memory of the messages made in it or decoded into it, and frees it as one. Memory is taken in chunks that
/// grow from 1 KiB to 64 KiB. Not for use from two threads at once.
public final class Arena {
    private let storage: UnsafeMutablePointer<ArenaStorage>

    public init() {
        storage = .allocate(capacity: 1)
        storage.initialize(to: ArenaStorage())
    }

    deinit {
        storage.pointee.freeChunks()
        storage.deinitialize(count: 1)
        storage.deallocate()
    }

    /// Bytes that the arena holds from the system.
    public var reservedBytes: Int { storage.pointee.reserved }

    /// Makes a message with its default values and fills it. Set the members of a oneof with the generated setters:
    /// one without its case is silently left out by protobuf-c.
    public func make<M: ProtobufMessage>(
        _ type: M.Type = M.self, _ fill: (inout M) -> Void = { _ in }
    ) -> UnsafeMutablePointer<M> {
        let message = make(M.descriptor).pointer.bindMemory(to: M.self, capacity: 1)
        fill(&message.pointee)
        return message
    }

    /// Makes a message, whose type is known at run time only, with its default values.
    public func make(_ descriptor: MessageDescriptor) -> DynamicMessage {
        let message = allocate(descriptor.pointer.pointee.sizeof_message)
        descriptor.pointer.pointee.message_init(message.assumingMemoryBound(to: ProtobufCMessage.self))
        return DynamicMessage(descriptor: descriptor, pointer: message)
    }

    /// The string as C wants it. It must hold no NUL, which would cut it short for every reader: the decoders of this
    /// module let none in.
    public func callAsFunction(_ string: String) -> UnsafeMutablePointer<CChar> {
        var string = string
        return string.withUTF8 { utf8 in
            let copy = allocate(utf8.count + 1)
            if let start = utf8.baseAddress { copy.copyMemory(from: start, byteCount: utf8.count) }
            copy.storeBytes(of: 0, toByteOffset: utf8.count, as: UInt8.self)
            precondition(!utf8.contains(0), "a protobuf string with an embedded NUL")
            return copy.assumingMemoryBound(to: CChar.self)
        }
    }

    /// A copy of the bytes.
    public func bytes(_ source: UnsafeRawBufferPointer) -> ProtobufCBinaryData {
        guard let start = source.baseAddress, !source.isEmpty else { return ProtobufCBinaryData() }
        let copy = allocate(source.count)
        copy.copyMemory(from: start, byteCount: source.count)
        return ProtobufCBinaryData(len: source.count, data: copy.assumingMemoryBound(to: UInt8.self))
    }

    /// A copy of the bytes.
    public func bytes(_ source: [UInt8]) -> ProtobufCBinaryData {
        source.withUnsafeBytes { bytes($0) }
    }

    /// The count and the array for a repeated message field: `(c.n_x, c.x) = arena.list(a, b)`.
    public func list<M>(
        _ items: UnsafeMutablePointer<M>...
    ) -> (Int, UnsafeMutablePointer<UnsafeMutablePointer<M>?>?) {
        list(items)
    }

    /// The count and the array for a repeated message field.
    public func list<M>(
        _ items: [UnsafeMutablePointer<M>]
    ) -> (Int, UnsafeMutablePointer<UnsafeMutablePointer<M>?>?) {
        values(items.map { Optional($0) })
    }

    /// The count and the array for a repeated string field.
    public func strings(_ items: [String]) -> (Int, UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?) {
        values(items.map { Optional(self($0)) })
    }

    /// The count and the array for a repeated number, bool or enum field.
    public func values<T: BitwiseCopyable>(_ items: [T]) -> (Int, UnsafeMutablePointer<T>?) {
        guard !items.isEmpty else { return (0, nil) }
        let array = allocate(items.count * MemoryLayout<T>.stride).bindMemory(to: T.self, capacity: items.count)
        array.initialize(from: items, count: items.count)
        return (items.count, array)
    }

    /// Stores the value of a bytes field.
    func storeBytes(_ source: [UInt8], at address: UnsafeMutableRawPointer) {
        address.storeBytes(of: bytes(source), as: ProtobufCBinaryData.self)
    }

    /// Uninitialised memory, aligned to 8 bytes.
    func allocate(_ size: Int) -> UnsafeMutableRawPointer {
        guard let memory = storage.pointee.allocate(size, limit: .max) else {
            preconditionFailure("an allocation of \(size) bytes in an arena")
        }
        return memory
    }

    /// Lends the arena as a protobuf-c allocator that fails once it has given out `limit` bytes.
    func withAllocator<R>(limit: Int, _ body: (UnsafeMutablePointer<ProtobufCAllocator>) -> R) -> R {
        storage.pointee.remaining = limit
        var allocator = ProtobufCAllocator(
            alloc: { storage, size in
                guard let storage = storage?.assumingMemoryBound(to: ArenaStorage.self) else { return nil }
                return storage.pointee.allocateWithinLimit(size)
            },
            free: { _, _ in },
            allocator_data: storage)
        return body(&allocator)
    }
}

/// The arena's memory, apart from the class so that C callbacks reach it without reference counting.
private struct ArenaStorage {
    /// At the start of each chunk.
    private struct ChunkHeader {
        var previous: UnsafeMutableRawPointer?
        var padding = 0
    }

    private var next: UnsafeMutableRawPointer?
    private var left = 0
    private var chunks: UnsafeMutableRawPointer?
    private var chunkSize = 1024
    var reserved = 0
    /// What the allocator lent last may still give out.
    var remaining = 0

    mutating func allocateWithinLimit(_ size: Int) -> UnsafeMutableRawPointer? {
        guard let memory = allocate(size, limit: remaining) else { return nil }
        remaining -= size
        return memory
    }

    mutating func allocate(_ size: Int, limit: Int) -> UnsafeMutableRawPointer? {
        guard size >= 0, size <= limit, size <= Int(Int32.max) else { return nil }
        let aligned = max(8, (size + 7) & ~7)
        if aligned > left {
            // A large block gets a chunk of its own, so that the current one goes on being filled.
            guard aligned <= chunkSize / 2 else { return addChunk(aligned) }
            next = addChunk(chunkSize)
            left = chunkSize
            chunkSize = min(chunkSize * 2, 65536)
        }
        guard let memory = next else { return nil }
        next = memory + aligned
        left -= aligned
        return memory
    }

    private mutating func addChunk(_ size: Int) -> UnsafeMutableRawPointer {
        let header = MemoryLayout<ChunkHeader>.stride
        let chunk = UnsafeMutableRawPointer.allocate(byteCount: header + size, alignment: 16)
        chunk.initializeMemory(as: ChunkHeader.self, to: ChunkHeader(previous: chunks))
        chunks = chunk
        reserved += header + size
        return chunk + header
    }

    mutating func freeChunks() {
        while let chunk = chunks {
            chunks = chunk.load(as: ChunkHeader.self).previous
            chunk.deallocate()
        }
    }
}
