import XDS

/// Which proxies a raw resource is for.
public enum Scope: Hashable, Sendable {
    case all
    /// Those that say this `node.cluster`.
    case nodeCluster(String)
    /// Those that say this `node.id`.
    case nodeID(String)

    /// - Parameter text: empty for all proxies, `node-cluster=NAME`, or `node-id=ID`.
    /// - Returns: nil for any other text, for an empty name, one with control characters, and one over 512 bytes.
    public init?(text: String) {
        if text.isEmpty {
            self = .all
            return
        }
        guard let (prefix, name) = Self.split(text), Self.isName(name) else { return nil }
        self = prefix == Self.clusterPrefix ? .nodeCluster(name) : .nodeID(name)
    }

    /// Whether the text looks as if a scope was meant, sound or not.
    static func isMeant(by text: some StringProtocol) -> Bool {
        text.hasPrefix(clusterPrefix) || text.hasPrefix(idPrefix)
    }

    /// What to write instead of a text that is no scope.
    public static let mend = "write nothing for all proxies, node-cluster=NAME, or node-id=ID"

    private static let clusterPrefix = "node-cluster="
    private static let idPrefix = "node-id="

    private static func split(_ text: String) -> (prefix: String, name: String)? {
        for prefix in [clusterPrefix, idPrefix] where text.hasPrefix(prefix) {
            return (prefix, String(text.dropFirst(prefix.count)))
        }
        return nil
    }

    private static func isName(_ name: String) -> Bool {
        !name.isEmpty && name.utf8.count <= 512 && name.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value != 0x7F }
    }

    /// As ``init(text:)`` reads it.
    public var text: String {
        switch self {
        case .all: ""
        case .nodeCluster(let name): Self.clusterPrefix + name
        case .nodeID(let id): Self.idPrefix + id
        }
    }

    /// Whether some proxy may be in both. A node says its cluster itself, so any ID may come with any cluster.
    func mayMeet(_ other: Scope) -> Bool {
        switch (self, other) {
        case (.nodeCluster, .nodeCluster), (.nodeID, .nodeID): self == other
        case (.all, _), (_, .all), (.nodeCluster, .nodeID), (.nodeID, .nodeCluster): true
        }
    }
}

extension Scope: Comparable, CustomStringConvertible {
    public static func < (left: Scope, right: Scope) -> Bool {
        (left.rank, left.text) < (right.rank, right.text)
    }

    private var rank: Int {
        switch self {
        case .all: 0
        case .nodeCluster: 1
        case .nodeID: 2
        }
    }

    /// `all` for all proxies, otherwise ``text``.
    public var description: String { self == .all ? "all" : text }
}

/// What one class of proxies sees: the resources for all, and those of up to two scopes besides.
public struct ViewScopes: Hashable, Sendable {
    /// Without the prefix.
    public var nodeCluster: String?
    /// Without the prefix.
    public var nodeID: String?

    public init(nodeCluster: String? = nil, nodeID: String? = nil) {
        self.nodeCluster = nodeCluster
        self.nodeID = nodeID
    }

    init(_ scope: Scope) {
        switch scope {
        case .all: self.init()
        case .nodeCluster(let name): self.init(nodeCluster: name)
        case .nodeID(let id): self.init(nodeID: id)
        }
    }

    /// The scopes besides `all`.
    var overlays: [Scope] { [nodeCluster.map(Scope.nodeCluster), nodeID.map(Scope.nodeID)].compactMap { $0 } }

    /// `all`, `node-cluster=web`, `node-id=x`, `node-cluster=web,node-id=x`. Commas in the names themselves are
    /// written `%2C` and percent signs `%25`, so that no two views have one name.
    public var name: ViewName {
        let parts = overlays.map { scope in
            String(
                scope.text.flatMap { character -> String in
                    switch character {
                    case "%": "%25"
                    case ",": "%2C"
                    default: String(character)
                    }
                })
        }
        return ViewName(parts.isEmpty ? "all" : parts.joined(separator: ","))
    }
}
