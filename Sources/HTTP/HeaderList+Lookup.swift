#if canImport(Glibc)
    import Glibc
#endif

// Lookup by bytes, without Strings: a list is short, so a walk that compares lengths first is quicker than an index.

extension StaticString {
    /// The bytes of a name that is written in the source.
    @inlinable public var bytes: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: utf8Start, count: utf8CodeUnitCount)
    }
}

extension UnsafeRawBufferPointer {
    /// Whether the bytes are the same.
    @inlinable public func equals(_ other: UnsafeRawBufferPointer) -> Bool {
        guard count == other.count else { return false }
        guard let mine = baseAddress, let theirs = other.baseAddress, count > 0 else { return true }
        return memcmp(mine, theirs, count) == 0
    }

    /// Whether the bytes are these, letters of ASCII compared without case.
    @inlinable public func equalsIgnoringCase(_ lowerCase: StaticString) -> Bool {
        guard count == lowerCase.utf8CodeUnitCount else { return false }
        for index in 0..<count where self[index].lowerCased != lowerCase.utf8Start[index] { return false }
        return true
    }
}

extension UInt8 {
    /// A letter of ASCII in lower case, other bytes as they are.
    @inlinable public var lowerCased: UInt8 { self >= 0x41 && self <= 0x5a ? self | 0x20 : self }
}

extension HeaderList {
    @inlinable
    func place(of name: UnsafeRawBufferPointer, from start: Int = 0, in bytes: UnsafeRawBufferPointer) -> FieldPlace? {
        var offset = start
        while offset < bytes.count {
            let field = FieldPlace(at: offset, in: bytes)
            if field.nameCount == name.count, field.name(in: bytes).equals(name) { return field }
            offset = field.end
        }
        return nil
    }

    /// Calls `body` with the first value of a field; nil without such a field. The bytes are valid during the call only.
    @inlinable
    public func withValue<Result>(
        of name: StaticString, _ body: (UnsafeRawBufferPointer) throws -> Result
    ) rethrows -> Result? {
        try withValue(ofBytes: name.bytes, body)
    }

    /// Calls `body` with the first value of a field; nil without such a field.
    /// - Parameter name: in lower case.
    @inlinable
    public func withValue<Result>(
        ofBytes name: UnsafeRawBufferPointer, _ body: (UnsafeRawBufferPointer) throws -> Result
    ) rethrows -> Result? {
        try storage.withUnsafeBytes { bytes in
            guard let field = place(of: name, in: bytes) else { return nil }
            return try body(field.value(in: bytes))
        }
    }

    /// Calls `body` with each value of a field, in order.
    @inlinable
    public func forEachValue(of name: StaticString, _ body: (UnsafeRawBufferPointer) throws -> Void) rethrows {
        try forEachValue(ofBytes: name.bytes, body)
    }

    /// Calls `body` with each value of a field, in order.
    @inlinable
    public func forEachValue(
        ofBytes name: UnsafeRawBufferPointer, _ body: (UnsafeRawBufferPointer) throws -> Void
    ) rethrows {
        try storage.withUnsafeBytes { bytes in
            var offset = 0
            while let field = place(of: name, from: offset, in: bytes) {
                try body(field.value(in: bytes))
                offset = field.end
            }
        }
    }

    /// The values of a field joined by commas, as one list. Source: RFC 9110, section 5.3.
    /// - Returns: nil without such a field.
    public func joinedValue(ofBytes name: UnsafeRawBufferPointer) -> [UInt8]? {
        var joined: [UInt8]?
        forEachValue(ofBytes: name) { value in
            if joined == nil {
                joined = Array(value)
            } else {
                joined?.append(UInt8(ascii: ","))
                joined?.append(contentsOf: value)
            }
        }
        return joined
    }

    @inlinable public func contains(_ name: StaticString) -> Bool { contains(bytes: name.bytes) }

    /// - Parameter name: in lower case.
    @inlinable public func contains(bytes name: UnsafeRawBufferPointer) -> Bool {
        storage.withUnsafeBytes { place(of: name, in: $0) != nil }
    }

    /// Whether there is a field with such a name.
    public func contains(namesBeginningWith prefix: StaticString) -> Bool {
        storage.withUnsafeBytes { bytes in
            var offset = 0
            while offset < bytes.count {
                let field = FieldPlace(at: offset, in: bytes)
                if field.nameCount >= prefix.utf8CodeUnitCount,
                    memcmp(bytes.baseAddress! + offset + 8, prefix.utf8Start, prefix.utf8CodeUnitCount) == 0
                {
                    return true
                }
                offset = field.end
            }
            return false
        }
    }

    /// How many fields have this name.
    public func count(ofBytes name: UnsafeRawBufferPointer) -> Int {
        var found = 0
        forEachValue(ofBytes: name) { _ in found += 1 }
        return found
    }

    /// Whether the first value of a field is this; false without such a field.
    @inlinable public func value(of name: StaticString, equals value: StaticString) -> Bool {
        withValue(of: name) { $0.equals(value.bytes) } ?? false
    }
}
