/// Header fields in their order, kept in one buffer: a header block costs one allocation.
///
/// Names are lower case. Values are bytes: HTTP allows more than UTF-8 in them.
public struct HeaderList: Equatable, Sendable {
    /// Per field: length of the name (4 bytes), length of the value (4 bytes), name, value.
    private var storage: [UInt8] = []
    /// The number of fields.
    public private(set) var count = 0

    public init() {}

    /// - Parameter fields: lower-case names and their values, pseudo-header fields first.
    public init(_ fields: [(name: String, value: String)]) {
        for field in fields { append(field.name, field.value) }
    }

    public var isEmpty: Bool { count == 0 }

    /// The size as SETTINGS_MAX_HEADER_LIST_SIZE counts it: names, values, and 32 bytes for each field.
    /// Source: RFC 9113, section 6.5.2.
    public var listSize: Int { storage.count + count * 24 }

    public mutating func append(_ name: String, _ value: String) {
        var (name, value) = (name, value)
        name.withUTF8 { name in
            value.withUTF8 { value in append(name: UnsafeRawBufferPointer(name), value: UnsafeRawBufferPointer(value)) }
        }
    }

    /// Appends a field; both buffers are copied.
    public mutating func append(name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer) {
        if storage.isEmpty { storage.reserveCapacity(256) }
        withUnsafeBytes(of: UInt32(truncatingIfNeeded: name.count)) { storage.append(contentsOf: $0) }
        withUnsafeBytes(of: UInt32(truncatingIfNeeded: value.count)) { storage.append(contentsOf: $0) }
        storage.append(contentsOf: name)
        storage.append(contentsOf: value)
        count += 1
    }

    /// Calls `body` with each field, in order. The buffers are valid during the call only.
    public func forEachField(_ body: (_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) -> Void) {
        storage.withUnsafeBytes { Self.walk($0, body) }
    }

    private static func walk(
        _ bytes: UnsafeRawBufferPointer, _ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer) -> Void
    ) {
        var offset = 0
        while offset < bytes.count {
            let name = Int(bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
            let value = Int(bytes.loadUnaligned(fromByteOffset: offset + 4, as: UInt32.self))
            let start = offset + 8
            body(
                UnsafeRawBufferPointer(rebasing: bytes[start..<start + name]),
                UnsafeRawBufferPointer(rebasing: bytes[start + name..<start + name + value]))
            offset = start + name + value
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
        var found: String?
        forEachField { candidate, value in
            if found == nil, Self.equal(candidate, name) { found = String(decoding: value, as: UTF8.self) }
        }
        return found
    }

    public func contains(_ name: StaticString) -> Bool {
        var found = false
        forEachField { candidate, _ in found = found || Self.equal(candidate, name) }
        return found
    }

    /// All fields as text, for people and tests.
    public var fields: [(name: String, value: String)] {
        var result: [(name: String, value: String)] = []
        forEachField { result.append((String(decoding: $0, as: UTF8.self), String(decoding: $1, as: UTF8.self))) }
        return result
    }

    private static func equal(_ bytes: UnsafeRawBufferPointer, _ name: StaticString) -> Bool {
        bytes.count == name.utf8CodeUnitCount
            && bytes.elementsEqual(UnsafeBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount))
    }
}
