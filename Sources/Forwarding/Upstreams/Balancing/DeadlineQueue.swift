/// What comes first is taken first; among equals, what was put in first.
struct DeadlineQueue<Key: Comparable, Value> {
    private struct Entry {
        var key: Key
        var order: UInt64
        var value: Value

        func comes(before other: Entry) -> Bool {
            key < other.key || (key == other.key && order < other.order)
        }
    }

    private var heap: [Entry] = []
    private var order: UInt64 = 0

    var count: Int { heap.count }
    var isEmpty: Bool { heap.isEmpty }
    var first: (key: Key, value: Value)? { heap.first.map { ($0.key, $0.value) } }

    mutating func reserve(_ count: Int) { heap.reserveCapacity(count) }

    mutating func insert(_ value: Value, at key: Key) {
        heap.append(Entry(key: key, order: order, value: value))
        order += 1
        var place = heap.count - 1
        while place > 0 {
            let parent = (place - 1) / 2
            guard heap[place].comes(before: heap[parent]) else { return }
            heap.swapAt(place, parent)
            place = parent
        }
    }

    mutating func removeFirst() -> (key: Key, value: Value) {
        let first = heap[0]
        let last = heap.removeLast()
        if !heap.isEmpty {
            heap[0] = last
            sink()
        }
        return (first.key, first.value)
    }

    /// Puts the first in again, at another key.
    mutating func moveFirst(to key: Key) {
        heap[0].key = key
        heap[0].order = order
        order += 1
        sink()
    }

    /// Drops what is not worth keeping.
    mutating func keep(_ isKept: (Value) -> Bool) {
        let kept = heap.filter { isKept($0.value) }
        heap = []
        for entry in kept { insert(entry.value, at: entry.key) }
    }

    private mutating func sink() {
        var place = 0
        while true {
            var child = place * 2 + 1
            guard child < heap.count else { return }
            if child + 1 < heap.count, heap[child + 1].comes(before: heap[child]) { child += 1 }
            guard heap[child].comes(before: heap[place]) else { return }
            heap.swapAt(place, child)
            place = child
        }
    }
}

/// Round robin by weight: who has weight 2 comes twice as often as who has weight 1, evenly spread (earliest deadline
/// first: each comes again 1/weight after its last turn).
struct WeightedTurns {
    private var queue = DeadlineQueue<Double, Int>()

    /// - Parameters:
    ///   - weights: those of 0 or less get no turn.
    ///   - start: how far into the sequence to start, from 0 up to 1 for the turn of a weight of 1, so that proxies
    ///     that get the same hosts do not all begin with the same one.
    init(_ weights: [Double], start: Double = 0) {
        queue.reserve(weights.count)
        for (index, weight) in weights.enumerated() where weight > 0 {
            queue.insert(index, at: ((start * weight).rounded(.down) + 1) / weight)
        }
    }

    /// - Parameter weight: what the one whose turn it is weighs now.
    mutating func next(_ weight: (Int) -> Double) -> Int? {
        guard let first = queue.first else { return nil }
        queue.moveFirst(to: first.key + 1 / max(weight(first.value), 1e-9))
        return first.value
    }
}
