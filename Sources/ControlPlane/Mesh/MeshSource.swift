import Logging
import Mesh
import Reactor
import Store
import Time
import Translation

/// Where the objects of a mesh come from: users who apply them, or a directory of files; kept in the store, one
/// revision for each change.
///
/// It belongs to one thread: that of the loop that it was started on.
public final class MeshSource {
    public struct Configuration: Sendable {
        /// A tree of files that is the source instead of users; nil: users.
        public var directory: String?
        public var history = HistoryBounds.standard
        /// How long the directory must be at rest before it is read.
        public var quiet = Duration.milliseconds(20)
        /// How long after a change it is read at the latest.
        public var longestWait = Duration.milliseconds(200)
        /// Of this machine, UTC: the time of revisions.
        public var clock: @Sendable () -> Timestamp = { Timestamp.systemClock() }
        public var logger = Logger(label: "mesh")
        /// By which objects become configuration; nil: they do not, and nothing can be told of it.
        public var translation: TranslationSettings?

        public init(directory: String? = nil) {
            self.directory = directory
        }
    }

    /// The objects in force, and the workloads that proxies have announced.
    public internal(set) var state = MeshState()
    /// Called after each change of the index, once it is on disk: from the old index, by these changes, to the new one.
    /// ``state`` is the new one then.
    public var changed: ((_ old: MeshIndex, _ new: MeshIndex, _ changes: [MeshIndex.Change]) -> Void)?
    /// Whether a directory of files is the source, instead of users.
    var isOfDirectory: Bool { files != nil }
    /// Says what proxies would get by a plan, a line each, for `diff`; nil: nobody says it.
    public var pushPlan: ((MeshPlan, _ old: MeshIndex) -> [String])?
    /// Follows revisions to proxies; nil: nobody does.
    public var progress: (any RevisionProgress)?
    /// Brings revisions to a part of the proxies first; nil: nobody does.
    weak var pacing: (any RevisionPacing)?
    /// While ``changed`` is called for a revision: how its author wants it to come to the proxies; nil: nothing was said.
    private(set) var rolloutOrder: RolloutOrder?
    /// The class of a workload's proxy, if that is connected.
    var proxyClass: ((Workload.ID) -> ProxyClass?)?
    /// What the proxy of a workload has, if that is not the newest revision; nil: it is.
    var indexBefore: ((Workload.ID) -> MeshIndex?)?
    /// What the translation of the objects in force has to tell of them.
    var translationFindings: (() -> [MeshFinding])?

    let store: Store
    let configuration: Configuration
    let logger: Logger
    private(set) var isStarted = false

    // The directory.
    var files: MeshFiles?
    /// What keeps the newest scan from being in force.
    var scanErrors: [String] = []
    var debounce: Debounce
    var clock: LoopClock?

    /// The loop, without the type of its handlers.
    struct LoopClock {
        var now: () -> Instant
        var schedule: (Instant, @escaping () -> Void) -> TimerID
        var cancel: (TimerID) -> Void
        var watch: () throws(ReactorError) -> Void
        var timer: TimerID?
    }

    public init(store: Store, configuration: Configuration) {
        self.store = store
        self.configuration = configuration
        logger = configuration.logger
        debounce = Debounce(quiet: configuration.quiet, longest: configuration.longestWait)
        files = configuration.directory.map { MeshFiles(root: $0) }
    }

    // MARK: Starting

    /// Takes the newest revision from the store, reads the directory, and follows it from then on. Called once, on the
    /// loop's thread or before it runs; ``changed`` is called for what is there.
    public func start<Handler>(on loop: EventLoop<Handler>) throws(ResourceSourceError) {
        let watched = WeakMeshSource(self)
        if let root = files?.root {
            clock = LoopClock(
                now: { loop.now },
                schedule: { deadline, work in loop.schedule(at: deadline) { _ in work() } },
                cancel: { loop.cancelTimer($0) },
                watch: { () throws(ReactorError) in
                    _ = try loop.watch(directory: root) { watched.source?.note($0) }
                })
            // Before the directory is read, so that no change falls between.
            do { try clock?.watch() } catch { throw .cannotWatch(error) }
        }
        try load()
    }

    /// What ``start(on:)`` does but for the loop.
    func load() throws(ResourceSourceError) {
        precondition(!isStarted, "a source is started once")
        if let problem = files?.rootProblem { throw .directoryUnreadable(problem) }
        do throws(StoreError) {
            state = MeshState(revision: try store.newestRevision(), try store.meshObjects())
        } catch {
            throw .store(error)
        }
        isStarted = true
        if state.index.count > 0 {
            changed?(MeshIndex(), state.index, state.index.keys.compactMap { state.index[$0].map { .put($0) } })
        }
        if files != nil { scan() }
        for problem in problems.prefix(100) { logger.error("\(problem)") }
        logger.info(
            "the mesh is there", metadata: ["revision": "\(state.revision)", "objects": "\(state.index.count)"])
    }

    // MARK: Changing

    /// Changes objects: all that the request says, or nothing. It is on disk before anybody is told of it.
    /// - Returns: what was done, and the revision in force afterwards: a new one unless nothing changed.
    public func apply(_ request: MeshRequest) throws(MeshRequestError) -> (plan: MeshPlan, revision: Int64) {
        if let directory = files?.root, !request.isDryRun { throw .ownedByDirectory(directory) }
        let done = try perform(request)
        // Nothing was asked for, so that nothing was done.
        if done.plan.changes.isEmpty, request.removing.isEmpty, !request.prunes { throw .noObjects }
        return done
    }

    /// Makes a revision in which every object is as it was in an older one.
    /// - Parameter request: who, why and on which base; what it puts and removes does not count.
    public func rollback(
        to revision: Int64, _ request: MeshRequest
    ) throws(MeshRequestError) -> (plan: MeshPlan, revision: Int64) {
        if let directory = files?.root, !request.isDryRun { throw .ownedByDirectory(directory) }
        var request = request
        (request.documents, request.objects, request.removing, request.prunes) = ([], [], [], false)
        if request.message.isEmpty { request.message = "rollback to revision \(revision)" }
        let ways = try self.ways(backTo: revision)
        var errors = ObjectErrors([])
        for way in ways {
            guard let key = ObjectKey(way.key) else { continue }
            guard let spelling = way.after else {
                request.removing.append(key)
                continue
            }
            do throws(UnreadableReason) {
                request.objects.append(try MeshObject(way.key, spelling))
            } catch {
                errors.add(ObjectErrors([.unreadable(key, ObjectSource(spelling), error.words)]))
            }
        }
        guard errors.findings.isEmpty else { throw .rollbackRefused(revision, errors) }
        request.ignoresMissing = true
        do throws(MeshRequestError) {
            return try perform(request)
        } catch .refused(let errors) {
            throw .rollbackRefused(revision, errors)
        } catch {
            throw error
        }
    }

    func perform(_ request: MeshRequest) throws(MeshRequestError) -> (plan: MeshPlan, revision: Int64) {
        precondition(isStarted, "a source is started before it is used")
        if !request.isDryRun, !request.isUndoing, let revision = pacing?.revisionUnderWay {
            throw .rolloutUnderWay(revision)
        }
        if request.rollout != nil, !request.isDryRun, let trial = pacing?.trialUnderWay {
            throw .trialUnderWay(trial.revision, isHeld: trial.isHeld)
        }
        let plan: MeshPlan
        do throws(MeshRequestError) {
            plan = try state.planning(request, now: configuration.clock())
        } catch .stale(let base, let current, _) {
            throw .stale(base: base, current: current, changes: changes(since: base))
        } catch {
            throw error
        }
        if request.isDryRun { return (plan, state.revision) }
        do throws(StoreError) {
            try store.respell(plan.respelled.map { ($0.key.stored, ObjectSpelling($0.source)) })
            if !plan.isEmpty { try commit(plan, request.rollout) }
        } catch {
            throw .store(error)
        }
        rolloutOrder = request.rollout
        defer { rolloutOrder = nil }
        adopt(plan)
        return (plan, state.revision)
    }

    private func commit(_ plan: MeshPlan, _ order: RolloutOrder?) throws(StoreError) {
        let changes = plan.changes.filter { $0.kind != .unchanged }.map { change in
            StoredObjectChange(
                key: change.key.stored, before: change.before.map { ObjectSpelling($0) },
                after: change.after.map { ObjectSpelling($0) })
        }
        let revision = StoredRevision(
            number: plan.base + 1, time: plan.time, author: plan.author, message: plan.message, base: plan.base)
        // In one step with how it comes to the proxies: whoever is killed gives it to no proxy too early, and nothing is
        // rolled out that was never made.
        try store.commit(
            revision, changes, bounds: configuration.history,
            rollout: pacing?.record(of: revision.number, over: plan.base, order), keepingSince: pacing?.baseUnderWay)
    }

    private func adopt(_ plan: MeshPlan) {
        let old = state.index
        state = state.adopting(plan, as: plan.isEmpty ? plan.base : plan.base + 1)
        guard !plan.isEmpty else { return }
        logger.info(
            "revision",
            metadata: [
                "revision": "\(state.revision)", "author": "\(plan.author)", "created": "\(plan.count(of: .created))",
                "configured": "\(plan.count(of: .configured))", "removed": "\(plan.count(of: .removed))",
            ])
        changed?(old, state.index, plan.indexChanges)
    }

    /// Takes workloads that proxies have announced, or that are gone. They are no revision, and on no disk.
    public func note(workloads changes: [MeshIndex.Change]) {
        for change in changes {
            switch change {
            case .connect, .disconnect, .judge: break
            case .put, .remove: preconditionFailure("objects change by apply(_:)")
            }
        }
        guard !changes.isEmpty else { return }
        let old = state.index
        state.index = old.applying(changes)
        changed?(old, state.index, changes)
    }

    // MARK: What is seen from outside

    /// What was written and is not in force, in words.
    public var problems: [String] {
        scanErrors
            + state.unreadable.map { object in
                let name = object.key.namespace.isEmpty ? object.key.name : object.key.namespace + "/" + object.key.name
                return "\(object.key.kind) \(name) is kept and not in force: \(object.problem)"
            }
    }

    /// What can be shown and rolled back to; nil: nothing.
    func keptRevisions() throws(StoreError) -> ClosedRange<Int64>? {
        guard let oldest = try store.oldestRevision(), oldest <= state.revision else { return nil }
        return oldest...state.revision
    }

    /// What changed since a revision and by whom, newest first.
    private func changes(since base: Int64) -> [String] {
        guard base < state.revision else { return ["revision \(base) is not there yet"] }
        let limit = 20
        do throws(StoreError) {
            let changed = try store.changedObjects(since: base, limit: limit + 1)
            let lines = changed.prefix(limit).map { entry in
                let name = ObjectKey(entry.key).map { "\($0)" } ?? "\(entry.key.kind) \(entry.key.name)"
                return "\(name) was changed by \(entry.revision.author) in revision \(entry.revision.number)"
            }
            return lines + (changed.count > limit ? ["and more"] : [])
        } catch {
            return ["what changed since cannot be read: \(error)"]
        }
    }
}

extension MeshFinding {
    fileprivate static func unreadable(_ key: ObjectKey, _ source: ObjectSource, _ words: String) -> MeshFinding {
        MeshFinding(
            .error, .invalidValue, object: key, file: source.file, position: nil, path: "", words,
            mend: "apply it in a form that is valid now")
    }
}

/// For closures that outlive the source.
final class WeakMeshSource: @unchecked Sendable {
    // Touched on the loop's thread alone, where all these closures run.
    private(set) weak var source: MeshSource?

    init(_ source: MeshSource) {
        self.source = source
    }
}
