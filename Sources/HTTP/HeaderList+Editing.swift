// Changes in place. Buffers that are passed in are copied; names are in lower case.

extension HeaderList {
    public mutating func append(_ name: StaticString, value: UnsafeRawBufferPointer) {
        append(name: name.bytes, value: value)
    }

    /// Gives a field this one value: the first of its name is replaced where it stands, others go, and without any it
    /// is appended.
    public mutating func set(name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer) {
        guard let first = storage.withUnsafeBytes({ place(of: name, in: $0) }) else {
            append(name: name, value: value)
            return
        }
        precondition(value.count <= UInt32.max, "a header field of more than 4 GiB")
        storage.replaceSubrange(first.valueStart..<first.end, with: value)
        storage.withUnsafeMutableBytes {
            $0.storeBytes(of: UInt32(value.count), toByteOffset: first.start + 4, as: UInt32.self)
        }
        removeAll(from: first.valueStart + value.count) { other, _ in other.equals(name) }
    }

    /// As `set(name:value:)`.
    public mutating func set(_ name: StaticString, value: UnsafeRawBufferPointer) {
        set(name: name.bytes, value: value)
    }

    /// As `set(name:value:)`.
    public mutating func set(_ name: String, _ value: String) {
        var (name, value) = (name, value)
        name.withUTF8 { name in
            value.withUTF8 { value in set(name: UnsafeRawBufferPointer(name), value: UnsafeRawBufferPointer(value)) }
        }
    }

    /// Removes all fields of a name.
    /// - Returns: how many there were.
    @discardableResult
    public mutating func remove(_ name: StaticString) -> Int { remove(bytes: name.bytes) }

    /// Removes all fields of a name.
    /// - Returns: how many there were.
    @discardableResult
    public mutating func remove(bytes name: UnsafeRawBufferPointer) -> Int {
        guard let first = storage.withUnsafeBytes({ place(of: name, in: $0) }) else { return 0 }
        return removeAll(from: first.start) { other, _ in other.equals(name) }
    }

    /// Removes the fields that `predicate` names; the rest keeps its order.
    /// - Returns: how many there were.
    @discardableResult
    public mutating func removeAll(
        where predicate: (_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) -> Bool
    ) -> Int {
        removeAll(from: 0, where: predicate)
    }

    @discardableResult
    private mutating func removeAll(
        from start: Int, where predicate: (UnsafeRawBufferPointer, UnsafeRawBufferPointer) -> Bool
    ) -> Int {
        // A list that nothing is taken from is not copied, if others have it too.
        guard let first = firstPlace(from: start, where: predicate) else { return 0 }
        var removed = 0
        let kept = storage.withUnsafeMutableBytes { bytes in
            var (offset, target) = (first, first)
            while offset < bytes.count {
                let reading = UnsafeRawBufferPointer(bytes)
                let field = FieldPlace(at: offset, in: reading)
                if predicate(field.name(in: reading), field.value(in: reading)) {
                    removed += 1
                } else {
                    if target != offset {
                        UnsafeMutableRawBufferPointer(rebasing: bytes[target..<target + field.end - offset])
                            .copyMemory(from: UnsafeRawBufferPointer(rebasing: reading[offset..<field.end]))
                    }
                    target += field.end - offset
                }
                offset = field.end
            }
            return target
        }
        storage.removeLast(storage.count - kept)
        count -= removed
        return removed
    }

    private func firstPlace(
        from start: Int, where predicate: (UnsafeRawBufferPointer, UnsafeRawBufferPointer) -> Bool
    ) -> Int? {
        storage.withUnsafeBytes { bytes in
            var offset = start
            while offset < bytes.count {
                let field = FieldPlace(at: offset, in: bytes)
                if predicate(field.name(in: bytes), field.value(in: bytes)) { return offset }
                offset = field.end
            }
            return nil
        }
    }

    /// Inserts a field before the one that is at `index` now; at `count` it is appended.
    public mutating func insert(name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer, at index: Int = 0) {
        precondition(index <= count, "an insertion beyond the last header field")
        let offset = storage.withUnsafeBytes { bytes in
            var offset = 0
            for _ in 0..<index { offset = FieldPlace(at: offset, in: bytes).end }
            return offset
        }
        var field: [UInt8] = []
        field.reserveCapacity(8 + name.count + value.count)
        Self.write(name: name, value: value, to: &field)
        storage.insert(contentsOf: field, at: offset)
        count += 1
    }

    /// A copy into which `body` writes each field, changed, more than once or not at all: one pass for any number of
    /// changes.
    /// - Parameter growth: bytes to make room for beyond those of this list.
    @inlinable
    public func rewritten(
        reserving growth: Int = 128,
        _ body: (_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer, _ copy: inout HeaderList) -> Void
    ) -> HeaderList {
        var copy = HeaderList()
        copy.reserveCapacity(storage.count + growth)
        forEachField { body($0, $1, &copy) }
        return copy
    }
}
