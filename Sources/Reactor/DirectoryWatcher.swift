import CLinux
import Glibc

/// What happened in a watched directory. Paths begin with the directory as it was given.
public enum DirectoryChange: Hashable, Sendable {
    /// A file was written and closed, created by a link, moved in, or its permissions changed.
    case changed(path: String)
    /// A file or a directory with all that was in it is gone.
    case removed(path: String)
    /// A directory that cannot be watched: what changes in it is not seen. `hint` of the error has the mend.
    case unwatched(path: String, ReactorError)
    /// Look at everything again: events were lost, there were too many, or a symbolic link to a directory changed
    /// (as in Kubernetes' volumes, where `..data` is replaced).
    case rescan
    /// The directory itself was removed or moved; the watch has ended.
    case rootRemoved
}

/// Names one watch of one loop.
public struct WatchID: Hashable, Sendable {
    let position: Int
    let number: UInt32
}

/// The bounds of one directory watch.
public struct WatchOptions: Sendable {
    /// Directories, the root included.
    public var mostDirectories = 8192
    /// Paths that are reported at once; more become one `.rescan`.
    public var mostPathsPerReport = 4096

    public init() {}
}

extension Loop {
    /// Watches a directory and those below it; new ones are taken in. Symbolic links are reported, not followed.
    ///
    /// `report` gets the changes of one turn, sorted by path, each path once with its latest state. It runs outside
    /// handlers' callbacks. Nothing is reported of what is there already: list it after this call, so that no change
    /// falls between.
    /// - Throws: `.cannotWatch` or `.tooManyDirectories` for the directory or one below it.
    @discardableResult
    public func watch(
        directory: String, options: WatchOptions = WatchOptions(),
        report: @escaping ([DirectoryChange]) -> Void
    ) throws(ReactorError) -> WatchID {
        let watcher = try DirectoryWatcher(root: directory, options: options, report: report)
        do {
            return try watcher.register(in: self)
        } catch {
            watcher.cancel()
            throw .cannotWatch(path: directory, error)
        }
    }

    /// Ends a watch.
    public func stopWatching(_ watch: WatchID) {
        guard sources.indices.contains(watch.position), sources[watch.position].generation == watch.number,
            sources[watch.position].source is DirectoryWatcher
        else { return }
        removeSource(watch.position)
    }
}

/// One inotify descriptor and the tree below its root. Source: inotify(7).
final class DirectoryWatcher: EventSource {
    private let root: String
    private let options: WatchOptions
    private let report: ([DirectoryChange]) -> Void
    private var descriptor: Int32
    private var pathsByWatch: [Int32: String] = [:]
    private var watchesByPath: [String: Int32] = [:]
    // What this turn has seen.
    private var pending: [String: DirectoryChange] = [:]
    private var needsRescan = false
    private var isOverBound = false
    private var rootIsGone = false

    init(root: String, options: WatchOptions, report: @escaping ([DirectoryChange]) -> Void) throws(ReactorError) {
        var trimmed = root[...]
        while trimmed.count > 1 && trimmed.hasSuffix("/") { trimmed.removeLast() }
        self.root = String(trimmed)
        self.options = options
        self.report = report
        descriptor = linux_inotify_open()
        guard descriptor >= 0 else {
            throw .cannotWatch(path: root, SystemError(call: "inotify_init1", number: -descriptor))
        }
        super.init()
        do throws(ReactorError) {
            // The root may be a symbolic link; what is below it may not.
            let failures = takeTree(root == "/" ? "/" : self.root + "/.", named: self.root, isNew: false)
            if let first = failures.first { throw first }
        } catch {
            cancel()
            throw error
        }
    }

    func register(in loop: Loop) throws(SystemError) -> WatchID {
        try loop.addSource(self, descriptor: descriptor)
        return WatchID(position: position, number: loop.sources[position].generation)
    }

    override func cancel() {
        if descriptor >= 0 { _ = linux_close(descriptor) }
        descriptor = -1
    }

    override func ready(_ loop: Loop) {
        let buffer = loop.receiveScratch
        while descriptor >= 0 {
            let count = linux_read(descriptor, buffer.baseAddress, buffer.count)
            guard count > 0 else { break }
            var (offset, change) = (0, linux_change())
            while true {
                let next = linux_inotify_next(buffer.baseAddress, Int(count), offset, &change)
                guard next > 0 else { break }
                note(change)
                offset = next
            }
        }
        deliver(loop)
    }

    private func deliver(_ loop: Loop) {
        var changes = pending.sorted { $0.key < $1.key }.map(\.value)
        if needsRescan { changes.append(.rescan) }
        if rootIsGone { changes.append(.rootRemoved) }
        pending.removeAll()
        (needsRescan, isOverBound) = (false, false)
        guard !changes.isEmpty else { return }
        if rootIsGone { loop.removeSource(position) }
        report(changes)
    }

    private func note(_ change: linux_change) {
        let what = Int(change.what)
        if what & Int(LINUX_QUEUE_OVERFLOW) != 0 {
            needsRescan = true
            // Directories may have come unseen.
            noteFailures(takeTree(root + "/.", named: root, isNew: false))
            return
        }
        guard let directory = pathsByWatch[change.watch] else { return }
        if what & Int(LINUX_WATCH_ENDED) != 0 {
            forget(change.watch, directory)
            return
        }
        guard let namePointer = change.name else {
            if what & Int(LINUX_SELF_GONE) != 0 && directory == root { rootIsGone = true }
            return
        }
        let path =
            directory == "/" ? "/" + String(cString: namePointer) : directory + "/" + String(cString: namePointer)
        if what & Int(LINUX_IS_DIRECTORY) != 0 {
            noteDirectory(path, what)
        } else if what & Int(LINUX_ENTRY_GONE) != 0 {
            record(.removed(path: path), path)
        } else {
            noteFile(path, what)
        }
    }

    private func noteDirectory(_ path: String, _ what: Int) {
        if what & Int(LINUX_ENTRY_GONE) != 0 {
            forgetTree(path)
            pending = pending.filter { !$0.key.hasPrefix(path + "/") || $0.value == .removed(path: $0.key) }
            record(.removed(path: path), path)
        } else if watchesByPath[path] == nil {
            // New, or readable by now.
            if case .removed? = pending[path] { pending[path] = nil }
            noteFailures(takeTree(path, named: path, isNew: true))
        }
    }

    private func noteFile(_ path: String, _ what: Int) {
        var (own, target) = (stat(), stat())
        // Gone again: its removal follows.
        guard lstat(path, &own) == 0 else { return }
        let isLink = own.st_mode & S_IFMT == S_IFLNK
        if isLink, stat(path, &target) == 0, target.st_mode & S_IFMT == S_IFDIR { needsRescan = true }
        // A file that is being created is reported when its writer closes it; links have no writer.
        if what == Int(LINUX_ENTRY_CREATED), !isLink, own.st_nlink < 2 { return }
        record(.changed(path: path), path)
    }

    /// Keeps the latest change of each path, as many as the bound allows; then everything is to be looked at.
    private func record(_ change: DirectoryChange, _ path: String) {
        guard !isOverBound else { return }
        pending[path] = change
        guard pending.count > options.mostPathsPerReport else { return }
        pending.removeAll()
        (needsRescan, isOverBound) = (true, true)
    }

    private func noteFailures(_ failures: [ReactorError]) {
        for failure in failures {
            switch failure {
            case .cannotWatch(let path, let error) where error.number != ENOENT && error.number != ENOTDIR:
                record(.unwatched(path: path, failure), path)
            case .tooManyDirectories(let path, _):
                record(.unwatched(path: path, failure), path)
            default: break  // Gone before it could be watched: its removal follows.
            }
        }
    }

    // MARK: The tree

    /// Watches a directory and all below it. The watch comes before the listing: what is created between is seen
    /// twice rather than never.
    private func takeTree(_ start: String, named name: String, isNew: Bool) -> [ReactorError] {
        var failures: [ReactorError] = []
        var waiting = [(location: start, name: name)]
        while let next = waiting.popLast() {
            guard watchesByPath.count < options.mostDirectories || watchesByPath[next.name] != nil else {
                failures.append(.tooManyDirectories(path: next.name, limit: options.mostDirectories))
                break
            }
            let watch = linux_inotify_watch(descriptor, next.location)
            guard watch >= 0, let listing = opendir(next.location) else {
                let call = watch < 0 ? "inotify_add_watch" : "opendir"
                let number = watch < 0 ? -watch : errno
                if watch >= 0 { _ = linux_inotify_forget(descriptor, watch) }
                failures.append(.cannotWatch(path: next.name, SystemError(call: call, number: number)))
                continue
            }
            if let old = pathsByWatch[watch], old != next.name { watchesByPath[old] = nil }
            pathsByWatch[watch] = next.name
            watchesByPath[next.name] = watch
            while let entry = readdir(listing) {
                let file = withUnsafePointer(to: &entry.pointee.d_name) {
                    $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
                }
                guard file != ".", file != ".." else { continue }
                let path = next.name == "/" ? "/" + file : next.name + "/" + file
                var status = stat()
                guard lstat(path, &status) == 0 else { continue }
                switch status.st_mode & S_IFMT {
                case S_IFDIR: waiting.append((path, path))
                case S_IFLNK:
                    var target = stat()
                    if isNew {
                        record(.changed(path: path), path)
                        if stat(path, &target) == 0, target.st_mode & S_IFMT == S_IFDIR { needsRescan = true }
                    }
                default: if isNew { record(.changed(path: path), path) }
                }
            }
            closedir(listing)
        }
        return failures
    }

    private func forgetTree(_ path: String) {
        for (directory, watch) in watchesByPath where directory == path || directory.hasPrefix(path + "/") {
            _ = linux_inotify_forget(descriptor, watch)
            forget(watch, directory)
        }
    }

    private func forget(_ watch: Int32, _ directory: String) {
        if pathsByWatch[watch] == directory { pathsByWatch[watch] = nil }
        if watchesByPath[directory] == watch { watchesByPath[directory] = nil }
    }
}
