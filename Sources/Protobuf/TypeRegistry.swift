/// Message types by full name, for what `Any` holds. Immutable; module `EnvoyAPI` provides one with every generated
/// message.
public struct TypeRegistry: Sendable {
    /// A hash table with open addressing, a power of two in size and at most half full. Keyed by the bytes of names,
    /// so that a lookup on the wire makes no String.
    private let slots: [MessageDescriptor?]

    /// Holds no type: every `Any` stays opaque.
    public static let empty = TypeRegistry(descriptors: [])

    public init(descriptors: [MessageDescriptor]) {
        var size = 2
        while size < descriptors.count * 2 { size *= 2 }
        var slots = [MessageDescriptor?](repeating: nil, count: size)
        for descriptor in descriptors {
            let name = Array(descriptor.fullName.utf8)
            var slot = name.withUnsafeBytes { Self.hash($0) } & (size - 1)
            while let other = slots[slot], other.fullName != descriptor.fullName { slot = (slot + 1) & (size - 1) }
            slots[slot] = descriptor
        }
        self.slots = slots
    }

    /// Every type, sorted by name.
    public var descriptors: [MessageDescriptor] {
        slots.compactMap { $0 }.sorted { $0.fullName < $1.fullName }
    }

    /// The type of that full name, or nil.
    public subscript(fullName: String) -> MessageDescriptor? {
        var fullName = fullName
        return fullName.withUTF8 { descriptor(nameBytes: UnsafeRawBufferPointer($0)) }
    }

    /// The type that a type URL names: what follows its last slash.
    /// - Returns: nil for an unknown type, and for a URL without a slash.
    public func descriptor(typeURL: String) -> MessageDescriptor? {
        var typeURL = typeURL
        return typeURL.withUTF8 { descriptor(typeURLBytes: UnsafeRawBufferPointer($0)) }
    }

    func descriptor(typeURLBytes bytes: UnsafeRawBufferPointer) -> MessageDescriptor? {
        guard let slash = bytes.lastIndex(of: UInt8(ascii: "/")) else { return nil }
        return descriptor(nameBytes: UnsafeRawBufferPointer(rebasing: bytes[(slash + 1)...]))
    }

    private func descriptor(nameBytes name: UnsafeRawBufferPointer) -> MessageDescriptor? {
        var slot = Self.hash(name) & (slots.count - 1)
        while let candidate = slots[slot] {
            if candidate.hasName(name) { return candidate }
            slot = (slot + 1) & (slots.count - 1)
        }
        return nil
    }

    /// FNV-1a. The table is filled by our own types only, so nobody outside can make names collide in it.
    private static func hash(_ bytes: UnsafeRawBufferPointer) -> Int {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return Int(truncatingIfNeeded: hash ^ (hash >> 32)) & Int.max
    }
}

extension MessageDescriptor {
    func hasName(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard let name = pointer.pointee.name else { return false }
        for (index, byte) in bytes.enumerated() {
            // A shorter name ends in 0 here, which differs from `byte` or, if that is 0 too, is caught below.
            guard byte != 0, UInt8(bitPattern: name[index]) == byte else { return false }
        }
        return name[bytes.count] == 0
    }
}
