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
    /// When the last response of each type was sent, and answered to.
    private var times = [DiscoveryServer.TypeTimes](
        repeating: DiscoveryServer.TypeTimes(), count: ResourceType.all.count)
    /// The types that are subscribed to, as they were counted last.
    var countedTypes = TypeMask()
    let kind: DiscoveryMetrics.StreamKind

    fileprivate init(_ id: GRPCCallID, _ connection: ServerConnection, isDelta: Bool, now: Instant) {
        self.id = id
        self.connection = connection
        openedAt = now
        kind = DiscoveryMetrics.StreamKind(isDelta: isDelta, transport: connection.origin.transport)
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
    func receive(
        _ message: UnsafeRawBufferPointer, _ decoded: DecodedRequests, now: Instant
    ) throws(ProtobufError) -> [StreamAction] { [] }
    func publish(_ snapshot: Snapshot, now: Instant) -> [StreamAction] { [] }
    func tick(now: Instant) -> [StreamAction] { [] }
    var nextDeadline: Instant? { nil }
    fileprivate var status: StreamStatus { preconditionFailure("a variant says what its status is") }

    fileprivate var subscribedTypes: [ResourceType] { [] }
    fileprivate var holdings: [TypeHoldings] { [] }

    /// The types that the stream is subscribed to now.
    var typeMask: TypeMask { subscribedTypes.reduce(into: TypeMask()) { $0.insert($1) } }

    func noteSent(_ type: ResourceType, at now: Instant) { times[type.order].sentAt = now }

    /// - Returns: how long the client took; nil if nothing was sent.
    func noteAnswered(_ type: ResourceType, at now: Instant) -> Duration? {
        times[type.order].answeredAt = now
        return times[type.order].sentAt?.duration(to: now)
    }

    func report(now: Instant) -> DiscoveryServer.StreamReport {
        let status = status
        let times = status.types.map { ($0.type, self.times[$0.type.order]) }
        return DiscoveryServer.StreamReport(
            node: node, status: status, holdings: holdings, times: Dictionary(times) { first, _ in first },
            origin: connection?.origin, age: openedAt.duration(to: now), now: now)
    }
}

private final class DeltaCall: DiscoveryCall {
    private var stream: DeltaStream

    init(_ stream: DeltaStream, _ id: GRPCCallID, _ connection: ServerConnection, now: Instant) {
        self.stream = stream
        super.init(id, connection, isDelta: true, now: now)
    }

    override func receive(
        _ message: UnsafeRawBufferPointer, _ decoded: DecodedRequests, now: Instant
    ) throws(ProtobufError) -> [StreamAction] {
        stream.receive(try decoded.delta(message), now: now)
    }

    override func publish(_ snapshot: Snapshot, now: Instant) -> [StreamAction] { stream.publish(snapshot, now: now) }
    override func tick(now: Instant) -> [StreamAction] { stream.tick(now: now) }
    override var nextDeadline: Instant? { stream.nextDeadline }
    override var status: StreamStatus { stream.status(in: place?.view) }
    override var subscribedTypes: [ResourceType] { stream.subscribedTypes }
    override var holdings: [TypeHoldings] { stream.holdings }
}

private final class StateOfTheWorldCall: DiscoveryCall {
    private var stream: StateOfTheWorldStream

    init(_ stream: StateOfTheWorldStream, _ id: GRPCCallID, _ connection: ServerConnection, now: Instant) {
        self.stream = stream
        super.init(id, connection, isDelta: false, now: now)
    }

    override func receive(
        _ message: UnsafeRawBufferPointer, _ decoded: DecodedRequests, now: Instant
    ) throws(ProtobufError) -> [StreamAction] {
        stream.receive(try decoded.stateOfTheWorld(message), now: now)
    }

    override func publish(_ snapshot: Snapshot, now: Instant) -> [StreamAction] { stream.publish(snapshot, now: now) }
    override func tick(now: Instant) -> [StreamAction] { stream.tick(now: now) }
    override var nextDeadline: Instant? { stream.nextDeadline }
    override var status: StreamStatus { stream.status(in: place?.view) }
    override var subscribedTypes: [ResourceType] { stream.subscribedTypes }
    override var holdings: [TypeHoldings] { stream.holdings }
}
