import Synchronization
import Testing

@testable import XDS

private func endpoints(_ name: String, _ body: String, version: String? = nil) -> Resource {
    Resource(.endpoints, name: name, body: Array(body.utf8), version: version)
}

@Suite struct SnapshotTests {
    @Test func anUnchangedTypeKeepsItsSetByIdentity() throws {
        let cache = SnapshotCache()
        let one = try cache.publish([endpoints("a", "1"), Resource(.cluster, name: "c", body: [1])])
        let two = try cache.publish([endpoints("a", "2"), Resource(.cluster, name: "c", body: [1])])
        #expect(one[.cluster] === two[.cluster])
        #expect(one[.endpoints] !== two[.endpoints])
        let three = try cache.publish([Resource(.cluster, name: "c", body: [1]), endpoints("a", "2")])
        #expect(three === two)
    }

    @Test func theVersionIsTheHashOfTheContentWhateverItsHistory() throws {
        let direct = try Snapshot([endpoints("a", "1"), endpoints("b", "1")])
        let cache = SnapshotCache()
        try cache.publish([endpoints("b", "1"), endpoints("c", "1")])
        try cache.update(setting: [endpoints("a", "2")])
        let grown = try cache.update(
            setting: [endpoints("a", "1")], removing: [ResourceReference(.endpoints, "c")])
        #expect(grown[.endpoints].version == direct[.endpoints].version)
        #expect(grown[.endpoints].version.count == 32)
    }

    @Test func aLabelStandsForTheContentItWasGivenWith() throws {
        let cache = SnapshotCache()
        let one = try cache.publish([endpoints("a", "1")], labels: [.endpoints: "7"])
        #expect(one[.endpoints].version == "7")
        let two = try cache.update(setting: [endpoints("a", "2")])
        #expect(two[.endpoints].label == nil)
        let three = try cache.update(setting: [endpoints("a", "3")], labels: [.endpoints: "8"])
        #expect(three[.endpoints].version == "8")
    }

    @Test func aRefusedPublicationChangesNothing() throws {
        let cache = SnapshotCache()
        let one = try cache.publish([endpoints("a", "1")])
        #expect(throws: PublishError.self) {
            try cache.update(setting: [Resource(.cluster, name: "ok", body: []), endpoints("", "1")])
        }
        #expect(throws: PublishError.self) {
            try cache.publish([Resource(.runtime, name: "r", body: [], timeToLive: .milliseconds(1))])
        }
        #expect(cache.snapshot(of: "default") === one)
    }

    @Test func aDuplicateNamesBothPlaces() {
        let first = Resource(.route, name: "r", body: [1], origin: "a.yaml:3")
        let second = Resource(.route, name: "r", body: [2], origin: "b.yaml:9")
        #expect(throws: PublishError.duplicateName(.route, name: "r", first: "a.yaml:3", second: "b.yaml:9")) {
            try Snapshot([first, second])
        }
    }

    @Test func differencesFollowTheHistoryAlsoBetweenBranches() throws {
        let cache = SnapshotCache()
        let base = try cache.publish((0..<500).map { endpoints("e\($0)", "0") })
        var sets = [base[.endpoints]]
        for step in 1...40 {
            sets.append(try cache.update(setting: [endpoints("e\(step)", "\(step)")])[.endpoints])
        }
        let near = sets[40].difference(from: sets[30])
        #expect(near.changed == (31...40).map { "e\($0)" }.sorted())
        // Two sets that came from one.
        let left = try sets[40].applying(setting: [endpoints("x", "1")], removing: ["e1"], label: nil)
        let right = try sets[40].applying(setting: [endpoints("y", "1")], removing: [], label: nil)
        #expect(left.difference(from: right).changed == ["x"])
        #expect(left.difference(from: right).removed == ["e1", "y"])
        #expect(left.memos.withLock { $0.statistics.fullComparisons } == 0)
        // Too far behind: everything is compared, with the same result.
        let far = sets[40].difference(from: sets[0])
        #expect(far.changed == (1...40).map { "e\($0)" }.sorted())
        #expect(sets[40].memos.withLock { $0.statistics.fullComparisons } == 1)
    }

    @Test func aUnionKeepsWhatGoesAndIsTheSetItselfWhenNothingDoes() throws {
        let old = try Snapshot([endpoints("a", "1"), endpoints("b", "1")])
        let new = try old.applying(
            setting: [endpoints("a", "2"), endpoints("c", "1")], removing: [ResourceReference(.endpoints, "b")])
        let union = new[.endpoints].union(with: old[.endpoints])
        #expect(union.names == ["a", "b", "c"])
        #expect(union.resource(named: "a")?.body == Array("2".utf8))
        #expect(union === new[.endpoints].union(with: old[.endpoints]))
        #expect(old[.endpoints].union(with: old[.endpoints]) === old[.endpoints])
        #expect(new[.endpoints].difference(from: union).removed == ["b"])
    }

    @Test func observersHearOfEachChangeAndOfNothingElse() throws {
        let cache = SnapshotCache { node in ViewName(node.cluster) }
        let heard = Mutex<[String]>([])
        let token = cache.addObserver { view in heard.withLock { $0.append(view.text) } }
        try cache.publish([endpoints("a", "1")], to: "shop")
        try cache.publish([endpoints("a", "1")], to: "shop")
        try cache.update("bank", setting: [endpoints("b", "1")])
        cache.removeObserver(token)
        try cache.update("bank", setting: [endpoints("b", "2")])
        #expect(heard.withLock { $0 } == ["shop", "bank"])
        #expect(cache.views == ["bank", "shop"])
        #expect(cache.view(of: Node(id: "n", cluster: "bank")) == "bank")
        cache.remove("bank")
        #expect(cache.snapshot(of: "bank") == nil)
    }

    @Test func concurrentPublishersLoseNoChange() async throws {
        let cache = SnapshotCache()
        await withTaskGroup(of: Void.self) { group in
            for number in 0..<50 {
                group.addTask { _ = try? cache.update(setting: [endpoints("e\(number)", "1")]) }
            }
        }
        #expect(cache.snapshot(of: "default")?[.endpoints].count == 50)
    }

    @Test func viewsThatAreGivenOneSnapshotShareItsSets() throws {
        let cache = SnapshotCache()
        let first = try Snapshot([endpoints("a", "1"), Resource(.cluster, name: "c", body: [1])])
        let second = try Snapshot([endpoints("a", "2"), Resource(.cluster, name: "c", body: [1])])
        let third = try second.applying(setting: [endpoints("a", "3")])
        for snapshot in [first, second, third] {
            let north = try cache.publish(snapshot, to: "north")
            let south = try cache.publish(snapshot, to: "south")
            #expect(north === south)
        }
        // Two views that differ in one type share the others.
        let base = try #require(cache.snapshot(of: "north"))
        let north = try base.applying(setting: [endpoints("b", "1"), Resource(.cluster, name: "d", body: [1])])
        let south = try north.applying(setting: [endpoints("b", "2")])
        try cache.publish(north, to: "north")
        try cache.publish(south, to: "south")
        let shown = ["north", "south"].compactMap { cache.snapshot(of: $0) }
        #expect(shown[0][.cluster] === shown[1][.cluster])
        #expect(shown[0][.endpoints] !== shown[1][.endpoints])
    }

    @Test func aResourceSeenAgainWithOtherContentUnderItsOwnVersionIsAChange() throws {
        let one = try Snapshot([endpoints("a", "1", version: "v")])
        let two = try one.applying(setting: [endpoints("a", "2", version: "v")])
        #expect(two[.endpoints].difference(from: one[.endpoints]).changed == ["a"])
    }
}
