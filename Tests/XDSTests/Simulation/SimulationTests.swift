import Foundation
import Testing

@testable import XDS

/// `SEED=n` replays one seed and prints its trace, otherwise ``SimulationSeeds`` are run; `ACTIONS=n` makes each run
/// longer. Give the same `ACTIONS` when you replay.
@Suite struct SimulationTests {
    private static let parts = 4

    private static func number(_ name: String) -> Int? { ProcessInfo.processInfo.environment[name].flatMap(Int.init) }

    @Test(arguments: 0..<parts) func everyClientEndsWithItsPartOfItsSnapshot(part: Int) {
        if let seed = Self.number("SEED") {
            if part == 0 { replay(seed) }
            return
        }
        var (runs, responses, restarts, rejections, forced, failures) = (0, 0, 0, 0, 0, 0)
        for seed in SimulationSeeds(count: 2000) where seed % Self.parts == part {
            let run = simulation(seed, keepsTrace: false)
            run.run()
            runs += 1
            responses += run.responseCount
            restarts += run.restartCount
            rejections += run.rejectionCount
            forced += run.forcedCount
            if let violation = run.violations.first {
                Issue.record("\(violation)\nreplay with: SEED=\(seed) swift test --filter SimulationTests")
                failures += 1
                if failures == 10 { break }
            }
        }
        print("\(runs) seeds: \(responses) responses, \(restarts) restarts, \(rejections) NACKs, \(forced) forced")
        // The runs would prove little if nothing happened in them.
        #expect(responses > 10 * runs)
        #expect(runs < 250 || (restarts > 0 && rejections > 0 && forced > 0))
    }

    private func replay(_ seed: Int) {
        let run = simulation(seed, keepsTrace: true)
        run.run()
        print((run.trace ?? []).joined(separator: "\n"))
        #expect(run.violations.isEmpty, "seed \(seed): \(run.violations)")
    }

    private func simulation(_ seed: Int, keepsTrace: Bool) -> Simulation {
        Simulation(
            seed: UInt64(seed), actions: Self.number("ACTIONS") ?? 4 + seed % 11, keepsTrace: keepsTrace)
    }

    /// Seeds that once failed, with the number of actions they had then.
    @Test(arguments: [4, 53, 65, 88, 94, 134, 201, 355, 745, 827, 1903])
    func seedsThatOnceFailedHold(seed: Int) {
        let run = Simulation(seed: UInt64(seed), actions: 30)
        run.run()
        #expect(run.violations.isEmpty)
    }
}
