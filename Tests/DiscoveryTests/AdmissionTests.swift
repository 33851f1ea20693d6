import Foundation
import GRPC
import Reactor
import Testing
import Time
import XDS

@testable import Discovery

private let secretPath = "/envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets"

@Suite(.serialized) struct AdmissionTests {
    @Test func aStreamIsServedAsWhomItWasAdmittedAndNotAsWhomItSays() throws {
        let gate = Gatekeeper { _ in .admitted(principal: "alice") }
        let rig = try Rig(cache: SnapshotCache { ViewName($0.principal ?? "nobody") }) { $0.admission = gate }
        try rig.cache.publish([resource(.cluster, "secret-plan")], to: "alice")
        try rig.cache.publish([resource(.cluster, "public")], to: "nobody")
        let peer = try RawPeer(port: rig.port)
        let call = try #require(
            peer.grpc.start(
                deltaPath, metadata: GRPCMetadata([("authorization", "Bearer x")]), now: Instant(nanoseconds: 0)))
        var request = delta(.cluster)
        request.node?.principal = "bob"
        request.node?.metadata["principal"] = .string("bob")
        peer.send(request, on: call)
        #expect(peer.pump { peer.messages[call]?.count == 1 })
        #expect(try peer.deltaResponses(on: call).first?.resources.map(\.name) == ["secret-plan"])
        let applicant = try #require(gate.read { $0.applicants.first })
        #expect(applicant.node.principal == nil && applicant.node.id == "proxy")
        #expect(applicant.metadata["authorization"] == "Bearer x")
        #expect(applicant.origin.transport == .plaintext && applicant.origin.host == "127.0.0.1")
        #expect(applicant.secretNames == nil)
        #expect(rig.reports().first?.node.principal == "alice")
    }

    @Test func requestsWaitForTheDecisionAndAreAnsweredAfterIt() throws {
        let gate = Gatekeeper()
        let rig = try Rig { $0.admission = gate }
        try rig.cache.publish([resource(.cluster, "c"), resource(.runtime, "r")])
        let peer = try RawPeer(port: rig.port)
        let call = try peer.start(deltaPath)
        for type in [ResourceType.cluster, .secret, .runtime] { peer.send(delta(type), on: call) }
        peer.pump { gate.read { $0.decide.count } == 1 }
        peer.pump(seconds: 0.2) { false }
        #expect(peer.messages.isEmpty && peer.ends.isEmpty)
        gate.read { $0.decide }[0](.admitted(principal: nil))
        // The second asks for secrets: it, and the third behind it, wait for these.
        #expect(peer.pump { gate.read { $0.prepared } == [["*"]] })
        #expect(peer.pump { peer.messages[call]?.count == 1 })
        gate.read { $0.ready }[0](nil)
        #expect(peer.pump { peer.messages[call]?.count == 3 })
        #expect(
            try peer.deltaResponses(on: call).map(\.typeURL)
                == [ResourceType.cluster, .secret, .runtime].map(\.typeURL))
        #expect(gate.read { $0.applicants.count } == 1)
    }

    @Test(arguments: [(40, 10), (3, 600_000)])
    func whatWaitsForADecisionIsBounded(messages: Int, bytes: Int) throws {
        let gate = Gatekeeper()
        let rig = try Rig {
            $0.admission = gate
            $0.decisionDeadline = .seconds(300)
        }
        let peer = try RawPeer(port: rig.port)
        let call = try peer.start(deltaPath)
        for _ in 0..<messages {
            peer.send(delta(.cluster, [String(repeating: "n", count: bytes)]), on: call)
            peer.pump(seconds: 0.02) { false }
        }
        #expect(peer.pump { peer.status(of: call) != nil })
        #expect(peer.status(of: call)?.code == .resourceExhausted)
        #expect(eventually { gate.read { $0.ended.count } == 1 })
        // Too late for anybody.
        gate.read { $0.decide }[0](.admitted(principal: nil))
        #expect(rig.reports().isEmpty)
    }

    @Test func aDecisionThatDoesNotComeIsUnavailable() throws {
        let gate = Gatekeeper()
        let rig = try Rig {
            $0.admission = gate
            $0.decisionDeadline = .milliseconds(100)
        }
        let peer = try RawPeer(port: rig.port)
        let call = try peer.start(deltaPath)
        peer.send(delta(.cluster), on: call)
        #expect(peer.pump { peer.status(of: call) != nil })
        #expect(peer.status(of: call)?.code == .unavailable)
        #expect(rig.recorder["martinet_xds_admission_refused_total{reason=deadline}"] == 1)
        gate.read { $0.decide }[0](.admitted(principal: nil))
        #expect(eventually { gate.read { $0.ended.count } == 1 })
        #expect(rig.openStreams("delta") == 0)
    }

    @Test func aClientThatGoesWhileItIsDecidedLeavesNothing() throws {
        let gate = Gatekeeper()
        let rig = try Rig { $0.admission = gate }
        let peer = try RawPeer(port: rig.port)
        let call = try peer.start(deltaPath)
        peer.send(delta(.cluster), on: call)
        peer.pump { gate.read { $0.decide.count } == 1 }
        peer.close()
        #expect(eventually { gate.read { $0.ended } == gate.read { $0.applicants.map(\.stream) } })
        gate.read { $0.decide }[0](.admitted(principal: "late"))
        #expect(rig.reports().isEmpty)
        #expect(gate.read { $0.ended.count } == 1)
    }

    @Test func aRefusalTellsTheReasonCountsItAndFillsNoLog() throws {
        let refusal = StreamRefusal(GRPCStatus(.unauthenticated, "no proof; bring one"), reason: "no_proof")
        let gate = Gatekeeper { _ in .refused(refusal) }
        let rig = try Rig { $0.admission = gate }
        let peer = try RawPeer(port: rig.port)
        for _ in 0..<100 {
            let call = try peer.start(deltaPath)
            peer.send(delta(.cluster), on: call)
            peer.pump { peer.status(of: call) != nil }
            #expect(peer.status(of: call) == refusal.status)
        }
        #expect(rig.recorder["martinet_xds_admission_refused_total{reason=no_proof}"] == 100)
        let lines = rig.recorder.log.filter { $0.contains("proxy refused") }
        #expect((1...2 * LogLimit.lines).contains(lines.count))
        #expect(lines[0].contains("reason=no_proof") && lines[0].contains("node=proxy"))
        #expect(gate.read { $0.ended.count } == 100)
        #expect(rig.openStreams("delta") == 0)
    }

    @Test func refusalsAreHeldBackUpToABound() throws {
        let gate = Gatekeeper { _ in
            .refused(StreamRefusal(GRPCStatus(.unauthenticated, "no"), reason: "token", delay: .seconds(1)))
        }
        let rig = try Rig {
            $0.admission = gate
            $0.delayedRefusalsPerLoop = 2
        }
        let peer = try RawPeer(port: rig.port)
        let calls = try (0..<3).map { _ in
            let call = try peer.start(deltaPath)
            peer.send(delta(.cluster), on: call)
            return call
        }
        #expect(peer.pump { peer.ends.count == 1 })
        // The bound is reached: the third is told at once, and what the others say meanwhile is dropped.
        #expect(peer.status(of: calls[2])?.code == .unauthenticated)
        for _ in 0..<50 { peer.send(delta(.listener), on: calls[0]) }
        #expect(peer.pump { peer.ends.count == 3 })
        #expect(calls.allSatisfy { peer.status(of: $0)?.code == .unauthenticated })
        #expect(gate.read { $0.ended.count } == 3)
        // Room again.
        let call = try peer.start(deltaPath)
        peer.send(delta(.cluster), on: call)
        peer.pump(seconds: 0.2) { false }
        #expect(peer.status(of: call) == nil)
        #expect(peer.pump { peer.status(of: call) != nil })
    }

    @Test func aStreamEndsWithTheProofThatOpenedIt() throws {
        let gate = Gatekeeper { _ in .admitted(principal: "alice", until: nil) }
        let rig = try Rig { $0.admission = gate }
        try rig.cache.publish([resource(.cluster, "c")])
        let peer = try RawPeer(port: rig.port)
        let lasting = try peer.start(deltaPath)
        peer.send(delta(.cluster), on: lasting)
        #expect(peer.pump { peer.messages[lasting]?.count == 1 })

        let past = Gatekeeper { _ in
            .admitted(principal: "alice", until: Loop.readClock().advanced(by: Duration.milliseconds(300)))
        }
        let other = try Rig { $0.admission = past }
        try other.cache.publish([resource(.cluster, "c")])
        let expiring = try RawPeer(port: other.port)
        let call = try expiring.start(deltaPath)
        expiring.send(delta(.cluster), on: call)
        #expect(expiring.pump { expiring.messages[call]?.count == 1 })
        #expect(expiring.pump { expiring.status(of: call) != nil })
        #expect(expiring.status(of: call)?.code == .unauthenticated)
        #expect(expiring.status(of: call)?.message.contains("has expired; connect again") == true)
        #expect(eventually { past.read { $0.ended.count } == 1 })
        #expect(peer.status(of: lasting) == nil)
    }

    @Test func secretsAreMadeBeforeTheyAreSubscribedTo() throws {
        let gate = Gatekeeper { _ in .admitted(principal: "alice") }
        let rig = try Rig { $0.admission = gate }
        try rig.cache.publish([resource(.cluster, "c")])
        let peer = try RawPeer(port: rig.port)
        let call = try peer.start(deltaPath)
        peer.send(delta(.cluster), on: call)
        #expect(peer.pump { peer.messages[call]?.count == 1 })
        #expect(gate.read { $0.prepared.isEmpty })
        peer.send(delta(.secret, ["default", "ROOTCA"], node: nil), on: call)
        peer.pump { gate.read { $0.ready.count } == 1 }
        peer.pump(seconds: 0.1) { false }
        #expect(peer.messages[call]?.count == 1)
        #expect(gate.read { $0.prepared } == [["ROOTCA", "default"]])
        try rig.cache.update(setting: [resource(.secret, "default"), resource(.secret, "ROOTCA")])
        gate.read { $0.ready }[0](nil)
        #expect(peer.pump { peer.messages[call]?.count == 2 })
        let response = try #require(try peer.deltaResponses(on: call).last)
        #expect(response.resources.map(\.name) == ["ROOTCA", "default"])
        #expect(response.removedResources.isEmpty)

        // An ACK asks for nothing new, and is told on.
        peer.send(delta(.secret, [], node: nil, nonce: response.nonce), on: call)
        #expect(peer.pump { gate.read { $0.answered.count } == 1 })
        let entries = gate.read { $0.answered }[0].entries(limit: 10)
        #expect(entries.map(\.name) == ["ROOTCA", "default"])
        #expect(entries.allSatisfy { $0.state == .acknowledged && $0.version.count == 32 })
        peer.send(delta(.secret, ["default", "other"], node: nil), on: call)
        #expect(peer.pump { gate.read { $0.prepared.count } == 2 })
        #expect(gate.read { $0.prepared }[1] == ["other"])
        gate.read { $0.ready }[1](GRPCStatus(.permissionDenied, "not yours"))
        #expect(peer.pump { peer.status(of: call)?.code == .permissionDenied })
    }

    /// Found by an hour's soak: a rotation waited for ever for proxies that had come back with the newest bundle.
    @Test(arguments: [false, true]) func whatAClientBringsAndIsStillCurrentIsToldWithoutAnACK(isFirst: Bool) throws {
        let gate = Gatekeeper { _ in .admitted(principal: "alice") }
        let rig = try Rig { $0.admission = gate }
        try rig.cache.publish([resource(.cluster, "c"), resource(.secret, "ROOTCA")])
        func open(_ held: [String: String], number: Int) throws -> RawPeer {
            let peer = try RawPeer(port: rig.port)
            let call = try peer.start(deltaPath)
            if !isFirst {
                peer.send(delta(.cluster), on: call)
                #expect(peer.pump { peer.messages[call]?.count == 1 })
            }
            var request = delta(.secret, ["ROOTCA"], node: isFirst ? "proxy" : nil)
            request.initialResourceVersions = held
            peer.send(request, on: call)
            peer.pump { gate.read { $0.ready.count } == number }
            gate.read { $0.ready }[number - 1](nil)
            return peer
        }
        let first = try open([:], number: 1)
        #expect(first.pump { first.messages.values.first?.count == (isFirst ? 1 : 2) })
        let call = try #require(first.messages.keys.first)
        let response = try #require(try first.deltaResponses(on: call).last)
        first.pump(seconds: 0.1) { false }
        #expect(gate.read { $0.answered.isEmpty })
        first.send(delta(.secret, [], node: nil, nonce: response.nonce), on: call)
        #expect(first.pump { gate.read { $0.answered.count } == 1 })

        let held = Dictionary(uniqueKeysWithValues: response.resources.map { ($0.name, $0.version) })
        let second = try open(held, number: 2)
        #expect(second.pump { gate.read { $0.answered.count } == 2 })
        #expect(gate.read { $0.answered }[1].entries(limit: 10).map(\.state) == [.acknowledged])
        #expect(second.messages.values.first?.count ?? 0 == (isFirst ? 0 : 1))
        // One of before is sent, and told of when it is acknowledged.
        let third = try open(["ROOTCA": "old"], number: 3)
        third.pump(seconds: 0.1) { false }
        #expect(gate.read { $0.answered.count } == 2)
    }

    @Test func whatTheFirstRequestOfASecretStreamNamesIsMadeBeforeItIsAnswered() throws {
        let gate = Gatekeeper { _ in .admitted(principal: "alice") }
        let rig = try Rig { $0.admission = gate }
        try rig.cache.publish([resource(.cluster, "c")])
        let peer = try RawPeer(port: rig.port)
        let call = try peer.start(secretPath)
        peer.send(delta(.secret, ["default"]), on: call)
        peer.pump { gate.read { $0.ready.count } == 1 }
        peer.pump(seconds: 0.1) { false }
        #expect(peer.messages.isEmpty)
        #expect(gate.read { $0.applicants }[0].secretNames == ["default"])
        #expect(gate.read { $0.applicants }[0].service == .single(.secret))
        try rig.cache.update(setting: [resource(.secret, "default")])
        gate.read { $0.ready }[0](nil)
        #expect(peer.pump { peer.messages[call]?.count == 1 })
        let response = try #require(try peer.deltaResponses(on: call).first)
        #expect(response.resources.map(\.name) == ["default"])
        // A NACK is told on with the client's words.
        peer.send(delta(.secret, [], node: nil, nonce: response.nonce, rejecting: "bad key"), on: call)
        #expect(peer.pump { gate.read { $0.answered.count } == 1 })
        #expect(gate.read { $0.answered }[0].refusal?.detail.message == "bad key")
        #expect(gate.read { $0.prepared.count } == 1)
    }

    @Test func aLoopThatCannotSayHowItsStreamsStandIsNamed() throws {
        let rig = try Rig { $0.loops = 2 }
        let first = rig.silentLoops()
        rig.stop()
        #expect(first == 0)
        #expect(rig.silentLoops() == 2)
    }
}

@Test func aPeerThatIsRefusedOftenFillsNoLogAndManyPeersNoMemory() {
    var limit = LogLimit()
    let start = Instant(nanoseconds: 0)
    let lines = (0..<10_000).compactMap { _ in limit.line(of: "a", now: start) }
    #expect(lines.count == LogLimit.lines)
    #expect(limit.line(of: "b", now: start) == 0)
    // The next window tells how many were withheld.
    #expect(limit.line(of: "a", now: start.advanced(by: LogLimit.length)) == 10_000 - LogLimit.lines)
    for peer in 0..<100_000 { _ = limit.line(of: "\(peer)", now: start) }
    #expect(limit.count <= LogLimit.mostPeers + 1)
}
