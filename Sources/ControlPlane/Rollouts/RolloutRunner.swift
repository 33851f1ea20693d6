import Discovery
import Foundation
import Logging
import Reactor
import Store
import Time
import XDS

/// Does what a ``Rollout`` decides: moves proxies between the views of the old and of the new, listens to their answers,
/// makes the revision that undoes, and keeps on disk how far it is. Belongs to the control thread.
final class RolloutRunner {
    struct Configuration {
        var patience = Rollout.Patience()
        /// How often deadlines are looked at.
        var interval = Duration.milliseconds(250)
        /// How long answers are gathered at least before all are looked at again.
        var pause = Duration.milliseconds(1)
        /// How long a revision that nobody asked to roll out is tried before that is kept on disk.
        var keeping = Duration.milliseconds(20)
        /// How long proxies that come are gathered before they are moved.
        var gathering = Duration.milliseconds(20)
        /// How long after a change of the share a proxy that comes may have been given a view by the share before.
        var overlap = Duration.seconds(5)
        var logger: Logger
    }

    /// Judges shares at the end of their hold; nil: nobody does.
    weak var health: (any RolloutHealth)?
    private(set) var rollout: Rollout?
    private(set) var share: RolloutShare?
    private let source: MeshSource
    private unowned let publisher: MeshPublisher
    private let classes: NodeViews
    private let store: Store
    private let server: ServerReference
    private let bell: AnswerBell
    private let configuration: Configuration
    private var clock: Clock?
    private var begunAt = Instant(nanoseconds: 0)
    private var answeredAt = Instant(nanoseconds: 0)
    private var shareChangedAt: Instant?
    private var keptLast: Rollout.Kept?
    /// Whether the disk has not taken how far it is.
    private var isUnkept = false
    private var isKeepingAgain = false
    /// Proxies that came, and may have been given a view by an earlier share.
    private var newcomers: Set<String> = []
    /// Changes when answers to what was shown before say nothing any more.
    private var generation = 0
    private var countingSince: Instant?
    private var countedAt = Instant(nanoseconds: 0)
    private var countedMembers = 0
    private var countsAgain = false
    private var isTicking = false
    private var isKeptLater = false
    private var isGathering = false

    private struct Clock {
        var now: () -> Instant
        var schedule: (Duration, @escaping () -> Void) -> Void
        /// Runs it on the control thread; from any thread.
        var submit: @Sendable (@escaping @Sendable () -> Void) -> Void
    }

    private var logger: Logger { configuration.logger }
    private var now: Instant { clock?.now() ?? Instant(nanoseconds: 0) }

    init(
        _ publisher: MeshPublisher, store: Store, server: ServerReference, bell: AnswerBell,
        configuration: Configuration
    ) {
        (self.publisher, source, classes) = (publisher, publisher.source, publisher.secrets.classes)
        (self.store, self.server, self.bell, self.configuration) = (store, server, bell, configuration)
    }

    /// Called before the source starts, on the loop's thread or before it runs.
    func start(on loop: EventLoop<NoConnections>) {
        let mailbox = loop.mailbox
        clock = Clock(
            now: { loop.now },
            schedule: { delay, work in _ = loop.schedule(after: delay) { _ in work() } },
            submit: { work in _ = mailbox.submit { _ in work() } })
        let boxed = OnControlThread(WeakRunner(self))
        let doorbell = mailbox.doorbell { _ in boxed.value.runner?.answerCame() }
        bell.onAnswer { doorbell.ring() }
        publisher.pacing = self
        source.pacing = self
    }

    /// Takes up what was under way when the control plane ended. Called after the source has started, before proxies
    /// come.
    func resume() {
        do {
            guard let body = try store.rollout(),
                let kept = try? JSONDecoder().decode(Rollout.Kept.self, from: body), !kept.order.percents.isEmpty
            else { return }
            // Its revision was never made.
            guard kept.revision <= source.state.revision else { return }
            let resumed = Rollout(
                kept: kept, newest: source.state.revision, now: now, patience: configuration.patience,
                canUndo: !source.isOfDirectory)
            if resumed.isUnderWay { publisher.keep(try source.index(at: kept.base)) }
            (rollout, keptLast, begunAt) = (resumed, kept, now)
            guard resumed.isUnderWay else { return keep() }
            if resumed.isGiven {
                share = kept.share ?? RolloutShare(salt: kept.revision)
                classes.setShare(share)
            }
            logger.notice(
                "a roll-out goes on",
                metadata: [
                    "revision": "\(resumed.revision)", "base": "\(resumed.base)", "share": "\(resumed.percent) %",
                ])
            handle(.begun)
        } catch {
            logger.error(
                "the roll-out that was under way is not known, and all proxies get the newest revision: \(error)")
        }
    }

    // MARK: What the publisher tells

    /// Whether a revision comes to a part of these first.
    func paces(_ members: [RolloutShare.Member]) -> Bool {
        if let order = source.rolloutOrder {
            guard members.isEmpty else { return true }
            let revision = source.state.revision
            let done = Rollout.Kept(revision: revision, base: revision - 1, order: order, step: 0, state: .complete)
            rollout = Rollout(kept: done, newest: revision, now: now, patience: configuration.patience)
            keep()
            return false
        }
        // Where no class has several proxies there is none that another could try it for.
        var nodes: [ViewName: String] = [:]
        return members.contains { member in
            guard let known = nodes.updateValue(member.node, forKey: member.view) else { return false }
            return known != member.node
        }
    }

    /// A revision is there, and the views of these classes show the one before.
    func revisionCame(_ revision: Int64, affecting views: Set<ViewName>) {
        generation += 1
        let current = rollout.flatMap { $0.isUnderWay ? $0 : nil }
        if case .undoing = current?.phase { return }
        if let current, source.rolloutOrder == nil, current.order.isGuard {
            affect(views)
            return handle(.superseded(by: revision))
        }
        rollout = Rollout(
            revision, over: current?.base ?? revision - 1, order: source.rolloutOrder ?? .guarding,
            patience: configuration.patience)
        if current == nil || share == nil { share = RolloutShare(salt: revision) }
        begunAt = now
        affect(views)
        handle(.begun)
    }

    /// Whether it is not known yet of a view whether it is affected, and some proxies have something else.
    func mustKnow(_ view: ViewName) -> Bool { share.map { !$0.affects(view) } ?? false }

    /// These classes get something else by the revision.
    func affect(_ views: some Sequence<ViewName>) {
        guard share != nil else { return }
        share?.affect(views)
        classes.setShare(share)
    }

    /// No proxy is of these classes any more.
    func forget(_ views: some Sequence<ViewName>) {
        guard share != nil else { return }
        for view in views { share?.forget(view) }
        classes.setShare(share)
    }

    func proxyCame(_ node: String, _ stream: StreamToken) {
        let isRecent = shareChangedAt.map { $0.duration(to: now) < configuration.overlap } ?? false
        guard share != nil || isRecent else { return }
        newcomers.insert(node)
        guard !isGathering else { return }
        isGathering = true
        clock?.schedule(configuration.gathering) { [weak self] in
            guard let self else { return }
            isGathering = false
            let nodes = newcomers
            newcomers = []
            publisher.move(nodes)
            server.current?.assignViewsAgain(of: nodes)
            count()
        }
    }

    func proxyWent() { if rollout?.isGiven == true { count() } }

    // MARK: Deciding

    private func handle(_ event: Rollout.Event) {
        guard var next = rollout else { return }
        let (before, shareBefore) = (next.phase, share)
        let actions = next.handle(event, now: now)
        rollout = next
        if case .holding = next.phase, before != next.phase { answeredAt = now }
        // Before what undoes it is there: whoever begins again then knows that it is that.
        if case .undoing = next.phase { keep() }
        for action in actions { perform(action) }
        keep()
        if rollout?.isGiven == true { scheduleTick() }
        // What was counted and changed nothing is counted again when somebody has answered.
        switch event {
        case .counted where rollout?.phase == before && share == shareBefore: break
        default: count()
        }
        if case .holding = rollout?.phase, let due = rollout?.deadline, due <= now { handle(.tick) }
    }

    private func perform(_ action: Rollout.Action) {
        switch action {
        case .probe(let percent): grow { $0.probe(percent, among: $1) }
        case .spread(let percent): grow { $0.spread(percent, over: $1) }
        case .judge(let step): judge(step)
        case .withdraw: setShare(nil, among: publisher.members())
        case .undo(let reason): undo(reason)
        case .complete: release()
        case .tell(let words):
            let metadata: Logger.Metadata = rollout.map { ["revision": "\($0.revision)", "base": "\($0.base)"] } ?? [:]
            logger.notice("roll-out: \(words)", metadata: metadata)
        }
    }

    private func grow(_ change: (inout RolloutShare, [RolloutShare.Member]) -> Void) {
        guard let rollout else { return }
        var next = share ?? RolloutShare(salt: rollout.revision)
        let members = publisher.members()
        next.affect(members.map(\.view))
        change(&next, members)
        setShare(next, among: members)
    }

    private func setShare(_ next: RolloutShare?, among members: [RolloutShare.Member]) {
        guard next != share else { return }
        let older = share
        let moved = members.filter { member in
            older?.contains(member.node, member.view) ?? false != next?.contains(member.node, member.view) ?? false
        }
        share = next
        shareChangedAt = now
        classes.setShare(next)
        guard !moved.isEmpty else { return }
        let nodes = Set(moved.map(\.node))
        publisher.move(nodes)
        server.current?.assignViewsAgain(of: nodes)
    }

    private func release() {
        let members = publisher.members()
        publisher.release()
        setShare(nil, among: members)
        publisher.forgetCandidates()
    }

    private func judge(_ step: Int) {
        guard let health, let rollout, let share, let clock else { return handle(.judged(step: step, .unknown)) }
        let nodes = Set(publisher.members().filter { share.contains($0.node, $0.view) }.map(\.node)).sorted()
        let boxed = OnControlThread(WeakRunner(self))
        health.judge(rollout.revision, nodes: nodes, since: answeredAt) { [submit = clock.submit] verdict in
            submit { boxed.value.runner?.handle(.judged(step: step, verdict)) }
        }
    }

    private func undo(_ reason: String) {
        guard let rollout else { return }
        var request = MeshRequest()
        request.author = "martinet"
        request.message = "rollback of revision \(rollout.revision): \(reason.cut(toBytes: 1_000))"
        request.isUndoing = true
        do throws(MeshRequestError) {
            let done = try source.rollback(to: rollout.base, request)
            handle(.undid(by: done.plan.isEmpty ? nil : done.revision))
            release()
        } catch {
            handle(.couldNotUndo("\(error)"))
        }
    }

    // MARK: Answers

    private func answerCame() {
        guard let clock, rollout?.isGiven == true else { return }
        // Looking takes longer the more there is to look at, and less than half of the time.
        let due = countedAt.advanced(by: max(configuration.pause, .microseconds(5) * countedMembers))
        guard due > now else { return count() }
        clock.schedule(now.duration(to: due)) { [weak self] in self?.count() }
    }

    private func count() {
        guard let rollout, rollout.isGiven, let server = server.current, let clock else { return }
        guard countingSince == nil else {
            countsAgain = true
            return
        }
        (countingSince, countsAgain) = (now, false)
        // While nothing but time is waited for, a look now and then is enough.
        if rollout.awaitsAnswers { bell.arm() }
        let (boxed, generation) = (OnControlThread(WeakRunner(self)), generation)
        server.report(where: \.isOfCandidates) { [submit = clock.submit] report in
            submit { boxed.value.runner?.take(report, generation) }
        }
    }

    private func take(_ report: DiscoveryServer.Report, _ generation: Int) {
        (countingSince, countedAt) = (nil, now)
        guard rollout?.isGiven == true, let share else { return }
        // It was asked for before the newest revision was shown.
        guard generation == self.generation else { return count() }
        let members = publisher.members()
        countedMembers = members.count
        handle(.counted(RolloutTally(members, in: share, report, since: begunAt)))
        if countsAgain { count() }
    }

    private func scheduleTick() {
        guard let clock, !isTicking else { return }
        isTicking = true
        clock.schedule(configuration.interval) { [weak self] in
            guard let self else { return }
            isTicking = false
            guard let rollout, rollout.isGiven else { return }
            // A question that was lost is asked again.
            if let since = countingSince, since.duration(to: now) > .seconds(2) { countingSince = nil }
            if let due = rollout.deadline, due <= now { handle(.tick) }
            count()
            if self.rollout?.isGiven == true { scheduleTick() }
        }
    }

    // MARK: On disk

    private func keep() {
        guard let kept = rollout?.kept(share: share), keptLast.map({ kept.differs(from: $0) }) ?? true else { return }
        if let rollout, rollout.order.isGuard {
            let isOnDisk = keptLast.map { $0.order.isGuard && $0.state != .complete } ?? false
            // Most are over sooner than the disk has written that they began. Whoever is killed meanwhile gives it to
            // all proxies, as if they had had it longer.
            if rollout.isGiven, !isOnDisk || isKeptLater { return keepLater() }
            if rollout.phase == .complete, !isOnDisk { return }
        }
        write(kept)
    }

    private func keepLater() {
        guard let clock, !isKeptLater else { return }
        isKeptLater = true
        clock.schedule(configuration.keeping) { [weak self] in
            guard let self else { return }
            isKeptLater = false
            guard let rollout, rollout.order.isGuard, rollout.isGiven else { return }
            write(rollout.kept(share: share))
        }
    }

    /// What the disk does not take is tried again, and goes with the next revision.
    private func write(_ kept: Rollout.Kept) {
        do throws(StoreError) {
            try store.keep(rollout: kept.encoded())
            (keptLast, isUnkept) = (kept, false)
        } catch {
            if !isUnkept {
                logger.error(
                    "how far a roll-out is is not kept for a restart: \(error)", metadata: ["hint": "\(error.hint)"])
            }
            isUnkept = true
            guard let clock, !isKeepingAgain else { return }
            isKeepingAgain = true
            clock.schedule(.seconds(1)) { [weak self] in
                guard let self else { return }
                isKeepingAgain = false
                if isUnkept, let rollout { write(rollout.kept(share: share)) }
            }
        }
    }
}

extension RolloutRunner: RevisionPacing {
    var revisionUnderWay: Int64? {
        guard let rollout, rollout.isUnderWay, !rollout.isHeld, !rollout.order.isGuard else { return nil }
        return rollout.revision
    }

    var trialUnderWay: (revision: Int64, isHeld: Bool)? {
        guard let rollout, rollout.isUnderWay else { return nil }
        return (rollout.revision, rollout.isHeld)
    }

    var baseUnderWay: Int64? { rollout.flatMap { $0.isUnderWay ? $0.base : nil } }

    var report: RolloutReport? { rollout.map { RolloutReport($0, now: now) } }

    func record(of revision: Int64, over base: Int64, _ order: RolloutOrder?) -> Data? {
        guard let order else { return isUnkept ? rollout?.kept(share: share).encoded() : nil }
        return Rollout.Kept(revision: revision, base: base, order: order, step: 0, state: .running).encoded()
    }

    func perform(_ request: RolloutRequest) -> RolloutProblem? {
        guard request.order != .show else { return nil }
        guard let rollout, rollout.isUnderWay else { return .noneUnderWay }
        if let meant = request.revision, meant != rollout.revision { return .another(rollout.revision) }
        handle(request.order == .promote ? .promoted(by: request.author) : .aborted(by: request.author))
        return nil
    }
}

/// For closures that outlive the runner.
private final class WeakRunner {
    weak var runner: RolloutRunner?

    init(_ runner: RolloutRunner) { self.runner = runner }
}
