import Glibc
import Testing

@testable import Reactor

/// A watched directory whose reports are kept.
private final class Watched {
    let directory = TemporaryDirectory()
    let loop: EventLoop<Probe>
    private(set) var watch: WatchID?
    var changes: [DirectoryChange] = []
    var reports = 0

    init(options: WatchOptions = WatchOptions(), prepare: (TemporaryDirectory) -> Void = { _ in }) throws {
        loop = try EventLoop()
        prepare(directory)
        watch = try loop.watch(directory: directory.path, options: options) { [unowned self] in
            changes += $0
            reports += 1
        }
    }

    func path(_ name: String) -> String { directory.path + "/" + name }

    /// What is reported until all is quiet.
    func next() -> [DirectoryChange] {
        loop.turn { !changes.isEmpty }
        loop.settleDown()
        defer { changes = [] }
        return changes
    }
}

@Suite struct DirectoryWatcherTests {
    @Test func aFileIsReportedWhenItsWriterClosesIt() throws {
        let watched = try Watched()
        let descriptor = open(watched.path("a.yaml"), O_WRONLY | O_CREAT, 0o644)
        _ = write(descriptor, "half", 4)
        watched.loop.settleDown()
        #expect(watched.changes.isEmpty)
        _ = write(descriptor, " whole", 6)
        close(descriptor)
        #expect(watched.next() == [.changed(path: watched.path("a.yaml"))])
    }

    @Test func aReplacedFileAndARemovedOneAreReported() throws {
        let watched = try Watched { $0.write("old", to: "a.yaml") }
        watched.directory.write("new", to: ".a.yaml.tmp")
        rename(watched.path(".a.yaml.tmp"), watched.path("a.yaml"))
        let a = watched.path("a.yaml")
        #expect(watched.next() == [.removed(path: watched.path(".a.yaml.tmp")), .changed(path: a)])
        unlink(a)
        #expect(watched.next() == [.removed(path: a)])
        // Within one turn the last state counts.
        watched.directory.write("1", to: "a.yaml")
        unlink(a)
        watched.directory.write("2", to: "a.yaml")
        #expect(watched.next() == [.changed(path: a)])
    }

    @Test func foldersAreWatchedAtAnyDepthOldAndNew() throws {
        let watched = try Watched { mkdir($0.path + "/old", 0o755) }
        watched.directory.write("1", to: "old/x.yaml")
        #expect(watched.next() == [.changed(path: watched.path("old/x.yaml"))])
        // What is in a new folder before its watch is there is found too.
        mkdir(watched.path("new"), 0o755)
        mkdir(watched.path("new/deep"), 0o755)
        watched.directory.write("1", to: "new/deep/y.yaml")
        #expect(watched.next() == [.changed(path: watched.path("new/deep/y.yaml"))])
        watched.directory.write("2", to: "new/deep/y.yaml")
        watched.directory.write("2", to: "new/z.yaml")
        #expect(
            watched.next() == [
                .changed(path: watched.path("new/deep/y.yaml")), .changed(path: watched.path("new/z.yaml")),
            ])
    }

    @Test func aFolderThatMovesIsRemovedAndChanged() throws {
        let watched = try Watched {
            mkdir($0.path + "/a", 0o755)
            mkdir($0.path + "/a/b", 0o755)
            $0.write("1", to: "a/b/f")
        }
        rename(watched.path("a"), watched.path("c"))
        #expect(watched.next() == [.removed(path: watched.path("a")), .changed(path: watched.path("c/b/f"))])
        // The watch has moved with it.
        watched.directory.write("2", to: "c/b/f")
        #expect(watched.next() == [.changed(path: watched.path("c/b/f"))])
        unlink(watched.path("c/b/f"))
        rmdir(watched.path("c/b"))
        #expect(watched.next() == [.removed(path: watched.path("c/b")), .removed(path: watched.path("c/b/f"))])
        mkdir(watched.path("c/b"), 0o755)
        watched.directory.write("3", to: "c/b/f")
        #expect(watched.next().last == .changed(path: watched.path("c/b/f")))
    }

    @Test func aLinkToAFolderMeansLookAgain() throws {
        let watched = try Watched {
            mkdir($0.path + "/v1", 0o755)
            mkdir($0.path + "/v2", 0o755)
            symlink("v1", $0.path + "/..data")
        }
        // As the volumes of Kubernetes are replaced.
        symlink("v2", watched.path("..tmp"))
        rename(watched.path("..tmp"), watched.path("..data"))
        let changes = watched.next()
        #expect(changes.contains(.changed(path: watched.path("..data"))) && changes.last == .rescan)
    }

    @Test func hardLinksAndPermissionsAreChanges() throws {
        let watched = try Watched { $0.write("1", to: "a") }
        link(watched.path("a"), watched.path("b"))
        #expect(watched.next().contains(.changed(path: watched.path("b"))))
        chmod(watched.path("a"), 0o600)
        #expect(watched.next().contains(.changed(path: watched.path("a"))))
    }

    @Test func moreChangesThanTheBoundBecomeOneRescan() throws {
        var options = WatchOptions()
        options.mostPathsPerReport = 10
        let watched = try Watched(options: options)
        for number in 0..<11 { watched.directory.write("x", to: "f\(number)") }
        #expect(watched.next() == [.rescan] && watched.reports == 1)
        // Also those of a new folder.
        mkdir(watched.path("new"), 0o755)
        for number in 0..<11 { watched.directory.write("x", to: "new/f\(number)") }
        #expect(watched.next() == [.rescan])
        for number in 0..<10 { watched.directory.write("x", to: "f\(number)") }
        #expect(watched.next().count == 10)
    }

    @Test func lostEventsMeanLookAgainAndNewFoldersAreNotLost() throws {
        var limitText = [UInt8](repeating: 0, count: 32)
        let file = open("/proc/sys/fs/inotify/max_queued_events", O_RDONLY)
        let count = read(file, &limitText, 32)
        close(file)
        let limit = try #require(Int(String(decoding: limitText.prefix(max(0, count - 1)), as: UTF8.self)))
        let watched = try Watched {
            $0.write("x", to: "a")
            $0.write("x", to: "b")
        }
        // Alternating, as the kernel merges equal neighbours.
        for _ in 0...limit / 2 {
            chmod(watched.path("a"), 0o600)
            chmod(watched.path("b"), 0o600)
        }
        mkdir(watched.path("unseen"), 0o755)
        #expect(watched.next().contains(.rescan))
        watched.directory.write("x", to: "unseen/f")
        #expect(watched.next() == [.changed(path: watched.path("unseen/f"))])
    }

    @Test func theEndOfTheDirectoryEndsTheWatch() throws {
        let watched = try Watched { mkdir($0.path + "/root", 0o755) }
        var changes: [DirectoryChange] = []
        _ = try watched.loop.watch(directory: watched.path("root/")) { changes += $0 }
        rmdir(watched.path("root"))
        watched.loop.turn { !changes.isEmpty }
        watched.loop.settleDown()
        #expect(changes == [.rootRemoved])
    }

    @Test func whatCannotBeWatchedIsNamed() throws {
        let watched = try Watched { $0.write("x", to: "file") }
        for name in ["missing", "file"] {
            let error = #expect(throws: ReactorError.self) {
                try watched.loop.watch(directory: watched.path(name)) { _ in }
            }
            guard case .cannotWatch(watched.path(name), _) = error else {
                Issue.record("\(String(describing: error))")
                continue
            }
            #expect(error?.hint == "check that the path is a directory")
        }
        var options = WatchOptions()
        options.mostDirectories = 1
        mkdir(watched.path("below"), 0o755)
        #expect(throws: ReactorError.tooManyDirectories(path: watched.path("below"), limit: 1)) {
            try watched.loop.watch(directory: watched.directory.path, options: options) { _ in }
        }
    }

    @Test func aFolderOverTheBoundIsReportedAsUnwatched() throws {
        var options = WatchOptions()
        options.mostDirectories = 1
        let watched = try Watched(options: options)
        mkdir(watched.path("below"), 0o755)
        let path = watched.path("below")
        #expect(watched.next() == [.unwatched(path: path, .tooManyDirectories(path: path, limit: 1))])
    }

    @Test func anEndedWatchIsSilent() throws {
        let watched = try Watched()
        let watch = try #require(watched.watch)
        watched.loop.stopWatching(watch)
        watched.loop.stopWatching(watch)
        watched.directory.write("x", to: "a")
        watched.loop.settleDown()
        #expect(watched.reports == 0)
    }
}
