import Foundation
import Testing

@testable import Identity

/// `SEED=n` replays one seed and prints its trace; `SEEDS=n` runs so many, `FROM=n` starts elsewhere, `WORKLOADS=n`
/// sets how many workloads there are. Give the same `WORKLOADS` when you replay.
@Suite struct RotationSimulationTests {
    private static let parts = 4

    private static func number(_ name: String) -> Int? { ProcessInfo.processInfo.environment[name].flatMap(Int.init) }

    private func simulation(_ seed: Int, keepsTrace: Bool = false, mutant: Mutant? = nil) -> RotationSimulation {
        RotationSimulation(
            seed: UInt64(seed), workloadCount: Self.number("WORKLOADS") ?? (seed % 8 == 0 ? 200 : 25),
            keepsTrace: keepsTrace, mutant: mutant)
    }

    @Test(arguments: 0..<parts) func anyTwoWorkloadsAgreeThroughTenYears(part: Int) {
        if let seed = Self.number("SEED") {
            if part == 0 { replay(seed) }
            return
        }
        let count = Self.number("SEEDS") ?? 8
        let first = Self.number("FROM") ?? 1
        var total = RotationSimulation.Counts()
        var (runs, pairs, failures) = (0, 0, 0)
        for seed in first..<(first + count) where seed % Self.parts == part {
            let run = simulation(seed)
            run.run()
            runs += 1
            pairs += run.checkedPairs
            total.add(run.counts)
            if let violation = run.violations.first {
                Issue.record("\(violation)\nreplay with: SEED=\(seed) swift test --filter RotationSimulationTests")
                failures += 1
                if failures == 10 { break }
            }
        }
        print("\(runs) seeds of ten years, \(pairs) pairs of classes: \(total)")
        // The runs would prove little if nothing happened in them.
        #expect(total.leaves > 500 * runs && total.rootRotations > runs && total.intermediateRotations > runs)
        #expect(runs < 6 || (total.crashes > 0 && total.aborts > 0 && total.forced > 0 && total.sleptThrough > 0))
    }

    private func replay(_ seed: Int) {
        let run = simulation(seed, keepsTrace: true)
        run.run()
        print(run.kinds.sorted { $0.value > $1.value })
        print((run.trace ?? []).joined(separator: "\n"))
        #expect(run.violations.isEmpty, "seed \(seed): \(run.violations)")
    }

    /// Seeds that once failed.
    @Test(arguments: [5, 120, 213]) func seedsThatOnceFailedHold(seed: Int) {
        let run = RotationSimulation(seed: UInt64(seed), workloadCount: 25)
        run.run()
        #expect(run.violations.isEmpty)
    }

    /// The checks can fail: each way to break a rule is seen within a few seeds.
    @Test(arguments: Mutant.allCases) func aBrokenRuleIsSeen(mutant: Mutant) {
        for seed in 1...24 {
            let run = RotationSimulation(seed: UInt64(seed), workloadCount: 25, mutant: mutant)
            run.run()
            guard let violation = run.violations.first else { continue }
            print("\(mutant), seed \(seed), \(violation)")
            return
        }
        Issue.record("\(mutant) goes unseen")
    }
}

extension RotationSimulation.Counts {
    mutating func add(_ other: Self) {
        events += other.events
        leaves += other.leaves
        rootRotations += other.rootRotations
        intermediateRotations += other.intermediateRotations
        aborts += other.aborts
        forced += other.forced
        crashes += other.crashes
        sleptThrough += other.sleptThrough
    }
}
