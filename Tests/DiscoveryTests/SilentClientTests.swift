import Foundation
import GRPC
import HTTP2
import Reactor
import Testing
import XDS

@testable import Discovery

/// What waits behind a response that fills the stream's queue goes out as soon as there is room, and not only once the
/// client says something: a proxy may acknowledge its clusters only when it has their endpoints.
@Test func aResponseBehindALargeOneGoesOutThoughTheClientIsSilent() throws {
    let port = try freePort()
    let cache = SnapshotCache()
    let large = (0..<40).map { number in
        XDS.Resource(.cluster, name: "c\(number)", body: [UInt8](repeating: 0, count: 40 << 10))
    }
    try cache.publish(large + [XDS.Resource(.endpoints, name: "e", body: [1])])
    let server = try DiscoveryServer(cache, on: [.init(.loopback(port: port))])
    defer { server.stop() }

    var limits = HTTP2Limits()
    (limits.streamWindow, limits.connectionWindow) = (1 << 30, 1 << 30)
    let connection = GRPCClientConnection(
        authority: "test", limits: GRPCLimits(http2: limits), now: Reactor.Loop.readClock())
    let call = try #require(
        connection.start(
            "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
            now: Reactor.Loop.readClock()))
    let node = Node(id: "proxy-1")
    let requests = [
        DeltaDiscoveryRequest(node: node, typeURL: ResourceType.cluster.typeURL),
        DeltaDiscoveryRequest(typeURL: ResourceType.endpoints.typeURL, resourceNamesSubscribe: ["e"]),
    ]
    for request in requests { _ = connection.send(frame(request), on: call) }
    let descriptor = try connected(to: port)
    defer { close(descriptor) }

    var events = GRPCEvents<GRPCClientEvent>()
    var output = [UInt8](repeating: 0, count: 64 << 10)
    let sent = output.withUnsafeMutableBytes {
        connection.produceOutput(into: $0, now: Reactor.Loop.readClock(), events: &events)
    }
    #expect(write(descriptor, output, sent) == sent)
    // From here on nothing is sent: no acknowledgement, no window.
    var responses = 0
    var input = [UInt8](repeating: 0, count: 256 << 10)
    while responses < 2 {
        let count = read(descriptor, &input, input.count)
        try #require(count > 0, "the server sends nothing for 5 s; \(responses) responses came")
        input.withUnsafeBytes {
            connection.receive(
                UnsafeRawBufferPointer(rebasing: $0[..<count]), now: Reactor.Loop.readClock(), events: &events)
        }
        for event in events.list { if case .message = event { responses += 1 } }
        events.removeAll()
    }
}

/// A socket whose reads take 5 s at most.
private func connected(to port: UInt16) throws -> Int32 {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    let result = withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
    }
    try #require(result == 0)
    var limit = timeval(tv_sec: 5, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    return descriptor
}
