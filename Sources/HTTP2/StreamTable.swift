/// What is kept for each open stream, found by its number. Numbers only rise, so that a new one goes to the
/// end; what is removed leaves a hole until holes prevail. A connection with one stream pays for one. Inlinable, so that the
/// modules above get it specialized.
package struct StreamTable<Value> {
    @usableFromInline var ids: [HTTP2StreamID] = []
    @usableFromInline var values: [Value?] = []
    @usableFromInline var filled = 0

    @inlinable package init() {}

    @inlinable package var count: Int { filled }

    @inlinable package var isEmpty: Bool { count == 0 }

    /// The number of entries held, holes included, for tests of the bound.
    @inlinable package var footprint: Int { ids.count }

    @inlinable package func contains(_ id: HTTP2StreamID) -> Bool {
        guard let index = index(of: id) else { return false }
        return values[index] != nil
    }

    /// Adds a stream whose number is above all before.
    @inlinable package mutating func insert(_ value: Value, at id: HTTP2StreamID) {
        precondition(ids.last.map { $0 < id } ?? true, "stream numbers rise")
        if ids.isEmpty {
            ids.reserveCapacity(1)
            values.reserveCapacity(1)
        }
        ids.append(id)
        values.append(value)
        filled += 1
    }

    @inlinable package subscript(id: HTTP2StreamID) -> Value? {
        guard let index = index(of: id) else { return nil }
        return values[index]
    }

    /// Changes a stream in place; nil if there is none.
    @inlinable package mutating func update<Result>(_ id: HTTP2StreamID, _ body: (inout Value) -> Result) -> Result? {
        guard let index = index(of: id), values[index] != nil else { return nil }
        return body(&values[index]!)
    }

    @discardableResult @inlinable
    package mutating func remove(_ id: HTTP2StreamID) -> Value? {
        guard let index = index(of: id), let value = values[index] else { return nil }
        values[index] = nil
        filled -= 1
        if count == 0 {
            ids.removeAll(keepingCapacity: ids.count <= 4)
            values.removeAll(keepingCapacity: values.count <= 4)
        } else if ids.count > 2 * count + 8 {
            compact()
        }
        return value
    }

    /// The numbers of all streams, rising.
    @inlinable package var streams: [HTTP2StreamID] {
        ids.indices.filter { values[$0] != nil }.map { ids[$0] }
    }

    @inlinable mutating func compact() {
        let kept = ids.indices.filter { values[$0] != nil }
        ids = kept.map { ids[$0] }
        values = kept.map { values[$0] }
    }

    @inlinable func index(of id: HTTP2StreamID) -> Int? {
        var (low, high) = (0, ids.count)
        while low < high {
            let middle = (low + high) / 2
            if ids[middle] < id { low = middle + 1 } else { high = middle }
        }
        return low < ids.count && ids[low] == id ? low : nil
    }
}
