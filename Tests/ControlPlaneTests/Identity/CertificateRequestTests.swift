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

/// The services for workloads that keep their keys, over TLS.
@Suite struct CertificateRequestTests {
    private let web = "spiffe://cluster.local/ns/shop/sa/web"

    @Test func aWorkloadKeepsItsKeyAndGetsAChainThatLeadsToTheRoot() throws {
        let rig = try AuthorityRig()
        let key = try PrivateKey.generate(.ecdsaP256)
        let chain = try sign(key, at: rig.address(token: rig.token()), node: "web-1")
        #expect(chain.count == 3)
        #expect(try "\(chain[0].spiffeID())" == web)
        #expect(chain[0].spki == key.publicKey.spki)
        #expect(chain[2] == (try rig.bundle)[0])
        try ChainVerification.verify(chain, anchors: rig.bundle, at: rig.clock.now, purpose: .client)

        // From then on the certificate is the proof.
        let identity = try TLSIdentity(chainPEM: chain[0].pem + chain[1].pem, keyPEM: try key.pem())
        let again = try sign(try .generate(.ecdsaP384), at: rig.address(identity: identity), node: "web-1")
        #expect(try "\(again[0].spiffeID())" == web)
        #expect(try rig.store.issued(to: web, limit: 9).map(\.reason) == ["csr", "csr"])
        // The node has renewed: one is in use.
        #expect(try comesTrue { try rig.report().outstandingLeaves == 1 })
    }

    @Test func validityIsWhatWasAskedForAndNoLonger() throws {
        let rig = try AuthorityRig()
        let address = try rig.address(token: rig.token())
        let short = try sign(try .generate(.ecdsaP256), at: address, seconds: 600)[0]
        #expect(abs((short.notAfter - rig.clock.now).components.seconds - 600) < 5)
        let long = try sign(try .generate(.ecdsaP256), at: address, seconds: 400 * 86_400)[0]
        #expect((long.notAfter - rig.clock.now).components.seconds <= 86_400)
    }

    @Test func whatACallerMayNotHaveIsRefusedWithTheReason() throws {
        let rig = try AuthorityRig()
        let address = try rig.address(token: rig.token())
        let key = try PrivateKey.generate(.ecdsaP256)
        func refusal(_ names: AlternativeNames, isAuthority: Bool = false) throws -> GRPCStatus? {
            let csr = try SigningRequest.make(key: key, names: names, isAuthority: isAuthority)
            return status { try call(SigningRequest.pem(der: csr), at: address) }
        }
        let other = try refusal(AlternativeNames(uris: ["spiffe://cluster.local/ns/shop/sa/db"]))
        #expect(other?.code == .permissionDenied && other?.message.contains(web) == true)
        #expect(try refusal(AlternativeNames(uris: [web], dnsNames: ["a.example"]))?.code == .invalidArgument)
        #expect(try refusal(AlternativeNames(uris: [web]), isAuthority: true)?.code == .permissionDenied)
        #expect(try refusal(AlternativeNames(uris: [web])) == nil)
        var broken = try SigningRequest.make(key: key)
        broken[broken.count - 1] ^= 1
        let signature = try status { try call(SigningRequest.pem(der: broken), at: address) }
        #expect(signature?.code == .invalidArgument)
        let huge = status { try call([UInt8](repeating: 65, count: 1 << 20), at: address) }
        #expect(huge?.code == .invalidArgument)
    }

    @Test(arguments: [
        (["-newkey", "rsa:1024"], "RSA of 1024 bits"),
        (["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"], "secp256k1"),
        (["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-sha1"], "SHA1"),
    ])
    func aWeakOrOddKeyIsRefusedByNameAndTheTokenStaysGood(arguments: [String], named: String) throws {
        let rig = try AuthorityRig()
        let address = try rig.address(token: rig.token(uses: 1))
        let directory = try TemporaryDirectory("request")
        let files = ["-keyout", directory["key.pem"], "-out", directory["request.pem"]]
        try openssl(["req", "-new", "-nodes", "-subj", "/O=mesh"] + files + arguments)
        let csr = try [UInt8](Data(contentsOf: URL(fileURLWithPath: directory["request.pem"])))
        let refusal = status { try call(csr, at: address, node: "web-1") }
        #expect(refusal?.code == .invalidArgument)
        #expect(refusal?.message.contains(named) == true)
        #expect(try rig.store.issued(to: web, limit: 9).isEmpty)
        #expect(try sign(try .generate(.ecdsaP256), at: address, node: "web-2").count == 3)
    }

    @Test func strangersAreRefused() throws {
        let rig = try AuthorityRig()
        let csr = SigningRequest.pem(der: try SigningRequest.make(key: try .generate(.ecdsaP256)))
        #expect(try status { try call(csr, at: rig.address()) }?.code == .unauthenticated)
        #expect(
            try status { try call(csr, at: rig.address(token: "martinet-join-v1.nonsense")) }?.code == .unauthenticated)
        // Self-made, under the right name.
        let key = try PrivateKey.generate(.ecdsaP256)
        let now = rig.clock.now
        let root = try Issuer.selfSigned(
            subject: try DistinguishedName(commonName: "stranger"), trustDomain: try TrustDomain("cluster.local"),
            key: key, validity: (now - .seconds(60))..<(now + .seconds(3600)), serial: try .random())
        let leafKey = try PrivateKey.generate(.ecdsaP256)
        let leaf = try Issuer(chain: [root], key: key).issue(
            LeafTemplate(
                spiffeID: try SPIFFEID(web), validity: (now - .seconds(60))..<(now + .seconds(600)),
                serial: try .random()), for: leafKey.publicKey)
        let identity = try TLSIdentity(chainPEM: leaf.pem, keyPEM: try leafKey.pem())
        #expect(try status { try call(csr, at: rig.address(identity: identity)) }?.code == .unavailable)
    }

    @Test func tokensOfACallerVerifyAgainstThePublishedKeys() throws {
        let rig = try AuthorityRig()
        let address = try rig.address(token: rig.token())
        let arena = Arena()
        let request = encode(
            arena.make(WorkloadSignJWTRequest.self) {
                ($0.n_audience, $0.audience) = arena.list([arena("db"), arena("cache")])
                $0.ttl_seconds = 60
            })
        let answer = try UnaryCallClient.call(WorkloadIdentity.signJWT, request, at: address)
        let token = try arena.decode(WorkloadSignJWTResponse.self, from: answer).pointee.token.string
        let document = try rig.onControl { [clock = rig.clock] in try $0.bundle(now: clock.now).spiffe }
        let bundle = try SPIFFEBundle(json: Array(document.utf8), trustDomain: try TrustDomain("cluster.local"))
        #expect(bundle.x509Authorities == (try rig.bundle))
        let verified = try JWTSVID(
            verifying: token, audience: "db", bundles: [bundle.trustDomain: bundle], now: rig.clock.now)
        #expect("\(verified.spiffeID)" == web)
        #expect(throws: JWTRefusal.self) {
            try JWTSVID(
                verifying: token, audience: "other", bundles: [bundle.trustDomain: bundle], now: rig.clock.now)
        }
        let empty = encode(arena.make(WorkloadSignJWTRequest.self) { _ in })
        #expect(
            status { try UnaryCallClient.call(WorkloadIdentity.signJWT, empty, at: address) }?.code == .invalidArgument)
        // The same keys come as a secret, with the current authority.
        let proxy = try SecretProxy("web", at: address, names: ["JWKS", "AUTHORITY", "ROOTCA"])
        defer { proxy.stop() }
        #expect(comesTrue { proxy.now.words.count == 2 })
        #expect(proxy.now.words["AUTHORITY"] == (try rig.report()).authorities.first { $0.tier == "intermediate" }?.id)
        #expect(proxy.now.words["JWKS"]?.contains("jwt-svid") == true)
    }

    private func sign(
        _ key: PrivateKey, at address: ServerAddress, node: String? = nil, seconds: Int64 = 0
    ) throws -> [Certificate] {
        let der = try SigningRequest.make(key: key, names: AlternativeNames(uris: [web]))
        return try call(SigningRequest.pem(der: der), at: address, node: node, seconds: seconds)
    }

    @discardableResult
    private func call(
        _ csr: [UInt8], at address: ServerAddress, node: String? = nil, seconds: Int64 = 0
    ) throws -> [Certificate] {
        let arena = Arena()
        let request = encode(
            arena.make(IstioCertificateRequest.self) {
                $0.csr = arena(String(decoding: csr, as: UTF8.self))
                $0.validity_duration = seconds
                if let node { $0.metadata = arena.structure([StructureValue.Field("NODE_ID", .string(node))]) }
            })
        let answer = try UnaryCallClient.call(IstioCertificateService.createCertificate, request, at: address)
        let chain = try arena.decode(IstioCertificateResponse.self, from: answer).pointee.cert_chain_list
        return try Certificate.list(pem: chain.flatMap { Array($0.utf8) }, source: "the answer")
    }

    private func status(_ body: () throws -> some Any) -> GRPCStatus? {
        do {
            _ = try body()
            return nil
        } catch {
            return error as? GRPCStatus ?? GRPCStatus(.unknown, "\(error)")
        }
    }
}
