import Time

/// What operators ask of the certificate authority. Source: martinet.control.v1.Authority.
///
/// Belongs to the control thread: every call comes there, and returns when its outcome is on disk.
public protocol AuthorityOperations: AnyObject {
    /// - Parameter now: of this machine's clock.
    func report(now: Timestamp) -> AuthorityReport

    /// Begins a rotation, or says differently how patient the one under way is.
    /// - Returns: what is under way then.
    /// - Throws: `.failedPrecondition` where another one is under way, or the key that must sign is not here.
    func rotate(_ order: RotationOrder, now: Timestamp) throws(AuthorityRefusal) -> [AuthorityReport.Rotation]

    /// Goes back from the rotation that is under way.
    /// - Returns: what is still under way, as going back may have to wait for proxies too.
    func abort(now: Timestamp) throws(AuthorityRefusal) -> [AuthorityReport.Rotation]

    /// A request for an intermediate, for an outside root to sign; its key is made, or kept from the last call.
    /// - Returns: PKCS #10 in PEM.
    func signingRequest(now: Timestamp) throws(AuthorityRefusal) -> String

    /// Takes a root, an intermediate, or the answer to a signing request; checks all before anything changes.
    /// - Returns: what was taken, in words, one sentence each.
    func take(_ material: AuthorityMaterial, now: Timestamp) throws(AuthorityRefusal) -> [String]

    /// What peers should trust now.
    func bundle(now: Timestamp) throws(AuthorityRefusal) -> PublishedBundle

    /// - Returns: newest first, at most `order.limit`.
    func journal(_ order: JournalOrder) throws(AuthorityRefusal) -> [IssuedEntry]
}

/// Why the authority does not do what an operator asked: what, and the mend. Nothing has changed.
public struct AuthorityRefusal: Error, Hashable, Sendable, CustomStringConvertible {
    /// What kind of refusal; each is a gRPC status.
    public enum Kind: String, Hashable, Sendable, CaseIterable {
        /// The request itself is wrong.
        case invalid
        /// It does not fit the state that the authority is in.
        case failedPrecondition
        /// The disk, the database or a key file failed.
        case storage
    }

    public var kind: Kind
    public var description: String
    public var hint: String

    public init(_ kind: Kind, _ description: String, hint: String) {
        self.kind = kind
        self.description = description
        self.hint = hint
    }
}

/// What to rotate, and how patiently. Source: martinet.control.v1.RotateRequest.
public struct RotationOrder: Hashable, Sendable {
    /// The root, and the intermediate with it; otherwise the intermediate alone.
    public var root: Bool
    /// How long each phase waits for those who are away; nil: as the server is configured.
    public var forceAfter: Duration?

    public init(root: Bool = false, forceAfter: Duration? = nil) {
        self.root = root
        self.forceAfter = forceAfter
    }
}

/// Certificates and a key from outside, all PEM. Source: martinet.control.v1.ImportRequest.
public struct AuthorityMaterial: Hashable, Sendable, CustomStringConvertible, CustomReflectable {
    /// The certificate first, then what leads from it to a root.
    public var certificates: String
    /// Empty for the answer to a signing request.
    public var key: String
    /// The root, where it is not in `certificates`.
    public var root: String

    public init(certificates: String, key: String = "", root: String = "") {
        self.certificates = certificates
        self.key = key
        self.root = root
    }

    /// Keys do not get into logs by way of a description.
    public var description: String { "authority material \(key.isEmpty ? "without" : "with") a key" }
    public var customMirror: Mirror { Mirror(self, children: [:]) }
}

/// The trust bundle in two forms. Source: martinet.control.v1.BundleResponse.
public struct PublishedBundle: Hashable, Sendable {
    /// The roots.
    public var pem: String
    /// A SPIFFE bundle document (JSON), with the JWT keys. Source: SPIFFE Trust Domain and Bundle, 4.
    public var spiffe: String

    public init(pem: String, spiffe: String) {
        self.pem = pem
        self.spiffe = spiffe
    }
}

/// Whose certificates, and how many. Source: martinet.control.v1.JournalRequest.
public struct JournalOrder: Hashable, Sendable {
    /// Empty: of everyone.
    public var spiffeID: String
    /// 1 … ``longest``.
    public var limit: Int

    /// How many one answer tells of.
    public static let longest = 100_000

    public init(spiffeID: String = "", limit: Int = 100) {
        self.spiffeID = spiffeID
        self.limit = limit
    }
}

/// One certificate that was issued. Source: martinet.control.v1.IssuedCertificate.
public struct IssuedEntry: Hashable, Sendable {
    /// Hexadecimal.
    public var serial: String
    public var spiffeID: String
    public var validity: Range<Timestamp>
    /// Who signed it: hexadecimal subject key identifier.
    public var authority: String
    /// The node or the peer that it was made for.
    public var holder: String
    /// `first`, `renewal`, `rotation`, `csr`, `server`.
    public var reason: String
    public var issuedAt: Timestamp

    public init(
        serial: String, spiffeID: String, validity: Range<Timestamp>, authority: String, holder: String,
        reason: String, issuedAt: Timestamp
    ) {
        self.serial = serial
        self.spiffeID = spiffeID
        self.validity = validity
        self.authority = authority
        self.holder = holder
        self.reason = reason
        self.issuedAt = issuedAt
    }
}
