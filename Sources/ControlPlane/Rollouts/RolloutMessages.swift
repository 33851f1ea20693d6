import EnvoyAPI
import Foundation
import Protobuf
import Time

// What a user asks about roll-outs and is told of them, as bytes. Source: Protos/martinet/control/v1/mesh.proto.

/// Brings revisions to a part of the proxies first: whoever shows them what they get.
protocol RevisionPacing: AnyObject {
    /// The one that a user rolls out; nil: others may come.
    var revisionUnderWay: Int64? { get }
    /// The one that nobody asked to roll out and that has not come to all; nil: another one may be rolled out.
    var trialUnderWay: (revision: Int64, isHeld: Bool)? { get }
    /// What proxies have that a roll-out has not reached; nil: all have the newest.
    var baseUnderWay: Int64? { get }
    /// How the newest roll-out stands; nil: there was none.
    var report: RolloutReport? { get }
    /// What is to be on disk as soon as a revision is; nil: what is there.
    /// - Parameter order: how it is to come to the proxies; nil: nobody has said it.
    func record(of revision: Int64, over base: Int64, _ order: RolloutOrder?) -> Data?
    /// - Returns: why nothing was done.
    func perform(_ request: RolloutRequest) -> RolloutProblem?
}

/// What a user wants of the roll-out under way. Source: martinet.control.v1.RolloutRequest.
public struct RolloutRequest: Hashable, Sendable {
    public enum Order: Hashable, Sendable { case show, promote, abort }

    public var order: Order
    /// nil: whichever is under way.
    public var revision: Int64?
    public var author: String

    public init(_ order: Order = .show, revision: Int64? = nil, author: String = "") {
        (self.order, self.revision, self.author) = (order, revision, author)
    }

    init(decoding bytes: [UInt8]) throws(ProtobufError) {
        let arena = Arena()
        let message = try arena.decode(ControlRolloutRequest.self, from: bytes).pointee
        switch message.order {
        case .PROMOTE: order = .promote
        case .ABORT: order = .abort
        default: order = .show
        }
        revision = message.revision == 0 ? nil : Int64(clamping: message.revision)
        author = message.author.string
    }

    public func encoded() -> [UInt8] {
        let arena = Arena()
        return encode(
            arena.make(ControlRolloutRequest.self) {
                $0.order =
                    switch order {
                    case .show: .SHOW
                    case .promote: .PROMOTE
                    case .abort: .ABORT
                    }
                $0.revision = UInt64(clamping: revision ?? 0)
                $0.author = arena(author.withoutNUL)
            })
    }
}

/// Why nothing was done to a roll-out.
enum RolloutProblem: Error, Hashable {
    case noneUnderWay
    /// Another revision than the one that was named is under way.
    case another(Int64)
}

/// How a roll-out stands. Source: martinet.control.v1.RolloutResponse.
public struct RolloutReport: Hashable, Sendable {
    public enum Phase: String, Hashable, Sendable, CaseIterable {
        case probing, spreading, holding, held, undoing, complete, undone
    }

    public var phase: Phase
    public var revision: Int64
    /// The one that the other proxies have.
    public var base: Int64
    public var percents: [Int]
    /// Between two steps.
    public var hold: Duration
    /// Nobody asked for it: one proxy of each class tries what a change brings.
    public var isGuard: Bool
    /// From 0.
    public var step: Int
    /// Why it is held or undone.
    public var reason = ""
    public var undoneBy: Int64?
    /// Proxies that would get something else by it; those that are to have it; and how these have answered.
    public var affected: Int
    public var share: Int
    public var acknowledged: Int
    public var rejected: Int
    /// Until the next step, or until whoever says nothing is taken for silent; nil: it waits for something else.
    public var left: Duration?

    /// Whether all has not come to its end.
    public var isUnderWay: Bool { phase != .complete && phase != .undone }
    public var percent: Int { percents.indices.contains(step) ? percents[step] : 100 }
}

extension RolloutOrder {
    init?(_ message: ControlRolloutSteps) {
        self.init(
            percents: message.percents_list.map { Int($0) }, hold: .nanoseconds(message.hold))
    }

    func message(in arena: Arena) -> UnsafeMutablePointer<ControlRolloutSteps> {
        arena.make {
            ($0.n_percents, $0.percents) = arena.values(percents.map { UInt32(clamping: $0) })
            $0.hold = hold.nanoseconds
        }
    }
}

extension RolloutReport {
    /// - Returns: nil where there was none.
    public init?(decoding bytes: [UInt8]) throws(ProtobufError) {
        let arena = Arena()
        let message = try arena.decode(ControlRolloutResponse.self, from: bytes).pointee
        guard let phase = Phase(message.phase) else { return nil }
        let steps = message.steps?.pointee
        self.init(
            phase: phase, revision: Int64(clamping: message.revision), base: Int64(clamping: message.base),
            percents: steps?.percents_list.map { Int($0) } ?? [100], hold: .nanoseconds(steps?.hold ?? 0),
            isGuard: message.guard != 0, step: Int(message.step), reason: message.reason.string,
            undoneBy: message.undone_by == 0 ? nil : Int64(clamping: message.undone_by),
            affected: Int(message.affected), share: Int(message.share), acknowledged: Int(message.acknowledged),
            rejected: Int(message.rejected), left: message.left == 0 ? nil : .nanoseconds(message.left))
    }

    static func encode(_ report: RolloutReport?) -> [UInt8] {
        let arena = Arena()
        return Protobuf.encode(
            arena.make(ControlRolloutResponse.self) { message in
                guard let report else { return }
                message.phase = report.phase.wire
                message.revision = UInt64(clamping: report.revision)
                message.base = UInt64(clamping: report.base)
                message.steps = arena.make {
                    ($0.n_percents, $0.percents) = arena.values(report.percents.map { UInt32(clamping: $0) })
                    $0.hold = report.hold.nanoseconds
                }
                message.set(guard: report.isGuard)
                message.step = UInt32(clamping: report.step)
                message.reason = arena(report.reason.withoutNUL)
                message.undone_by = UInt64(clamping: report.undoneBy ?? 0)
                (message.affected, message.share) = (UInt32(clamping: report.affected), UInt32(clamping: report.share))
                message.acknowledged = UInt32(clamping: report.acknowledged)
                message.rejected = UInt32(clamping: report.rejected)
                message.left = report.left?.nanoseconds ?? 0
            })
    }

    init(_ rollout: Rollout, now: Instant) {
        self.init(
            phase: .complete, revision: rollout.revision, base: rollout.base, percents: rollout.order.percents,
            hold: rollout.order.hold, isGuard: rollout.order.isGuard, step: rollout.step,
            affected: rollout.tally.affected, share: rollout.tally.share, acknowledged: rollout.tally.acknowledged,
            rejected: rollout.tally.rejected, left: rollout.deadline.map { max(.nanoseconds(1), now.duration(to: $0)) })
        switch rollout.phase {
        case .probing: phase = .probing
        case .spreading: phase = .spreading
        case .holding, .judging: phase = .holding
        case .held(let words): (phase, reason) = (.held, words)
        case .undoing(let words): (phase, reason) = (.undoing, words)
        case .complete: break
        case .undone(let words, let revision): (phase, reason, undoneBy) = (.undone, words, revision)
        }
    }
}

extension RolloutReport.Phase {
    fileprivate init?(_ wire: ControlRolloutResponsePhase) {
        guard let phase = Self.allCases.first(where: { $0.wire == wire }) else { return nil }
        self = phase
    }

    fileprivate var wire: ControlRolloutResponsePhase {
        switch self {
        case .probing: .PROBING
        case .spreading: .SPREADING
        case .holding: .HOLDING
        case .held: .HELD
        case .undoing: .UNDOING
        case .complete: .COMPLETE
        case .undone: .UNDONE
        }
    }
}
