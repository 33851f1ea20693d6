import Time

/// How long certificates are valid and when their successors begin. All moments of the schedule follow from these.
public struct AuthorityPolicy: Hashable, Codable, Sendable {
    public var rootValidity: Duration
    public var intermediateValidity: Duration
    /// What a workload gets, unless it asks for less.
    public var leafValidity: Duration
    /// How far a peer's clock may be off, in either direction: certificates begin this much in the past, and one counts
    /// as past only this much after its end. See ``clockAllowance``.
    public var backdate: Duration
    /// How far from half its life a leaf may be renewed, as a share of its life, so that not all renew at once.
    public var renewalJitter: Double
    /// How long a step may wait for holders before it goes on without them. `nil`: for ever, an operator decides.
    public var forceAfter: Duration?
    /// How long the old root is trusted after the last holder has replaced what it signed: a handshake that has begun
    /// shows the certificate of before.
    public var handshakeAllowance = Duration.zero

    public static let shortestLeaf = Duration.seconds(10)
    public static let longestLeaf = Duration.days(90)

    public init(
        rootValidity: Duration = .days(3650), intermediateValidity: Duration = .days(365),
        leafValidity: Duration = .days(1), backdate: Duration = .seconds(300), renewalJitter: Double = 0.05,
        forceAfter: Duration? = nil
    ) {
        self.rootValidity = rootValidity
        self.intermediateValidity = intermediateValidity
        self.leafValidity = leafValidity
        self.backdate = backdate
        self.renewalJitter = renewalJitter
        self.forceAfter = forceAfter
    }

    /// What ``backdate`` comes to: at most a quarter of a leaf's life, so that a renewal at half of it (± jitter) is
    /// in time by every clock that is allowed.
    public var clockAllowance: Duration { min(backdate, leafValidity / 4) }

    /// Between the moment at which the successor of an intermediate begins, and the intermediate's end. Three leaves'
    /// lives at least: one for holders that sleep through the first step of a root's rotation, one for the leaves that
    /// were just issued, one to spare; so no leaf is ever shortened.
    public func intermediateLead(of validity: Range<Timestamp>) -> Duration {
        let life = validity.upperBound - validity.lowerBound
        return min(max(leafValidity * 3, min(life / 4, .days(30))), life / 4 * 3)
    }

    /// Between the moment at which the successor of a root begins, and the root's end: an intermediate that was made
    /// just before still has its whole life.
    public var rootLead: Duration { intermediateValidity + leafValidity * 2 + clockAllowance }

    /// - Throws: what does not fit together, with the mend in ``PolicyError/hint``.
    public func validate() throws(PolicyError) {
        guard leafValidity >= Self.shortestLeaf else { throw .leafTooShort(leafValidity) }
        guard leafValidity <= Self.longestLeaf else { throw .leafTooLong(leafValidity) }
        guard intermediateValidity >= leafValidity * 4 else {
            throw .intermediateTooShort(intermediateValidity, least: leafValidity * 4)
        }
        guard rootValidity >= intermediateValidity * 3 else {
            throw .rootTooShort(rootValidity, least: intermediateValidity * 3)
        }
        guard rootValidity <= .days(36500) else { throw .rootTooLong(rootValidity) }
        guard backdate >= .zero, backdate <= .days(1) else { throw .backdateOutOfRange(backdate) }
        guard (0...0.2).contains(renewalJitter) else { throw .jitterOutOfRange(renewalJitter) }
        if let forceAfter, forceAfter < .zero { throw .negativeForceAfter(forceAfter) }
    }
}

/// What is wrong with an ``AuthorityPolicy``.
public enum PolicyError: Error, Hashable, Sendable, CustomStringConvertible {
    case leafTooShort(Duration)
    case leafTooLong(Duration)
    case intermediateTooShort(Duration, least: Duration)
    case rootTooShort(Duration, least: Duration)
    case rootTooLong(Duration)
    case backdateOutOfRange(Duration)
    case jitterOutOfRange(Double)
    case negativeForceAfter(Duration)

    public var description: String {
        switch self {
        case .leafTooShort(let life): "workload certificates of \(life.brief) are too short"
        case .leafTooLong(let life): "workload certificates of \(life.brief) are too long"
        case .intermediateTooShort(let life, _): "an intermediate of \(life.brief) is too short for what it signs"
        case .rootTooShort(let life, _): "a root of \(life.brief) is too short for what it signs"
        case .rootTooLong(let life): "a root of \(life.brief) is too long"
        case .backdateOutOfRange(let back): "certificates cannot begin \(back.brief) in the past"
        case .jitterOutOfRange(let share): "a renewal cannot vary by \(share) of a certificate's life"
        case .negativeForceAfter(let wait): "a step cannot wait for \(wait.brief)"
        }
    }

    public var hint: String {
        switch self {
        case .leafTooShort: "use \(AuthorityPolicy.shortestLeaf.brief) or more"
        case .leafTooLong: "use \(AuthorityPolicy.longestLeaf.brief) or less"
        case .intermediateTooShort(_, let least):
            "use \(least.brief) or more (four times the life of a workload certificate), or shorten those"
        case .rootTooShort(_, let least):
            "use \(least.brief) or more (three times the life of an intermediate), or shorten those"
        case .rootTooLong: "use \(Duration.days(36500).brief) or less"
        case .backdateOutOfRange: "use 0s to 24h"
        case .jitterOutOfRange: "use 0 to 0.2"
        case .negativeForceAfter: "use 0s or more"
        }
    }
}

extension Duration {
    /// Days of 24 hours.
    public static func days(_ count: Int) -> Duration { .seconds(count * 86400) }

    /// For people: `90d`, `25h`, `10m`, `12s`, `1.5s`: the largest unit that is exact, seconds otherwise.
    public var brief: String {
        let (whole, rest) = components
        guard rest == 0 else { return "\(Double(whole) + (Double(rest) / 1e15).rounded() / 1e3)s" }
        for (unit, length) in [("d", 86400), ("h", 3600), ("m", 60)] as [(String, Int64)]
        where whole != 0 && whole % length == 0 {
            return "\(whole / length)\(unit)"
        }
        return "\(whole)s"
    }
}
