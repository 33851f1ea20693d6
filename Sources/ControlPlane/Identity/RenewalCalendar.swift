import Identity
import Time

/// Which holders' certificates are looked at in which second. A holder may stand in several: what is due is for the
/// caller to decide by the holder's own schedule.
struct RenewalCalendar {
    private var days: [Int64: [HolderID]] = [:]
    /// Keys of ``days``, descending: the next is the last.
    private var order: [Int64] = []

    /// The next second in which something is due.
    var next: Timestamp? { order.last.map { Timestamp(seconds: $0) } }

    mutating func add(_ holder: HolderID, at moment: Timestamp) {
        // Rounded up: nothing is looked at early, and then again.
        let second = Timestamp(nanoseconds: moment.nanoseconds - 1).seconds + 1
        if days[second]?.append(holder) != nil { return }
        days[second] = [holder]
        var (low, high) = (0, order.count)
        while low < high {
            let middle = (low + high) / 2
            if order[middle] > second { low = middle + 1 } else { high = middle }
        }
        order.insert(second, at: low)
    }

    /// Takes out holders that are due, earliest first.
    /// - Parameter limit: about how many; a second is taken whole.
    mutating func take(now: Timestamp, limit: Int) -> [HolderID] {
        var due: [HolderID] = []
        while due.count < limit, let second = order.last, Timestamp(seconds: second) <= now {
            order.removeLast()
            due += days.removeValue(forKey: second) ?? []
        }
        return due
    }
}
