/// A dictionary of results that can be computed again. It forgets the oldest when it holds too many, or too heavy
/// ones; the newest stays whatever it weighs.
struct BoundedMemo<Key: Hashable, Value> {
    let capacity: Int
    let weightLimit: Int
    private var entries: [Key: (value: Value, weight: Int)] = [:]
    private var oldestFirst: [Key] = []
    private(set) var weight = 0

    init(capacity: Int, weightLimit: Int = .max) {
        self.capacity = capacity
        self.weightLimit = weightLimit
    }

    var count: Int { entries.count }
    var values: [Value] { oldestFirst.compactMap { entries[$0]?.value } }

    subscript(key: Key) -> Value? { entries[key]?.value }

    mutating func insert(_ value: Value, for key: Key, weight added: Int = 1) {
        if let old = entries.updateValue((value, added), forKey: key) {
            weight -= old.weight
        } else {
            oldestFirst.append(key)
        }
        weight += added
        while oldestFirst.count > 1, oldestFirst.count > capacity || weight > weightLimit {
            let oldest = oldestFirst.removeFirst()
            guard oldest != key else {
                oldestFirst.append(oldest)
                continue
            }
            if let gone = entries.removeValue(forKey: oldest) { weight -= gone.weight }
        }
    }

    mutating func removeAll() {
        entries = [:]
        oldestFirst = []
        weight = 0
    }
}

extension BoundedMemo: Sendable where Key: Sendable, Value: Sendable {}
