import Logging
import Reactor
import Store
import Time
import XDS

/// Where the raw resources of a control plane come from and where they go: a directory of files and what users apply,
/// kept in one catalog, published to one cache.
///
/// It belongs to one thread: that of the loop that it was started on. Only ``cache`` and ``views`` are for others.
public final class ResourceSource {
    public struct Configuration: Sendable {
        /// nil: no files.
        public var directory: String?
        /// Whether nothing is published that does not fit together.
        public var isStrict = false
        public var limits = ResourceLimits.standard
        /// How long the directory must be at rest before it is read.
        public var quiet = Duration.milliseconds(20)
        /// How long after a change it is read at the latest.
        public var longestWait = Duration.milliseconds(200)
        public var logger = Logger(label: "resources")

        public init(directory: String? = nil) {
            self.directory = directory
        }
    }

    /// What has become visible to proxies.
    public struct Publication {
        public var change: CatalogChange
        /// The views that show something else since, in order.
        public var views: [ViewName]
    }

    /// Something that people should look at.
    public struct Problem: Hashable, Sendable, CustomStringConvertible {
        public enum Severity: Hashable, Sendable {
            /// Something that was written is not in force; what was in force before still is.
            case error
            /// It is in force, and does not fit together.
            case warning
        }
        public var severity: Severity
        public var description: String
    }

    public let cache: SnapshotCache
    public let views: ViewDirectory
    public internal(set) var catalog: ResourceCatalog
    /// Called after each change that proxies see.
    public var published: ((Publication) -> Void)?
    /// Called after scopes came or went: some streams belong to another view now. Ask the cache again for the view of
    /// each; views that are gone are taken from the cache after this call.
    public var scopesChanged: (() -> Void)?

    /// Shows what is published to who may see it; nil: everybody sees everything.
    let secrets: SecretDirectory?
    let store: Store
    let configuration: Configuration
    let logger: Logger
    var snapshots = ViewSnapshots()
    var isStarted = false
    var files: ResourceFiles?
    /// Read without an error, and refused by the catalog so far.
    var pending: [String: ParsedFile] = [:]
    var pendingRemovals: Set<String> = []
    var refusals: [String: ResourceProblem] = [:]
    var danglingRefusals: [Finding] = []
    var storeProblems: [ResourceProblem] = []
    /// The files whose last good state is in the store.
    var lastGood: Set<String> = []
    var lastGoodProblem: ResourceProblem?

    // The directory's watch.
    var dirtyPaths: Set<String> = []
    var needsScan = false
    var unwatched: [String: ReactorError] = [:]
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

    /// - Parameter secrets: shows what is published, secrets to those alone who may see them; nil: everybody sees
    ///   everything.
    public init(store: Store, configuration: Configuration, secrets: SecretDirectory? = nil) {
        self.store = store
        self.configuration = configuration
        self.secrets = secrets
        let views = secrets?.classes.raw ?? ViewDirectory()
        self.views = views
        cache = secrets?.cache ?? SnapshotCache { views.view(of: $0) }
        logger = configuration.logger
        catalog = ResourceCatalog(limits: configuration.limits)
        debounce = Debounce(quiet: configuration.quiet, longest: configuration.longestWait)
        files = configuration.directory.map { ResourceFiles(root: $0, limits: configuration.limits) }
    }

    // MARK: Starting

    /// Takes what was applied from the store, reads the directory, publishes all of it at once, and follows the
    /// directory from then on. Called once, on the loop's thread or before it runs.
    /// - Throws: ``ResourceSourceError``; then nothing was published.
    public func start<Handler>(on loop: EventLoop<Handler>) throws(ResourceSourceError) {
        precondition(!isStarted, "a source is started once")
        let watched = WeakSource(self)
        if let files {
            let root = files.root
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
        let doorbell = loop.mailbox.doorbell { _ in watched.source?.makeDemandedViews() }
        views.onDemand { doorbell.ring() }
        try load()
    }

    /// What ``start(on:)`` does but for the loop.
    func load() throws(ResourceSourceError) {
        if let problem = files?.rootProblem { throw .directoryUnreadable(problem) }
        do {
            try restoreApplied()
            try restoreLastGood()
        } catch {
            throw .store(error)
        }
        if let outcome = files?.scan() { settle(outcome) }
        if configuration.isStrict && !problems.isEmpty {
            throw .refusedByStrict(problems.map(\.description))
        }
        do { snapshots = try ViewSnapshots(showing: catalog) } catch { throw .unpublishable(error) }
        isStarted = true
        for name in snapshots.names { show(name) }
        views.change(adding: catalog.scopes, removing: [])
        for error in errors.prefix(100) { logger.error("\(error)") }
        for finding in catalog.findings.prefix(100) { logger.warning("\(finding)") }
        logger.info(
            "resources are published",
            metadata: [
                "resources": "\(catalog.count)", "files": "\(catalog.filePaths.count)",
                "views": "\(snapshots.names.count)", "problems": "\(problems.count)",
            ])
    }

    private func restoreApplied() throws(StoreError) {
        var byScope: [Scope: [HeldResource]] = [:]
        for row in try store.appliedResources() {
            do throws(ResourceProblems) {
                let held = try row.held()
                byScope[held.scope, default: []].append(held)
            } catch {
                storeProblems += error.problems
            }
        }
        for (scope, resources) in byScope.sorted(by: { $0.key < $1.key }) {
            // One by one if need be: each was fine once, so what another version of this program refuses is left out.
            if take(Application(scope: scope, setting: resources)) { continue }
            for resource in resources { _ = take(Application(scope: scope, setting: [resource])) }
        }
        for version in try store.appliedVersions() {
            guard let scope = Scope(text: version.scope), let type = ResourceType(typeURL: version.typeURL) else {
                continue
            }
            catalog.restoreAppliedLabel(version.version, of: type, in: scope)
        }
    }

    /// A file with an error keeps its last good state over a restart too. What the scan finds without an error takes
    /// its place.
    private func restoreLastGood() throws(StoreError) {
        for file in try store.lastGoodFiles() {
            lastGood.insert(file.path)
            guard files?.isThere(file.path) == true else { continue }
            do {
                var next = catalog
                _ = try next.replaceFile(try file.parsed())
                catalog = next
            } catch {
                storeProblems.append(
                    ResourceProblem(file: file.path, "its last good state is lost: \(error)", mend: "mend the file"))
            }
        }
    }

    private func take(_ application: Application) -> Bool {
        var next = catalog
        do throws(CatalogError) {
            _ = try next.apply(application)
            catalog = next
            return true
        } catch {
            if application.setting.count == 1 {
                storeProblems.append(ResourceProblem(path: "stored", "\(error)", mend: error.hint))
            }
            return false
        }
    }

    // MARK: What is seen from outside

    /// Errors first, each group in order. The work grows with their number.
    public var problems: [Problem] {
        errors.map { Problem(severity: .error, description: $0) }
            + catalog.findings.map { Problem(severity: .warning, description: "\($0)") }
    }

    var errors: [String] {
        var errors = storeProblems.map(\.description)
        if let lastGoodProblem { errors.append("\(lastGoodProblem)") }
        errors += unwatched.sorted { $0.key < $1.key }.map { "\($0.value); \($0.value.hint)" }
        errors += (files?.problems ?? []).map(\.description)
        errors += refusals.sorted { $0.key < $1.key }.map(\.value.description)
        errors += danglingRefusals.map { "not published (--strict): \($0)" }
        if views.refusals > 0 {
            errors.append(
                "more than \(views.combinedLimit) pairs of a node-cluster and a node-id scope: further nodes see what "
                    + "is for their ID only; use fewer scopes")
        }
        return errors
    }

    /// What is in force. nil stands for any; a name may be an alias.
    public func list(
        type: ResourceType? = nil, name: String? = nil, scope: Scope? = nil
    ) -> [(resource: HeldResource, warnings: [Finding])] {
        catalog.resources(scope: scope, type: type)
            .filter { held in name == nil || held.names.contains { $0.name == name } }
            .map { ($0, catalog.findings(about: $0.place)) }
    }
}

/// For closures that outlive the source.
final class WeakSource: @unchecked Sendable {
    // Touched on the loop's thread alone, where all these closures run.
    private(set) weak var source: ResourceSource?

    init(_ source: ResourceSource) {
        self.source = source
    }
}

/// Why a source could not start.
public enum ResourceSourceError: Error, Sendable {
    case store(StoreError)
    case cannotWatch(ReactorError)
    case directoryUnreadable(ResourceProblem)
    /// Everything that is wrong, in words.
    case refusedByStrict([String])
    case unpublishable(PublishError)
}

extension ResourceSourceError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .store(let error): "\(error)"
        case .cannotWatch(let error): "\(error)"
        case .directoryUnreadable(let problem): "\(problem.file ?? "the directory"): \(problem.problem)"
        case .refusedByStrict(let problems):
            "nothing is served (--strict):\n" + problems.prefix(20).joined(separator: "\n")
        case .unpublishable(let error): "\(error)"
        }
    }

    /// The mend.
    public var hint: String {
        switch self {
        case .store(let error): error.hint
        case .cannotWatch(let error): error.hint
        case .directoryUnreadable(let problem): problem.mend
        case .refusedByStrict: "mend what is named above, or leave out --strict"
        case .unpublishable: "correct the resource"
        }
    }
}
