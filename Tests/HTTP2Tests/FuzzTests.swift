import HTTP2
import Testing

/// Seeded: a failing seed runs again alone. Long runs are the fuzzer's.
@Suite struct FuzzTests {
    @Test(arguments: 0..<20)
    func anyBytesAreSurvived(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        for _ in 0..<50 {
            let count = Int.random(in: 0...2000, using: &generator)
            let noise = (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
            noise.withUnsafeBytes { HTTP2Fuzzing.run($0) }
            // Past the preface and the first SETTINGS, where it gets interesting.
            let greeted =
                [0, UInt8.random(in: 0...40, using: &generator)] + RawFrame.preface
                + RawFrame.settings().encoded() + noise
            greeted.withUnsafeBytes { HTTP2Fuzzing.run($0) }
        }
    }

    @Test(arguments: 0..<20)
    func changedConversationsAreSurvived(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        for _ in 0..<100 {
            for var bytes in HTTP2Fuzzing.seeds() {
                for _ in 0..<Int.random(in: 1...6, using: &generator) {
                    let at = Int.random(in: 0..<bytes.count, using: &generator)
                    switch Int.random(in: 0..<4, using: &generator) {
                    case 0: bytes[at] = UInt8.random(in: 0...255, using: &generator)
                    case 1: bytes[at] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
                    case 2: bytes.remove(at: at)
                    default: bytes.insert(contentsOf: bytes[at...].prefix(30), at: at)
                    }
                    if bytes.count < 3 { break }
                }
                bytes.withUnsafeBytes { HTTP2Fuzzing.run($0) }
            }
        }
    }

    @Test(arguments: 0..<20)
    func randomFramesAreSurvived(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        for _ in 0..<100 {
            var bytes: [UInt8] = [0, UInt8.random(in: 0...60, using: &generator)] + RawFrame.preface
            bytes += RawFrame.settings().encoded()
            for _ in 0..<Int.random(in: 1...40, using: &generator) {
                let stream = UInt32.random(in: 0...9, using: &generator)
                let count = [0, 1, 4, 5, 6, 8, 20, 300].randomElement(using: &generator) ?? 0
                var frame = RawFrame(
                    type: UInt8.random(in: 0...11, using: &generator),
                    flags: UInt8.random(in: 0...255, using: &generator),
                    stream: stream, payload: (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) })
                if frame.type == 1, Bool.random(using: &generator) {
                    frame.flags &= 5
                    frame.payload = RawHeaders.requestBlock
                }
                bytes += frame.encoded()
            }
            bytes.withUnsafeBytes { HTTP2Fuzzing.run($0) }
        }
    }

    @Test func theSeedsAreValidConversations() {
        for seed in HTTP2Fuzzing.seeds() {
            #expect(seed.count > 200)
            seed.withUnsafeBytes { HTTP2Fuzzing.run($0) }
        }
    }
}
