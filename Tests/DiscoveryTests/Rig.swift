import CoreMetrics
import Foundation
import GRPC
import Synchronization
import Testing
import XDS

@testable import Discovery

/// A server on a port of its own, with what it counts and logs.
final class Rig {
    let cache: SnapshotCache
    let port: UInt16
    let recorder = Recorder()
    private(set) var server: DiscoveryServer?

    init(
        cache: SnapshotCache = SnapshotCache(), services: [any Service] = [],
        _ change: (inout DiscoveryServer.Configuration) -> Void = { _ in }
    ) throws {
        self.cache = cache
        port = try freePort()
        var configuration = DiscoveryServer.Configuration()
        configuration.logger = recorder.logger
        change(&configuration)
        let listener = DiscoveryServer.Listener(.loopback(port: port))
        server = try withMetricsFactory(recorder) {
            try DiscoveryServer(cache, on: [listener], configuration: configuration, services: services)
        }
    }

    deinit { server?.stop() }

    func stop() { server?.stop() }
    func release() { server = nil }

    /// How every stream stands now.
    func reports() -> [DiscoveryServer.StreamReport] {
        let found = Mutex<[DiscoveryServer.StreamReport]?>(nil)
        server?.report { report in found.withLock { $0 = report.streams } }
        eventually { found.withLock { $0 != nil } }
        return found.withLock { $0 } ?? []
    }

    /// How many loops do not say how their streams stand.
    func silentLoops() -> Int? {
        let found = Mutex<Int?>(nil)
        server?.report { report in found.withLock { $0 = report.silentLoops } }
        eventually { found.withLock { $0 != nil } }
        return found.withLock { $0 }
    }

    /// The metric that tells how many streams are open.
    func openStreams(_ variant: String) -> Double {
        recorder["martinet_xds_streams{variant=\(variant),transport=plaintext}"]
    }
}

/// Waits for another thread.
/// - Returns: whether it came to pass.
@discardableResult
func eventually(seconds: Double = 15, _ condition: () -> Bool) -> Bool {
    let end = DispatchTime.now() + seconds
    while !condition() {
        if DispatchTime.now() > end { return false }
        usleep(2000)
    }
    return true
}

/// A resource whose body nobody looks into.
func resource(_ type: ResourceType, _ name: String, bytes: Int = 10, version: String? = nil) -> XDS.Resource {
    XDS.Resource(type, name: name, body: [UInt8](repeating: 7, count: bytes), version: version)
}

let deltaPath = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
let fullPath = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"

func delta(
    _ type: ResourceType, _ names: [String] = ["*"], node: String? = "proxy", nonce: String = "",
    rejecting words: String? = nil
) -> XDS.DeltaDiscoveryRequest {
    XDS.DeltaDiscoveryRequest(
        node: node.map { Node(id: $0) }, typeURL: type.typeURL, resourceNamesSubscribe: names, responseNonce: nonce,
        errorDetail: words.map { ErrorDetail(message: $0) })
}
