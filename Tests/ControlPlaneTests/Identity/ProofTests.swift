import Certificates
import Discovery
import EnvoyAPI
import Foundation
import GRPC
import Identity
import Protobuf
import TLS
import Testing
import Time

@testable import ControlPlane

/// What a proof is good for, over real TLS: how often, how long, and for which claims.
@Suite(.serialized) struct ProofTests {
    private let web = "spiffe://cluster.local/ns/shop/sa/web"

    @Test func aTokenIsNotUsedUpByWhoIsRefusedForSomethingElse() throws {
        let rig = try AuthorityRig()
        let address = try rig.address(token: rig.token(uses: 1))
        let good = SigningRequest.pem(der: try SigningRequest.make(key: try .generate(.ecdsaP256)))
        let key = try PrivateKey.generate(.ecdsaP256)
        let foreign = try SigningRequest.make(
            key: key, names: AlternativeNames(uris: ["spiffe://cluster.local/ns/shop/sa/db"]))
        var broken = try SigningRequest.make(key: key)
        broken[broken.count - 1] ^= 1
        let istio = "sidecar~10.0.0.1~web-1.bank~bank.svc.cluster.local"
        let cases: [(csr: [UInt8], claims: [String: String], expected: GRPCStatusCode)] = [
            (SigningRequest.pem(der: foreign), [:], .permissionDenied),
            (SigningRequest.pem(der: broken), [:], .invalidArgument),
            (SigningRequest.pem(der: try SigningRequest.make(key: key, isAuthority: true)), [:], .permissionDenied),
            (good, ["NAMESPACE": "bank"], .permissionDenied),
            (good, ["SERVICE_ACCOUNT": "db"], .permissionDenied),
            (good, ["NODE_ID": istio], .permissionDenied),
            (good, ["NODE_ID": String(repeating: "n", count: 2000)], .permissionDenied),
        ]
        for (csr, claims, expected) in cases {
            let status = #expect(throws: GRPCStatus.self) { try call(csr, claims, at: address) }
            #expect(status?.code == expected, "\(claims) \(String(describing: status))")
            #expect(try rig.tokensUsed == [0], "\(claims)")
        }
        // Over xDS too: claims of another, and on the secret service a secret of another.
        let liar = try SecretProxy("web-1", at: address, metadata: ["SERVICE_ACCOUNT": .string("db")])
        #expect(comesTrue { liar.now.problems.contains { $0.contains("claims service account") } })
        liar.stop()
        #expect(try rig.tokensUsed == [0])
        #expect(rig.log.has("reason=other_service_account") && rig.log.has("reason=csr_other_identity"))

        #expect(try call(good, ["NODE_ID": "web-1", "NAMESPACE": "shop"], at: address).count == 3)
        #expect(try rig.tokensUsed == [1])
    }

    @Test func whoSubscribesToEverySecretHasNoneMade() throws {
        let rig = try AuthorityRig()
        let token = try rig.token()
        for variant in DiscoveryVariant.allCases {
            let watcher = try SecretProxy(
                "agent-\(variant)", at: rig.address(token: token), variant: variant.value, names: ["ROOTCA", "*"])
            #expect(comesTrue { !watcher.now.anchors.isEmpty })
            let holder = try rig.holder(watcher.node)
            #expect(try comesTrue { try rig.onControl { $0.machine.record(of: holder)?.bundle?.count } == 1 })
            #expect(try rig.store.issued(to: web, limit: 9).isEmpty)
            #expect(watcher.now.chain.isEmpty)
            watcher.stop()
        }
        let named = try SecretProxy("proxy", at: rig.address(token: token), names: ["ROOTCA", "*", "default"])
        defer { named.stop() }
        #expect(comesTrue { named.hasEverything })
        #expect(try rig.store.issued(to: web, limit: 9).map(\.holder) == ["proxy"])
    }

    @Test func aStreamEndsAMinuteAfterTheCertificateThatOpenedIt() throws {
        let rig = try AuthorityRig()
        let key = try PrivateKey.generate(.ecdsaP256)
        let csr = SigningRequest.pem(der: try SigningRequest.make(key: key))
        // Short, so that the control plane's own is not replaced by one that begins after this machine's time.
        let chain = try call(csr, [:], at: rig.address(token: rig.token()), seconds: 60)
        let identity = try TLSIdentity(chainPEM: chain[0].pem + chain[1].pem, keyPEM: try key.pem())
        // By the control plane's clock it has expired 58 s ago.
        rig.clock.advance(by: chain[0].notAfter - rig.clock.now + .seconds(58))
        let proxy = try SecretProxy("web-1", at: rig.address(identity: identity), names: ["ROOTCA"])
        defer { proxy.stop() }
        #expect(comesTrue { !proxy.now.anchors.isEmpty }, "\(proxy.now.problems)")
        #expect(comesTrue { proxy.now.problems.contains { $0.contains("has expired; connect again") } })
        // From then on it opens nothing, neither streams nor calls.
        #expect(comesTrue { rig.log.has("reason=certificate_expired") })
        let status = #expect(throws: GRPCStatus.self) { try call(csr, [:], at: rig.address(identity: identity)) }
        #expect(
            status?.code == .unauthenticated && status?.message.contains("expired") == true,
            "\(String(describing: status))")
    }

    @Test func aTokenThatIsRevokedOpensNoMoreStreamsAndThoseThatItOpenedGoOn() throws {
        let rig = try AuthorityRig()
        let token = try rig.token()
        let early = try SecretProxy("early", at: rig.address(token: token))
        defer { early.stop() }
        #expect(comesTrue { early.hasEverything })
        try rig.revokeTokens()
        let late = try SecretProxy("late", at: rig.address(token: token))
        defer { late.stop() }
        #expect(comesTrue { late.now.problems.contains { $0.contains("was revoked") } })
        try rig.onControl { [clock = rig.clock] in _ = try $0.rotate(RotationOrder(), now: clock.now) }
        #expect(comesTrue { early.now.certificates == 2 })
        #expect(early.now.problems.isEmpty)
    }

    @Test func aClockThatIsOffIsToldOfUntilItIsRight() throws {
        let rig = try AuthorityRig()
        let address = try rig.address(token: rig.token())
        let csr = SigningRequest.pem(der: try SigningRequest.make(key: try .generate(.ecdsaP256)))
        func ask(_ node: String, _ offset: Duration?) throws {
            _ = try call(csr, ["NODE_ID": node], at: address) { metadata in
                guard let offset else { return }
                metadata.append("martinet-clock", "\((Timestamp.systemClock() + offset).nanoseconds)")
            }
        }
        // Certificates begin 300 s early; a third of that is told of.
        try ask("right", .zero)
        try ask("silent", nil)
        try ask("near", .seconds(90))
        #expect(try rig.report().clockSkews.isEmpty && rig.report().problems.isEmpty)
        try ask("ahead", .seconds(200))
        try ask("behind", .seconds(-150))
        let told = try rig.report().clockSkews
        #expect(told.count == 2, "\(told)")
        #expect(told[0].hasPrefix("csr/ahead (\(web)): ") && told[0].contains("ahead at least"), "\(told)")
        #expect(told[1].hasPrefix("csr/behind (\(web)): ") && told[1].contains("behind at least"), "\(told)")
        #expect(try rig.report().problems.isEmpty)
        #expect(rig.log.lines.filter { $0.contains("the clock of a workload is off") }.count == 2)
        // Beyond what certificates are made for it is a problem.
        try ask("ahead", .seconds(3600))
        #expect(try rig.report().problems.first?.contains("the clock of csr/ahead") == true)
        try ask("ahead", .seconds(1))
        try ask("behind", .zero)
        #expect(try rig.report().clockSkews.isEmpty && rig.report().problems.isEmpty)
        #expect(rig.log.lines.filter { $0.contains("is right again") }.count == 2)
        for nonsense in ["", "soon", "99999999999999999999"] {
            _ = try call(csr, [:], at: rig.address(token: rig.token())) { $0.append("martinet-clock", nonsense) }
        }
        #expect(try rig.report().clockSkews.isEmpty)
    }

    private func call(
        _ csr: [UInt8], _ claims: [String: String], at address: ServerAddress, seconds: Int64 = 0,
        stamp: @escaping (inout GRPCMetadata) -> Void = { _ in }
    ) throws -> [Certificate] {
        let arena = Arena()
        let request = encode(
            arena.make(IstioCertificateRequest.self) {
                $0.csr = arena(String(decoding: csr, as: UTF8.self))
                $0.validity_duration = seconds
                $0.metadata = arena.structure(
                    claims.sorted { $0.key < $1.key }.map { StructureValue.Field($0.key, .string($0.value)) })
            })
        let answer = try UnaryCallClient.call(
            IstioCertificateService.createCertificate, request, at: address, stamp: stamp)
        let chain = try arena.decode(IstioCertificateResponse.self, from: answer).pointee.cert_chain_list
        return try Certificate.list(pem: chain.flatMap { Array($0.utf8) }, source: "the answer")
    }
}

extension AuthorityRig {
    /// Uses of each token.
    var tokensUsed: [Int] { get throws { try onLedger { $0.entries.map(\.used) } } }

    func revokeTokens() throws {
        try onLedger { [clock] in for entry in $0.entries { _ = try $0.revoke(entry.id, now: clock.now) } }
    }

    /// What stands for a proxy of `web` in the rotation.
    func holder(_ node: String) throws -> HolderID {
        HolderID(node: node, identity: try SPIFFEID("spiffe://cluster.local/ns/shop/sa/web"))
    }
}
