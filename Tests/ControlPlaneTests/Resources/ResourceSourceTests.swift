import Foundation
import Glibc
import Logging
import Reactor
import Store
import Testing
import Time
import XDS

@testable import ControlPlane

/// A handler for loops without connections.
private struct NoConnections: ConnectionHandler {
    mutating func established(_ peer: Peer, loop: EventLoop<NoConnections>, id: ConnectionID) {}
    mutating func received(_ bytes: UnsafeRawBufferPointer, loop: EventLoop<NoConnections>, id: ConnectionID) {}
    mutating func readyToWrite(loop: EventLoop<NoConnections>, id: ConnectionID) {}
    mutating func peerClosedWriting(loop: EventLoop<NoConnections>, id: ConnectionID) {}
    mutating func timerFired(_ token: UInt64, loop: EventLoop<NoConnections>, id: ConnectionID) {}
    mutating func closed(_ reason: CloseReason, loop: EventLoop<NoConnections>, id: ConnectionID) {}
}

/// A source on a loop of this very thread, over a real directory and a real store.
private final class World {
    let directory: TemporaryDirectory
    let data: TemporaryDirectory
    let loop: EventLoop<NoConnections>
    let source: ResourceSource
    private(set) var publications: [ResourceSource.Publication] = []
    private(set) var scopeChanges = 0

    init(
        _ directory: TemporaryDirectory? = nil, data: TemporaryDirectory? = nil, isStrict: Bool = false
    ) throws {
        self.directory = try directory ?? TemporaryDirectory()
        self.data = try data ?? TemporaryDirectory("data")
        loop = try EventLoop()
        var configuration = ResourceSource.Configuration(directory: self.directory.path)
        configuration.isStrict = isStrict
        configuration.logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        source = ResourceSource(store: try Store(directory: self.data.path), configuration: configuration)
        source.published = { [unowned self] in publications.append($0) }
        source.scopesChanged = { [unowned self] in scopeChanges += 1 }
    }

    func start() throws { try source.start(on: loop) }

    /// Turns the loop until the condition holds; gives up after many turns without an event.
    func until(_ condition: () -> Bool) -> Bool {
        for _ in 0..<400 {
            if condition() { return true }
            loop.turn(waiting: .milliseconds(20))
        }
        return condition()
    }

    func names(_ type: ResourceType = .cluster, _ view: ViewName = "all") -> [String]? {
        source.cache.snapshot(of: view)?[type].names
    }

    /// With paths from the directory on.
    var errors: [String] {
        source.problems.filter { $0.severity == .error }
            .map { $0.description.replacing(directory.path + "/", with: "") }
    }
}

@Test func nothingIsPublishedBeforeEverythingWasRead() throws {
    let world = try World()
    try world.directory.write("a.yaml", Sample.document(Sample.staticCluster("a")))
    try world.directory.write("node-id=x/b.yaml", Sample.document(Sample.staticCluster("b")))
    #expect(world.names() == nil)
    try world.start()
    #expect(world.names() == ["a"])
    #expect(world.names(.cluster, "node-id=x") == ["a", "b"])
    #expect(world.source.cache.view(of: Node(id: "x")) == "node-id=x")
}

@Test func filesThatComeChangeAndGoAreFollowed() throws {
    let world = try World()
    try world.start()
    #expect(world.names() == [])
    try world.directory.write("a.yaml", Sample.document(Sample.staticCluster("a")))
    #expect(world.until { world.names() == ["a"] })
    try world.directory.replace("a.yaml", Sample.document(Sample.staticCluster("a2")))
    #expect(world.until { world.names() == ["a2"] })
    try world.directory.remove("a.yaml")
    #expect(world.until { world.names() == [] })
}

@Test func severalFilesSavedTogetherBecomeOneSnapshot() throws {
    let world = try World()
    try world.start()
    for index in 0..<1000 {
        try world.directory.write("f\(index).yaml", Sample.document(Sample.staticCluster("c\(index)")))
    }
    #expect(world.until { world.names()?.count == 1000 })
    #expect(world.publications.count == 1)
    let before = world.publications.count
    try world.directory.replace("f500.yaml", Sample.document(Sample.staticCluster("other")))
    #expect(world.until { world.publications.count > before })
    #expect(world.publications.last?.change.words == ["-CDS c500", "+CDS other"])
}

@Test func aScopesFolderThatComesLaterMakesAViewAndMovesItsNodes() throws {
    let world = try World()
    try world.directory.write("a.yaml", Sample.document(Sample.staticCluster("a")))
    try world.start()
    #expect(world.source.cache.view(of: Node(id: "x", cluster: "web")) == "all")
    try world.directory.write("node-cluster=web/b.yaml", Sample.document(Sample.staticCluster("b")))
    #expect(world.until { world.names(.cluster, "node-cluster=web") == ["a", "b"] })
    #expect(world.scopeChanges == 1)
    #expect(world.source.cache.view(of: Node(id: "x", cluster: "web")) == "node-cluster=web")
    // A pair of scopes is made when a node asks for it.
    try world.directory.write("node-id=x/c.yaml", Sample.document(Sample.staticCluster("c")))
    #expect(world.until { world.scopeChanges == 2 })
    let pair: ViewName = "node-cluster=web,node-id=x"
    #expect(world.names(.cluster, pair) == nil)
    #expect(world.source.cache.view(of: Node(id: "x", cluster: "web")) == pair)
    #expect(world.until { world.names(.cluster, pair) == ["a", "b", "c"] })
    try world.directory.remove("node-id=x")
    #expect(world.until { world.names(.cluster, pair) == nil })
    #expect(world.source.cache.view(of: Node(id: "x", cluster: "web")) == "node-cluster=web")
    #expect(world.source.cache.views == ["all", "node-cluster=web"])
}

@Test func aBrokenFileKeepsItsLastGoodStateUntilItIsMended() throws {
    let world = try World()
    try world.directory.write("a.yaml", Sample.document(Sample.staticCluster("a")))
    try world.start()
    try world.directory.replace("a.yaml", Sample.document(Sample.staticCluster("a", timeout: "-1s")))
    try world.directory.write("b.yaml", Sample.document(Sample.staticCluster("b")))
    #expect(world.until { world.names() == ["a", "b"] })
    #expect(
        world.errors == [
            "a.yaml:4:22: resources[0].connect_timeout: must be longer than 0s; write a duration like 5s or 0.25s"
        ])
    try world.directory.replace("a.yaml", Sample.document(Sample.staticCluster("a3")))
    #expect(world.until { world.names() == ["a3", "b"] })
    #expect(world.errors.isEmpty)
}

@Test func theLastGoodStateOfABrokenFileSurvivesARestart() throws {
    let (directory, data) = (try TemporaryDirectory(), try TemporaryDirectory("data"))
    let good = Sample.document(Sample.staticCluster("x"), Sample.staticCluster("a"), version: "v3")
    do {
        let world = try World(directory, data: data)
        try directory.write("node-id=n/a.yaml", good)
        try directory.write("b.yaml", Sample.document(Sample.staticCluster("b")))
        try world.start()
        try directory.replace("node-id=n/a.yaml", "resources: [ broken ]")
        try directory.replace("b.yaml", "resources: [ broken ]")
        #expect(world.until { world.errors.count == 2 })
    }
    do {
        let world = try World(directory, data: data)
        try world.start()
        #expect(world.names(.cluster, "node-id=n") == ["a", "b", "x"])
        #expect(world.errors.count == 2)
        let held = try #require(world.source.catalog.resource(ResourceReference(.cluster, "a"), in: .nodeID("n")))
        #expect(held.origin == .file(path: directory["node-id=n/a.yaml"], line: 6))
        #expect(held.fileLabel == "v3")
        // Mended: what the file says counts, now and after the next restart.
        try directory.replace("node-id=n/a.yaml", Sample.document(Sample.staticCluster("new")))
        #expect(world.until { world.names(.cluster, "node-id=n") == ["b", "new"] })
    }
    try directory.remove("b.yaml")
    let world = try World(directory, data: data)
    try world.start()
    #expect(world.names(.cluster, "node-id=n") == ["new"])
    #expect(world.errors.isEmpty)
    #expect(try Store(directory: data.path).lastGoodFiles().isEmpty)
}

@Test func aDirectoryTreeThatGoesTakesItsResourcesAlong() throws {
    let world = try World()
    for folder in 0..<20 {
        for file in 0..<3 {
            try world.directory.write(
                "in/d\(folder)/\(file).yaml", Sample.document(Sample.staticCluster("c\(folder)-\(file)")))
        }
    }
    try world.directory.write("a.yaml", Sample.document(Sample.staticCluster("stays")))
    try world.start()
    #expect(world.names()?.count == 61)
    try world.directory.remove("in/d7")
    #expect(world.until { world.names()?.count == 58 })
    try world.directory.remove("in")
    #expect(world.until { world.names() == ["stays"] })
}

@Test func aNameThatIsTakenWaitsUntilItIsFree() throws {
    let world = try World()
    try world.directory.write("a.yaml", Sample.document(Sample.staticCluster("web")))
    try world.start()
    try world.directory.write("b.yaml", Sample.document(Sample.staticCluster("x"), Sample.staticCluster("web")))
    #expect(world.until { !world.errors.isEmpty })
    #expect(
        world.errors == [
            "b.yaml:5:1: CDS \"web\" is defined twice: a.yaml:2 and b.yaml:5; remove or rename one of them"
        ])
    #expect(world.names() == ["web"])
    // b has not changed since, and is taken all the same.
    try world.directory.replace("a.yaml", Sample.document(Sample.staticCluster("y")))
    #expect(world.until { world.names() == ["web", "x", "y"] })
    #expect(world.errors.isEmpty)
}

@Test func aDirectoryThatIsReplacedIsReadAgain() throws {
    let world = try World()
    try world.directory.write("a.yaml", Sample.document(Sample.staticCluster("a")))
    try world.start()
    #expect(rename(world.directory.path, world.directory.path + ".away") == 0)
    defer { try? FileManager.default.removeItem(atPath: world.directory.path + ".away") }
    #expect(world.until { !world.errors.isEmpty })
    #expect(world.errors[0].hasSuffix("the directory is not there; create it again"))
    #expect(world.names() == ["a"])
    try world.directory.write("b.yaml", Sample.document(Sample.staticCluster("b")))
    #expect(world.until { world.names() == ["b"] })
    #expect(world.errors.isEmpty)
    // And watched.
    try world.directory.write("c.yaml", Sample.document(Sample.staticCluster("c")))
    #expect(world.until { world.names() == ["b", "c"] })
}

@Test func aConfigurationVolumeWhoseLinksAreSwappedIsFollowed() throws {
    let world = try World()
    for (version, name) in [("1", "a"), ("2", "b")] {
        try world.directory.write("..\(version)/r.yaml", Sample.document(Sample.staticCluster(name)))
    }
    #expect(symlink("..1", world.directory["..data"]) == 0)
    #expect(symlink("..data/r.yaml", world.directory["r.yaml"]) == 0)
    try world.start()
    #expect(world.names() == ["a"])
    #expect(symlink("..2", world.directory["..tmp"]) == 0)
    #expect(rename(world.directory["..tmp"], world.directory["..data"]) == 0)
    #expect(world.until { world.names() == ["b"] })
}

@Test func aDirectoryThatIsNotThereIsAnErrorAtTheStart() throws {
    let directory = try TemporaryDirectory()
    var configuration = ResourceSource.Configuration(directory: directory["missing"])
    configuration.logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    let data = try TemporaryDirectory("data")
    let source = ResourceSource(store: try Store(directory: data.path), configuration: configuration)
    let loop = try EventLoop<NoConnections>()
    #expect(throws: ResourceSourceError.self) { try source.start(on: loop) }
    #expect(source.cache.views.isEmpty)
}

// MARK: - What is applied

@Test func whatWasAppliedIsThereAfterARestartWithTheSameVersions() throws {
    let data = try TemporaryDirectory("data")
    let wrapped = """
          - "@type": type.googleapis.com/envoy.service.discovery.v3.Resource
            ttl: 30s
            aliases: [other]
            resource: { "@type": \(Sample.types)cluster.v3.Cluster, name: hot }

        """
    do {
        let world = try World(data: data)
        try world.start()
        let outcome = try world.source.apply(
            ApplyRequest(resources: try Sample.packed(Sample.staticCluster("a")), version: "v7"))
        #expect(outcome.change.words == ["+CDS a"])
        _ = try world.source.apply(
            ApplyRequest(scope: "node-id=x", resources: try Sample.packed(Sample.staticCluster("b"))))
        _ = try world.source.apply(
            ApplyRequest(resources: try Sample.packed(Sample.staticCluster("c")), version: "v8"))
        let file = try ParsedFile(Array(("resources:\n" + wrapped).utf8), path: "a", scope: .nodeCluster("w"))
        let row = AppliedResource(file.resources[0])
        #expect(try row.held().resource.timeToLive == .seconds(30))
        #expect(try row.held().resource.aliases == ["other"])
    }
    let world = try World(data: data)
    try world.start()
    #expect(world.names() == ["a", "c"])
    #expect(world.names(.cluster, "node-id=x") == ["a", "b", "c"])
    let clusters = try #require(world.source.cache.snapshot(of: "all"))[.cluster]
    #expect(clusters.version == "v8")
    #expect(clusters.resource(named: "a")?.version == "v7")
    #expect(world.errors.isEmpty)
}

@Test func aRequestThatCannotBeStoredChangesNothing() throws {
    let world = try World()
    try world.start()
    _ = try world.source.apply(ApplyRequest(resources: try Sample.packed(Sample.staticCluster("a"))))
    // Another connection holds the database: what is not on disk is not published.
    try world.storeIsBroken()
    #expect(throws: ApplyError.self) {
        try world.source.apply(ApplyRequest(resources: try Sample.packed(Sample.staticCluster("b"))))
    }
    #expect(world.names() == ["a"])
    #expect(world.source.list().map(\.resource.resource.name) == ["a"])
    #expect(world.publications.count == 1)
}

extension World {
    /// Takes the table away, so that the next commit fails.
    fileprivate func storeIsBroken() throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = [
            "python3", "-c",
            "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('DROP TABLE appliedResource'); c.commit()",
            data["martinet.db"],
        ]
        try process.run()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
    }
}

@Test func aDryRunTellsTheChangeAndMakesNone() throws {
    let world = try World()
    try world.start()
    let outcome = try world.source.apply(
        ApplyRequest(resources: try Sample.packed(Sample.cluster("web")), isDryRun: true))
    #expect(outcome.change.words == ["+CDS web"])
    #expect(
        outcome.warnings.map(\.description) == [
            "applied: CDS \"web\": name: EDS \"web\" is not there; add a ClusterLoadAssignment with that cluster_name"
        ])
    #expect(world.names() == [])
    #expect(world.publications.isEmpty)
}

@Test func aDanglingReferenceIsAWarningAndWithStrictAnError() throws {
    let world = try World()
    try world.start()
    let web = try Sample.packed(Sample.cluster("web"))
    do throws(ApplyError) {
        _ = try world.source.apply(ApplyRequest(resources: web, isStrict: true))
        Issue.record("accepted")
    } catch {
        #expect(error.description.contains("EDS \"web\" is not there"))
        #expect(error.hint == "add what is missing in the same step, or leave out --strict; nothing was changed")
    }
    #expect(world.names() == [])
    let warnings = try world.source.apply(ApplyRequest(resources: web)).warnings
    #expect(warnings.count == 1)
    // The same again: nothing changes, and the warning still tells.
    #expect(try world.source.apply(ApplyRequest(resources: web, isStrict: true)).warnings.count == 1)
    #expect(world.source.list(type: .cluster, name: "web").map(\.warnings.count) == [1])
    #expect(world.source.problems.map(\.severity) == [.warning])
    // What is whole passes.
    _ = try world.source.apply(
        ApplyRequest(
            resources: try Sample.packed(Sample.cluster("two"), Sample.endpoints("two")), isStrict: true))
    #expect(world.names() == ["two", "web"])
}

@Test func aStrictSourcePublishesFilesOnlyWhenTheyFitTogether() throws {
    let world = try World(isStrict: true)
    try world.directory.write("e.yaml", Sample.document(Sample.cluster("a"), Sample.endpoints("a")))
    try world.start()
    #expect(world.names() == ["a"])
    try world.directory.write("b.yaml", Sample.document(Sample.cluster("b")))
    #expect(world.until { !world.errors.isEmpty })
    #expect(
        world.errors == [
            "not published (--strict): b.yaml:3: CDS \"b\": name: EDS \"b\" is not there; "
                + "add a ClusterLoadAssignment with that cluster_name"
        ])
    #expect(world.names() == ["a"])
    try world.directory.write("c.yaml", Sample.document(Sample.endpoints("b")))
    #expect(world.until { world.names() == ["a", "b"] })
    #expect(world.errors.isEmpty)
    #expect(world.source.problems.isEmpty)
}

@Test func aStrictSourceDoesNotStartWithAnyProblem() throws {
    let world = try World(isStrict: true)
    try world.directory.write("b.yaml", Sample.document(Sample.cluster("b")))
    do throws(ResourceSourceError) {
        try world.source.start(on: world.loop)
        Issue.record("started")
    } catch {
        #expect("\(error)".hasPrefix("nothing is served (--strict):\n"))
        #expect("\(error)".contains("b.yaml:3: CDS \"b\": name: EDS \"b\" is not there"))
    }
    #expect(world.source.cache.views.isEmpty)
}

@Test func whatIsAppliedMayFreeANameForAFile() throws {
    let world = try World()
    try world.start()
    _ = try world.source.apply(ApplyRequest(resources: try Sample.packed(Sample.staticCluster("web"))))
    try world.directory.write("a.yaml", Sample.document(Sample.staticCluster("web")))
    #expect(world.until { !world.errors.isEmpty })
    #expect(
        world.errors == ["a.yaml:2:1: CDS \"web\" is defined twice: applied and a.yaml:2; remove or rename one of them"]
    )
    let name = ApplyRequest.NamedResource(typeURL: ResourceType.cluster.typeURL, name: "web")
    _ = try world.source.apply(ApplyRequest(removing: [name]))
    #expect(world.errors.isEmpty)
    #expect(world.source.list().map(\.resource.origin) == [.file(path: world.directory["a.yaml"], line: 2)])
}

@Test func rowsThatAreNotFitAnyMoreAreToldAndLeftAlone() throws {
    let data = try TemporaryDirectory("data")
    do {
        let store = try Store(directory: data.path)
        let good = try Sample.application(.all, Sample.staticCluster("good")).setting[0]
        var bad = AppliedResource(good)
        (bad.name, bad.body) = ("bad", Data([0xFF]))
        try store.commit(putting: [AppliedResource(good), bad], removing: [])
    }
    let world = try World(data: data)
    try world.start()
    #expect(world.names() == ["good"])
    #expect(world.errors.count == 1)
    #expect(world.errors[0].hasPrefix("stored Cluster \"bad\": "))
}
