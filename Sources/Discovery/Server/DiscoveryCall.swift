import GRPC
import Protobuf
import Time
import XDS

/// One xDS stream on one connection: a protocol machine, and where it stands among the streams of its loop.
class DiscoveryCall {
    let id: GRPCCallID
    /// nil once the connection has ended.
    weak var connection: ServerConnection?
    /// What the first request said; before it, an empty node.
    var node = Node(id: "")
    /// The list of ``DiscoveryLoop`` that the stream is on.
    var place: (view: ViewName, index: Int)?
    let openedAt: Instant
    /// Decided, and not taken by the connection yet: at most one of each type.
    var waiting: [PreparedResponse] = []
    /// When the last response of each type was sent.
    private(set) var sentAt = [Instant](repeating: Instant(nanoseconds: 0), count: ResourceType.all.count)

    fileprivate init(_ id: GRPCCallID, _ connection: ServerConnection, now: Instant) {
        self.id = id
        self.connection = connection
        openedAt = now
    }

    /// The machine for what the client called.
    static func make(
        _ method: DiscoveryMethod, id: GRPCCallID, on connection: ServerConnection, limits: StreamLimits, now: Instant
    ) -> DiscoveryCall {
        method.isDelta
            ? DeltaCall(DeltaStream(service: method.service, limits: limits), id, connection, now: now)
            : StateOfTheWorldCall(
                StateOfTheWorldStream(service: method.service, limits: limits), id, connection, now: now)
    }

    /// Takes one packed request.
    /// - Throws: what is malformed in it.
    func receive(_ message: UnsafeRawBufferPointer, now: Instant) throws(ProtobufError) -> [StreamAction] { [] }
    func publish(_ snapshot: Snapshot, now: Instant) -> [StreamAction] { [] }
    func tick(now: Instant) -> [StreamAction] { [] }
    var nextDeadline: Instant? { nil }
    fileprivate var status: StreamStatus { preconditionFailure("a variant says what its status is") }

    func noteSent(_ type: ResourceType, at now: Instant) { sentAt[type.order] = now }

    func report(now: Instant) -> DiscoveryServer.StreamReport {
        DiscoveryServer.StreamReport(
            node: node, status: status, origin: connection?.origin, age: openedAt.duration(to: now),
            now: now)
    }
}

private final class DeltaCall: DiscoveryCall {
    private var stream: DeltaStream

    init(_ stream: DeltaStream, _ id: GRPCCallID, _ connection: ServerConnection, now: Instant) {
        self.stream = stream
        super.init(id, connection, now: now)
    }

    override func receive(_ message: UnsafeRawBufferPointer, now: Instant) throws(ProtobufError) -> [StreamAction] {
        stream.receive(try DeltaDiscoveryRequest(decoding: message), now: now)
    }

    override func publish(_ snapshot: Snapshot, now: Instant) -> [StreamAction] { stream.publish(snapshot, now: now) }
    override func tick(now: Instant) -> [StreamAction] { stream.tick(now: now) }
    override var nextDeadline: Instant? { stream.nextDeadline }
    override var status: StreamStatus { stream.status(in: place?.view) }
}

private final class StateOfTheWorldCall: DiscoveryCall {
    private var stream: StateOfTheWorldStream

    init(_ stream: StateOfTheWorldStream, _ id: GRPCCallID, _ connection: ServerConnection, now: Instant) {
        self.stream = stream
        super.init(id, connection, now: now)
    }

    override func receive(_ message: UnsafeRawBufferPointer, now: Instant) throws(ProtobufError) -> [StreamAction] {
        stream.receive(try DiscoveryRequest(decoding: message), now: now)
    }

    override func publish(_ snapshot: Snapshot, now: Instant) -> [StreamAction] { stream.publish(snapshot, now: now) }
    override func tick(now: Instant) -> [StreamAction] { stream.tick(now: now) }
    override var nextDeadline: Instant? { stream.nextDeadline }
    override var status: StreamStatus { stream.status(in: place?.view) }
}
