/// Says how far revisions have come to proxies: whoever translates objects into what proxies get.
public protocol RevisionProgress: AnyObject {
    /// - Parameter answer: called once, on any thread, now or later; nil: it does not follow this revision.
    func progress(of revision: Int64, _ answer: @escaping @Sendable (RevisionReport?) -> Void)
}

/// How the proxies stand to a revision. Source: martinet.control.v1.RevisionProgressResponse.
public struct RevisionReport: Hashable, Sendable {
    /// Proxies that get something else by it.
    public var affected: Int
    /// Those of them that have acknowledged all of it.
    public var acknowledged: Int
    /// Those of them that have rejected some of it.
    public var rejected: Int
    /// What those said, a line for each proxy and type.
    public var rejections: [String]

    public init(affected: Int, acknowledged: Int, rejected: Int = 0, rejections: [String] = []) {
        self.affected = affected
        self.acknowledged = acknowledged
        self.rejected = rejected
        self.rejections = rejections
    }

    /// Proxies that have not answered yet.
    public var pending: Int { max(0, affected - acknowledged - rejected) }
}
