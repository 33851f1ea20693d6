import Time

/// Events in the order of their moments; those of one moment in the order in which they were put in.
struct EventQueue<Event> {
    /// A binary heap.
    private var entries: [(at: Timestamp, number: Int, event: Event)] = []
    private var lastNumber = 0

    var firstMoment: Timestamp? { entries.first?.at }

    mutating func insert(_ event: Event, at moment: Timestamp) {
        lastNumber += 1
        entries.append((moment, lastNumber, event))
        var child = entries.count - 1
        while child > 0, isEarlier(child, (child - 1) / 2) {
            entries.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    mutating func removeFirst() -> (at: Timestamp, event: Event)? {
        guard let first = entries.first, let last = entries.popLast() else { return nil }
        if entries.isEmpty { return (first.at, first.event) }
        entries[0] = last
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < entries.count && isEarlier(child, least) {
                least = child
            }
            if least == parent { return (first.at, first.event) }
            entries.swapAt(parent, least)
            parent = least
        }
    }

    private func isEarlier(_ left: Int, _ right: Int) -> Bool {
        (entries[left].at, entries[left].number) < (entries[right].at, entries[right].number)
    }
}
