import Discovery
import Synchronization
import XDS

/// Says how the proxies that a revision concerns have answered.
final class PublishedProgress: RevisionProgress {
    private let affected: (Int64) -> Set<ViewName>?
    private let server: ServerReference

    /// - Parameter affected: the views that a revision changed; nil: it is not remembered.
    init(server: ServerReference, affected: @escaping (Int64) -> Set<ViewName>?) {
        self.server = server
        self.affected = affected
    }

    func progress(of revision: Int64, _ answer: @escaping @Sendable (RevisionReport?) -> Void) {
        guard let views = affected(revision), let server = server.current else { return answer(nil) }
        server.report { answer(RevisionReport($0, in: views)) }
    }
}

extension RevisionReport {
    /// How many rejections are told.
    private static let rejectionLimit = 20

    init(_ report: DiscoveryServer.Report, in views: Set<ViewName>) {
        self.init(affected: 0, acknowledged: 0)
        var nodes: [String: (isRejected: Bool, isPending: Bool)] = [:]
        for stream in report.streams {
            guard let view = stream.status.view, views.contains(view.classView) else { continue }
            var node = nodes[stream.node.id] ?? (false, false)
            for type in stream.status.types {
                switch type.state {
                case .rejected:
                    node.isRejected = true
                    rejections.append(
                        "\(stream.node.id): \(type.type.shortName) rejected: \(type.rejection?.detail.message ?? "")")
                case .pending: node.isPending = true
                case .waiting, .synced: break
                }
            }
            nodes[stream.node.id] = node
        }
        affected = nodes.count
        rejected = nodes.values.count { $0.isRejected }
        acknowledged = nodes.values.count { !$0.isRejected && !$0.isPending }
        let told = rejections.prefix(Self.rejectionLimit)
        rejections = told + (rejections.count > told.count ? ["and \(rejections.count - told.count) more"] : [])
    }
}

extension ViewName {
    /// The view of its class, for the view of one proxy with its secrets.
    fileprivate var classView: ViewName {
        for mark in [",identity=", ",certificate"] {
            if let range = text.firstRange(of: mark) { return ViewName(String(text[..<range.lowerBound])) }
        }
        return self
    }
}
