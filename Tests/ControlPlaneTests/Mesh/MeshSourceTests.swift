import Foundation
import GRPC
import Logging
import Mesh
import Store
import Testing
import Time

@testable import ControlPlane

/// A source over a real store, without a loop.
private final class World {
    let data: TemporaryDirectory
    let store: Store
    let source: MeshSource
    private(set) var steps: [String] = []

    init(_ data: TemporaryDirectory? = nil, directory: String? = nil, history: HistoryBounds = .standard) throws {
        self.data = try data ?? TemporaryDirectory("data")
        store = try Store(directory: self.data.path)
        var configuration = MeshSource.Configuration(directory: directory)
        configuration.history = history
        configuration.clock = { Timestamp(seconds: 1_000) }
        configuration.logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        source = MeshSource(store: store, configuration: configuration)
        source.changed = { [unowned self] old, new, changes in
            #expect(old.applying(changes).keys == new.keys && source.state.index.keys == new.keys)
            steps.append("\(source.state.revision): \(changes.map(Self.word).joined(separator: " "))")
        }
        try source.load()
    }

    private static func word(_ change: MeshIndex.Change) -> String {
        switch change {
        case .put(let object): "+\(object.key.name)"
        case .remove(let key): "-\(key.name)"
        case .connect(let workload): "connect \(workload.id)"
        case .disconnect(let id): "disconnect \(id)"
        case .judge(let id, _): "judge \(id)"
        }
    }

    @discardableResult
    func apply(_ text: String, _ change: (inout MeshRequest) -> Void = { _ in }) throws -> Int64 {
        var request = MeshRequest(applying: text, file: "given.yaml")
        request.author = "ada"
        change(&request)
        return try source.apply(request).revision
    }

    var names: [String] { source.state.index.keys.map(\.name) }
}

struct MeshSourceTests {
    @Test func anAppliedRevisionIsToldOnceItIsOnDiskAndIsThereAfterAStart() throws {
        let world = try World()
        #expect(try world.apply(Written.all(Written.service("a"), Written.service("b"))) == 1)
        #expect(try world.apply(Written.service("a")) == 1)
        #expect(try world.apply(Written.service("a", port: 81)) == 2)
        #expect(world.steps == ["1: +a +b", "2: +a"])
        let again = try World(world.data)
        #expect(again.steps == ["2: +a +b"] && again.source.problems.isEmpty)
        for key in world.source.state.index.keys {
            let (one, other) = (world.source.state.index[key], again.source.state.index[key])
            #expect(try #require(one).isAlike(try #require(other)) && one?.source.text == other?.source.text)
            #expect(one?.source.line == other?.source.line && one?.source.file == other?.source.file)
            #expect(again.source.state.revision(of: key) == world.source.state.revision(of: key))
        }
    }

    @Test func aDryRunAndARefusalTouchNothing() throws {
        let world = try World()
        try world.apply(Written.service("a"))
        #expect(try world.apply(Written.service("b")) { $0.isDryRun = true } == 1)
        #expect(throws: MeshRequestError.self) { try world.apply(Written.service("b") + "---\nkind: X\n") }
        #expect(throws: MeshRequestError.self) { try world.apply("# nothing\n") }
        #expect(world.steps == ["1: +a"] && world.names == ["a"])
        #expect(try world.store.newestRevision() == 1 && world.store.meshObjects().count == 1)
    }

    @Test func aStaleBaseIsRefusedWithWhatChangedAndByWhom() throws {
        let world = try World()
        try world.apply(Written.all(Written.service("a"), Written.service("b")))
        try world.apply(Written.service("a", port: 81)) { $0.author = "eve" }
        do {
            try world.apply(Written.service("b", port: 81)) { $0.base = 1 }
            Issue.record("accepted")
        } catch let error as MeshRequestError {
            #expect(
                "\(error)" == """
                    the mesh is at revision 2, and this is based on revision 1
                    Service default/a was changed by eve in revision 2
                    """)
            #expect(GRPCStatus(error).code == .failedPrecondition)
        }
        #expect(try world.apply(Written.service("b", port: 81)) { $0.base = 2 } == 3)
    }

    @Test func aRollbackIsANewRevisionWithTheOldState() throws {
        let world = try World()
        try world.apply(Written.all(Written.service("a"), Written.service("b")))
        try world.apply(Written.all(Written.service("a", port: 81), Written.service("c")))
        try world.apply("") { $0.removing = [ObjectKey(.service, "default", "b")] }
        var request = MeshRequest()
        request.author = "ada"
        let (plan, revision) = try world.source.rollback(to: 1, request)
        #expect(revision == 4 && plan.message == "rollback to revision 1")
        #expect(plan.changes.map { "\($0.key.name) \($0.kind)" } == ["a configured", "b created", "c removed"])
        #expect(world.names == ["a", "b"])
        // Back again, and to what is in force: nothing changes.
        #expect(try world.source.rollback(to: 3, request).revision == 5 && world.names == ["a", "c"])
        #expect(try world.source.rollback(to: 5, request).revision == 5)
        #expect(throws: MeshRequestError.self) { try world.source.rollback(to: 6, request) }
        let asked = try world.source.objects(
            ObjectQuery(revision: 1))
        #expect(asked.objects.map(\.name.name) == ["a", "b"] && asked.objects[0].yaml.contains("port: 80"))
    }

    @Test func aRollbackToWhatIsNotValidAnyMoreIsRefused() throws {
        let world = try World()
        try world.apply(Written.service("a"))
        try world.apply(Written.service("a", port: 81))
        try world.rewrite(
            "UPDATE objectChange SET beforeText = replace(beforeText, 'ports', 'prots') WHERE revision = 2")
        do {
            _ = try world.source.rollback(to: 1, MeshRequest())
            Issue.record("accepted")
        } catch {
            #expect("\(error)".hasPrefix("the state of revision 1 is not valid any more:\n"))
            #expect("\(error)".contains("given.yaml:6") && "\(error)".contains("spec: `ports` is missing"))
        }
        #expect(world.source.state.revision == 2 && world.steps.count == 2)
    }

    @Test func whatIsNotUnderstoodAnyMoreIsKeptToldAndLeftOut() throws {
        let world = try World()
        try world.apply(Written.all(Written.service("a"), Written.service("b")))
        try world.rewrite("UPDATE object SET text = replace(text, 'ports', 'prots') WHERE name = 'b'")
        try world.rewrite(
            """
            INSERT INTO object SELECT 'widget.example.org', namespace, name, text, format, file, line, revision \
            FROM object WHERE name = 'b'
            """)
        let again = try World(world.data)
        #expect(again.names == ["a"] && again.source.problems.count == 2)
        #expect(again.source.problems[0].hasPrefix("service default/b is kept and not in force: "))
        try again.apply(Written.service("c"))
        #expect(try again.store.meshObjects().count == 4)
        // A new text mends it; what it was stays in the history.
        try again.apply(Written.service("b", port: 81))
        #expect(again.names == ["a", "b", "c"] && again.source.problems.count == 1)
        #expect(try again.store.changes(of: 3).first?.before?.text.contains("prots") == true)
        try again.apply("") { $0.removing = [ObjectKey(.service, "default", "b")] }
        #expect(again.names == ["a", "c"])
    }

    @Test func workloadsComeAndGoWithoutARevision() throws {
        let world = try World()
        try world.apply(Written.service("a"))
        let id = Workload.ID(namespace: "default", name: "a-1")
        world.source.note(workloads: [.connect(Workload(id: id, labels: [:], serviceAccount: "a"))])
        #expect(try world.apply(Written.service("b")) == 2)
        world.source.note(workloads: [.disconnect(id)])
        world.source.note(workloads: [])
        #expect(world.steps.map { $0.prefix(4) } == ["1: +", "1: c", "2: +", "2: d"])
    }

    @Test func aDirectoryIsTheMeshAllOfItOrWhatWasGoodBefore() throws {
        let files = try TemporaryDirectory("mesh")
        try files.write("a.yaml", Written.service("a"))
        try files.write("more/b.yaml", Written.service("b"))
        try files.write("notes.txt", "not an object")
        let data = try TemporaryDirectory("data")
        do {
            let world = try World(data, directory: files.path)
            #expect(world.names == ["a", "b"] && world.steps == ["1: +a +b"])
            #expect(try world.store.revision(1)?.author == "directory")
            // Half of a change is wrong: none of it is taken.
            try files.write("a.yaml", Written.service("a", port: 81))
            try files.write("more/b.yaml", "kind: [")
            world.source.rescan()
            #expect(world.steps.count == 1 && world.source.problems.count == 1)
            #expect(world.source.problems[0].contains("more/b.yaml"))
            #expect(throws: MeshRequestError.self) { try world.apply(Written.service("c")) }
            #expect(throws: MeshRequestError.self) { try world.source.rollback(to: 1, MeshRequest()) }
        }
        // The last good state survives a restart.
        let again = try World(data, directory: files.path)
        #expect(again.names == ["a", "b"] && again.source.problems.count == 1 && again.source.state.revision == 1)
        try files.remove("more/b.yaml")
        again.source.rescan()
        #expect(again.names == ["a"] && again.source.problems.isEmpty && again.source.state.revision == 2)
        // One object in two files, and a directory that is gone.
        try files.write("c.yaml", Written.service("a"))
        again.source.rescan()
        #expect(again.source.problems.count == 1 && again.source.problems[0].contains("there is another one at"))
        try FileManager.default.removeItem(atPath: files.path)
        again.source.rescan()
        #expect(again.names == ["a"] && again.source.problems.count == 1)
    }

    @Test func onlyFilesThatChangedAreReadAgain() throws {
        let files = try TemporaryDirectory("mesh")
        for index in 0..<20 { try files.write("\(index).yaml", Written.service("s\(index)")) }
        let world = try World(directory: files.path)
        #expect(world.source.files?.readCount == 20)
        for index in 0..<20 { files.settle("\(index).yaml") }
        world.source.rescan()
        let settled = try #require(world.source.files?.readCount)
        try files.replace("3.yaml", Written.service("s3", port: 81))
        world.source.rescan()
        #expect(world.source.files?.readCount == settled + 1 && world.steps.last == "2: +s3")
    }
}

extension World {
    /// Changes the database as another version of the program might have left it.
    fileprivate func rewrite(_ sql: String) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/python3")
        process.arguments = [
            "-c", "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit()",
            store.path, sql,
        ]
        try process.run()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
    }
}

extension ObjectQuery {
    fileprivate init(revision: Int64) {
        self.init()
        self.revision = revision
    }
}
