import Discovery
import GRPC
import Identity
import XDS

/// Who has secrets of its own: a node that has proved an identity. Keys are not shared between nodes.
public struct SecretHolder: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// `node.id`.
    public var node: String
    public var identity: SPIFFEID

    public init(node: String, identity: SPIFFEID) {
        self.node = node
        self.identity = identity
    }

    public var description: String { "\(node) (\(identity))" }
    public static func < (left: SecretHolder, right: SecretHolder) -> Bool {
        (left.node, left.identity) < (right.node, right.identity)
    }
}

/// Makes the secrets of holders, and hears what becomes of them: the certificate authority.
///
/// Called from any thread, with no lock held.
public protocol SecretIssuer: Sendable {
    /// A holder asks for a certificate and has none: issue one, give it by ``SecretDirectory/setIdentity(_:chain:key:)``,
    /// then call `ready`, once. What several streams of a holder ask for at a time is asked for once.
    /// - Parameter ready: with nil, or with what the stream is to end with.
    func demanded(_ holder: SecretHolder, ready: @escaping @Sendable (GRPCStatus?) -> Void)

    /// The first stream of a holder was admitted.
    func connected(_ holder: SecretHolder)

    /// A stream of a holder asks for secrets that it did not ask for before.
    /// - Parameter takesBundle: the trust bundle is among them.
    func asked(_ holder: SecretHolder, _ stream: StreamToken, takesBundle: Bool)

    /// A stream of a holder has acknowledged or refused secrets. Another of the same holder may hold others.
    func answered(_ holder: SecretHolder, _ stream: StreamToken, _ answer: SecretAnswer)

    /// A stream of a holder is over, and others are not.
    func left(_ holder: SecretHolder, _ stream: StreamToken)

    /// The last stream of a holder is over: its secrets are forgotten here.
    func disconnected(_ holder: SecretHolder)
}

/// What one stream holds of secrets, as it said itself.
public struct SecretAnswer: Sendable {
    /// Those that the authority gives. The versions are those that ``SecretDirectory`` returned.
    public var entries: [TypeHoldings.Entry]
    /// The proxy's words, if it refused something.
    public var refusal: ErrorDetail?

    public init(entries: [TypeHoldings.Entry], refusal: ErrorDetail? = nil) {
        self.entries = entries
        self.refusal = refusal
    }
}
