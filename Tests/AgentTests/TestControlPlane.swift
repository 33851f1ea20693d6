import Certificates
import Discovery
import EnvoyAPI
import Foundation
import GRPC
import Identity
import Protobuf
import Reactor
import Synchronization
import TLS
import Testing
import Time
import XDS

/// What the agent needs of a control plane, over real TLS: the CSR service, tokens, and secrets.
final class TestControlPlane: Sendable {
    /// A root with the intermediate that issues.
    struct Tier: Sendable {
        let root: Certificate
        let issuer: Issuer

        init(_ name: String, now: Timestamp) throws {
            let key = try PrivateKey.generate(.ecdsaP256)
            root = try Issuer.selfSigned(
                subject: DistinguishedName(commonName: "root \(name)"), trustDomain: meshTrustDomain, key: key,
                validity: now - .hours(1)..<now + .hours(1000), serial: .random())
            let signer = try Issuer(chain: [root], key: key)
            let intermediateKey = try PrivateKey.generate(.ecdsaP256)
            let intermediate = try signer.issueAuthority(
                subject: DistinguishedName(commonName: "intermediate \(name)"), trustDomain: meshTrustDomain,
                validity: now - .hours(1)..<now + .hours(900), serial: .random(), for: intermediateKey.publicKey)
            issuer = try Issuer(chain: [intermediate], key: intermediateKey)
        }

        var id: String { issuer.certificate.keyIdentifier?.description ?? "" }
    }

    struct State {
        var issuing: Tier
        var trusted: [Tier]
        var life = Duration.seconds(3600)
        /// What each request was proved by.
        var proofs: [String] = []
        /// What each request said of the agent's clock.
        var clocks: [Timestamp] = []
        /// What the next requests are answered with.
        var refusals: [GRPCStatus] = []
        /// Changes the answer to a request.
        var spoil: (@Sendable (Answer) throws -> Answer)?
        var tokensSigned = 0
    }

    struct Answer: Sendable {
        var spiffeID: SPIFFEID
        var key: PublicKey
        var validity: Range<Timestamp>
    }

    let port: UInt16
    let first: Tier
    let tokenKey: PrivateKey
    /// Of the federated trust domain.
    let otherTokenKey: PrivateKey
    private let cache = SnapshotCache()
    let state: Mutex<State>
    private let server = Mutex<DiscoveryServer?>(nil)
    private let source: TLSSource

    init() throws {
        port = try freePort()
        let now = Timestamp.now
        first = try Tier("one", now: now)
        tokenKey = try PrivateKey.generate(.ecdsaP256)
        otherTokenKey = try PrivateKey.generate(.ecdsaP256)
        state = Mutex(State(issuing: first, trusted: [first]))
        source = TLSSource(try Self.settings(first, trusting: [first]))
        try publish()
        try listen()
    }

    deinit { server.withLock { $0 }?.stop() }

    func listen() throws {
        let server = try DiscoveryServer(
            cache, on: [DiscoveryServer.Listener(.loopback(port: port), tls: source)],
            services: [TestIssuance(plane: WeakPlane(self))])
        self.server.withLock { $0 = server }
    }

    func stop() {
        let old = server.withLock { server in
            defer { server = nil }
            return server
        }
        old?.stop()
    }

    /// The server's own certificate, and who may show one.
    private static func settings(_ tier: Tier, trusting: [Tier]) throws -> TLSSettings {
        let key = try PrivateKey.generate(.ecdsaP256)
        let now = Timestamp.now
        let leaf = try tier.issuer.issue(
            LeafTemplate(
                spiffeID: SPIFFEID(meshTrustDomain, namespace: "martinet-system", serviceAccount: "martinet"),
                dnsNames: ["localhost"], ipAddresses: ["127.0.0.1"], validity: now - .seconds(60)..<now + .hours(10),
                serial: .random()), for: key.publicKey)
        let identity = try TLSIdentity(chainPEM: leaf.pem + tier.issuer.certificate.pem, keyPEM: try key.pem())
        var configuration = TLSConfiguration.mutualServer(
            identity, trusting: try TrustAnchors(pem: trusting.flatMap(\.root.pem)), applicationProtocols: ["h2"])
        configuration.clientAuthentication = .optional
        return try TLSSettings(configuration)
    }

    /// Changes what is issued and trusted, and pushes it.
    func change(_ body: (inout State) throws -> Void) throws {
        try state.withLock { try body(&$0) }
        let (issuing, trusted) = state.withLock { ($0.issuing, $0.trusted) }
        source.replace(with: try Self.settings(issuing, trusting: trusted))
        try publish()
    }

    private func publish() throws {
        let (issuing, trusted) = state.withLock { ($0.issuing, $0.trusted) }
        var keys = SPIFFEBundle(trustDomain: meshTrustDomain)
        keys.jwtAuthorities = [JWTAuthority(keyID: "k1", publicKey: tokenKey.publicKey)]
        var others = SPIFFEBundle(trustDomain: try TrustDomain("other.test"))
        others.jwtAuthorities = [JWTAuthority(keyID: "o1", publicKey: otherTokenKey.publicKey)]
        try cache.publish([
            Self.validation("ROOTCA", trusted.flatMap(\.root.pem)),
            Self.validation("spiffe://other.test", try Tier("other", now: .now).root.pem),
            Self.generic("AUTHORITY", Array(issuing.id.utf8)), Self.generic("JWKS", try keys.json()),
            Self.generic("JWKS/other.test", try others.jwks()),
        ])
    }

    /// Pushes a trust bundle as it is given.
    func pushBundle(_ pem: [UInt8]) throws { try cache.update(setting: [Self.validation("ROOTCA", pem)]) }

    private static func validation(_ name: String, _ pem: [UInt8]) -> XDS.Resource {
        let arena = Arena()
        let secret = arena.make(Secret.self) { secret in
            secret.name = arena(name)
            secret.set(
                validation_context: arena.make(CertificateValidationContext.self) { context in
                    context.trusted_ca = arena.make(DataSource.self) { $0.set(inline_bytes: arena.bytes(pem)) }
                })
        }
        return XDS.Resource(.secret, name: name, body: encode(secret))
    }

    private static func generic(_ name: String, _ bytes: [UInt8]) -> XDS.Resource {
        let arena = Arena()
        let secret = arena.make(Secret.self) { secret in
            secret.name = arena(name)
            secret.set(
                generic_secret: arena.make(GenericSecret.self) { generic in
                    generic.secret = arena.make(DataSource.self) { $0.set(inline_bytes: arena.bytes(bytes)) }
                })
        }
        return XDS.Resource(.secret, name: name, body: encode(secret))
    }

    // MARK: Services

    fileprivate func take(_ request: [UInt8], _ call: ServiceCall) {
        do {
            let proof = try prove(call)
            if call.request.method.path == WorkloadIdentity.signJWT {
                return call.reply(try signToken(request))
            }
            let stated = call.request.metadata["martinet-clock"].flatMap(Int64.init)
            state.withLock {
                $0.proofs.append(proof)
                if let stated { $0.clocks.append(Timestamp(nanoseconds: stated)) }
            }
            let refusal = state.withLock { $0.refusals.isEmpty ? nil : $0.refusals.removeFirst() }
            if let refusal { return call.finish(refusal) }
            call.reply(try issue(request))
        } catch let status as GRPCStatus {
            call.finish(status)
        } catch {
            call.finish(GRPCStatus(.invalidArgument, "\(error)"))
        }
    }

    private func prove(_ call: ServiceCall) throws -> String {
        if let der = call.origin.certificates.first {
            return "certificate of \(try Certificate(der: der).spiffeID())"
        }
        guard call.request.metadata["authorization"] == "Bearer good-token" else {
            throw GRPCStatus(.unauthenticated, "the join token is not known")
        }
        return "token"
    }

    private func issue(_ bytes: [UInt8]) throws -> [UInt8] {
        let arena = Arena()
        let order = try arena.decode(IstioCertificateRequest.self, from: bytes).pointee
        let request = try SigningRequest(pem: Array(order.csr.string.utf8))
        let (tier, life, spoil) = state.withLock { ($0.issuing, $0.life, $0.spoil) }
        let now = Timestamp.now
        var answer = Answer(
            spiffeID: try SPIFFEID(request.uris.first ?? ""), key: request.publicKey,
            validity: now - .seconds(30)..<now + life)
        if let spoil { answer = try spoil(answer) }
        let leaf = try tier.issuer.issue(
            LeafTemplate(spiffeID: answer.spiffeID, validity: answer.validity, serial: .random()), for: answer.key)
        let chain = [leaf, tier.issuer.certificate, tier.root].map { String(decoding: $0.pem, as: UTF8.self) }
        return encode(
            arena.make(IstioCertificateResponse.self) { ($0.n_cert_chain, $0.cert_chain) = arena.strings(chain) })
    }

    private func signToken(_ bytes: [UInt8]) throws -> [UInt8] {
        let arena = Arena()
        let audience = Array(try arena.decode(WorkloadSignJWTRequest.self, from: bytes).pointee.audience_list)
        let now = Timestamp.now
        let token = try JWTSVID.sign(
            workload, audience: audience, validity: now..<now + .seconds(300), key: tokenKey, keyID: "k1")
        state.withLock { $0.tokensSigned += 1 }
        return encode(
            arena.make(WorkloadSignJWTResponse.self) {
                $0.token = arena(token.token)
                $0.spiffe_id = arena("\(token.spiffeID)")
                $0.expires_at = token.expiry.seconds
            })
    }
}

private struct WeakPlane: Sendable {
    private final class Box: @unchecked Sendable {
        weak let plane: TestControlPlane?
        init(_ plane: TestControlPlane) { self.plane = plane }
    }
    private let box: Box

    init(_ plane: TestControlPlane) { box = Box(plane) }
    var plane: TestControlPlane? { box.plane }
}

private struct TestIssuance: Service {
    let plane: WeakPlane

    var methods: [GRPCMethod] {
        [GRPCMethod(IstioCertificateService.createCertificate), GRPCMethod(WorkloadIdentity.signJWT)]
    }

    func open(_ call: ServiceCall) -> any ServiceCallHandler {
        UnaryCall(call) { bytes, call in plane.plane?.take(bytes, call) }
    }
}

let meshTrustDomain = try! TrustDomain("mesh.test")
let workload = try! SPIFFEID(meshTrustDomain, namespace: "shop", serviceAccount: "web")

extension Duration {
    static func hours(_ count: Int) -> Duration { .seconds(count * 3600) }
}

extension Timestamp {
    static var now: Timestamp { Timestamp(nanoseconds: Int64(Date().timeIntervalSince1970 * 1e9)) }
}
