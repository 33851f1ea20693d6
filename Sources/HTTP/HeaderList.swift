/// Header fields in their order, kept in one buffer: a header block costs one allocation.
///
/// Names are lower case. Values are bytes: HTTP allows more than UTF-8 in them. What comes from a peer is bounded where
/// it is read; whoever adds to it afterwards looks at `listSize`.
public struct HeaderList: Equatable, Sendable {
    /// Per field: length of the name (4 bytes), length of the value (4 bytes), name, value.
    @usableFromInline var storage: [UInt8] = []
    /// The number of fields.
    public internal(set) var count = 0

    @inlinable public init() {}

    /// - Parameter fields: lower-case names and their values, pseudo-header fields first.
    public init(_ fields: [(name: String, value: String)]) {
        for field in fields { append(field.name, field.value) }
    }

    init(storage: [UInt8], count: Int) {
        (self.storage, self.count) = (storage, count)
    }

    public var isEmpty: Bool { count == 0 }

    /// The size as SETTINGS_MAX_HEADER_LIST_SIZE counts it: names, values, and 32 bytes for each field.
    /// Source: RFC 9113, section 6.5.2.
    public var listSize: Int { storage.count + count * 24 }

    /// Makes room for fields of so many bytes, 8 more for each of them included.
    public mutating func reserveCapacity(_ bytes: Int) {
        storage.reserveCapacity(bytes)
    }

    public mutating func append(_ name: String, _ value: String) {
        var (name, value) = (name, value)
        name.withUTF8 { name in
            value.withUTF8 { value in append(name: UnsafeRawBufferPointer(name), value: UnsafeRawBufferPointer(value)) }
        }
    }

    /// Appends a field; both buffers are copied.
    public mutating func append(name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer) {
        if storage.isEmpty { storage.reserveCapacity(256) }
        Self.write(name: name, value: value, to: &storage)
        count += 1
    }

    static func write(name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer, to storage: inout [UInt8]) {
        precondition(name.count <= UInt32.max && value.count <= UInt32.max, "a header field of more than 4 GiB")
        var lengths = (UInt32(truncatingIfNeeded: name.count), UInt32(truncatingIfNeeded: value.count))
        withUnsafeBytes(of: &lengths) { storage.append(contentsOf: $0) }
        storage.append(contentsOf: name)
        storage.append(contentsOf: value)
    }

    /// Calls `body` with each field, in order. The buffers are valid during the call only.
    @inlinable
    public func forEachField(
        _ body: (_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) throws -> Void
    ) rethrows {
        try storage.withUnsafeBytes { try Self.walk($0, body) }
    }

    @inlinable
    static func walk(
        _ bytes: UnsafeRawBufferPointer, _ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer) throws -> Void
    ) rethrows {
        var offset = 0
        while offset < bytes.count {
            let field = FieldPlace(at: offset, in: bytes)
            try body(field.name(in: bytes), field.value(in: bytes))
            offset = field.end
        }
    }

    /// Calls `body` with each field, then `then` while the buffers of all fields are still valid.
    public func withFields<Result>(
        _ body: (_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) -> Void, then: () -> Result
    ) -> Result {
        storage.withUnsafeBytes { bytes in
            Self.walk(bytes, body)
            return then()
        }
    }

    /// The first value of a field, as text (invalid UTF-8 repaired); nil without such a field.
    public subscript(name: StaticString) -> String? {
        withValue(of: name) { String(decoding: $0, as: UTF8.self) }
    }

    /// All fields as text, for people and tests.
    public var fields: [(name: String, value: String)] {
        var result: [(name: String, value: String)] = []
        forEachField { result.append((String(decoding: $0, as: UTF8.self), String(decoding: $1, as: UTF8.self))) }
        return result
    }
}

/// Where a field lies in the buffer of a list.
@usableFromInline
struct FieldPlace {
    @usableFromInline var start: Int
    @usableFromInline var nameCount: Int
    @usableFromInline var valueCount: Int

    @inlinable
    init(at start: Int, in bytes: UnsafeRawBufferPointer) {
        self.start = start
        nameCount = Int(bytes.loadUnaligned(fromByteOffset: start, as: UInt32.self))
        valueCount = Int(bytes.loadUnaligned(fromByteOffset: start + 4, as: UInt32.self))
    }

    @inlinable var valueStart: Int { start + 8 + nameCount }
    @inlinable var end: Int { start + 8 + nameCount + valueCount }

    @inlinable func name(in bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: bytes[start + 8..<start + 8 + nameCount])
    }

    @inlinable func value(in bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: bytes[valueStart..<valueStart + valueCount])
    }
}
