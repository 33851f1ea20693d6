import Documents
import Glibc
import Protobuf
import Reactor
import Store
import XDS

extension ResourceSource {
    /// Reads the whole directory again: upon SIGHUP.
    public func rescan() {
        needsScan = true
        lookAgain()
    }

    /// Notes what the watcher has seen.
    func note(_ changes: [DirectoryChange]) {
        for change in changes {
            switch change {
            case .changed(let path), .removed(let path):
                dirtyPaths.insert(path)
                unwatched = unwatched.filter { path != $0.key && !path.hasPrefix($0.key + "/") }
            case .unwatched(let path, let error): unwatched[path] = error
            case .rescan: needsScan = true
            case .rootRemoved: watchAgain()
            }
        }
        // Beyond this, looking at everything costs no more.
        if dirtyPaths.count > 8192 {
            dirtyPaths = []
            needsScan = true
        }
        guard var clock else { return }
        if let timer = clock.timer { clock.cancel(timer) }
        let source = WeakSource(self)
        clock.timer = clock.schedule(debounce.note(at: clock.now())) { source.source?.lookAgain() }
        self.clock = clock
    }

    /// Reads what has changed, and publishes it.
    func lookAgain() {
        debounce.finish()
        if let timer = clock?.timer { clock?.cancel(timer) }
        clock?.timer = nil
        guard files != nil else { return }
        let before = Set(errors)
        let outcome: ResourceFiles.Outcome
        // A directory that went away as a whole tells nothing: what it said stays in force.
        if needsScan || files?.rootProblem != nil {
            outcome = files?.scan() ?? ResourceFiles.Outcome()
        } else {
            outcome = files?.look(at: dirtyPaths) ?? ResourceFiles.Outcome()
        }
        needsScan = false
        dirtyPaths = []
        unwatched = unwatched.filter { path, error in
            var wasUnreadable = false
            if case .cannotWatch(_, let error) = error { wasUnreadable = [EACCES, EPERM].contains(error.number) }
            return files?.isStillClosed(path, wasUnreadable: wasUnreadable) ?? false
        }
        settle(outcome)
        let after = Set(errors)
        for error in after.subtracting(before).sorted() { logger.error("\(error)") }
        for error in before.subtracting(after).sorted() { logger.info("mended", metadata: ["problem": "\(error)"]) }
    }

    /// The directory is gone, and its watch with it: tries once a second to begin anew.
    func watchAgain() {
        guard let clock else { return }
        needsScan = true
        let source = WeakSource(self)
        _ = clock.schedule(clock.now().advanced(by: .seconds(1))) {
            guard let self = source.source else { return }
            do {
                try self.clock?.watch()
                self.rescan()
            } catch {
                self.watchAgain()
            }
        }
    }

    /// Takes what was read into the catalog. What is refused waits, and is tried again with each further change.
    func settle(_ outcome: ResourceFiles.Outcome) {
        for warning in outcome.warnings { logger.warning("\(warning)") }
        for file in outcome.parsed {
            pending[file.path] = file
            pendingRemovals.remove(file.path)
        }
        for path in outcome.broken { pending[path] = nil }
        for path in outcome.removed {
            pending[path] = nil
            pendingRemovals.insert(path)
        }
        var isProgress = true
        while isProgress && !(pending.isEmpty && pendingRemovals.isEmpty) {
            var next = catalog
            let (change, refused) = next.replaceFiles(Array(pending.values), removing: pendingRemovals.sorted())
            danglingRefusals = configuration.isStrict && isStarted ? change.newFindings : []
            guard danglingRefusals.isEmpty, take(next, change) else { break }
            isProgress = refused.count < pending.count && !refused.isEmpty
            pending = pending.filter { refused[$0.key] != nil }
            pendingRemovals = []
            refusals = refused.reduce(into: [:]) { $0[$1.key] = Self.problem($1.value, of: $1.key) }
        }
        refusals = refusals.filter { pending[$0.key] != nil }
        if pending.isEmpty && pendingRemovals.isEmpty { danglingRefusals = [] }
        keepLastGood()
    }

    /// Keeps in the store what files have in force that say something else by now, so that a restart takes nothing from
    /// proxies. Files without an error are not kept: they tell themselves.
    private func keepLastGood() {
        let wanted = Set((files?.brokenPaths ?? []) + pending.keys).filter { catalog.holdsFile($0) }
        guard wanted != lastGood else { return }
        do {
            let new = try wanted.subtracting(lastGood).sorted().compactMap { path in
                try catalog.file(path).map {
                    try LastGoodFile(path: path, scope: $0.scope, resources: $0.resources)
                }
            }
            try store.keep(new, forgetting: lastGood.subtracting(wanted).sorted())
            lastGood = wanted
            lastGoodProblem = nil
        } catch {
            lastGoodProblem = ResourceProblem(
                file: store.path, "the last good state of files with errors would not survive a restart: \(error)",
                mend: (error as? StoreError)?.hint ?? "mend the files")
        }
    }

    private func take(_ next: ResourceCatalog, _ change: CatalogChange) -> Bool {
        guard isStarted else {
            catalog = next
            return true
        }
        var nextSnapshots = snapshots
        do throws(PublishError) {
            try nextSnapshots.follow(change, of: next)
        } catch {
            logger.error("nothing is published: \(error)")
            return false
        }
        adopt(next, nextSnapshots, change)
        return true
    }

    private static func problem(_ error: CatalogError, of path: String) -> ResourceProblem {
        var problem = ResourceProblem(file: path, "\(error)", mend: error.hint)
        if case .duplicate(_, let one, let other) = error {
            for place in [one, other] {
                guard case .file(path, let line) = place.origin else { continue }
                problem.position = SourcePosition(line: line, column: 1)
            }
        }
        return problem
    }
}
