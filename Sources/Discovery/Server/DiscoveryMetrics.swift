import HTTP2
import Metrics
import Reactor
import Synchronization
import XDS

/// What the server counts, through swift-metrics: whatever backend the program has bootstrapped gets it.
final class DiscoveryMetrics: Sendable {
    /// Per type, in the order of ``XDS/ResourceType/all``.
    private let types: [TypeMetrics]
    /// From a publication until every stream of a loop was shown it; one record per loop for publications that it
    /// took together, counted from the first of them.
    let pushLatency = Metrics.Timer(label: "martinet_xds_push_latency_seconds")
    let acknowledgeLatency = Metrics.Timer(label: "martinet_xds_ack_latency_seconds")
    let streamsOpened = Counter(label: "martinet_xds_streams_opened_total")
    let streamsRefused = Counter(label: "martinet_xds_streams_refused_total")
    /// Ended because the proof that opened them is past.
    let streamsExpired = Counter(label: "martinet_xds_streams_expired_total")
    let bytesSent = Counter(label: "martinet_xds_bytes_sent_total")
    private let factory = MetricsSystem.factory
    private let admissionsRefused = Mutex<[String: Counter]>([:])
    let snapshots = Counter(label: "martinet_xds_snapshots_total")
    private let streams: [StreamKind: Meter]
    let connections = Meter(label: "martinet_connections")
    let connectionsAccepted = Counter(label: "martinet_connections_accepted_total")
    let bytesReceived = Counter(label: "martinet_received_bytes_total")
    let bytesWritten = Counter(label: "martinet_written_bytes_total")
    let bytesBlocked = Meter(label: "martinet_blocked_output_bytes")
    /// By the name of the limit; there from the start, so that each counts from zero.
    private let connectionsFailed: [String: Counter]
    private let refusedForConnections = Counter(
        label: "martinet_connections_refused_total", dimensions: [("limit", "connections")])
    private let refusedForDescriptors = Counter(
        label: "martinet_connections_refused_total", dimensions: [("limit", "descriptors")])

    /// What streams are counted by.
    struct StreamKind: Hashable, Sendable {
        var isDelta: Bool
        var transport: CallOrigin.Transport
    }

    /// A class: each push looks it up, and a copy of a struct would retain every one of its counters.
    final class TypeMetrics: Sendable {
        let pushes: Counter
        let resourcesSent: Counter
        let resourcesRemoved: Counter
        let nacks: Counter
        let forced: Counter
        let subscriptions: Meter

        init(_ type: ResourceType) {
            let dimensions = [("type", type.shortName)]
            pushes = Counter(label: "martinet_xds_pushes_total", dimensions: dimensions)
            resourcesSent = Counter(label: "martinet_xds_resources_sent_total", dimensions: dimensions)
            resourcesRemoved = Counter(label: "martinet_xds_resources_removed_total", dimensions: dimensions)
            nacks = Counter(label: "martinet_xds_nacks_total", dimensions: dimensions)
            forced = Counter(label: "martinet_xds_order_forced_total", dimensions: dimensions)
            subscriptions = Meter(label: "martinet_xds_subscriptions", dimensions: dimensions)
        }
    }

    init() {
        types = ResourceType.all.map(TypeMetrics.init)
        var streams: [StreamKind: Meter] = [:]
        for transport in CallOrigin.Transport.allCases {
            for isDelta in [true, false] {
                streams[StreamKind(isDelta: isDelta, transport: transport)] = Meter(
                    label: "martinet_xds_streams",
                    dimensions: [("variant", isDelta ? "delta" : "sotw"), ("transport", transport.rawValue)])
            }
        }
        self.streams = streams
        let reasons = ["protocol"] + HTTP2Limit.allCases.map(\.rawValue) + HTTP2Timeout.allCases.map(\.rawValue)
        connectionsFailed = Dictionary(
            uniqueKeysWithValues: reasons.map {
                ($0, Counter(label: "martinet_connections_failed_total", dimensions: [("limit", $0)]))
            })
    }

    func streamOpened(_ kind: StreamKind) {
        streamsOpened.increment()
        streams[kind]?.increment()
    }

    func streamEnded(_ kind: StreamKind) { streams[kind]?.decrement() }

    /// A stream subscribes to other types than before.
    func subscriptionsChanged(from old: TypeMask, to new: TypeMask) {
        guard old != new else { return }
        for type in ResourceType.all where old.contains(type) != new.contains(type) {
            if new.contains(type) {
                self[type].subscriptions.increment()
            } else {
                self[type].subscriptions.decrement()
            }
        }
    }

    func connectionFailed(_ failure: HTTP2Failure) {
        let reason =
            switch failure {
            case .violation: "protocol"
            case .limit(let limit, _, _): limit.rawValue
            case .timeout(let timeout, _): timeout.rawValue
            }
        connectionsFailed[reason]?.increment()
    }

    /// Counts what a loop has done since it was looked at before.
    func count(_ new: LoopStatistics, since old: LoopStatistics) {
        connections.increment(by: Double(new.connections - old.connections))
        bytesBlocked.increment(by: Double(new.bytesHeld - old.bytesHeld))
        connectionsAccepted.increment(by: new.accepted &- old.accepted)
        bytesReceived.increment(by: new.bytesIn &- old.bytesIn)
        bytesWritten.increment(by: new.bytesOut &- old.bytesOut)
        refusedForConnections.increment(by: new.refused &- old.refused)
        refusedForDescriptors.increment(by: new.refusedForDescriptors &- old.refusedForDescriptors)
    }

    func sent(_ response: PreparedResponse, bytes: Int) {
        let type = self[response.type]
        type.pushes.increment()
        type.resourcesSent.increment(by: response.resources.count)
        type.resourcesRemoved.increment(by: response.removedNames.count)
        bytesSent.increment(by: bytes)
    }

    /// - Parameter reason: one of a few words.
    func admissionRefused(_ reason: String) {
        streamsRefused.increment()
        let counter = admissionsRefused.withLock { counters in
            // Whatever a policy calls its reasons, series are for ever.
            let reason = counters[reason] != nil || counters.count < Self.mostReasons ? reason : "other"
            let counter =
                counters[reason]
                ?? Counter(
                    label: "martinet_xds_admission_refused_total", dimensions: [("reason", reason)], factory: factory)
            counters[reason] = counter
            return counter
        }
        counter.increment()
    }

    private static let mostReasons = 64

    subscript(type: ResourceType) -> TypeMetrics { types[type.order] }
}

/// A set of resource types in two bytes.
struct TypeMask: Equatable, Sendable {
    private var bits: UInt16 = 0

    mutating func insert(_ type: ResourceType) { bits |= 1 << type.order }
    func contains(_ type: ResourceType) -> Bool { bits & 1 << type.order != 0 }
}
