import Time

/// The moments at which something happens to a cached name, soonest first. A binary heap: what is cancelled or
/// moved stays in it until it comes up or ``removeAll(where:)`` sweeps it out, so an owner must be able to tell
/// the live from the stale.
struct DeadlineQueue: Sendable {
    enum Kind: Int, Sendable {
        /// The server has not sent a requested resource in time.
        case absence
        /// The resource's time to live has passed without a heartbeat.
        case expiry
    }

    struct Item: Sendable {
        var deadline: Instant
        var kind: Kind
        var type: ResourceType
        var name: String

        /// The order of two items at one moment does not matter to the protocol, but must not be random.
        fileprivate func isBefore(_ other: Item) -> Bool {
            (deadline.nanoseconds, type.order, kind.rawValue, name)
                < (other.deadline.nanoseconds, other.type.order, other.kind.rawValue, other.name)
        }
    }

    private var heap: [Item] = []
    /// At this size the owner sweeps; twice what was live after the last sweep, so that sweeping costs O(1) per
    /// insertion.
    private var sweepSize = 64

    var first: Item? { heap.first }
    var count: Int { heap.count }
    var needsSweep: Bool { heap.count > sweepSize }

    mutating func insert(_ item: Item) {
        heap.append(item)
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard heap[child].isBefore(heap[parent]) else { return }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    mutating func removeFirst() -> Item {
        heap.swapAt(0, heap.count - 1)
        let item = heap.removeLast()
        sink(0)
        return item
    }

    mutating func removeAll(where isStale: (Item) -> Bool) {
        heap.removeAll(where: isStale)
        for parent in stride(from: heap.count / 2 - 1, through: 0, by: -1) {
            sink(parent)
        }
        sweepSize = max(64, 2 * heap.count)
    }

    private mutating func sink(_ start: Int) {
        var parent = start
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count && heap[child].isBefore(heap[least])
            {
                least = child
            }
            guard least != parent else { return }
            heap.swapAt(parent, least)
            parent = least
        }
    }
}
