/// How much of the load, in percent, goes to which priority.
/// Source: Envoy, "Priority levels", "Degraded endpoints" and "Panic threshold"; whole numbers as Envoy rounds them.
struct PriorityLoad: Equatable {
    /// What the formula takes of one priority.
    struct Level {
        /// Without those that are left out of the count.
        var counted: Int
        var healthy: Int
        var degraded: Int
        /// The three by weight, where weights are counted.
        var countedWeight: Int
        var healthyWeight: Int
        var degradedWeight: Int
        /// With those that are left out.
        var all: Int
    }

    /// By priority.
    private(set) var healthy: [Int]
    private(set) var degraded: [Int]
    private(set) var isInPanic: [Bool]

    /// - Parameters:
    ///   - overprovisioning: percent.
    ///   - excluded: priorities that get nothing, as far as others can.
    init(
        _ levels: [Level], overprovisioning: Int, countsWeights: Bool, panicThreshold: Int,
        excluded: Set<Int> = []
    ) {
        func share(_ part: (Level) -> Int, _ weight: (Level) -> Int) -> [Int] {
            levels.enumerated().map { index, level in
                let total = countsWeights ? level.countedWeight : level.counted
                guard total > 0, !excluded.contains(index) else { return 0 }
                let (product, overflows) = overprovisioning.multipliedReportingOverflow(
                    by: countsWeights ? weight(level) : part(level))
                // Weights add up to 32 bits at most: what is more than 63 of them is more than enough.
                return overflows ? 100 : min(100, product / total)
            }
        }
        let health = share(\.healthy, \.healthyWeight)
        let degradation = share(\.degraded, \.degradedWeight)
        healthy = levels.map { _ in 0 }
        degraded = healthy
        isInPanic = levels.map { _ in false }
        guard !levels.isEmpty else { return }

        let total = min(100, health.reduce(0, +) + degradation.reduce(0, +))
        if total > 0 {
            var left = 100
            for index in levels.indices {
                healthy[index] = min(left, health[index] * 100 / total)
                left -= healthy[index]
            }
            for index in levels.indices {
                degraded[index] = min(left, degradation[index] * 100 / total)
                left -= degraded[index]
            }
            // What rounding left over goes to the first that can take it.
            if let first = health.firstIndex(where: { $0 > 0 }) {
                healthy[first] += left
            } else if let first = degradation.firstIndex(where: { $0 > 0 }) {
                degraded[first] += left
            }
        }
        if total == 0, panicThreshold == 0 {
            // Nobody can serve and nobody panics: the pick finds no host.
            healthy[0] = 100
            return
        }
        // Enough healthy hosts in all priorities together: none panics, however few its own are.
        guard total < 100 else { return }
        for (index, level) in levels.enumerated() {
            let usable = level.counted == 0 ? 0 : 100 * Double(level.healthy + level.degraded) / Double(level.counted)
            isInPanic[index] = usable < Double(panicThreshold)
        }
        if isInPanic.allSatisfy({ $0 }) { spreadByCount(levels) }
    }

    /// All panic: each priority gets its share of all hosts, whatever their health.
    private mutating func spreadByCount(_ levels: [Level]) {
        let total = levels.reduce(0) { $0 + $1.all }
        guard let first = levels.firstIndex(where: { $0.all > 0 }) else {
            healthy[0] = 100
            return
        }
        var left = 100
        for (index, level) in levels.enumerated() {
            healthy[index] = 100 * level.all / total
            degraded[index] = 0
            left -= healthy[index]
        }
        healthy[first] += left
    }

    /// - Parameter number: any; its remainder by 100 chooses.
    func choice(_ number: UInt64) -> (priority: Int, isDegraded: Bool) {
        let place = Int(number % 100) + 1
        var sum = 0
        for (index, load) in healthy.enumerated() {
            sum += load
            if place <= sum { return (index, false) }
        }
        for (index, load) in degraded.enumerated() {
            sum += load
            if place <= sum { return (index, true) }
        }
        return (0, false)
    }
}
