import Foundation
import Testing
import Time

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

    private func revision(_ number: Int64) -> StoredRevision {
        StoredRevision(number: number, time: Timestamp(nanoseconds: 0), author: "a", message: "", base: number - 1)
    }

    private func withStore(_ body: (Store) throws -> Void) throws {
        let directory = NSTemporaryDirectory() + "martinet-rollout-" + UUID().uuidString
        defer { try? FileManager.default.removeItem(atPath: directory) }
        try body(Store(directory: directory))
    }

    @Test func howARevisionComesToProxiesIsKeptWithItOrNotAtAll() throws {
        try withStore { store in
            try store.commit(revision(1), [], rollout: Data("one".utf8))
            #expect(try store.rollout() == Data("one".utf8))
            // A revision that cannot be made.
            #expect(throws: StoreError.self) { try store.commit(revision(5), [], rollout: Data("five".utf8)) }
            #expect(try store.rollout() == Data("one".utf8))
            // One that nobody rolls out.
            try store.commit(revision(2), [])
            #expect(try store.rollout() == Data("one".utf8))
        }
    }

    @Test func whatARollOutGoesBackToIsKeptBeyondTheBoundUpToTwiceAsMuch() throws {
        let bounds = HistoryBounds(revisions: 4, bytes: 1 << 20)
        try withStore { store in
            for number in 1...6 as ClosedRange<Int64> { try store.commit(revision(number), [], bounds: bounds) }
            #expect(try store.oldestRevision() == 3)
            // Another roll-out begins over 5, and stays.
            for number in 7...12 as ClosedRange<Int64> {
                try store.commit(revision(number), [], bounds: bounds, keepingSince: 5)
            }
            #expect(try store.oldestRevision() == 5)
            for number in 13...20 as ClosedRange<Int64> {
                try store.commit(revision(number), [], bounds: bounds, keepingSince: 5)
            }
            #expect(try store.oldestRevision() == 13)
            try store.commit(revision(21), [], bounds: bounds)
            #expect(try store.oldestRevision() == 18)
        }
    }
}
