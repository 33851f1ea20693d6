import Discovery
import Time
import XDS

extension RolloutTally {
    /// How many rejections are told.
    private static let rejectionLimit = 20

    /// - Parameters:
    ///   - members: affected proxies, once for each stream.
    ///   - report: of the views that show the revision.
    ///   - since: what proxies rejected before says nothing of the revision.
    init(
        _ members: [RolloutShare.Member], in share: RolloutShare, _ report: DiscoveryServer.Report, since: Instant
    ) {
        self.init()
        affected = Set(members.map(\.node)).count
        // How many streams of each proxy have not acknowledged.
        var waiting: [String: Int] = [:]
        for member in members where share.contains(member.node, member.view) { waiting[member.node, default: 0] += 1 }
        self.share = waiting.count
        var refusing: Set<String> = []
        for stream in report.streams {
            guard let left = waiting[stream.node.id] else { continue }
            var hasAcknowledged = true
            for type in stream.status.types {
                switch (type.pendingSince, type.rejection) {
                // A replacement of what it rejected is on its way.
                case (.some, _): hasAcknowledged = false
                case (nil, let rejection?) where rejection.at >= since:
                    hasAcknowledged = false
                    refusing.insert(stream.node.id)
                    guard rejections.count < Self.rejectionLimit else { continue }
                    rejections.append("\(stream.node.id): \(type.type.shortName) rejected: \(rejection.detail.message)")
                // Sent is not all: something waits for its turn, or for the client to read.
                case (nil, _): if type.isBehind { hasAcknowledged = false }
                }
            }
            if hasAcknowledged { waiting[stream.node.id] = left - 1 }
        }
        rejected = refusing.count
        acknowledged = waiting.count { $0.value <= 0 && !refusing.contains($0.key) }
    }
}

extension ViewName {
    /// The view of its class, for the view of one proxy with its secrets.
    var classView: ViewName {
        for mark in [",identity=", ",certificate"] {
            if let range = text.firstRange(of: mark) { return ViewName(String(text[..<range.lowerBound])) }
        }
        return self
    }

    /// Whether those who see it have a revision that not all have.
    var isOfCandidates: Bool { classView.text.hasSuffix(MeshView.candidateMark) }

    /// The view that its class has otherwise.
    var commonView: ViewName {
        let view = classView
        return view.text.hasSuffix(MeshView.candidateMark)
            ? ViewName(String(view.text.dropLast(MeshView.candidateMark.count))) : view
    }
}
