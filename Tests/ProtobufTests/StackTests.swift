import Documents
import Foundation
import Protobuf
import Testing

/// Runs work on a thread with a stack of that many bytes, and waits for it.
private func onThread(stackBytes: Int, _ work: @escaping @Sendable () -> Void) {
    let done = DispatchSemaphore(value: 0)
    let thread = Thread {
        work()
        done.signal()
    }
    thread.stackSize = stackBytes
    thread.start()
    done.wait()
}

/// What recurses, each at its limit: a stack that is too small crashes the test run. Half of a thread's usual 8 MiB is
/// enough in a debug build with the address sanitizer.
@Suite struct StackTests {
    @Test(arguments: [
        String(repeating: "[", count: 990) + String(repeating: "]", count: 990),
        String(repeating: "- ", count: 990) + "x", String(repeating: "? ", count: 990) + "x",
        String(repeating: "[a: ", count: 990) + String(repeating: "]", count: 990),
    ])
    func yamlNestedAsDeepAsLibyamlAllowsIsRefused(_ text: String) {
        onThread(stackBytes: 4 << 20) {
            #expect(throws: TextFormatError.self) { try DocumentNode.parseYAML(text) }
        }
    }

    @Test func jsonOfTwoHundredLevelsIsRead() {
        let text = String(repeating: "[{\"a\":", count: 100) + "1" + String(repeating: "}]", count: 100)
        onThread(stackBytes: 4 << 20) {
            #expect(throws: Never.self) { try DocumentNode.parseJSON(text) }
        }
    }

    @Test func aMessageOfAHundredLevelsGoesEveryWay() {
        let wire = (1..<100).reduce(Wire()) { wire, _ in Wire().message(17, wire) }
        onThread(stackBytes: 4 << 20) {
            #expect(wire.bytes.withUnsafeBytes { fuzzWire($0, as: Everything.descriptor, types: testTypes) })
        }
    }

    @Test func aStructAsDeepAsTheLimitGoesEveryWay() {
        let text =
            "{\"structure\":" + String(repeating: "{\"k\":", count: 33) + "1" + String(repeating: "}", count: 34)
        onThread(stackBytes: 4 << 20) {
            #expect(
                Array(text.utf8).withUnsafeBytes { fuzzText($0, .json, as: Everything.descriptor, types: testTypes) })
        }
    }
}
