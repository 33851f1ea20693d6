import Time

/// The replacement of one authority by another, under way.
///
/// A root: **prepare** (the new root joins the trust bundle), **activate** (the new root's intermediate issues, with
/// the cross-signed root in the chain), **retire** (the old root leaves the bundle; at the end its keys are destroyed).
/// An intermediate: made, then **activate**; nothing needs to be distributed before, for every chain carries its
/// intermediate; it is over when nothing that the old one signed is in use.
public struct Rotation: Hashable, Codable, Sendable {
    public enum Phase: String, Codable, Hashable, Sendable, CaseIterable {
        /// Keys and certificates are being made; nobody sees anything of it.
        case making
        case preparing, activating, retiring
    }

    public enum Reason: String, Codable, Hashable, Sendable {
        case firstStart, schedule, order, imported, abort
    }

    public let tier: AuthorityTier
    public internal(set) var phase: Phase
    public let reason: Reason
    public let began: Timestamp
    /// Of the phase.
    public internal(set) var since: Timestamp
    /// How long each step waits before it goes on without those it waits for.
    public var forceAfter: Duration?
    /// What is replaced; `nil` at the first start.
    public let old: AuthorityID?
    /// Of a root's rotation: the intermediate that issued, and issues again after an abort.
    public internal(set) var oldIntermediate: AuthorityID?
    public internal(set) var new: AuthorityID?
    /// Of a root's rotation.
    public internal(set) var newIntermediate: AuthorityID?
}

/// What a step waits for. A holder is waited for while it is connected, or while a certificate of its may be in use.
struct Wait: Hashable, Sendable {
    /// Bundles must have this root.
    var mustKnow: AuthorityID?
    /// …those that came with a leaf, too (clients of the CSR service that keep one root).
    var includesRootsOfLeaves = false
    /// Bundles of connected holders must be without this root.
    var mustForget: AuthorityID?
    /// No leaf of this intermediate may be in use anywhere.
    var outdated: AuthorityID?
    /// No leaf of others than these may be in use anywhere. Not a list of the old ones: one that was given up by force
    /// is on no list any more, and what it signed is valid all the same.
    var current: Set<AuthorityID>?

    func isOutdated(_ issuer: AuthorityID) -> Bool {
        issuer == outdated || current.map { !$0.contains(issuer) } ?? false
    }
}

/// One of those a step waits for.
public struct AwaitedHolder: Hashable, Sendable {
    public enum Want: Hashable, Sendable {
        /// It has not acknowledged a bundle with this root.
        case knows(AuthorityID)
        /// It has not acknowledged a bundle without this root.
        case forgets(AuthorityID)
        /// It may use a certificate of this issuer until then.
        case replaces(issuer: AuthorityID, notAfter: Timestamp)
    }

    public let id: HolderID
    public let isConnected: Bool
    public let lastSeen: Timestamp
    /// The bundle that it acknowledged last.
    public let bundle: Set<AuthorityID>?
    public let leaves: [OutstandingLeaf]
    public let want: Want
    /// When it is waited for no longer if it stays away; `nil` while it is connected and its bundle is what lacks.
    public let until: Timestamp?
}

/// Why an order was refused, and what to do.
public enum OrderRefusal: Error, Hashable, Sendable, CustomStringConvertible {
    case notReady
    case rotationUnderWay(AuthorityTier, Rotation.Phase)
    case nothingToAbort
    case noKey(AuthorityID, tier: AuthorityTier)
    case rootEndsTooSoon(AuthorityID, end: Timestamp)
    case oldEndsTooSoon(AuthorityID, end: Timestamp)
    case unknownRoot(AuthorityID)
    case notValidNow(AuthorityID)

    public var description: String {
        switch self {
        case .notReady: "the first authorities are still being made"
        case .rotationUnderWay(let tier, let phase):
            "a rotation of the \(tier.rawValue) is under way (\(phase.rawValue))"
        case .nothingToAbort: "no rotation is under way"
        case .noKey(let id, let tier): "the key of the \(tier.rawValue) \(id) is not here"
        case .rootEndsTooSoon(let id, _): "the root \(id) ends too soon to sign another intermediate"
        case .oldEndsTooSoon(let id, _): "the authority \(id) ends too soon to be taken back"
        case .unknownRoot(let id): "the intermediate's root \(id) is not known here"
        case .notValidNow(let id): "the authority \(id) is not valid now"
        }
    }

    public var hint: String {
        switch self {
        case .notReady: "try again in a moment"
        case .rotationUnderWay: "wait for it (`martinet ca status`), or run `martinet ca rotate --abort`"
        case .nothingToAbort: "see `martinet ca status`"
        case .noKey:
            "run `martinet ca csr`, have the outside root sign the request, and give the answer to `martinet ca import`"
        case .rootEndsTooSoon: "rotate the root: `martinet ca rotate --root`"
        case .oldEndsTooSoon: "let the rotation finish"
        case .unknownRoot: "give the root along: `martinet ca import --root FILE`"
        case .notValidNow: "check its dates, and this machine's clock"
        }
    }
}
