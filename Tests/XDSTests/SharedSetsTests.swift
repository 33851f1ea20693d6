import Synchronization
import Testing
import XDS

private func cluster(_ name: String) -> Resource { Resource(.cluster, name: name, body: Array(name.utf8)) }
private func endpoints(_ name: String, _ body: String = "") -> Resource {
    Resource(.endpoints, name: name, body: Array(body.utf8))
}

@Test func aSnapshotMayTakeTheSetsOfAnother() throws {
    let base = try Snapshot([cluster("a"), endpoints("a")])
    let view = try base.applying(setting: [cluster("b")])
    #expect(view[.endpoints] === base[.endpoints])
    let newer = try base.applying(setting: [endpoints("a", "new")])
    let followed = view.taking([.endpoints], from: newer)
    #expect(followed[.endpoints] === newer[.endpoints])
    #expect(followed[.cluster] === view[.cluster])
    #expect(followed.taking([.endpoints], from: newer) === followed)
}

@Test func anAdoptedSnapshotIsShownAsItIs() throws {
    let cache = SnapshotCache()
    let seen = Mutex<[ViewName]>([])
    _ = cache.addObserver { view in seen.withLock { $0.append(view) } }
    let base = try Snapshot([cluster("a")])
    let newer = try base.applying(setting: [cluster("b")])
    for (snapshot, view) in [(base, "one"), (base, "two"), (newer, "one"), (newer, "two"), (newer, "two")] {
        cache.adopt(snapshot, as: ViewName(view))
    }
    #expect(cache.snapshot(of: "one") === newer)
    #expect(cache.snapshot(of: "one")?[.cluster] === cache.snapshot(of: "two")?[.cluster])
    // What is no change is not told.
    #expect(seen.withLock { $0 } == ["one", "two", "one", "two"])
}
