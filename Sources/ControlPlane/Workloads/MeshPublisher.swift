import Discovery
import Identity
import Logging
import Mesh
import Reactor
import Store
import Time
import Translation
import XDS

/// Makes what the proxies of the mesh see, and shows it: follows the objects, the proxies that come and go, and the raw
/// resources that lie over it.
///
/// It belongs to the control thread. Proxies that come together are taken together: each may be an endpoint of
/// services that all others call.
final class MeshPublisher {
    struct Configuration {
        /// How long to wait for more proxies before others are told of those that came.
        var gathering = Duration.milliseconds(20)
        /// How long the proxies of a control plane that begins again have to come back.
        var returning = Duration.seconds(60)
        /// How long after its listeners were acknowledged a proxy has its certificate too and takes connections.
        var warming = Duration.milliseconds(300)
        var settings: TranslationSettings
        var logger: Logger
    }

    struct Place {
        var node: Node
        var view: MeshView?
        /// Of ``view``, whether or not it is a candidate.
        var commonName: ViewName?
    }

    let source: MeshSource
    let secrets: SecretDirectory
    /// What a view of raw resources shows.
    let raw: (ViewName) -> Snapshot?
    /// Called after nodes have come to belong to other views.
    var viewsChanged: (() -> Void)?
    /// Brings revisions to a part of the proxies first; nil: all get them at once.
    weak var pacing: RolloutRunner?
    /// Of the newest mesh.
    var translation: MeshTranslation
    /// What proxies see that a roll-out has not reached; nil: all see the newest mesh.
    var kept: KeptMesh?
    /// Called some time after objects or workloads have changed, once for many changes.
    var meshChanged: ((HealthConcerns) -> Void)?
    private(set) var registry = WorkloadRegistry()
    let configuration: Configuration
    private let store: Store
    var places: [StreamToken: Place] = [:]
    var shown: [ViewName: (view: MeshView, snapshot: Snapshot)] = [:]
    var viewsOfClass: [ProxyClass: Set<ViewName>] = [:]
    var viewsOfRaw: [ViewName: Set<ViewName>] = [:]
    /// Classes without a proxy, until when they are kept.
    private var idle: [ProxyClass: Instant] = [:]
    private var waiting: [MeshIndex.Change] = []
    /// What was found about workloads, and others are told together with what is waiting: the newest of each.
    private var judged: [Workload.ID: Bool?] = [:]
    private var concerns = HealthConcerns()
    var affected = AffectedViews()
    /// What users were told of their objects, and still holds.
    private(set) var told: [MeshFinding] = []
    private var toldVersion: UInt64 = 0
    private var clock: Clock?

    private struct Clock {
        var now: () -> Instant
        var schedule: (Duration, @escaping () -> Void) -> Void
        var isGathering = false
        var isTelling = false
        var isTicking = false
    }

    private var logger: Logger { configuration.logger }

    init(
        _ source: MeshSource, store: Store, secrets: SecretDirectory, configuration: Configuration,
        raw: @escaping (ViewName) -> Snapshot?
    ) {
        self.source = source
        self.store = store
        self.secrets = secrets
        self.configuration = configuration
        self.raw = raw
        translation = MeshTranslation(settings: configuration.settings)
    }

    /// Follows the source from now on. Called before the source starts, on the loop's thread or before it runs.
    func start<Handler>(on loop: EventLoop<Handler>) {
        clock = Clock(
            now: { loop.now },
            schedule: { delay, work in _ = loop.schedule(after: delay) { _ in work() } })
        source.changed = { [unowned self] old, new, changes in follow(old, new, changes) }
    }

    /// Takes the workloads that were known when the control plane ended. Called after the source has started.
    func expectWorkloads() {
        guard let clock else { preconditionFailure("it was started") }
        do throws(StoreError) {
            let known = try store.knownWorkloads().compactMap { WorkloadRegistry.Known($0) }
            source.note(
                workloads: registry.expect(known, until: clock.now().advanced(by: configuration.returning)).mesh)
            scheduleTick()
        } catch {
            logger.error(
                "the workloads that were connected are not known: \(error)", metadata: ["hint": "\(error.hint)"])
        }
    }

    // MARK: Proxies

    /// A stream has begun.
    func begin(_ stream: StreamToken, _ node: Node) {
        let node = secrets.classes.remembered(node)
        guard let proxy = ProxyClass(node: node) else { return }
        let workload = Workload(node: node)
        let expected = workload.map { expectedAccounts($0) } ?? []
        let (changes, refusal) = registry.enter(
            stream, proxy, workload, identity: node.holder?.identity, expected: expected)
        if let refusal {
            logger.warning("\(refusal)", metadata: ["node": "\(node.id)"])
        }
        places[stream] = Place(node: node)
        take(changes)
        place(stream)
        pacing?.proxyCame(node.id, stream)
    }

    /// A proxy has acknowledged its listeners: its workload takes connections as soon as they are warm.
    func listening(_ stream: StreamToken) {
        clock?.schedule(configuration.warming) { [weak self] in
            guard let self else { return }
            take(registry.serve(stream))
        }
    }

    /// A stream is over.
    func end(_ stream: StreamToken) {
        guard let clock, places.removeValue(forKey: stream) != nil else { return }
        take(registry.leave(stream, now: clock.now()))
        scheduleTick()
        pacing?.proxyWent()
    }

    /// Finds the view of each stream again: raw views have come or gone, or the mesh has.
    func assignAgain() {
        for stream in places.keys.sorted() { place(stream) }
    }

    func place(_ stream: StreamToken) {
        guard let node = places[stream]?.node else { return }
        var view = secrets.classes.meshView(of: node)
        let name = view?.commonName
        if let proxy = view?.proxy, let name, let pacing {
            let mustKnow = pacing.mustKnow(name)
            if mustKnow || kept?.translation != nil, isDiverged(proxy), mustKnow {
                pacing.affect([name])
                view = secrets.classes.meshView(of: node)
            }
        }
        places[stream] = Place(node: node, view: view, commonName: name)
        guard let view, let name else { return }
        // What was shown before a change stays, until there is a need to translate it.
        if kept == nil || kept?.translation != nil || view.isCandidate || shown[name] == nil { show(view) }
    }

    /// The service accounts of the workloads that objects tell of and that stand behind the Services of this one.
    private func expectedAccounts(_ workload: Workload) -> [String] {
        let index = source.state.index
        let namespace = workload.id.namespace
        var accounts: Set<String> = []
        for object in index.services(selecting: workload.labels, in: namespace) {
            guard case .service(let service) = object.body else { continue }
            for other in index.workloads(with: service.selector, in: namespace) where other.source != nil {
                accounts.insert(other.serviceAccount)
            }
        }
        return accounts.sorted()
    }

    private func take(_ changes: WorkloadRegistry.Changes) {
        // A class that comes back within the grace was not let go.
        for proxy in changes.begun where idle.removeValue(forKey: proxy) == nil {
            translation.add(proxy)
            kept?.add(proxy)
        }
        if let clock {
            for proxy in changes.ended { idle[proxy] = clock.now().advanced(by: registry.grace) }
        }
        guard !changes.mesh.isEmpty else { return }
        waiting += changes.mesh
        gather()
    }

    /// Those who check workloads have found something.
    func note(judgements: [MeshIndex.Change]) {
        for case .judge(let id, let isHealthy) in judgements { judged[id] = .some(isHealthy) }
        gather()
    }

    private func gather() {
        guard let clock, !clock.isGathering else { return }
        self.clock?.isGathering = true
        clock.schedule(configuration.gathering) { [weak self] in
            self?.clock?.isGathering = false
            self?.tellOfWorkloads()
        }
    }

    private func tellOfWorkloads() {
        let changes = waiting
        let found = judged.sorted { $0.key < $1.key }.map { MeshIndex.Change.judge($0.key, isHealthy: $0.value) }
        (waiting, judged) = ([], [:])
        var known: [KnownWorkload] = []
        var gone: [(namespace: String, name: String)] = []
        for change in changes {
            switch change {
            case .connect(let workload):
                if let entry = registry[workload.id] { known.append(KnownWorkload(entry)) }
            case .disconnect(let id):
                if registry[id] == nil { gone.append((id.namespace, id.name)) }
            case .put, .remove, .judge: preconditionFailure("a registry changes workloads alone")
            }
        }
        do throws(StoreError) {
            if !changes.isEmpty { try store.keep(known, forgetting: gone) }
        } catch {
            logger.error("workloads are not kept for a restart: \(error)", metadata: ["hint": "\(error.hint)"])
        }
        source.note(workloads: changes + found)
    }

    private func scheduleTick() {
        guard let clock, !clock.isTicking, registry.deadline != nil || !idle.isEmpty else { return }
        self.clock?.isTicking = true
        clock.schedule(.seconds(1)) { [weak self] in
            self?.clock?.isTicking = false
            self?.tick()
        }
    }

    private func tick() {
        guard let clock else { return }
        take(registry.tick(now: clock.now()))
        for (proxy, deadline) in idle where deadline <= clock.now() { forget(proxy) }
        scheduleTick()
    }

    private func forget(_ proxy: ProxyClass) {
        idle[proxy] = nil
        var common: Set<ViewName> = []
        defer { pacing?.forget(common) }
        for name in viewsOfClass.removeValue(forKey: proxy)?.sorted() ?? [] {
            guard let view = shown.removeValue(forKey: name)?.view else { continue }
            common.insert(view.commonName)
            viewsOfRaw[view.raw]?.remove(name)
            if viewsOfRaw[view.raw]?.isEmpty == true { viewsOfRaw[view.raw] = nil }
            secrets.remove(name)
        }
        translation.remove(proxy)
        kept?.remove(proxy)
    }

    // MARK: What they see

    private func follow(_ old: MeshIndex, _ index: MeshIndex, _ changes: [MeshIndex.Change]) {
        tellOfChange(changes)
        let proxies = translation.follow(index, changes: changes).views.map(\.proxy)
        if translation.warningsVersion != toldVersion {
            toldVersion = translation.warningsVersion
            tell(translation.warnings)
        }
        if kept == nil, !begins(old, index, proxies, changes) {
            affected.note(show(proxies), by: source.state.revision)
        } else if changes.areOfWorkloads {
            followWorkloads(proxies, changes)
        } else {
            followRevision(proxies, changes)
        }
        if secrets.classes.setMesh(isThere: index.count > 0) {
            secrets.assignAgain()
            assignAgain()
            viewsChanged?()
        }
    }

    private func tellOfChange(_ changes: [MeshIndex.Change]) {
        for change in changes { concerns.note(change) }
        guard let clock, !clock.isTelling, !concerns.isEmpty else { return }
        self.clock?.isTelling = true
        clock.schedule(configuration.gathering) { [weak self] in
            guard let self else { return }
            self.clock?.isTelling = false
            let concerns = concerns
            self.concerns = HealthConcerns()
            meshChanged?(concerns)
        }
    }

    /// Says once what users should know of their objects.
    private func tell(_ warnings: [MeshFinding]) {
        let known = Set(told)
        for warning in warnings where !known.contains(warning) { logger.warning("\(warning)") }
        told = warnings
    }

    /// What proxies that are connected would get by a plan: a line for each class whose view it changes.
    func pushPlan(_ plan: MeshPlan) -> [String] {
        translation.plan(plan.next, changes: plan.indexChanges).views.map { view in
            let setting = view.setting.map { "\($0.type) \($0.name)" }
            let removing = view.removing.map { "-\($0.type) \($0.name)" }
            return "\(view.proxy.kind) \(view.proxy.namespace)/\(view.proxy.serviceAccount): "
                + (setting + removing).joined(separator: ", ")
        }
    }

    /// Raw resources have changed in some views.
    func rawChanged(_ names: [ViewName]) {
        kept?.translate(beside: translation)
        for name in Set(names.flatMap { viewsOfRaw[$0] ?? [] }).sorted() {
            if let view = shown[name]?.view { show(view) }
        }
    }

    /// - Returns: the views that show something else than before.
    @discardableResult
    func show(_ proxies: [ProxyClass]) -> [ViewName] {
        var names: [ViewName] = []
        for proxy in proxies {
            for name in viewsOfClass[proxy]?.sorted() ?? [] {
                if let view = shown[name]?.view, show(view) { names.append(name) }
            }
        }
        return names
    }

    /// - Returns: whether it shows something else than before.
    @discardableResult
    func show(_ view: MeshView) -> Bool {
        let name = view.name
        let snapshot: Snapshot
        if !view.isCandidate { kept?.translate(beside: translation) }
        do throws(PublishError) {
            let shows = view.isCandidate ? translation : kept?.translation ?? translation
            guard let made = shows.snapshot(of: view.proxy) else { return false }
            snapshot = try made.overlaid(with: raw(view.raw) ?? .empty)
        } catch {
            logger.error("the view \(name) keeps what it shows: \(error)")
            return false
        }
        guard snapshot !== shown[name]?.snapshot else { return false }
        shown[name] = (view, snapshot)
        viewsOfClass[view.proxy, default: []].insert(name)
        viewsOfRaw[view.raw, default: []].insert(name)
        secrets.show(snapshot, as: name)
        return true
    }
}

extension Snapshot {
    /// This snapshot, with what the other has in the place of resources of the same names.
    fileprivate func overlaid(with other: Snapshot) throws(PublishError) -> Snapshot {
        let resources = ResourceType.all.flatMap { other[$0].sortedResources() }
        return resources.isEmpty ? self : try applying(setting: resources)
    }
}

/// Which views each of the last revisions changed.
struct AffectedViews {
    /// How many revisions are remembered.
    static let limit = 128
    private var views: [Int64: Set<ViewName>] = [:]

    mutating func note(_ names: [ViewName], by revision: Int64) {
        views[revision, default: []].formUnion(names)
        if views.count > Self.limit, let oldest = views.keys.min() { views[oldest] = nil }
    }

    /// nil: not remembered.
    subscript(revision: Int64) -> Set<ViewName>? { views[revision] }
}
