/// A header list under construction by a parser: fields are written straight into the buffer that becomes the list.
public struct HeaderListBuilder: Sendable {
    /// Of these bytes the first `used` mean something.
    @usableFromInline var storage: [UInt8] = []
    @usableFromInline var used = 0
    @usableFromInline var fields = 0

    public init() {}

    /// The number of fields.
    public var count: Int { fields }

    /// What the fields take, 8 bytes more than its name and value for each.
    public var bytes: Int { used }

    /// Makes room for so many bytes more; each field takes 8 bytes more than its name and value.
    @inlinable
    public mutating func reserve(_ bytes: Int) {
        if storage.count - used < bytes { grow(by: bytes) }
    }

    @inline(never) @usableFromInline
    mutating func grow(by bytes: Int) {
        // A head grows a little on its way through a proxy.
        let capacity = max(512, used + bytes, used * 2)
        var new: [UInt8] = []
        new.reserveCapacity(capacity)
        new.append(contentsOf: storage[..<used])
        new.append(contentsOf: repeatElement(0, count: capacity - used))
        storage = new
    }

    /// Appends the field that `write` makes.
    /// - Parameters:
    ///   - room: the most that name and value take together.
    ///   - write: writes the name, and the value directly after it, and tells their lengths; nil for no field.
    /// - Returns: whether there is one.
    @inlinable
    public mutating func append(
        room: Int, _ write: (_ start: UnsafeMutablePointer<UInt8>) -> (name: Int, value: Int)?
    ) -> Bool {
        reserve(room + 8)
        let used = used
        let written: Int? = storage.withUnsafeMutableBytes { bytes in
            guard let base = bytes.baseAddress else { return nil }
            let field = base + used
            guard let (name, value) = write((field + 8).assumingMemoryBound(to: UInt8.self)) else { return nil }
            precondition(name + value <= room, "a header field larger than was said")
            field.storeBytes(of: UInt32(truncatingIfNeeded: name), as: UInt32.self)
            field.storeBytes(of: UInt32(truncatingIfNeeded: value), toByteOffset: 4, as: UInt32.self)
            return 8 + name + value
        }
        guard let written else { return false }
        self.used += written
        fields += 1
        return true
    }

    /// Appends a field; both buffers are copied.
    @inlinable
    public mutating func append(_ name: StaticString, value: UnsafeRawBufferPointer) {
        _ = append(room: name.utf8CodeUnitCount + value.count) { start in
            start.update(from: name.utf8Start, count: name.utf8CodeUnitCount)
            UnsafeMutableRawBufferPointer(start: start + name.utf8CodeUnitCount, count: value.count)
                .copyMemory(from: value)
            return (name.utf8CodeUnitCount, value.count)
        }
    }

    /// Inserts a field where the list had `offset` bytes.
    public mutating func insert(_ name: StaticString, value: UnsafeRawBufferPointer, at offset: Int) {
        let before = used
        append(name, value: value)
        guard offset < before else { return }
        let field = Array(storage[before..<used])
        storage.withUnsafeMutableBytes { bytes in
            let rest = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(bytes)[offset..<before])
            UnsafeMutableRawBufferPointer(rebasing: bytes[(offset + field.count)...]).copyMemory(from: rest)
            field.withUnsafeBytes { UnsafeMutableRawBufferPointer(rebasing: bytes[offset...]).copyMemory(from: $0) }
        }
    }

    /// Calls `body` with the field that begins at `offset` bytes.
    @inlinable
    public func withField<Result>(
        at offset: Int, _ body: (_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) -> Result
    ) -> Result {
        storage.withUnsafeBytes { bytes in
            let field = FieldPlace(at: offset, in: bytes)
            return body(field.name(in: bytes), field.value(in: bytes))
        }
    }

    /// Takes the last field away, which begins at `offset` bytes.
    public mutating func removeLast(from offset: Int) {
        precondition(offset < used && fields > 0, "no field to remove")
        used = offset
        fields -= 1
    }

    /// The list; the builder is empty afterwards.
    public mutating func finish() -> HeaderList {
        var bytes: [UInt8] = []
        swap(&bytes, &storage)
        bytes.removeLast(bytes.count - used)
        let list = HeaderList(storage: bytes, count: fields)
        (used, fields) = (0, 0)
        return list
    }
}
