import Foundation
import Glibc
import Testing
import XDS

@testable import ControlPlane

private func files(_ directory: TemporaryDirectory, limits: ResourceLimits = .standard) -> ResourceFiles {
    ResourceFiles(root: directory.path, limits: limits)
}

extension ResourceFiles {
    fileprivate var texts: [String] { problems.map { "\($0)".replacing(root + "/", with: "") } }
}

@Test func everyEndingThatMeansResourcesIsReadAndOthersAreTold() throws {
    let directory = try TemporaryDirectory()
    for name in ["a.yaml", "b.yml", "deep/er/c.YAML"] { try directory.write(name, Sample.document()) }
    try directory.write("d.json", "{}")
    for name in [
        ".hidden.yaml", "a.yaml~", "#a.yaml#", ".#a.yaml", "a.yaml.swp", "4913", "a.tmp", ".git/e.yaml", "x.yaml.bak",
    ] {
        try directory.write(name, "not: resources")
    }
    try directory.write("README.md", "words")
    var reader = files(directory)
    let outcome = reader.scan()
    #expect(
        outcome.parsed.map { $0.path.replacing(directory.path + "/", with: "") }.sorted() == [
            "a.yaml", "b.yml", "d.json", "deep/er/c.YAML",
        ])
    #expect(reader.problems.isEmpty)
    #expect(
        outcome.warnings.map { "\($0)".replacing(directory.path + "/", with: "") }
            == ["README.md: is no file of resources; name it .yaml, .yml or .json, or move it away"])
    // Once.
    #expect(reader.scan().warnings.isEmpty)
}

@Test func foldersSayTheScope() throws {
    let directory = try TemporaryDirectory()
    try directory.write("a.yaml", Sample.document(Sample.staticCluster("a")))
    try directory.write("any/node-cluster=web/sub/b.yaml", Sample.document(Sample.staticCluster("b")))
    try directory.write("node-id=x/c.yaml", Sample.document(Sample.staticCluster("c")))
    try directory.write("node-id=/d.yaml", Sample.document(Sample.staticCluster("d")))
    try directory.write("node-id=x/node-cluster=web/e.yaml", Sample.document(Sample.staticCluster("e")))
    var reader = files(directory)
    let outcome = reader.scan()
    #expect(outcome.parsed.map(\.scope) == [.all, .nodeCluster("web"), .nodeID("x")])
    #expect(outcome.parsed.flatMap(\.resources).map(\.scope) == [.all, .nodeCluster("web"), .nodeID("x")])
    #expect(
        reader.texts == [
            "node-id=/d.yaml: the folder node-id= names no scope; name it node-cluster=NAME or node-id=ID",
            "node-id=x/node-cluster=web/e.yaml: the folder node-cluster=web is inside of node-id=x; "
                + "put it beside that one: a proxy in both sees the resources of both",
        ])
}

@Test func onlyWhatHasChangedIsReadAgain() throws {
    let directory = try TemporaryDirectory()
    for index in 0..<20 { try directory.write("\(index).yaml", Sample.document(Sample.staticCluster("c\(index)"))) }
    directory.settle("19.yaml")
    var reader = files(directory)
    #expect(reader.scan().parsed.count == 20)
    #expect(reader.scan().parsed.isEmpty)
    #expect(reader.readCount == 20)
    try directory.replace("7.yaml", Sample.document(Sample.staticCluster("d7")))
    try directory.remove("8.yaml")
    let outcome = reader.scan()
    #expect(outcome.parsed.map(\.path) == [directory["7.yaml"]])
    #expect(outcome.removed == [directory["8.yaml"]])
    #expect(reader.readCount == 21)
    // By path, without looking at the others.
    try directory.remove("9.yaml")
    #expect(reader.look(at: [directory["9.yaml"], directory["10.yaml"]]).removed == [directory["9.yaml"]])
    #expect(reader.readCount == 21)
}

@Test func aFileWrittenTwiceWithinATickIsReadTwice() throws {
    let directory = try TemporaryDirectory()
    try directory.write("a.yaml", Sample.document(Sample.staticCluster("a")))
    var reader = files(directory)
    _ = reader.scan()
    // Its time is fresh: equal or not, it proves nothing yet.
    #expect(reader.look(at: [directory["a.yaml"]]).parsed.count == 1)
    directory.settle("a.yaml")
    #expect(reader.look(at: [directory["a.yaml"]]).parsed.count == 0)
}

@Test func aProblemIsThereUntilItIsMended() throws {
    let directory = try TemporaryDirectory()
    try directory.write("a.yaml", "resources: [ {} ]")
    var reader = files(directory)
    #expect(reader.scan().broken == [directory["a.yaml"]])
    #expect(
        reader.texts == [
            "a.yaml:1:14: resources[0]: a resource without \"@type\"; "
                + "add \"@type\": type.googleapis.com/ and the full name of its type"
        ])
    try directory.replace("a.yaml", Sample.document(Sample.staticCluster("a")))
    #expect(reader.look(at: [directory["a.yaml"]]).parsed.count == 1)
    #expect(reader.problems.isEmpty)
    try directory.replace("a.yaml", "a: [")
    _ = reader.look(at: [directory["a.yaml"]])
    #expect(reader.problems.count == 1)
    try directory.remove("a.yaml")
    #expect(reader.look(at: [directory["a.yaml"]]).removed == [directory["a.yaml"]])
    #expect(reader.problems.isEmpty)
}

@Test func aFileThatIsReplacedWhileItIsReadIsReadAgain() throws {
    let directory = try TemporaryDirectory()
    try directory.write("a.yaml", Sample.document(Sample.staticCluster("old")))
    var reader = files(directory)
    var looks = 0
    reader.tree.opened = { _ in
        looks += 1
        if looks == 1 { try? directory.replace("a.yaml", Sample.document(Sample.staticCluster("new"))) }
    }
    let outcome = reader.scan()
    #expect(looks == 2)
    #expect(outcome.parsed.flatMap(\.resources).map(\.resource.name) == ["new"])
}

@Test func aFileThatNeverComesToRestIsAProblem() throws {
    let directory = try TemporaryDirectory()
    try directory.write("a.yaml", Sample.document(Sample.staticCluster("a")))
    var reader = files(directory)
    var looks = 0
    reader.tree.opened = { _ in
        looks += 1
        try? directory.replace("a.yaml", Sample.document(Sample.staticCluster("a\(looks)")))
    }
    #expect(reader.scan().parsed.isEmpty)
    #expect(looks == FileTree.attempts)
    #expect(
        reader.texts == [
            "a.yaml: the file changes each time that it is read; write another file and move it into place"
        ])
}

@Test func aFileThatIsDeletedWhileItIsReadIsGone() throws {
    let directory = try TemporaryDirectory()
    try directory.write("a.yaml", Sample.document(Sample.staticCluster("a")))
    try directory.write("b.yaml", Sample.document(Sample.staticCluster("b")))
    var reader = files(directory)
    reader.tree.opened = { path in if path.hasSuffix("a.yaml") { unlink(path) } }
    let outcome = reader.scan()
    #expect(outcome.parsed.map(\.path) == [directory["b.yaml"]])
    #expect(reader.problems.isEmpty)
}

@Test func whatIsNoRegularFileIsAProblemAndHoldsNobodyUp() throws {
    let directory = try TemporaryDirectory()
    #expect(mkfifo(directory["pipe.yaml"], 0o600) == 0)
    #expect(symlink("loop.yaml", directory["loop.yaml"]) == 0)
    #expect(symlink("nowhere", directory["none.yaml"]) == 0)
    try directory.write("real", Sample.document(Sample.staticCluster("linked")))
    #expect(symlink("real", directory["link.yaml"]) == 0)
    #expect(symlink(directory.path, directory["circle"]) == 0)
    var reader = files(directory)
    let outcome = reader.scan()
    #expect(outcome.parsed.flatMap(\.resources).map(\.resource.name) == ["linked"])
    #expect(
        reader.texts == [
            "loop.yaml: cannot be read: Too many levels of symbolic links; "
                + "mend the symbolic link: it leads to itself",
            "none.yaml: cannot be read: No such file or directory; mend the symbolic link, or remove it",
            "pipe.yaml: is a pipe, a socket or a device; put a regular file there",
        ])
    #expect(outcome.warnings.contains { "\($0)".contains("circle: a symbolic link to a directory is not followed") })
}

@Test func aFileOrDirectoryThatMayNotBeReadIsAProblemAndTakesNothingAway() throws {
    let directory = try TemporaryDirectory()
    try directory.write("a.yaml", Sample.document(Sample.staticCluster("a")))
    try directory.write("sub/b.yaml", Sample.document(Sample.staticCluster("b")))
    try withoutPrivileges(owning: directory.path) {
        var reader = files(directory)
        #expect(reader.scan().parsed.count == 2)
        chmod(directory["a.yaml"], 0)
        chmod(directory["sub"], 0)
        defer {
            chmod(directory["a.yaml"], 0o600)
            chmod(directory["sub"], 0o700)
        }
        let outcome = reader.scan()
        #expect(outcome.parsed.isEmpty && outcome.removed.isEmpty)
        #expect(
            reader.texts == [
                "sub: cannot be read: Permission denied; let this user read it",
                "a.yaml: cannot be read: Permission denied; let this user read it",
            ])
        chmod(directory["a.yaml"], 0o600)
        chmod(directory["sub"], 0o700)
        #expect(reader.scan().removed.isEmpty)
        #expect(reader.problems.isEmpty)
    }
}

/// Runs as a user to whom modes mean something: for root, this thread's file system user becomes `nobody`.
private func withoutPrivileges(owning path: String, _ body: () throws -> Void) throws {
    guard geteuid() == 0 else { return try body() }
    let nobody: UInt32 = 65534
    for case let name as String in FileManager.default.enumerator(atPath: path) ?? .init() {
        chown(path + "/" + name, nobody, nobody)
    }
    chown(path, nobody, nobody)
    typealias SetUser = @convention(c) (UInt32) -> Int32
    let setUser = unsafeBitCast(try #require(dlsym(nil, "setfsuid")), to: SetUser.self)
    _ = setUser(nobody)
    defer { _ = setUser(0) }
    try body()
}

@Test func aLargeFileIsRefusedBeforeItIsRead() throws {
    let directory = try TemporaryDirectory()
    try directory.write("a.yaml", String(repeating: "# words\n", count: 100))
    var reader = files(directory, limits: ResourceLimits(fileBytes: 100))
    #expect(reader.scan().parsed.isEmpty)
    #expect(reader.texts == ["a.yaml: the file has 800 bytes, 100 are allowed; split it into several"])
}

@Test func theNumberOfFilesIsBounded() throws {
    let directory = try TemporaryDirectory()
    for index in 0..<5 { try directory.write("\(index).yaml", Sample.document()) }
    var reader = files(directory, limits: ResourceLimits(files: 3))
    #expect(reader.scan().parsed.count == 3)
    #expect("\(reader.problems[0])".hasSuffix("more than 3 files; put several resources into each"))
}

@Test func aDirectoryThatIsGoneTakesNothingAway() throws {
    let directory = try TemporaryDirectory()
    try directory.write("in/a.yaml", Sample.document(Sample.staticCluster("a")))
    var reader = ResourceFiles(root: directory["in/"], limits: .standard)
    #expect(reader.scan().parsed.count == 1)
    #expect(rename(directory["in"], directory["away"]) == 0)
    #expect(reader.scan().removed.isEmpty)
    #expect("\(reader.problems[0])".hasSuffix("in: the directory is not there; create it again"))
    #expect(rename(directory["away"], directory["in"]) == 0)
    #expect(reader.scan().removed.isEmpty)
    #expect(reader.problems.isEmpty)
}
