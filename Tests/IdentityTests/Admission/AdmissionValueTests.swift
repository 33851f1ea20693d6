import Testing
import Time

@testable import Identity

@Suite struct AdmissionValueTests {
    private let domain = try! TrustDomain("cluster.local")
    private let web = try! SPIFFEID("spiffe://cluster.local/ns/shop/sa/web")

    private func claims(_ namespace: String?, _ account: String?) -> NodeClaims {
        NodeClaims(id: "web-1", namespace: namespace, serviceAccount: account)
    }

    @Test func claimsThatAgreeWithTheProofAreAdmitted() throws {
        let token = Proof.token(namespace: "shop", serviceAccount: "web")
        #expect(try claims("shop", "web").admitted(token, in: domain) == web)
        #expect(try claims(nil, nil).admitted(token, in: domain) == web)
        #expect(try claims("shop", nil).admitted(.certificate(web), in: domain) == web)
    }

    @Test func claimsThatDoNotAgreeAreRefusedWithTheReason() throws {
        let token = Proof.token(namespace: "shop", serviceAccount: "web")
        #expect(throws: AdmissionRefusal.noProof) { try claims("shop", "web").admitted(nil, in: domain) }
        #expect(throws: AdmissionRefusal.otherNamespace(claimed: "bank", proved: web)) {
            try claims("bank", "web").admitted(token, in: domain)
        }
        #expect(throws: AdmissionRefusal.otherServiceAccount(claimed: "root", proved: web)) {
            try claims("shop", "root").admitted(token, in: domain)
        }
        let stranger = try SPIFFEID("spiffe://other.org/ns/shop/sa/web")
        #expect(throws: AdmissionRefusal.otherTrustDomain(stranger, ours: domain)) {
            try claims("shop", "web").admitted(.certificate(stranger), in: domain)
        }
        #expect(throws: AdmissionRefusal.notAWorkload(domain.id)) {
            try claims(nil, nil).admitted(.certificate(domain.id), in: domain)
        }
        #expect(throws: AdmissionRefusal.noNodeID) {
            try NodeClaims(id: "", namespace: nil, serviceAccount: nil).admitted(token, in: domain)
        }
        #expect(throws: AdmissionRefusal.claimTooLong(bytes: 1025)) {
            try claims(String(repeating: "a", count: 1025), nil).admitted(token, in: domain)
        }
        #expect(AdmissionRefusal.noProof.isUnauthenticated)
        #expect(!AdmissionRefusal.noNodeID.isUnauthenticated)
    }

    @Test func peersWhoseClocksAreOffAreListedAndBounded() throws {
        var clocks = PeerClocks(tolerance: .seconds(100), capacity: 2)
        func hear(_ node: String, _ offset: Int64, travel: Int64 = 0, at second: Int64 = 0) -> PeerClocks.Change? {
            var skew = ClockSkew()
            let now = now + .seconds(second)
            skew.heard(now + .seconds(offset), takingAtMost: .seconds(travel), now: now)
            return clocks.heard(HolderID(node: node, identity: web), skew, now: now)
        }
        #expect(hear("right", 5) == nil && clocks.entries.isEmpty)
        // As long as the message may have taken, nothing is certain.
        #expect(hear("slow", -150, travel: 60) == nil && clocks.entries.isEmpty)
        #expect(hear("behind", -150, travel: 40) == .strayed)
        #expect(hear("ahead", 200) == .strayed && hear("ahead", 201) == nil)
        #expect(clocks.list.map(\.peer.node) == ["ahead", "behind"])
        #expect(clocks.largest == .seconds(201))
        // No room: neither listed nor told of.
        #expect(hear("third", 900) == nil && clocks.entries.count == 2)
        #expect(hear("ahead", 0) == .returned && hear("ahead", 0) == nil)
        #expect(hear("third", -900, at: 50) == .strayed)
        clocks.forget(heardBefore: now + .seconds(1))
        #expect(clocks.list.map(\.peer.node) == ["third"] && clocks.largest == .seconds(900))
    }

    private let now = Timestamp(seconds: 1_800_000_000)

    private func token(uses: Int?, life: Duration = .seconds(3600)) throws -> JoinTokenRecord {
        try JoinTokenRecord(
            id: "t1", hash: [1, 2, 3], namespace: "shop", serviceAccount: "web", life: life, uses: uses, now: now)
    }

    @Test func anIDOfIstiosFormNamesItsNamespaceAndOthersNameNone() throws {
        func check(_ id: String) throws {
            try NodeClaims(id: id, namespace: nil, serviceAccount: nil).agree(with: web)
        }
        for id in ["", "web-1", "a~b", "sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local", "a~b~c~d"] {
            try check(id)
        }
        let foreign = "sidecar~10.0.0.1~web-1.bank~bank.svc.cluster.local"
        #expect(throws: AdmissionRefusal.otherNodeID(claimed: foreign, proved: web)) { try check(foreign) }
        #expect(throws: AdmissionRefusal.claimTooLong(bytes: 1025)) { try check(String(repeating: "a", count: 1025)) }
    }

    @Test func aTokenIsForSoManyNodesAndANodeMayComeAgain() throws {
        var token = try token(uses: 2)
        #expect(try token.admits("a", now: now))
        #expect(try token.admits("b", beside: ["a"], now: now))
        #expect(throws: TokenRefusal.usedUp(id: "t1", uses: 2)) { try token.admits("c", beside: ["a", "b"], now: now) }
        token.join("a")
        #expect(try !token.admits("a", now: now))
        token.join("b")
        #expect(throws: TokenRefusal.usedUp(id: "t1", uses: 2)) { try token.admits("c", now: now) }
        #expect(try !token.admits("b", now: now))
        #expect(token.used == 2)
        #expect(try decoded(token) == token)
    }

    @Test func aTokenExpiresAndCanBeRevoked() throws {
        var token = try token(uses: nil)
        #expect(try !token.admits("a", now: now + .seconds(3599)))
        #expect(throws: TokenRefusal.expired(id: "t1", at: now + .seconds(3600))) {
            try token.admits("a", now: now + .seconds(3600))
        }
        token.revoke(now: now)
        #expect(throws: TokenRefusal.revoked(id: "t1", at: now)) { try token.admits("a", now: now) }
        #expect(token.matches([1, 2, 3]))
        #expect(!token.matches([1, 2, 4]))
        #expect(!token.matches([1, 2]))
    }

    @Test func aTokenHasALifeAndACountWithinBounds() {
        #expect(throws: TokenRefusal.badLife(.seconds(59))) { try token(uses: 1, life: .seconds(59)) }
        #expect(throws: TokenRefusal.badLife(.days(366))) { try token(uses: 1, life: .days(366)) }
        #expect(throws: TokenRefusal.badUses(0)) { try token(uses: 0) }
        #expect(throws: TokenRefusal.badUses(10_001)) { try token(uses: 10_001) }
    }

    @Test func repeatedRefusalsAreSlowedAndForgotten() {
        var throttle = RefusalThrottle(capacity: 16)
        let start = Instant(nanoseconds: 0)
        let delays = (0..<8).map { _ in throttle.refused("10.0.0.1", now: start) }
        #expect(delays == [0, 1, 2, 4, 8, 16, 30, 30].map { .seconds($0) })
        #expect(throttle.refused("10.0.0.2", now: start) == .zero)
        #expect(throttle.refused("10.0.0.1", now: start.advanced(by: .seconds(301))) == .zero)
        throttle.admitted("10.0.0.2")
        #expect(throttle.refused("10.0.0.2", now: start) == .zero)
    }

    @Test func aCrowdOfStrangersDoesNotFillTheMemory() {
        var throttle = RefusalThrottle(capacity: 64)
        for number in 0..<10_000 {
            _ = throttle.refused("peer\(number)", now: Instant(nanoseconds: Int64(number)))
            #expect(throttle.count <= 64)
        }
        #expect(throttle.count > 32)
    }

    @Test func aSkewIsBoundedByWhatPeersSay() {
        var skew = ClockSkew()
        #expect(skew.estimate == .zero)
        skew.heard(now + .seconds(3600), takingAtMost: .seconds(2), now: now)
        #expect(skew.estimate == .seconds(3600))
        #expect(skew.exceeds(.seconds(300)))
        var behind = ClockSkew()
        behind.refusedAsEarly(now - .seconds(300), now: now)
        #expect(behind.estimate == .seconds(-300))
        #expect(!behind.exceeds(.seconds(300)))
        behind.refusedAsPast(now + .seconds(60), now: now)
        #expect(behind.estimate == .seconds(60))
    }
}
