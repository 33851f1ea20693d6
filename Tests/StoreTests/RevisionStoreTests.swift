import Foundation
import GRDB
import Testing
import Time

@testable import Store

/// A store in a directory of its own.
private final class Shelf {
    let directory: String
    private(set) var store: Store

    init() throws {
        directory = NSTemporaryDirectory() + "martinet-revisions-" + UUID().uuidString
        store = try Store(directory: directory)
    }

    deinit { try? FileManager.default.removeItem(atPath: directory) }

    func reopen() throws { store = try Store(directory: directory) }

    /// Makes the next revision: objects by name, with their new texts; nil removes.
    func revise(_ texts: [String: String?], author: String = "ada", bounds: HistoryBounds = .standard) throws {
        let standing = Dictionary(
            uniqueKeysWithValues: try store.meshObjects().map { ($0.key.name, $0.spelling) })
        let number = try store.newestRevision() + 1
        let changes = texts.sorted { $0.key < $1.key }.map { name, text in
            StoredObjectChange(key: key(name), before: standing[name], after: text.map { spelling($0) })
        }
        try store.commit(
            StoredRevision(
                number: number, time: Timestamp(seconds: number), author: author, message: "m\(number)",
                base: number - 1),
            changes, bounds: bounds)
    }

    var state: [String: String] {
        get throws {
            Dictionary(uniqueKeysWithValues: try store.meshObjects().map { ($0.key.name, $0.spelling.text) })
        }
    }
}

private func key(_ name: String) -> StoredObjectKey {
    StoredObjectKey(kind: "service", namespace: "default", name: name)
}

private func spelling(_ text: String) -> ObjectSpelling {
    ObjectSpelling(text: text, format: "yaml", file: "a.yaml", line: 7)
}

@Test func aRevisionIsThereWithItsStateAfterOpeningAgain() throws {
    let shelf = try Shelf()
    try shelf.revise(["a": "1", "b": "1"])
    try shelf.revise(["a": "2", "b": nil, "c": "1"], author: "bob")
    try shelf.reopen()
    #expect(try shelf.state == ["a": "2", "c": "1"])
    #expect(try shelf.store.meshObjects().map(\.revision) == [2, 2])
    #expect(
        try shelf.store.revisions(limit: 10) == [
            StoredRevision(
                number: 2, time: Timestamp(seconds: 2), author: "bob", message: "m2", base: 1, created: 1,
                configured: 1, removed: 1),
            StoredRevision(
                number: 1, time: Timestamp(seconds: 1), author: "ada", message: "m1", base: 0, created: 2),
        ])
    #expect(
        try shelf.store.changes(of: 2) == [
            StoredObjectChange(key: key("a"), before: spelling("1"), after: spelling("2")),
            StoredObjectChange(key: key("b"), before: spelling("1"), after: nil),
            StoredObjectChange(key: key("c"), before: nil, after: spelling("1")),
        ])
    #expect(try shelf.store.revision(3) == nil && shelf.store.changes(of: 3).isEmpty)
}

@Test func everyWayBackLeadsToTheStateThatWas() throws {
    let shelf = try Shelf()
    var states: [[String: String]] = []
    var random = SystemRandomNumberGenerator()
    for number in 1...40 {
        let standing = try shelf.state
        var texts: [String: String?] = [:]
        for name in ["a", "b", "c", "d", "e"] where Bool.random(using: &random) {
            if standing[name] != nil, Bool.random(using: &random) {
                texts[name] = .some(nil)
            } else {
                texts[name] = "\(number)"
            }
        }
        try shelf.revise(texts)
        states.append(try shelf.state)
    }
    let now = try shelf.state
    for (index, state) in states.enumerated() {
        var back = now
        for way in try shelf.store.waysBack(to: Int64(index + 1)) {
            #expect(way.before?.text == now[way.key.name])
            back[way.key.name] = way.after?.text
        }
        #expect(back == state, "revision \(index + 1)")
    }
}

@Test func aRevisionThatIsNotTheNextOneIsRefusedAndLeavesNothing() throws {
    let shelf = try Shelf()
    try shelf.revise(["a": "1"])
    for number: Int64 in [1, 3] {
        let revision = StoredRevision(
            number: number, time: Timestamp(seconds: 0), author: "x", message: "", base: number - 1)
        let change = StoredObjectChange(key: key("z"), before: nil, after: spelling("z"))
        #expect(throws: StoreError.outOfStep(path: shelf.store.path, expected: number - 1, found: 1)) {
            try shelf.store.commit(revision, [change])
        }
    }
    #expect(try shelf.state == ["a": "1"] && shelf.store.revisions(limit: 9).count == 1)
}

@Test func aRevisionForWhichThereIsNoRoomLeavesNothing() throws {
    let shelf = try Shelf()
    try shelf.revise(["a": "1"])
    try shelf.store.limitSize(pages: 60)
    #expect(throws: StoreError.diskFull(path: shelf.store.path)) {
        try shelf.revise(["a": "2", "b": String(repeating: "x", count: 1 << 20)])
    }
    try shelf.reopen()
    #expect(try shelf.state == ["a": "1"] && shelf.store.newestRevision() == 1)
}

@Test func oldRevisionsAreFoldedIntoTheState() throws {
    let shelf = try Shelf()
    for number in 1...10 {
        try shelf.revise(["a": "\(number)", "n\(number)": "1"], bounds: HistoryBounds(revisions: 3))
    }
    #expect(try shelf.store.revisions(limit: 99).map(\.number) == [10, 9, 8])
    #expect(try shelf.store.oldestRevision() == 8 && shelf.store.changes(of: 7).isEmpty)
    // What was made in a folded revision stands.
    #expect(try shelf.state.count == 11 && shelf.state["n1"] == "1")
    #expect(try shelf.store.waysBack(to: 8).map(\.key.name) == ["a", "n10", "n9"])
}

@Test func theTextsOfTheHistoryAreBoundedAndTheNewestIsKeptHoweverLarge() throws {
    let shelf = try Shelf()
    let bounds = HistoryBounds(bytes: 1_000)
    for number in 1...5 {
        try shelf.revise(["a\(number)": String(repeating: "x", count: 300)], bounds: bounds)
    }
    #expect(try shelf.store.revisions(limit: 9).map(\.number) == [5, 4, 3])
    try shelf.revise(["large": String(repeating: "x", count: 5_000)], bounds: bounds)
    #expect(try shelf.store.revisions(limit: 9).map(\.number) == [6])
    #expect(try shelf.state.count == 6)
}

@Test func whoChangedWhatSinceIsToldNewestFirst() throws {
    let shelf = try Shelf()
    try shelf.revise(["a": "1", "b": "1"])
    try shelf.revise(["a": "2"], author: "bob")
    try shelf.revise(["b": nil, "a": "3"], author: "eve")
    let since = try shelf.store.changedObjects(since: 1, limit: 9)
    #expect(since.map { $0.key.name } == ["a", "b"] && since.map { $0.revision.author } == ["eve", "eve"])
    #expect(try shelf.store.changedObjects(since: 1, limit: 1).count == 1)
    #expect(try shelf.store.changedObjects(since: 3, limit: 9).isEmpty)
    #expect(try shelf.store.revisions(limit: 9, of: key("b")).map(\.number) == [3, 1])
    #expect(try shelf.store.revisions(limit: 1, before: 3).map(\.number) == [2])
}

@Test func anotherTextOfTheSameObjectIsNoRevision() throws {
    let shelf = try Shelf()
    try shelf.revise(["a": "1"])
    try shelf.store.respell([(key("a"), spelling("# 1\n1")), (key("none"), spelling("x"))])
    #expect(try shelf.state == ["a": "# 1\n1"] && shelf.store.newestRevision() == 1)
    #expect(try shelf.store.meshObjects().map(\.revision) == [1])
}
