import GRPC
import Synchronization
import Time
import XDS

/// Decides who may open xDS streams, and as whom.
///
/// The server asks once for each stream and holds the stream's messages until the answer is there. All calls but the
/// answers come on the thread of a connection's event loop: what takes long belongs on another thread.
public protocol Admission: Sendable {
    /// Asked when a stream's first request is known.
    /// - Parameter decide: to be called once, now or later, from any thread. Where that takes longer than
    ///   ``DiscoveryServer/Configuration/decisionDeadline``, the stream ends with UNAVAILABLE.
    func admit(_ applicant: Applicant, decide: @escaping @Sendable (AdmissionDecision) -> Void)

    /// Asked before names of secrets that the stream has not named before are subscribed to: secrets may be made upon
    /// demand. The view of the stream must show them when `ready` is called.
    /// - Parameters:
    ///   - names: without those that were prepared for the stream before; empty: the stream subscribes to everything.
    ///   - ready: to be called once, with nil or with what the stream is to end with.
    func prepare(
        _ names: [String], of type: ResourceType, for stream: StreamToken, node: Node,
        ready: @escaping @Sendable (GRPCStatus?) -> Void)

    /// The stream has acknowledged or refused secrets. Must be cheap.
    /// - Parameter holdings: what the stream holds of the type since.
    func answered(_ stream: StreamToken, node: Node, holdings: TypeHoldings)

    /// The stream has acknowledged listeners, for the first time. Must be cheap.
    func listening(_ stream: StreamToken)

    /// The stream is over. Once for each stream that was asked about, whatever was decided, also while the decision is
    /// still being made.
    func ended(_ stream: StreamToken)
}

/// Names one stream; never used twice in a process.
public struct StreamToken: Hashable, Comparable, Sendable {
    public let number: UInt64

    private static let last = Atomic<UInt64>(0)

    /// A token that was never there before.
    public init() { number = Self.last.wrappingAdd(1, ordering: .relaxed).newValue }

    public static func < (left: StreamToken, right: StreamToken) -> Bool { left.number < right.number }
}

/// Who asks for a stream, and with what proof.
public struct Applicant: Sendable {
    public var stream: StreamToken
    /// The service that was called.
    public var service: DiscoveryService
    public var origin: CallOrigin
    /// Of the call; Envoy sends its `initial_metadata` here.
    public var metadata: GRPCMetadata
    /// What the peer says of itself; its principal is nil.
    public var node: Node
    /// The names of secrets that the first request asks for; nil: it asks for another type.
    public var secretNames: [String]?

    public init(
        stream: StreamToken, service: DiscoveryService = .aggregated, origin: CallOrigin,
        metadata: GRPCMetadata = GRPCMetadata(), node: Node, secretNames: [String]? = nil
    ) {
        self.stream = stream
        self.service = service
        self.origin = origin
        self.metadata = metadata
        self.node = node
        self.secretNames = secretNames
    }
}

/// What becomes of a stream.
public enum AdmissionDecision: Sendable {
    /// - Parameters:
    ///   - principal: what the peer has proved, for ``XDS/Node/principal``; nil: nothing.
    ///   - until: when the proof ends, and the stream with it; nil: it does not.
    case admitted(principal: String?, until: Instant? = nil)
    case refused(StreamRefusal)
}

/// Why a stream is refused.
public struct StreamRefusal: Error, Hashable, Sendable {
    /// For the peer: what is wrong, and the mend.
    public var status: GRPCStatus
    /// Counts refusals by reason: one of a few words, with nothing in it that a peer says.
    public var reason: String
    /// How long the peer waits for its status: peers that are refused again and again are slowed.
    public var delay: Duration

    public init(_ status: GRPCStatus, reason: String, delay: Duration = .zero) {
        self.status = status
        self.reason = reason
        self.delay = delay
    }
}
