import Discovery
import Synchronization
import XDS

/// Says how the proxies that a revision concerns have answered.
final class PublishedProgress: RevisionProgress {
    private let affected: (Int64) -> Set<ViewName>?
    private let server: ServerReference
    private unowned let rollouts: RolloutRunner

    /// - Parameter affected: the views that a revision changed; nil: it is not remembered.
    init(server: ServerReference, rollouts: RolloutRunner, affected: @escaping (Int64) -> Set<ViewName>?) {
        self.server = server
        self.rollouts = rollouts
        self.affected = affected
    }

    func progress(of revision: Int64, _ answer: @escaping @Sendable (RevisionReport?) -> Void) {
        guard let views = affected(revision), let server = server.current else { return answer(nil) }
        var (isPartly, refusal) = (false, String?.none)
        // A revision that another has taken the place of comes with that.
        if let rollout = rollouts.rollout, revision > rollout.base, revision <= rollout.revision {
            isPartly = rollout.isGiven
            switch rollout.phase {
            case .held(let reason), .undoing(let reason), .undone(let reason, _): refusal = reason
            case .probing, .spreading, .holding, .judging, .complete: break
            }
        }
        server.report { [isPartly, refusal] in answer(RevisionReport($0, in: views, isPartly: isPartly, refusal)) }
    }
}

extension RevisionReport {
    /// How many rejections are told.
    private static let rejectionLimit = 20

    /// - Parameters:
    ///   - isPartly: whether some proxies are to have it later.
    ///   - refusal: why none has it; nil: some have.
    init(_ report: DiscoveryServer.Report, in views: Set<ViewName>, isPartly: Bool, _ refusal: String?) {
        self.init(affected: 0, acknowledged: 0)
        var nodes: [String: (isRejected: Bool, isPending: Bool)] = [:]
        for stream in report.streams {
            guard let view = stream.status.view, views.contains(view.commonView) else { continue }
            var node = nodes[stream.node.id] ?? (false, false)
            if isPartly, !view.isOfCandidates { node.isPending = true }
            for type in stream.status.types {
                switch type.state {
                case .rejected:
                    node.isRejected = true
                    rejections.append(
                        "\(stream.node.id): \(type.type.shortName) rejected: \(type.rejection?.detail.message ?? "")")
                case .pending: node.isPending = true
                case .waiting, .synced: if type.isBehind { node.isPending = true }
                }
            }
            nodes[stream.node.id] = node
        }
        affected = nodes.count
        if let refusal {
            (rejected, rejections) = (1, [refusal])
            return
        }
        rejected = nodes.values.count { $0.isRejected }
        acknowledged = nodes.values.count { !$0.isRejected && !$0.isPending }
        let told = rejections.prefix(Self.rejectionLimit)
        rejections = told + (rejections.count > told.count ? ["and \(rejections.count - told.count) more"] : [])
    }
}
