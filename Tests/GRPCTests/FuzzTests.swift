import GRPC
import HTTP2
import Testing

/// Seeded: a failing seed runs again alone. Long runs are the fuzzer's.
@Suite struct FuzzTests {
    @Test(arguments: 0..<20)
    func anyMessageBytesEndTheCallAndNothingElse(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        for _ in 0..<40 {
            var bytes: [UInt8] = []
            for _ in 0..<Int.random(in: 0...10, using: &generator) {
                let length = Int.random(in: 0...1200, using: &generator)
                bytes += Bool.random(using: &generator) ? GRPC.frame([UInt8](repeating: 1, count: length)) : [0, 0, 0]
                if Int.random(in: 0..<8, using: &generator) == 0 {
                    bytes.append(UInt8.random(in: 0...255, using: &generator))
                }
            }
            bytes.withUnsafeBytes { GRPCFuzzing.runMessages($0) }
        }
    }

    @Test(arguments: 0..<20)
    func changedConversationsAreSurvived(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        for _ in 0..<60 {
            for var bytes in HTTP2Fuzzing.seeds() {
                for _ in 0..<Int.random(in: 0...5, using: &generator) {
                    bytes[Int.random(in: 0..<bytes.count, using: &generator)] = UInt8.random(
                        in: 0...255, using: &generator)
                }
                bytes.withUnsafeBytes { GRPCFuzzing.run($0) }
            }
        }
    }
}
