import Foundation

/// The seeds that a simulation runs with: `SEEDS=n` for so many, `SOAK=n` for as many as fit into n seconds,
/// `FROM=n` to start elsewhere than at 1.
struct SimulationSeeds: Sequence, IteratorProtocol {
    private var seed: Int
    private var left: Int
    private let end: ContinuousClock.Instant?

    /// - Parameter count: where nothing else is said.
    init(count: Int, environment: [String: String] = ProcessInfo.processInfo.environment) {
        func number(_ name: String) -> Int? { environment[name].flatMap(Int.init) }
        let seconds = number("SOAK")
        end = seconds.map { ContinuousClock.now + .seconds($0) }
        left = seconds == nil ? number("SEEDS") ?? count : .max
        seed = number("FROM") ?? 1
    }

    mutating func next() -> Int? {
        guard left > 0 else { return nil }
        if let end, ContinuousClock.now >= end { return nil }
        defer { (seed, left) = (seed + 1, left - 1) }
        return seed
    }
}
