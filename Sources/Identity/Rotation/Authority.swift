import Time

/// Names a root or an intermediate: its subject key identifier in hexadecimal. Opaque to this module.
public struct AuthorityID: Hashable, Comparable, Codable, Sendable, CustomStringConvertible {
    public let text: String

    public init(_ text: String) { self.text = text }

    public init(from decoder: any Decoder) throws {
        text = try decoder.singleValueContainer().decode(String.self)
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(text)
    }

    public var description: String { text }
    public static func < (left: AuthorityID, right: AuthorityID) -> Bool { left.text < right.text }
}

/// Where an authority stands in the chain.
public enum AuthorityTier: String, Codable, Hashable, Sendable, CaseIterable {
    case root, intermediate

    public var description: String { rawValue }
}

/// One root or intermediate certificate that the machine has to do with, as a value: no key, no X.509.
public struct Authority: Hashable, Codable, Sendable {
    /// How far an authority has come. A root is in the trust bundle from `prepared` to `retiring`.
    public enum State: String, Codable, Hashable, Sendable, CaseIterable {
        /// Its certificate exists; nobody has seen it.
        case made
        /// Peers are to trust it; it signs nothing yet.
        case prepared
        /// It signs: the root in force, the intermediate that issues.
        case active
        /// It signs nothing any more; what it signed is still trusted.
        case retiring
        /// A root that has left the trust bundle. Its key is still here, so that an abort can bring it back.
        case retired
    }

    public let id: AuthorityID
    public let tier: AuthorityTier
    /// The root that signed it; a root's own id.
    public let issuer: AuthorityID
    /// notBefore ..< notAfter.
    public let validity: Range<Timestamp>
    public var state: State
    /// Whether its private key is here: without it a root signs no intermediate and no cross-signed root.
    public let hasKey: Bool
    /// Given by an operator: it is never replaced on schedule by one made here.
    public let isImported: Bool
    public let createdAt: Timestamp

    public init(
        id: AuthorityID, tier: AuthorityTier, issuer: AuthorityID, validity: Range<Timestamp>, state: State = .made,
        hasKey: Bool = true, isImported: Bool = false, createdAt: Timestamp
    ) {
        self.id = id
        self.tier = tier
        self.issuer = issuer
        self.validity = validity
        self.state = state
        self.hasKey = hasKey
        self.isImported = isImported
        self.createdAt = createdAt
    }

    /// Whether peers are told to trust it.
    public var isInBundle: Bool {
        switch state {
        case .prepared, .active, .retiring: tier == .root
        case .made, .retired: false
        }
    }
}

/// A root whose key another root has certified too: peers that know only `by` reach `root` through it.
public struct CrossSignature: Hashable, Codable, Sendable {
    public let root: AuthorityID
    public let by: AuthorityID
    public let validity: Range<Timestamp>

    public init(root: AuthorityID, by: AuthorityID, validity: Range<Timestamp>) {
        self.root = root
        self.by = by
        self.validity = validity
    }
}
