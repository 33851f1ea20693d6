import Foundation
import Testing

@testable import Store

private func temporaryDirectory() -> String {
    let path = NSTemporaryDirectory() + "martinet-store-" + UUID().uuidString
    return path
}

private func resource(_ name: String, scope: String = "", body: String = "b") -> AppliedResource {
    AppliedResource(scope: scope, typeURL: "type.googleapis.com/T", name: name, version: "", body: Data(body.utf8))
}

@Test func whatWasCommittedIsThereAfterOpeningAgain() throws {
    let directory = temporaryDirectory()
    defer { try? FileManager.default.removeItem(atPath: directory) }
    do {
        let store = try Store(directory: directory)
        try store.commit(putting: [resource("a"), resource("b"), resource("a", scope: "node-id=x")], removing: [])
        try store.commit(putting: [resource("a", body: "new")], removing: [resource("b").key, resource("none").key])
    }
    let store = try Store(directory: directory)
    #expect(try store.appliedResources() == [resource("a", body: "new"), resource("a", scope: "node-id=x")])
}

@Test func theDataDirectoryIsForItsOwnerAlone() throws {
    let directory = temporaryDirectory()
    defer { try? FileManager.default.removeItem(atPath: directory) }
    _ = try Store(directory: directory)
    let mode = try FileManager.default.attributesOfItem(atPath: directory)[.posixPermissions] as? Int
    #expect(mode == 0o700)
}

@Test func aFileThatIsNoDatabaseIsNamedAndLeftAlone() throws {
    let directory = temporaryDirectory()
    defer { try? FileManager.default.removeItem(atPath: directory) }
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    let junk = Data(repeating: 0x41, count: 8192)
    try junk.write(to: URL(fileURLWithPath: directory + "/martinet.db"))
    #expect {
        _ = try Store(directory: directory)
    } throws: { error in
        guard case .damaged(let path, _) = error as? StoreError else { return false }
        return path == directory + "/martinet.db"
    }
    #expect(try Data(contentsOf: URL(fileURLWithPath: directory + "/martinet.db")) == junk)
}

@Test func aDirectoryThatCannotBeMadeIsNamed() {
    #expect {
        _ = try Store(directory: "/proc/nowhere/data")
    } throws: { error in
        guard case .directoryUnusable(let path, _) = error as? StoreError else { return false }
        return path == "/proc/nowhere/data"
    }
}

@Test func aFullDatabaseRefusesTheWholeCommit() throws {
    let directory = temporaryDirectory()
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let store = try Store(directory: directory)
    try store.commit(putting: [resource("a")], removing: [])
    try store.limitSize(pages: 16)
    let large = AppliedResource(
        scope: "", typeURL: "t", name: "large", version: "", body: Data(repeating: 1, count: 1 << 20))
    #expect(throws: StoreError.diskFull(path: store.path)) {
        try store.commit(putting: [resource("c"), large], removing: [resource("a").key])
    }
    #expect(try store.appliedResources() == [resource("a")])
}

@Test func aTypesVersionIsKeptUntilItIsTakenAway() throws {
    let directory = temporaryDirectory()
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let one = AppliedVersion(scope: "", typeURL: "T", version: "v1")
    let other = AppliedVersion(scope: "node-id=x", typeURL: "T", version: "v7")
    do {
        let store = try Store(directory: directory)
        try store.commit(putting: [], removing: [], versions: [one, other])
        try store.commit(
            putting: [], removing: [],
            versions: [
                AppliedVersion(scope: "", typeURL: "T", version: "v2"),
                AppliedVersion(scope: "node-id=x", typeURL: "T", version: ""),
            ])
    }
    let store = try Store(directory: directory)
    #expect(try store.appliedVersions() == [AppliedVersion(scope: "", typeURL: "T", version: "v2")])
}
