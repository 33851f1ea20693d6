import Certificates
import Foundation
import Identity
import Testing
import Time
import XDS

@testable import ControlPlane

@Suite(.serialized) struct AuthorityRotationTests {
    @Test func aProxyWithATokenGetsItsCertificateAndTheBundle() throws {
        let rig = try AuthorityRig()
        let token = try rig.token(namespace: "shop", serviceAccount: "web")
        for variant in [DiscoveryVariant.delta, .stateOfTheWorld] {
            let proxy = try SecretProxy("web-\(variant)", at: rig.address(token: token), variant: variant.value)
            defer { proxy.stop() }
            #expect(comesTrue { proxy.hasEverything }, "\(proxy.now.problems) \(rig.log.lines.suffix(20))")
            let held = proxy.now
            #expect(try held.chain[0].spiffeID() == SPIFFEID("spiffe://cluster.local/ns/shop/sa/web"))
            #expect(try PrivateKey(pem: held.key).publicKey.spki == held.chain[0].spki)
            #expect(SecretProxy.Held.problem(between: held, and: held, now: rig.clock.now) == nil)
            #expect(held.certificates == 1 && held.bundles == 1)
        }
        let journal = try rig.store.issued(to: "spiffe://cluster.local/ns/shop/sa/web", limit: 10)
        #expect(journal.map(\.reason) == ["first", "first"])
        #expect(Set(journal.map(\.holder)) == ["web-delta", "web-stateOfTheWorld"])
        // What they acknowledged is known: nobody is waited for, and one leaf of each counts.
        #expect(try comesTrue { try rig.report().outstandingLeaves == 2 })
    }

    @Test func certificatesAreRenewedAtHalfTheirLife() throws {
        let rig = try AuthorityRig(change: { $0.policy.leafValidity = .seconds(10) })
        let proxy = try SecretProxy("web", at: rig.address(token: rig.token()))
        defer { proxy.stop() }
        #expect(comesTrue { proxy.hasEverything })
        let first = proxy.now.chain[0]
        #expect(comesTrue(within: 12) { proxy.now.certificates >= 2 })
        let second = proxy.now.chain[0]
        #expect(second.serial != first.serial)
        #expect(second.spki != first.spki)
        #expect(first.notAfter > rig.clock.now)
        let journal = try rig.store.issued(to: "spiffe://cluster.local/ns/shop/sa/web", limit: 10)
        #expect(journal.map(\.reason) == ["renewal", "first"])
    }

    @Test func theRootIsReplacedStepByStepAndNoHandshakeBreaks() throws {
        let rig = try AuthorityRig()
        let token = try rig.token()
        let proxies = try (0..<12).map { try SecretProxy("web-\($0)", at: rig.address(token: token)) }
        defer { for proxy in proxies { proxy.stop() } }
        #expect(comesTrue { proxies.allSatisfy(\.hasEverything) })
        let oldRoot = try #require(proxies[0].now.anchors.first)
        let oldKey = try #require(try rig.report().authorities.first { $0.tier == "root" }?.id)

        let under = try rig.onControl { [clock = rig.clock] in
            try $0.rotate(RotationOrder(root: true), now: clock.now)
        }
        #expect(under.first?.tier == "root")
        let isOver = try comesTrue {
            expectHandshakes(among: proxies, now: rig.clock.now)
            return try rig.report().rotations.isEmpty
        }
        #expect(isOver, "\(rig.log.lines.suffix(30))")
        #expect(comesTrue { proxies.allSatisfy { $0.now.anchors.count == 1 && $0.now.anchors != [oldRoot] } })
        expectHandshakes(among: proxies, now: rig.clock.now)
        for proxy in proxies {
            // Each step once: the old root alone, both, the new one alone; a leaf of each intermediate.
            #expect(proxy.now.bundles == 3, "\(proxy.node)")
            #expect(proxy.now.certificates == 2, "\(proxy.node)")
        }
        #expect(!FileManager.default.fileExists(atPath: rig.data["ca/\(oldKey).key"]))
        #expect(try rig.bundle.map(\.serial) != [oldRoot.serial])
        // A new proxy that trusts what is on disk now can connect: the port shows a certificate of the new root.
        let late = try SecretProxy("late", at: rig.address(token: token))
        defer { late.stop() }
        #expect(comesTrue { late.hasEverything }, "\(late.now.problems)")
        expectHandshakes(among: proxies + [late], now: rig.clock.now)
    }

    /// The bar is 1,000 proxies in less than 10 s, measured with a release build; here the steps are counted.
    @Test func aHundredProxiesGetEachStepOnce() throws {
        let rig = try AuthorityRig()
        let token = try rig.token()
        let proxies = try (0..<100).map { try SecretProxy("web-\($0)", at: rig.address(token: token)) }
        defer { for proxy in proxies { proxy.stop() } }
        #expect(comesTrue(within: 60) { proxies.allSatisfy(\.hasEverything) })
        try rig.onControl { [clock = rig.clock] in _ = try $0.rotate(RotationOrder(root: true), now: clock.now) }
        #expect(try comesTrue(within: 60) { try rig.report().rotations.isEmpty })
        #expect(comesTrue { proxies.allSatisfy { $0.now.bundles == 3 && $0.now.certificates == 2 } })
        expectHandshakes(among: proxies, now: rig.clock.now)
        #expect(proxies.allSatisfy { $0.now.problems.isEmpty })
    }

    @Test func theIntermediateIsReplacedUnderTheSameRoot() throws {
        let rig = try AuthorityRig()
        let token = try rig.token()
        let proxies = try (0..<4).map { try SecretProxy("web-\($0)", at: rig.address(token: token)) }
        defer { for proxy in proxies { proxy.stop() } }
        #expect(comesTrue { proxies.allSatisfy(\.hasEverything) })
        let before = proxies[0].now.chain[1]
        try rig.onControl { [clock = rig.clock] in _ = try $0.rotate(RotationOrder(), now: clock.now) }
        #expect(try comesTrue { try rig.report().rotations.isEmpty })
        #expect(comesTrue { proxies.allSatisfy { $0.now.chain[1] != before } })
        expectHandshakes(among: proxies, now: rig.clock.now)
        #expect(proxies.allSatisfy { $0.now.bundles == 1 })
    }

    @Test func aProxyThatIsAwayIsWaitedForUntilAnOperatorDecides() throws {
        let rig = try AuthorityRig()
        let token = try rig.token()
        let here = try SecretProxy("here", at: rig.address(token: token))
        let away = try SecretProxy("away", at: rig.address(token: token))
        defer { here.stop() }
        #expect(comesTrue { here.hasEverything && away.hasEverything })
        #expect(try comesTrue { try rig.report().outstandingLeaves == 2 })
        away.stop()
        try rig.onControl { [clock = rig.clock] in _ = try $0.rotate(RotationOrder(root: true), now: clock.now) }
        #expect(comesTrue { here.now.anchors.count == 2 })
        let rotation = try #require(try rig.report().rotations.first)
        #expect(rotation.phase == "prepare")
        #expect(try comesTrue { try rig.report().rotations.first?.awaited.map(\.nodeID) == ["away"] })
        let awaited = try #require(try rig.report().rotations.first?.awaited.first)
        #expect(!awaited.isConnected)
        #expect(awaited.holds.contains("without the root"))

        // A restart goes on where it was.
        rig.stop()
        let again = try AuthorityRig(data: rig.data)
        #expect(try again.report().rotations.first?.phase == "prepare")
        #expect(try again.report().rotations.first?.awaited.map(\.nodeID).contains("away") == true)
        #expect(try again.bundle.count == 2)
        try again.onControl { [clock = again.clock] in
            _ = try $0.rotate(RotationOrder(root: true, forceAfter: .zero), now: clock.now)
        }
        #expect(try comesTrue { try again.report().rotations.isEmpty })
    }

    @Test func anAbortGoesBack() throws {
        let rig = try AuthorityRig()
        let token = try rig.token()
        let here = try SecretProxy("here", at: rig.address(token: token))
        let away = try SecretProxy("away", at: rig.address(token: token))
        defer { here.stop() }
        #expect(comesTrue { here.hasEverything && away.hasEverything })
        let before = here.now.anchors
        #expect(try comesTrue { try rig.report().outstandingLeaves == 2 })
        away.stop()
        try rig.onControl { [clock = rig.clock] in _ = try $0.rotate(RotationOrder(root: true), now: clock.now) }
        #expect(comesTrue { here.now.anchors.count == 2 })
        try rig.onControl { [clock = rig.clock] in _ = try $0.abort(now: clock.now) }
        #expect(comesTrue { here.now.anchors == before })
        #expect(try rig.report().rotations.isEmpty)
        #expect(try rig.report().authorities.filter { $0.tier == "root" && $0.state == "active" }.count == 1)
        #expect(throws: AuthorityRefusal.self) {
            try rig.onControl { [clock = rig.clock] in _ = try $0.abort(now: clock.now) }
        }
    }

    private func expectHandshakes(among proxies: [SecretProxy], now: Timestamp) {
        let held = proxies.map { ($0.node, $0.now) }
        for (index, one) in held.enumerated() {
            let other = held[(index * 5 + 1) % held.count]
            let problem = SecretProxy.Held.problem(between: one.1, and: other.1, now: now)
            #expect(problem == nil, "\(one.0) and \(other.0)")
        }
    }
}

/// The two variants, with names for messages.
enum DiscoveryVariant: CaseIterable {
    case delta, stateOfTheWorld

    var value: DiscoveryClient.Variant {
        switch self {
        case .delta: .delta
        case .stateOfTheWorld: .stateOfTheWorld
        }
    }
}
