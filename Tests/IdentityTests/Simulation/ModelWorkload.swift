import Time

@testable import Identity

/// A workload as it really is, whatever the control plane believes.
struct ModelWorkload {
    enum Kind: Hashable {
        /// A proxy: bundle and certificate come on a stream, each acknowledged by itself.
        case stream
        /// A client of the CSR service, whose trust comes with its certificate: one root, or all.
        case csr(keepsOneRoot: Bool)
    }

    struct Leaf: Hashable {
        let serial: String
        let issuer: AuthorityID
        let crossSignature: CrossSignature?
        let issuedAt: Timestamp
        let validity: Range<Timestamp>
    }

    let id: HolderID
    let kind: Kind
    /// Its clock minus the true time.
    let skew: Duration
    /// It answers, but late: up to so much.
    let slowness: Duration
    /// It tells on a new stream what bundle it has.
    let tellsWhatItHas: Bool

    var isAwake = true
    var isConnected = false
    /// Grows with each connection and each end of one: what belongs to an older one is lost.
    var epoch = 0
    var connectedSince = Timestamp(seconds: 0)
    var leaf: Leaf?
    var bundle: Set<AuthorityID> = []
    /// A forced step went on without it.
    var exemptSince: Timestamp?

    // What the control plane keeps for its stream.
    var sentBundle: Set<AuthorityID>?
    var isBundleInFlight = false
    var isLeafInFlight = false
    var awaitsLeaf = false
    var schedule: LeafSchedule?
}

/// What decides whether two workloads agree: what one shows, and what it trusts.
struct ModelClass: Hashable, Comparable {
    let issuer: AuthorityID
    let crossSignature: CrossSignature?
    let bundle: Set<AuthorityID>

    var text: String {
        "\(issuer)\(crossSignature.map { "+\($0.root) by \($0.by)" } ?? ""), trusting \(bundle.sorted())"
    }
    static func < (left: ModelClass, right: ModelClass) -> Bool { left.text < right.text }
}

/// Ways to break the rules, to prove that the checks see it.
enum Mutant: CaseIterable {
    /// Every bundle counts as acknowledged when it is published.
    case takesBundlesForGranted
    /// Every certificate counts as replaced when its issuer is.
    case takesLeavesForGranted
    /// A holder that comes back gets its certificate before its bundle.
    case givesLeavesBeforeBundles
    /// Chains go without the cross-signed root.
    case dropsCrossSignatures
    /// Steps do not wait for anybody.
    case forcesEverything
    /// Leaves are signed under what the holder had before.
    case signsUnderTheOld
    /// A crash loses certificates that were handed out.
    case forgetsWhatItIssued
}
