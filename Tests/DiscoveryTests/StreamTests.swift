import EnvoyAPI
import Foundation
import GRPC
import Synchronization
import Testing
import XDS

@testable import Discovery

@Suite(.serialized) struct StreamTests {
    @Test func aResponseThatWaitedForAnotherGoesOutAsSoonAsThatIsGone() throws {
        // A queue that takes one message at a time, and a window into which both fit: no further word of the client
        // comes that could wake the server.
        let rig = try Rig { $0.grpc.http2.unsentBytesPerStream = 1 }
        try rig.cache.publish([
            resource(.cluster, "web", bytes: 100_000), resource(.secret, "key", bytes: 100_000),
            resource(.runtime, "r"),
        ])
        let peer = try RawPeer(port: rig.port, window: 8 << 20)
        let call = try peer.start(deltaPath)
        peer.send(delta(.runtime, ["r"]), on: call)
        #expect(peer.pump { peer.messages[call]?.count == 1 })
        // Settings are acknowledged by now.
        peer.pump(seconds: 0.2) { false }
        peer.send(delta(.cluster), on: call)
        peer.send(delta(.secret, ["key"]), on: call)
        #expect(peer.pump(seconds: 5) { peer.messages[call]?.count == 3 })
    }

    @Test func aClientThatNeverReadsDelaysNoOtherAndHoldsNoMoreThanOneResponsePerType() throws {
        let rig = try Rig()
        let size = 500_000
        try rig.cache.publish([resource(.cluster, "web", bytes: size)])
        let deaf = try (0..<20).map { _ in try RawPeer(port: rig.port, receiveBuffer: 4096) }
        for peer in deaf {
            let call = try peer.start(deltaPath)
            peer.send(delta(.cluster), on: call)
            peer.flush()
        }
        let peer = try RawPeer(port: rig.port)
        let call = try peer.start(deltaPath)
        peer.send(delta(.cluster), on: call)
        #expect(peer.pump { peer.messages[call]?.count == 1 })
        #expect(eventually { rig.recorder["martinet_xds_pushes_total{type=CDS}"] == 21 })
        for round in 1...20 {
            try rig.cache.publish([resource(.cluster, "web", bytes: size, version: "\(round)")])
            let nonce = try #require(try peer.deltaResponses(on: call).last).nonce
            peer.send(delta(.cluster, [], node: nil, nonce: nonce), on: call)
            #expect(peer.pump { peer.messages[call]?.count == 1 + round })
        }
        // Each deaf client was sent its first response, and nothing since.
        #expect(rig.recorder["martinet_xds_pushes_total{type=CDS}"] == 41)
        #expect(rig.openStreams("delta") == 21)
    }

    @Test func aConnectionThatStallsEndsThoughItsGoodbyeCannotBeWritten() throws {
        let rig = try Rig { $0.grpc.http2.stallTimeout = .milliseconds(300) }
        try rig.cache.publish([resource(.cluster, "web", bytes: 40 << 20)])
        let peer = try RawPeer(port: rig.port, window: 1 << 30, receiveBuffer: 4096)
        let call = try peer.start(deltaPath)
        peer.send(delta(.cluster), on: call)
        peer.flush()
        #expect(eventually { rig.recorder["martinet_connections_failed_total{limit=stallTimeout}"] == 1 })
        // The loop counts once a second, and gives the peer five to see the end.
        #expect(
            eventually {
                rig.recorder["martinet_connections"] == 0 && rig.recorder["martinet_connections_accepted_total"] == 1
            })
        #expect(rig.openStreams("delta") == 0)
        #expect(eventually { rig.recorder["martinet_blocked_output_bytes"] == 0 })
    }

    @Test func whileAResponseOfATypeIsUnderWayChangesAreMergedIntoTheNext() throws {
        let rig = try Rig()
        try rig.cache.publish([resource(.cluster, "a")])
        let peer = try RawPeer(port: rig.port)
        let call = try peer.start(deltaPath)
        peer.send(delta(.cluster), on: call)
        #expect(peer.pump { peer.messages[call]?.count == 1 })
        for name in ["b", "c", "d"] { try rig.cache.update(setting: [resource(.cluster, name)]) }
        try rig.cache.update(setting: [resource(.secret, "key")])
        peer.send(delta(.secret), on: call)
        peer.send(delta(.secret, ["key"]), on: call)
        // The other type goes on; the clusters wait for the ACK.
        #expect(peer.pump { peer.messages[call]?.count == 2 })
        #expect(try peer.deltaResponses(on: call).map(\.typeURL) == [ResourceType.cluster, .secret].map(\.typeURL))
        let nonce = try #require(try peer.deltaResponses(on: call).first).nonce
        peer.send(delta(.cluster, [], node: nil, nonce: nonce), on: call)
        #expect(peer.pump { peer.messages[call]?.count == 3 })
        #expect(try peer.deltaResponses(on: call).last?.resources.map(\.name) == ["b", "c", "d"])
    }

    @Test func streamsThatLeaveAViewSeeTheOther() throws {
        final class Switch: Sendable { let isMoved = Mutex(false) }
        let state = Switch()
        let rig = try Rig(cache: SnapshotCache { _ in state.isMoved.withLock { $0 } ? "new" : "old" }) { $0.loops = 2 }
        try rig.cache.publish([resource(.cluster, "old")], to: "old")
        try rig.cache.publish([resource(.cluster, "new")], to: "new")
        let peers = try (0..<8).map { _ in try RawPeer(port: rig.port) }
        for peer in peers {
            let call = try peer.start(deltaPath)
            peer.send(delta(.cluster), on: call)
            #expect(peer.pump { peer.messages[call]?.count == 1 })
            let first = try #require(try peer.deltaResponses(on: call).first)
            #expect(first.resources.map(\.name) == ["old"])
            peer.send(delta(.cluster, [], node: nil, nonce: first.nonce), on: call)
            peer.flush()
        }
        state.isMoved.withLock { $0 = true }
        rig.server?.assignViewsAgain()
        for peer in peers {
            #expect(peer.pump { peer.messages[1]?.count == 2 })
            let last = try #require(try peer.deltaResponses(on: 1).last)
            #expect(last.resources.map(\.name) == ["new"])
        }
        let reports = rig.reports()
        #expect(reports.count == 8)
        #expect(Set(reports.map(\.status.view)) == ["new"])
        // Publications follow them.
        try rig.cache.publish([resource(.cluster, "old"), resource(.cluster, "late")], to: "old")
        for peer in peers {
            let nonce = try #require(try peer.deltaResponses(on: 1).last).nonce
            peer.send(delta(.cluster, [], node: nil, nonce: nonce), on: 1)
            peer.flush()
        }
        try rig.cache.publish([resource(.cluster, "new"), resource(.cluster, "more")], to: "new")
        for peer in peers {
            #expect(try peer.pump { try peer.deltaResponses(on: 1).contains { $0.resources.map(\.name) == ["more"] } })
            #expect(try !peer.deltaResponses(on: 1).contains { $0.resources.contains { $0.name == "late" } })
        }
    }

    @Test(arguments: [
        ("/envoy.service.cluster.v3.ClusterDiscoveryService/DeltaClusters", ResourceType.cluster),
        ("/envoy.service.endpoint.v3.EndpointDiscoveryService/DeltaEndpoints", .endpoints),
        ("/envoy.service.listener.v3.ListenerDiscoveryService/DeltaListeners", .listener),
        ("/envoy.service.route.v3.RouteDiscoveryService/DeltaRoutes", .route),
        ("/envoy.service.route.v3.ScopedRoutesDiscoveryService/DeltaScopedRoutes", .scopedRoute),
        ("/envoy.service.route.v3.VirtualHostDiscoveryService/DeltaVirtualHosts", .virtualHost),
        ("/envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets", .secret),
        ("/envoy.service.runtime.v3.RuntimeDiscoveryService/DeltaRuntime", .runtime),
        ("/envoy.service.extension.v3.ExtensionConfigDiscoveryService/DeltaExtensionConfigs", .extensionConfig),
    ])
    func aServiceOfOneTypeServesItInBothVariants(path: String, type: ResourceType) throws {
        let rig = try Rig()
        try rig.cache.publish([resource(type, "it")])
        let peer = try RawPeer(port: rig.port)
        let call = try peer.start(path)
        var request = delta(type, ["it"])
        request.typeURL = ""
        peer.send(request, on: call)
        #expect(peer.pump { peer.messages[call] != nil || peer.ends[call] != nil })
        #expect(try peer.deltaResponses(on: call).first?.resources.map(\.name) == ["it"])
        #expect(try peer.deltaResponses(on: call).first?.typeURL == type.typeURL)
        if type != .virtualHost {
            let full = try peer.start(path.replacingOccurrences(of: "/Delta", with: "/Stream"))
            peer.send(XDS.DiscoveryRequest(node: Node(id: "proxy"), resourceNames: ["it"], typeURL: ""), on: full)
            #expect(peer.pump { peer.messages[full] != nil || peer.ends[full] != nil })
            #expect(try peer.responses(on: full).first?.resources.count == 1)
        }
        let wrong = try peer.start(path)
        peer.send(delta(type == .cluster ? .secret : .cluster, ["it"]), on: wrong)
        #expect(peer.pump { peer.ends[wrong] != nil })
        #expect(peer.status(of: wrong)?.code == .invalidArgument)
        #expect(peer.ends[call] == nil)
    }

    @Test func theGaugesOfOpenStreamsAndSubscriptionsReturnToZeroHoweverAStreamEnds() throws {
        let rig = try Rig()
        try rig.cache.publish([resource(.cluster, "web")])
        let peer = try RawPeer(port: rig.port)
        let calls = try (0..<4).map { _ in try peer.start(deltaPath) }
        for call in calls { peer.send(delta(.cluster), on: call) }
        #expect(peer.pump { peer.messages.count == 4 })
        #expect(rig.openStreams("delta") == 4)
        #expect(rig.recorder["martinet_xds_subscriptions{type=CDS}"] == 4)
        peer.grpc.cancel(calls[0])
        peer.grpc.halfClose(calls[1])
        peer.send(delta(.cluster, node: "another"), on: calls[2])
        #expect(peer.pump { peer.ends[calls[1]] != nil && peer.ends[calls[2]] != nil })
        #expect(peer.status(of: calls[1])?.code == .ok)
        #expect(eventually { rig.openStreams("delta") == 1 })
        peer.close()
        #expect(eventually { rig.openStreams("delta") == 0 })
        #expect(rig.recorder["martinet_xds_subscriptions{type=CDS}"] == 0)
        #expect(rig.recorder["martinet_xds_streams_opened_total"] == 4)
        #expect(rig.reports().isEmpty)
    }

    @Test func everyLoopPushesToItsStreams() throws {
        let rig = try Rig { $0.loops = 3 }
        let peers = try (0..<30).map { _ in try RawPeer(port: rig.port) }
        for peer in peers {
            let call = try peer.start(deltaPath)
            peer.send(delta(.cluster), on: call)
            peer.flush()
        }
        #expect(eventually { rig.openStreams("delta") == 30 })
        try rig.cache.publish([resource(.cluster, "web")])
        for peer in peers { #expect(peer.pump { peer.messages[1]?.count == 1 }) }
        #expect(rig.reports().count == 30)
        #expect(rig.recorder["martinet_xds_pushes_total{type=CDS}"] == 30)
    }

    @Test(arguments: [DiscoveryClient.Variant.delta, .stateOfTheWorld])
    func aClientTakesAResponseThatIsLargerThanOneRequestMayBe(variant: DiscoveryClient.Variant) throws {
        let rig = try Rig()
        try rig.cache.publish(
            (0..<10).map {
                XDS.Resource(.cluster, name: "\($0)", body: [UInt8](repeating: $0, count: 1 << 20))
            })
        let seen = Mutex<[String]>([])
        let acceptByFirstByte: ResourceValidator = { _, resource in
            .accepted(name: resource.name.isEmpty ? "\(resource.body?.first ?? 0)" : resource.name)
        }
        let runner = try DiscoveryClientRunner(
            DiscoveryClient.Configuration(node: Node(id: "p"), variant: variant, servers: ["here"]),
            servers: [ServerAddress(.loopback(port: rig.port))], seed: 1, validate: acceptByFirstByte
        ) { action in
            switch action {
            case .ackSent: seen.withLock { $0.append("acknowledged") }
            case .nackSent, .streamEnded: seen.withLock { $0.append("\(action)".prefix(300).description) }
            default: break
            }
        }
        try runner.subscribe(.cluster, to: ["*"])
        func look() {
            if seen.withLock({ !$0.isEmpty }) { runner.stop() } else { runner.schedule(after: .milliseconds(5), look) }
        }
        look()
        runner.schedule(after: .seconds(15), runner.stop)
        runner.run()
        #expect(seen.withLock { $0.first } == "acknowledged")
    }
}
