import Foundation
import Testing

@testable import Store

struct KeptRolloutTests {
    @Test func theNewestRollOutIsKeptInPlaceOfTheOneBefore() throws {
        let directory = NSTemporaryDirectory() + "martinet-rollout-" + UUID().uuidString
        defer { try? FileManager.default.removeItem(atPath: directory) }
        var store = try Store(directory: directory)
        #expect(try store.rollout() == nil)
        try store.keep(rollout: Data("one".utf8))
        try store.keep(rollout: Data("two".utf8))
        #expect(try store.rollout() == Data("two".utf8))
        store = try Store(directory: directory)
        #expect(try store.rollout() == Data("two".utf8))
    }
}
