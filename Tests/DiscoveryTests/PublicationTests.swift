import Dispatch
import Testing
import XDS

@testable import Discovery

@Suite struct PublicationTests {
    @Test func publicationsThatALoopTakesTogetherAreOneRecordOfThePushLatency() throws {
        let views = (0..<50).map { ViewName("view-\($0)") }
        let cache = SnapshotCache { ViewName($0.id) }
        for view in views { try cache.publish([resource(.cluster, "web", version: "1")], to: view) }
        let rig = try Rig(cache: cache)
        let peers = try views.map { view in
            let peer = try RawPeer(port: rig.port)
            let call = try peer.start(deltaPath)
            peer.send(delta(.cluster, node: view.text), on: call)
            #expect(peer.pump { peer.messages[call]?.count == 1 })
            let nonce = try #require(try peer.deltaResponses(on: call).last).nonce
            peer.send(delta(.cluster, [], node: nil, nonce: nonce), on: call)
            peer.flush()
            return (peer, call)
        }
        #expect(eventually { rig.recorder["martinet_xds_ack_latency_seconds"] == 50 })
        let before = rig.recorder["martinet_xds_push_latency_seconds"]

        // The loop is held while all views change.
        let (reached, released) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
        rig.server?.report { _ in
            reached.signal()
            released.wait()
        }
        reached.wait()
        for view in views { try cache.update(view, setting: [resource(.cluster, "web", version: "2")]) }
        released.signal()
        for (peer, call) in peers { #expect(peer.pump { peer.messages[call]?.count == 2 }) }
        #expect(eventually { rig.recorder["martinet_xds_push_latency_seconds"] == before + 1 })
        // A view that nobody sees is no push.
        try cache.publish([resource(.cluster, "web")], to: "nobody")
        #expect(rig.reports().count == 50)
        #expect(rig.recorder["martinet_xds_push_latency_seconds"] == before + 1)
    }
}
