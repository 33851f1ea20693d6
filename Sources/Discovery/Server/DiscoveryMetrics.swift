import Metrics
import XDS

/// What the server counts, through swift-metrics: whatever backend the program has bootstrapped gets it.
final class DiscoveryMetrics: Sendable {
    /// Per type, in the order of ``XDS/ResourceType/all``.
    private let types: [TypeMetrics]
    let pushLatency = Metrics.Timer(label: "martinet_xds_push_latency_seconds")
    let acknowledgeLatency = Metrics.Timer(label: "martinet_xds_ack_latency_seconds")
    let streamsOpened = Counter(label: "martinet_xds_streams_opened_total")
    let streamsRefused = Counter(label: "martinet_xds_streams_refused_total")
    let bytesSent = Counter(label: "martinet_xds_bytes_sent_total")
    let connectionsFailed = Counter(label: "martinet_connections_failed_total")

    struct TypeMetrics: Sendable {
        let pushes: Counter
        let resourcesSent: Counter
        let resourcesRemoved: Counter
        let nacks: Counter
        let forced: Counter

        init(_ type: ResourceType) {
            let dimensions = [("type", type.shortName)]
            pushes = Counter(label: "martinet_xds_pushes_total", dimensions: dimensions)
            resourcesSent = Counter(label: "martinet_xds_resources_sent_total", dimensions: dimensions)
            resourcesRemoved = Counter(label: "martinet_xds_resources_removed_total", dimensions: dimensions)
            nacks = Counter(label: "martinet_xds_nacks_total", dimensions: dimensions)
            forced = Counter(label: "martinet_xds_order_forced_total", dimensions: dimensions)
        }
    }

    init() {
        types = ResourceType.all.map(TypeMetrics.init)
    }

    func sent(_ response: PreparedResponse, bytes: Int) {
        let type = self[response.type]
        type.pushes.increment()
        type.resourcesSent.increment(by: response.resources.count)
        type.resourcesRemoved.increment(by: response.removedNames.count)
        bytesSent.increment(by: bytes)
    }

    subscript(type: ResourceType) -> TypeMetrics { types[type.order] }
}
