import Discovery
import Foundation
import Identity
import Testing
import XDS

@testable import ControlPlane

/// Several streams of one node: what it has is what all of them have.
@Suite struct NodeStreamTests {
    private let rig: AuthorityRig
    private let secrets: SecretDirectory
    private let node: Node
    private let holder: SecretHolder

    init() throws {
        rig = try AuthorityRig()
        secrets = try rig.onControl { $0.secrets }
        let identity = try SPIFFEID("spiffe://cluster.local/ns/shop/sa/web")
        node = Node(id: "web-1", principal: "\(identity)")
        holder = SecretHolder(node: "web-1", identity: identity)
    }

    private func open(_ names: [String]) -> StreamToken {
        let stream = StreamToken()
        secrets.expect(stream)
        secrets.enter(stream, node)
        secrets.asked(holder, stream, names)
        if names.contains("default") { secrets.prepareIdentity(of: holder) { _ in } }
        return stream
    }

    private func version(_ name: String) -> String? {
        secrets.cache.snapshot(of: secrets.cache.view(of: node))?[.secret].resource(named: name)?.version
    }

    /// Says that a stream has what is published under these names now.
    private func acknowledge(_ names: [String], on stream: StreamToken) {
        let entries = names.compactMap { name in
            version(name).map { TypeHoldings.Entry(name: name, version: $0, state: .acknowledged) }
        }
        secrets.answered(holder, stream, SecretAnswer(entries: entries))
    }

    private var knownRoots: Int? {
        get throws {
            let id = try rig.holder("web-1")
            return try rig.onControl {
                $0.work()
                return $0.machine.record(of: id)?.certainRoots.count
            }
        }
    }

    @Test func aStepWaitsForEveryStreamThatTakesTheBundle() throws {
        let first = open(["ROOTCA", "default"])
        #expect(comesTrue { version("default") != nil })
        acknowledge(["ROOTCA", "default"], on: first)
        #expect(try knownRoots == 1)
        // A stream that takes no bundle changes nothing, one that takes it has to get it first.
        let gateway = open(["gateway"])
        #expect(try knownRoots == 1)
        let second = open(["ROOTCA"])
        #expect(try knownRoots == 0)
        acknowledge(["ROOTCA"], on: second)
        #expect(try knownRoots == 1)

        try rig.onControl { [clock = rig.clock] in _ = try $0.rotate(RotationOrder(root: true), now: clock.now) }
        acknowledge(["ROOTCA", "default"], on: first)
        #expect(try knownRoots == 1)
        #expect(try rig.report().rotations.first?.phase == "prepare")
        #expect(try rig.report().rotations.first?.awaited.map(\.nodeID) == ["web-1"])
        let before = version("default")
        acknowledge(["ROOTCA"], on: second)
        #expect(try comesTrue { try rig.report().rotations.first?.phase == "activate" })

        // The new certificate counts when the stream has it that takes it.
        #expect(comesTrue { version("default") != before })
        acknowledge(["ROOTCA"], on: second)
        #expect(try knownRoots == 2)
        #expect(try rig.report().rotations.first?.phase == "activate")
        acknowledge(["ROOTCA", "default"], on: first)
        #expect(try comesTrue { try rig.report().rotations.first?.phase == "retire" })
        // The second one goes away without an answer: the first alone speaks for the node.
        acknowledge(["ROOTCA", "default"], on: first)
        #expect(try knownRoots == 1)
        #expect(try rig.report().rotations.first?.phase == "retire")
        secrets.leave(second)
        #expect(try comesTrue { try rig.report().rotations.isEmpty })
        for stream in [first, gateway] { secrets.leave(stream) }
        #expect(secrets.counts.streams == 0)
    }

    @Test func aProxyThatNeverAcknowledgesABundleIsWaitedFor() throws {
        let stream = open(["ROOTCA", "default"])
        #expect(comesTrue { version("default") != nil })
        try rig.onControl { [clock = rig.clock] in _ = try $0.rotate(RotationOrder(root: true), now: clock.now) }
        #expect(try rig.report().rotations.first?.awaited.map(\.nodeID) == ["web-1"])
        secrets.leave(stream)
    }
}
