import GRPC
import Protobuf
import Time
import XDS

/// One xDS stream on one connection: a protocol machine, and where it stands among the streams of its loop.
class DiscoveryCall {
    let id: GRPCCallID
    let token = StreamToken()
    let service: DiscoveryService
    /// Of the call, until it is decided whether the stream may be.
    var metadata: GRPCMetadata?
    /// Holds requests back while something is decided.
    var gate = StreamGate()
    /// Whether ``Admission`` was asked about the stream, and wants to know of its end.
    var isKnownToAdmission = false
    /// The names of secrets of the first request, until they are prepared.
    var firstNames: [String]?
    /// The names of secrets that ``Admission`` was asked to prepare.
    private var preparedNames: Set<String> = []
    private var isEverythingPrepared = false
    /// Secrets were asked for, and ``Admission`` has not been told what the client holds of them.
    var owesHoldings = false
    /// When the proof that opened the stream ends; nil: it does not.
    var provedUntil: Instant?
    /// nil once the connection has ended.
    weak var connection: ServerConnection?
    /// What the first request said; before it, an empty node.
    var node = Node(id: "")
    /// The list of ``DiscoveryLoop`` that the stream is on.
    var place: (view: ViewName, index: Int)?
    let openedAt: Instant
    /// Whether listeners were acknowledged.
    var isListening = false
    /// Decided, and not taken by the connection yet: at most one of each type.
    var waiting: [PreparedResponse] = []
    /// When the last response of each type was sent, and answered to.
    private var times = [DiscoveryServer.TypeTimes](
        repeating: DiscoveryServer.TypeTimes(), count: ResourceType.all.count)
    /// The types that are subscribed to, as they were counted last.
    var countedTypes = TypeMask()
    let kind: DiscoveryMetrics.StreamKind

    fileprivate init(
        _ id: GRPCCallID, _ connection: ServerConnection, _ service: DiscoveryService, isDelta: Bool, now: Instant
    ) {
        self.id = id
        self.service = service
        self.connection = connection
        openedAt = now
        kind = DiscoveryMetrics.StreamKind(isDelta: isDelta, transport: connection.origin.transport)
    }

    /// The machine for what the client called.
    static func make(
        _ method: DiscoveryMethod, id: GRPCCallID, on connection: ServerConnection, limits: StreamLimits, now: Instant
    ) -> DiscoveryCall {
        method.isDelta
            ? DeltaCall(DeltaStream(service: method.service, limits: limits), id, connection, method.service, now: now)
            : StateOfTheWorldCall(
                StateOfTheWorldStream(service: method.service, limits: limits), id, connection, method.service, now: now
            )
    }

    /// - Parameter message: one packed request.
    /// - Throws: what is malformed in it.
    func decode(
        _ message: UnsafeRawBufferPointer, _ decoded: DecodedRequests
    ) throws(ProtobufError) -> DecodedRequest { preconditionFailure("a variant says what it reads") }
    /// Takes a request that the stream has decoded itself.
    func receive(_ request: DecodedRequest, now: Instant) -> [StreamAction] { [] }
    func publish(_ snapshot: Snapshot, now: Instant) -> [StreamAction] { [] }
    func tick(now: Instant) -> [StreamAction] { [] }
    var nextDeadline: Instant? { nil }
    fileprivate func status(showing shown: Snapshot?) -> StreamStatus {
        preconditionFailure("a variant says what its status is")
    }

    fileprivate var subscribedTypes: [ResourceType] { [] }
    fileprivate var holdings: [TypeHoldings] { [] }

    /// What the client holds of a type; nil: it has not subscribed to it.
    func holdings(of type: ResourceType) -> TypeHoldings? { holdings.first { $0.type == type } }

    /// The names of secrets that a request asks for; nil: it asks for another type.
    func secretNames(in request: DecodedRequest) -> [String]? {
        switch service {
        case .single(.secret): request.names
        case .aggregated where request.typeURL == ResourceType.secret.typeURL: request.names
        case .aggregated, .single: nil
        }
    }

    /// Notes the secrets that a request asks for.
    /// - Returns: those that no request of the stream asked for before, in order; nil: there is nothing to prepare.
    func namesToPrepare(_ request: DecodedRequest) -> [String]? {
        guard let names = secretNames(in: request) else { return nil }
        if names.isEmpty {
            // An ACK of the incremental variant says no names.
            guard preparedNames.isEmpty, !isEverythingPrepared else { return nil }
            (isEverythingPrepared, owesHoldings) = (true, true)
            return []
        }
        let new = Set(names).subtracting(preparedNames)
        switch request {
        case .delta(let request):
            preparedNames.formUnion(names)
            preparedNames.subtract(Set(request.resourceNamesUnsubscribe).subtracting(names))
        case .stateOfTheWorld: preparedNames = Set(names)
        }
        if new.isEmpty { return nil }
        owesHoldings = true
        return new.sorted()
    }

    /// The types that the stream is subscribed to now.
    var typeMask: TypeMask { subscribedTypes.reduce(into: TypeMask()) { $0.insert($1) } }

    func noteSent(_ type: ResourceType, at now: Instant) { times[type.order].sentAt = now }

    /// - Returns: how long the client took; nil if nothing was sent.
    func noteAnswered(_ type: ResourceType, at now: Instant) -> Duration? {
        times[type.order].answeredAt = now
        return times[type.order].sentAt?.duration(to: now)
    }

    /// - Parameter shown: what its view shows now.
    func report(now: Instant, showing shown: Snapshot?) -> DiscoveryServer.StreamReport {
        let status = status(showing: shown)
        let times = status.types.map { ($0.type, self.times[$0.type.order]) }
        return DiscoveryServer.StreamReport(
            node: node, status: status, holdings: holdings, times: Dictionary(times) { first, _ in first },
            origin: connection?.origin, age: openedAt.duration(to: now), now: now)
    }
}

private final class DeltaCall: DiscoveryCall {
    private var stream: DeltaStream

    init(
        _ stream: DeltaStream, _ id: GRPCCallID, _ connection: ServerConnection, _ service: DiscoveryService,
        now: Instant
    ) {
        self.stream = stream
        super.init(id, connection, service, isDelta: true, now: now)
    }

    override func decode(
        _ message: UnsafeRawBufferPointer, _ decoded: DecodedRequests
    ) throws(ProtobufError) -> DecodedRequest { .delta(try decoded.delta(message)) }

    override func receive(_ request: DecodedRequest, now: Instant) -> [StreamAction] {
        guard case .delta(let request) = request else { preconditionFailure("a request of the other variant") }
        return stream.receive(request, now: now)
    }

    override func publish(_ snapshot: Snapshot, now: Instant) -> [StreamAction] { stream.publish(snapshot, now: now) }
    override func tick(now: Instant) -> [StreamAction] { stream.tick(now: now) }
    override var nextDeadline: Instant? { stream.nextDeadline }
    override func status(showing shown: Snapshot?) -> StreamStatus {
        stream.status(in: place?.view, showing: shown)
    }
    override var subscribedTypes: [ResourceType] { stream.subscribedTypes }
    override var holdings: [TypeHoldings] { stream.holdings }
}

private final class StateOfTheWorldCall: DiscoveryCall {
    private var stream: StateOfTheWorldStream

    init(
        _ stream: StateOfTheWorldStream, _ id: GRPCCallID, _ connection: ServerConnection, _ service: DiscoveryService,
        now: Instant
    ) {
        self.stream = stream
        super.init(id, connection, service, isDelta: false, now: now)
    }

    override func decode(
        _ message: UnsafeRawBufferPointer, _ decoded: DecodedRequests
    ) throws(ProtobufError) -> DecodedRequest { .stateOfTheWorld(try decoded.stateOfTheWorld(message)) }

    override func receive(_ request: DecodedRequest, now: Instant) -> [StreamAction] {
        guard case .stateOfTheWorld(let request) = request else {
            preconditionFailure("a request of the other variant")
        }
        return stream.receive(request, now: now)
    }

    override func publish(_ snapshot: Snapshot, now: Instant) -> [StreamAction] { stream.publish(snapshot, now: now) }
    override func tick(now: Instant) -> [StreamAction] { stream.tick(now: now) }
    override var nextDeadline: Instant? { stream.nextDeadline }
    override func status(showing shown: Snapshot?) -> StreamStatus {
        stream.status(in: place?.view, showing: shown)
    }
    override var subscribedTypes: [ResourceType] { stream.subscribedTypes }
    override var holdings: [TypeHoldings] { stream.holdings }
}
