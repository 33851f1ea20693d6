import Foundation
import FuzzTargets
import Testing

/// The kept inputs, and small changes to them: a short run of what `make fuzz` does for long.
@Test(arguments: FuzzTarget.allCases)
func noKeptInputAndNoChangedOneBreaksAPromise(target: FuzzTarget) throws {
    let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appendingPathComponent("Corpus/\(target.rawValue)")
    let files = try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
        .sorted { $0.path < $1.path }
    #expect(!files.isEmpty, "no corpus for \(target) in \(folder.path)")
    var random = SplitMix(state: 1)
    var runs = 0
    for file in files {
        let input = Array(try Data(contentsOf: file))
        input.withUnsafeBytes(target.run)
        for _ in 0..<100 {
            mutated(input, &random).withUnsafeBytes(target.run)
            runs += 1
        }
    }
    #expect(runs == files.count * 100)
}

private func mutated(_ input: [UInt8], _ random: inout SplitMix) -> [UInt8] {
    var bytes = input
    for _ in 0...Int.random(in: 0..<4, using: &random) {
        let place = Int.random(in: 0...bytes.count, using: &random)
        switch Int.random(in: 0..<4, using: &random) {
        case 0 where place < bytes.count: bytes[place] = UInt8.random(in: 0...255, using: &random)
        case 1 where place < bytes.count: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
        case 2: bytes.insert(UInt8.random(in: 0...255, using: &random), at: place)
        default: bytes.removeLast(min(bytes.count, Int.random(in: 0..<4, using: &random)))
        }
    }
    return bytes
}

private struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}
