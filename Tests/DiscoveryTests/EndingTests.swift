import Foundation
import GRPC
import Reactor
import Synchronization
import Testing
import XDS

@testable import Discovery

@Suite(.serialized) struct EndingTests {
    @Test func aDrainEndsEveryStreamAtOnceSoThatItsClientGoesElsewhere() throws {
        let rig = try Rig { $0.loops = 2 }
        try rig.cache.publish([resource(.cluster, "web")])
        let peers = try (0..<6).map { _ in try RawPeer(port: rig.port) }
        for peer in peers {
            let call = try peer.start(deltaPath)
            peer.send(delta(.cluster), on: call)
            #expect(peer.pump { peer.messages[call]?.count == 1 })
        }
        let drained = Flag()
        let server = try #require(rig.server)
        Thread.detachNewThread {
            server.drain(grace: .seconds(60))
            drained.set()
        }
        for peer in peers {
            #expect(peer.pump { peer.ends[1] != nil })
            #expect(peer.status(of: 1)?.code == .unavailable)
            #expect(peer.status(of: 1)?.message.contains("going away") == true)
            #expect(peer.goAways >= 1)
        }
        // They have nothing more to say, so the server does not wait for the grace.
        for peer in peers { peer.pump(seconds: 5) { false } }
        #expect(peers.allSatisfy { $0.isClosed })
        #expect(eventually { drained.isSet })
        #expect(throws: POSIXError.self) { try connectedSocket(port: rig.port) }
    }

    @Test func aStreamThatIsOpenedWhileTheServerDrainsIsSentAwayToo() throws {
        let rig = try Rig()
        try rig.cache.publish([resource(.cluster, "web")])
        let peer = try RawPeer(port: rig.port)
        let first = try peer.start(deltaPath)
        peer.send(delta(.cluster), on: first)
        #expect(peer.pump { peer.messages[first]?.count == 1 })
        let server = try #require(rig.server)
        Thread.detachNewThread { server.drain(grace: .seconds(20)) }
        #expect(eventually { rig.openStreams("delta") == 0 })
        // The GOAWAY is on the wire and not read yet.
        let late = try peer.start(deltaPath)
        peer.send(delta(.cluster), on: late)
        #expect(peer.pump(seconds: 5) { peer.ends[late] != nil })
        #expect(peer.status(of: late)?.code == .unavailable)
    }

    @Test func stoppingEndsOpenStreamsAndCallsOnce() throws {
        let service = Probe()
        let rig = try Rig(services: [service])
        let peer = try RawPeer(port: rig.port)
        let (stream, call) = (try peer.start(deltaPath), try peer.start(Probe.path))
        peer.send(delta(.cluster), on: stream)
        peer.send(framed: GRPC.frame([1]), on: call, last: true)
        peer.pump { service.counts.received == 1 && rig.openStreams("delta") == 1 }
        rig.stop()
        #expect(service.counts.ended == 1)
        #expect(rig.openStreams("delta") == 0)
        #expect(!peer.pump(seconds: 5) { false })
        #expect(peer.isClosed)
        #expect(peer.ends[call]?.count == 1)
    }

    @Test func aServerThatNobodyHoldsEnds() throws {
        weak var probe: Probe?
        weak var server: DiscoveryServer?
        let cache = SnapshotCache()
        let port: UInt16
        do {
            let service = Probe()
            let rig = try Rig(cache: cache, services: [service]) { $0.loops = 2 }
            port = rig.port
            (probe, server) = (service, rig.server)
            let peer = try RawPeer(port: port)
            let call = try peer.start(deltaPath)
            peer.send(delta(.cluster), on: call)
            peer.flush()
            #expect(eventually { rig.openStreams("delta") == 1 })
            rig.release()
        }
        #expect(server == nil)
        // What the loops held goes with their threads.
        #expect(eventually(seconds: 5) { probe == nil })
        #expect(eventually(seconds: 1) { (try? connectedSocket(port: port)).map { close($0) } == nil })
        try cache.publish([resource(.cluster, "web")])
    }
}

@Suite(.serialized) struct ServiceTests {
    @Test func aCallIsAnsweredFromAnotherThread() throws {
        let service = Probe()
        let rig = try Rig(services: [service])
        let peer = try RawPeer(port: rig.port)
        let calls = try (0..<50).map { _ in try peer.start(Probe.path) }
        for (index, call) in calls.enumerated() { peer.send(framed: GRPC.frame([UInt8(index)]), on: call, last: true) }
        peer.pump { service.counts.received == 50 }
        let waiting = service.takeCalls()
        Thread.detachNewThread { for (request, call) in waiting { call.reply(request + request) } }
        #expect(peer.pump { peer.ends.count == 50 })
        for (index, call) in calls.enumerated() {
            #expect(peer.messages[call] == [[UInt8(index), UInt8(index)]])
            #expect(peer.ends[call] == [.ok])
        }
        #expect(eventually { service.counts.ended == 50 })
    }

    @Test func anAnswerArrivesHoweverMuchWaitsForTheLoop() throws {
        let service = Probe()
        let rig = try Rig(services: [service])
        let peer = try RawPeer(port: rig.port)
        let (asked, blocking) = (try peer.start(Probe.path), try peer.start(Probe.path))
        peer.send(framed: GRPC.frame([1]), on: asked, last: true)
        peer.pump { service.counts.received == 1 }
        peer.send(framed: GRPC.frame(Probe.blocks), on: blocking, last: true)
        peer.pump { service.counts.received == 2 }
        // The loop sleeps in a handler; its mailbox takes 65,536 jobs.
        for _ in 0..<70_000 { rig.server?.report { _ in } }
        for (request, call) in service.takeCalls() { call.reply(request) }
        service.wake.signal()
        #expect(peer.pump { peer.ends.count == 2 })
        #expect(peer.messages[asked] == [[1]])
        #expect(peer.messages[blocking] == [Probe.blocks])
    }

    @Test func anAnswerForAClientThatHasGoneIsForNobody() throws {
        let service = Probe()
        let rig = try Rig(services: [service])
        let peer = try RawPeer(port: rig.port)
        let call = try peer.start(Probe.path)
        peer.send(framed: GRPC.frame([1]), on: call, last: true)
        peer.pump { service.counts.received == 1 }
        peer.close()
        #expect(eventually { service.counts.ended == 1 })
        // Its slot is another's now, who must not get what was meant for the first.
        let other = try RawPeer(port: rig.port)
        let second = try other.start(Probe.path)
        other.send(framed: GRPC.frame([2]), on: second, last: true)
        other.pump { service.counts.received == 2 }
        let waiting = service.takeCalls()
        #expect(waiting.count == 2)
        for (request, call) in waiting { call.reply(request) }
        for (_, call) in waiting { call.finish(GRPCStatus(.internalError, "twice")) }
        #expect(other.pump { other.ends[second] != nil })
        #expect(other.messages[second] == [[2]])
        #expect(other.ends[second] == [.ok])
        #expect(service.counts.ended == 2)
    }

    @Test func aPathThatNobodyServesIsUnimplementedAndCounted() throws {
        let rig = try Rig()
        let peer = try RawPeer(port: rig.port)
        let call = try peer.start("/no.such.Service/Method")
        #expect(peer.pump { peer.ends[call] != nil })
        #expect(peer.status(of: call)?.code == .unimplemented)
        #expect(rig.recorder["martinet_xds_streams_refused_total"] == 1)
        #expect(rig.openStreams("delta") == 0)
    }
}

/// Set once, from any thread.
private final class Flag: Sendable {
    private let value = Mutex(false)
    var isSet: Bool { value.withLock { $0 } }
    func set() { value.withLock { $0 = true } }
}

/// A unary method that a test answers, and what its handlers heard.
private final class Probe: Service {
    static let path = "/test.Probe/Ask"
    /// A request whose handler sleeps until ``wake``.
    static let blocks: [UInt8] = [255, 255]
    let wake = DispatchSemaphore(value: 0)
    private let state = Mutex((received: 0, ended: 0, calls: [(request: [UInt8], call: ServiceCall)]()))

    var methods: [GRPCMethod] { [GRPCMethod(Self.path)] }
    var counts: (received: Int, ended: Int) { state.withLock { ($0.received, $0.ended) } }

    func takeCalls() -> [(request: [UInt8], call: ServiceCall)] {
        state.withLock { state in
            defer { state.calls = [] }
            return state.calls
        }
    }

    func open(_ call: ServiceCall) -> any ServiceCallHandler { Handler(self, call) }

    private final class Handler: ServiceCallHandler {
        private let probe: Probe
        private let call: ServiceCall

        init(_ probe: Probe, _ call: ServiceCall) { (self.probe, self.call) = (probe, call) }

        func received(_ message: UnsafeRawBufferPointer) {
            probe.state.withLock {
                $0.received += 1
                $0.calls.append((Array(message), call))
            }
            if Array(message) == Probe.blocks { probe.wake.wait() }
        }
        func halfClosed() {}
        func ended() { probe.state.withLock { $0.ended += 1 } }
    }
}
