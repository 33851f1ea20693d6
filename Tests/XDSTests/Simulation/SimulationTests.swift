import Foundation
import Testing

@testable import XDS

/// `SEED=n` replays one seed and prints its trace; `SEEDS=n` runs so many, `FROM=n` starts elsewhere.
@Suite struct SimulationTests {
    @Test func everyClientEndsWithItsPartOfItsSnapshot() {
        let environment = ProcessInfo.processInfo.environment
        if let text = environment["SEED"], let seed = UInt64(text) {
            let run = Simulation(seed: seed, keepsTrace: true)
            run.run()
            print((run.trace ?? []).joined(separator: "\n"))
            #expect(run.violations.isEmpty, "seed \(seed): \(run.violations)")
            return
        }
        let count = environment["SEEDS"].flatMap { UInt64($0) } ?? 2000
        let first = environment["FROM"].flatMap { UInt64($0) } ?? 1
        var responses = 0
        var restarts = 0
        var rejections = 0
        var forced = 0
        var failures = 0
        for seed in first..<(first + count) {
            let run = Simulation(seed: seed)
            run.run()
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
        print("\(count) seeds: \(responses) responses, \(restarts) restarts, \(rejections) NACKs, \(forced) forced")
        // The runs would prove little if nothing happened in them.
        #expect(responses > 10 * Int(count))
        #expect(count < 100 || (restarts > 0 && rejections > 0 && forced > 0))
    }
}
