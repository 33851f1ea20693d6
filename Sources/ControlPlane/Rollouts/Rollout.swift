import Foundation
import Identity
import Time

/// How a revision comes to the proxies that it concerns, as a value: no proxy, clock or store inside.
///
/// A step gives it to a share of them. First one proxy of each class that has not tried it probes it, then the rest of
/// the share gets it; when all have acknowledged it is held for a while, somebody may judge how the proxies do, and the
/// next step comes. What one of them rejects is taken back from all.
public struct Rollout: Hashable, Sendable {
    /// Where it stands.
    public enum Phase: Hashable, Sendable {
        /// One proxy of each class has it, and is asked whether it takes it.
        case probing
        /// The share of the step has it, and not all have acknowledged.
        case spreading
        /// All of the share have acknowledged; this lasts for a while.
        case holding
        /// Whoever watches how proxies do is asked.
        case judging
        /// A proxy has rejected it, so that none gets it; another revision that nobody asks to roll out, or a user, ends
        /// this.
        case held(reason: String)
        /// It was taken back from all proxies, and a revision that undoes it comes.
        case undoing(reason: String)
        /// Everybody has it.
        case complete
        /// It was undone. `by`: the revision that did; nil: another one was there already.
        case undone(reason: String, by: Int64?)
    }

    /// What happens.
    public enum Event: Hashable, Sendable {
        /// Nobody has it yet, or the control plane has begun again.
        case begun
        case counted(RolloutTally)
        /// ``deadline`` is there.
        case tick
        /// An answer to ``Action/judge(step:)``; one to another step says nothing.
        case judged(step: Int, RolloutVerdict)
        /// A user wants all proxies to have it.
        case promoted(by: String)
        /// A user wants no proxy to have it.
        case aborted(by: String)
        /// A newer revision contains it, and takes its place.
        case superseded(by: Int64)
        /// The revision that undoes it is there. nil: nothing was left to undo.
        case undid(by: Int64?)
        /// The revision that undoes it cannot be made.
        case couldNotUndo(String)
    }

    /// What is to be done.
    public enum Action: Hashable, Sendable {
        /// Give it to one proxy of each class that has a proxy in this share and none that tries it.
        case probe(percent: Int)
        /// Give it to this share.
        case spread(percent: Int)
        /// Ask how the proxies do that have it.
        case judge(step: Int)
        /// Take it from every proxy.
        case withdraw
        /// Make a revision that undoes it.
        case undo(reason: String)
        /// Give it to everybody, and forget what was before it.
        case complete
        /// Tell users.
        case tell(String)
    }

    /// How long proxies have to answer; after that a canary is undone, and a guarded revision goes on.
    public struct Patience: Hashable, Sendable {
        public var canary = Duration.seconds(60)
        public var guarded = Duration.seconds(2)
        /// How long the proxies of a control plane that begins again have to come back.
        public var returning = Duration.seconds(60)

        public init() {}
    }

    /// The one that proxies get.
    public private(set) var revision: Int64
    /// The one that all others have.
    public let base: Int64
    public let order: RolloutOrder
    public private(set) var phase: Phase
    /// Counts from 0.
    public private(set) var step: Int
    /// When ``Event/tick`` is due; nil: it waits for something else.
    public private(set) var deadline: Instant?
    /// What the share looked like when it was last counted.
    public private(set) var tally = RolloutTally()
    private let patience: Patience
    /// Until when some may come back that had it, or had something else; nil: those that are there are all there are.
    private var returningUntil: Instant?
    /// So many were there before; nil: nobody knows.
    private var returning: Int?

    /// - Parameter order: 1 to ``RolloutOrder/stepLimit`` steps.
    public init(_ revision: Int64, over base: Int64, order: RolloutOrder, patience: Patience = Patience()) {
        (self.revision, self.base, self.order, self.patience) = (revision, base, order, patience)
        (phase, step) = (.probing, 0)
    }

    /// As it was kept when the control plane ended: the answers of the step count again, and so does its hold.
    /// - Parameter canUndo: whether revisions may be made here that undo others: without that, a canary goes on as what
    ///   nobody asked to roll out.
    public init(
        kept: Kept, newest: Int64, now: Instant, patience: Patience = Patience(), canUndo: Bool = true
    ) {
        // What mends a revision that is held goes on as any other change does.
        let isMended = kept.state == .held && newest > kept.revision
        self.init(
            kept.revision, over: kept.base, order: isMended || !canUndo ? .guarding : kept.order, patience: patience)
        step = min(max(0, kept.step), order.percents.count - 1)
        returningUntil = now.advanced(by: patience.returning)
        (deadline, returning) = (returningUntil, kept.affected.flatMap { $0 > 0 ? $0 : nil })
        switch kept.state {
        // Nothing is changed while a user rolls something out: that it was over has not come to the disk.
        case .running where newest > revision && !kept.order.isGuard && canUndo: (phase, deadline) = (.complete, nil)
        // A revision that was tried and one more, of which the proxies had not heard; or the same.
        case .running: revision = max(revision, newest)
        case .held where isMended: revision = newest
        case .held: (phase, deadline) = (.held(reason: kept.reason), nil)
        // The revision that undoes it was made, and this was not told of it.
        case .undoing where newest > revision:
            (phase, deadline) = (.undone(reason: kept.reason, by: newest), nil)
        case .undoing: (phase, deadline) = (.undoing(reason: kept.reason), nil)
        case .complete: (phase, deadline) = (.complete, nil)
        case .undone: (phase, deadline) = (.undone(reason: kept.reason, by: kept.undoneBy), nil)
        }
    }

    /// Whether the proxies do not all have the same.
    public var isUnderWay: Bool {
        switch phase {
        case .probing, .spreading, .holding, .judging, .held, .undoing: true
        case .complete, .undone: false
        }
    }

    /// Whether some proxies have it, or may.
    public var isGiven: Bool {
        switch phase {
        case .probing, .spreading, .holding, .judging: true
        case .held, .undoing, .complete, .undone: false
        }
    }

    /// Whether the next step waits for proxies, and not for time or a user.
    public var awaitsAnswers: Bool { phase == .probing || phase == .spreading }

    public var percent: Int { order.percents[step] }
    private var isLastStep: Bool { step == order.percents.count - 1 }

    // MARK: Deciding

    public mutating func handle(_ event: Event, now: Instant) -> [Action] {
        switch event {
        case .begun: return begin(now)
        case .counted(let tally): return count(tally, now)
        case .tick: return tick(now)
        case .judged(let step, let verdict):
            guard phase == .judging, step == self.step else { return [] }
            return take(verdict, now)
        case .promoted(let user): return promote(user)
        case .aborted(let user):
            guard isGiven || isHeld else { return [] }
            return fail("\(user) has ended the roll-out", isFinal: true)
        case .superseded(let newer):
            guard isGiven || isHeld else { return [] }
            (revision, step, phase, tally) = (newer, 0, .probing, RolloutTally())
            if let returningUntil {
                deadline = returningUntil
                return []
            }
            // A row of changes does not keep the first of them from proxies for ever.
            if deadline == nil { deadline = now.advanced(by: patience.guarded) }
            return [.probe(percent: percent)]
        case .undid(let revision):
            guard case .undoing(let reason) = phase else { return [] }
            phase = .undone(reason: reason, by: revision)
            return []
        case .couldNotUndo(let problem):
            guard case .undoing(let reason) = phase else { return [] }
            phase = .held(reason: "\(reason); it cannot be undone: \(problem)")
            return [.tell("\(name) is kept from all proxies, and is not undone: \(problem)")]
        }
    }

    var isHeld: Bool {
        if case .held = phase { return true }
        return false
    }

    private var name: String { "revision \(revision)" }

    private mutating func begin(_ now: Instant) -> [Action] {
        switch phase {
        case .probing:
            // Begun again: those that come back get what they had, and who comes first says nothing of the others.
            guard returningUntil == nil else { return [] }
            deadline = now.advanced(by: answerTime)
            return [.probe(percent: percent)]
        case .spreading: return [.spread(percent: percent)]
        case .undoing(let reason): return [.withdraw, .undo(reason: reason)]
        case .held: return [.withdraw]
        case .holding, .judging, .complete, .undone: return []
        }
    }

    private var answerTime: Duration { order.isGuard ? patience.guarded : patience.canary }

    private mutating func count(_ tally: RolloutTally, _ now: Instant) -> [Action] {
        guard isGiven else { return [] }
        self.tally = tally
        if let rejection = tally.rejections.first {
            return fail(rejection + (tally.rejected > 1 ? " (and \(tally.rejected - 1) more)" : ""))
        }
        if returningUntil != nil {
            guard let returning, tally.affected >= returning else { return [] }
            return endReturning(now)
        }
        let isAnswered = tally.pending == 0
        switch phase {
        case .probing:
            guard isAnswered else { return [.probe(percent: percent)] }
            return spread(now)
        case .spreading:
            guard isAnswered else { return [] }
            guard !isLastStep else { return finish() }
            (phase, deadline) = (.holding, now.advanced(by: order.hold))
            return [
                .tell("\(name): \(tally.share) of \(tally.affected) proxies have acknowledged it (\(percent) %)")
            ]
        case .holding, .judging, .held, .undoing, .complete, .undone: return []
        }
    }

    /// Those that come back have come back: the step begins anew with those that are there.
    private mutating func endReturning(_ now: Instant) -> [Action] {
        (returningUntil, returning) = (nil, nil)
        deadline = now.advanced(by: answerTime)
        return [.probe(percent: percent)]
    }

    private mutating func spread(_ now: Instant) -> [Action] {
        // The rest of those that a guard protects get it as everybody gets everything.
        if order.isGuard { return finish() }
        (phase, deadline) = (.spreading, now.advanced(by: answerTime))
        return [.spread(percent: percent)]
    }

    private mutating func finish() -> [Action] {
        (phase, deadline) = (.complete, nil)
        return order.isGuard ? [.complete] : [.complete, .tell("\(name) has come to all proxies")]
    }

    private mutating func tick(_ now: Instant) -> [Action] {
        guard let due = deadline, now >= due else { return [] }
        switch phase {
        case .probing, .spreading:
            if returningUntil != nil { return endReturning(now) }
            if order.isGuard {
                return [.tell("\(name) goes to all proxies: \(tally.pending) that were to try it say nothing")]
                    + finish()
            }
            return fail("\(tally.pending) of \(tally.share) proxies have not answered in \(answerTime.brief)")
        case .holding:
            (phase, deadline) = (.judging, nil)
            return [.judge(step: step)]
        case .judging, .held, .undoing, .complete, .undone: return []
        }
    }

    private mutating func take(_ verdict: RolloutVerdict, _ now: Instant) -> [Action] {
        switch verdict {
        case .unhealthy(let reason): return fail(reason)
        case .healthy, .unknown:
            step += 1
            (phase, deadline) = (.probing, now.advanced(by: answerTime))
            return [.probe(percent: percent)]
        }
    }

    private mutating func promote(_ user: String) -> [Action] {
        guard isGiven || isHeld else { return [] }
        (phase, deadline, step) = (.complete, nil, order.percents.count - 1)
        return [.complete, .tell("\(name) goes to all proxies: \(user) wants it")]
    }

    /// - Parameter isFinal: a user wants it undone, and not merely kept back.
    private mutating func fail(_ reason: String, isFinal: Bool = false) -> [Action] {
        deadline = nil
        guard isFinal || !order.isGuard else {
            phase = .held(reason: reason)
            return [.withdraw, .tell("\(name) is kept from all proxies: \(reason)")]
        }
        phase = .undoing(reason: reason)
        return [.withdraw, .undo(reason: reason), .tell("\(name) is undone: \(reason)")]
    }
}

/// What a user asks of a roll-out.
public struct RolloutOrder: Hashable, Sendable, Codable {
    /// Of the proxies that are affected: each more than the one before, the last 100.
    public let percents: [Int]
    /// How long a share that has acknowledged is watched before the next one gets it.
    public let hold: Duration
    /// Nobody asked for it: one proxy of each class tries what a change brings before the others get it.
    public let isGuard: Bool

    /// The most steps.
    public static let stepLimit = 20
    /// The longest hold.
    public static let longestHold = Duration.seconds(7 * 86_400)

    /// - Returns: nil for steps that do not grow, or do not lead to 100; 100 may be left out.
    public init?(percents: [Int], hold: Duration) {
        var percents = percents
        if let last = percents.last, last < 100 { percents.append(100) }
        guard percents.count <= Self.stepLimit, percents.last == 100, percents.allSatisfy({ $0 >= 1 }),
            zip(percents, percents.dropFirst()).allSatisfy({ $0 < $1 }), hold >= .zero, hold <= Self.longestHold
        else { return nil }
        (self.percents, self.hold, isGuard) = (percents, hold, false)
    }

    private init(guarding: Void) { (percents, hold, isGuard) = ([100], .zero, true) }

    /// One proxy of each class first, then all.
    public static let guarding = RolloutOrder(guarding: ())
}

/// How the proxies of a share stand to a revision.
public struct RolloutTally: Hashable, Sendable {
    /// Proxies that would get something else by it.
    public var affected = 0
    /// Those of them that are to have it now.
    public var share = 0
    /// Those of the share that have acknowledged all of it.
    public var acknowledged = 0
    /// Those of the share that have rejected some of it.
    public var rejected = 0
    /// What these said, some of them.
    public var rejections: [String] = []

    public init() {}

    public var pending: Int { max(0, share - acknowledged - rejected) }
}

/// How the proxies do that have a revision.
public enum RolloutVerdict: Hashable, Sendable {
    case healthy
    /// Why, for users: `12.5 % of the requests to reviews.shop fail, 0.1 % before`.
    case unhealthy(String)
    /// There is nothing to judge by.
    case unknown
}

/// Judges by what proxies tell of their traffic whether a revision does harm.
public protocol RolloutHealth: AnyObject {
    /// Asked when a share has had a revision for the time of its hold. On the control thread.
    /// - Parameters:
    ///   - nodes: IDs of the proxies that have it, sorted.
    ///   - since: when the last of them had acknowledged it.
    ///   - answer: called once, on any thread, now or later.
    func judge(
        _ revision: Int64, nodes: [String], since: Instant, _ answer: @escaping @Sendable (RolloutVerdict) -> Void)
}

// MARK: - On disk

extension Rollout {
    /// What outlives the process.
    public struct Kept: Hashable, Sendable, Codable {
        public enum State: String, Hashable, Sendable, Codable { case running, held, undoing, complete, undone }

        public var revision: Int64
        public var base: Int64
        public var order: RolloutOrder
        public var step: Int
        public var state: State
        public var reason = ""
        public var undoneBy: Int64?
        /// How many proxies it affected when it was last counted.
        public var affected: Int?
        /// Who has it.
        public var share: RolloutShare?

        /// Whether there is something that must come to the disk.
        func differs(from other: Kept) -> Bool {
            var alike = other
            // Proxies come and go all the time: as many as there were at the last step is enough.
            alike.affected = affected
            return self != alike
        }

        func encoded() -> Data {
            let encoder = JSONEncoder()
            encoder.outputFormatting = .sortedKeys
            guard let body = try? encoder.encode(self) else { preconditionFailure("a roll-out is text and numbers") }
            return body
        }
    }

    public func kept(share: RolloutShare?) -> Kept {
        var kept = Kept(revision: revision, base: base, order: order, step: step, state: .running, share: share)
        if isUnderWay { kept.affected = returning ?? tally.affected }
        switch phase {
        case .probing, .spreading, .holding, .judging: break
        case .held(let reason): (kept.state, kept.reason) = (.held, reason)
        case .undoing(let reason): (kept.state, kept.reason) = (.undoing, reason)
        case .complete: kept.state = .complete
        case .undone(let reason, let by): (kept.state, kept.reason, kept.undoneBy) = (.undone, reason, by)
        }
        return kept
    }
}
