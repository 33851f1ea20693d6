import Certificates
import Discovery
import GRPC
import Identity
import Logging
import Synchronization
import Testing
import Time
import XDS

@testable import ControlPlane

/// A mesh with one token for each of some service accounts: `token-of-ACCOUNT`.
private final class Tokens: TokenRedeeming {
    let redeemed = Mutex(0)
    let used = Mutex(0)
    let domain: TrustDomain

    init(_ domain: TrustDomain) { self.domain = domain }

    func redeem(
        _ token: String, node: String, objection: @escaping Objection,
        completion: @escaping @Sendable (Result<SPIFFEID, StreamRefusal>) -> Void
    ) {
        redeemed.withLock { $0 += 1 }
        guard token.hasPrefix("token-of-"),
            let identity = try? SPIFFEID(domain, namespace: "shop", serviceAccount: String(token.dropFirst(9)))
        else { return completion(.failure(StreamRefusal(.token(.unknown)))) }
        if let refusal = objection(identity) { return completion(.failure(refusal)) }
        used.withLock { $0 += 1 }
        completion(.success(identity))
    }
}

private final class World {
    let authority: MeshAuthority
    let tokens: Tokens
    let directory: SecretDirectory
    let admission: MeshAdmission
    let clock = Clock()
    let wall = WallClock()

    final class WallClock: Sendable {
        private let time = Mutex(Timestamp.systemClock())
        var now: Timestamp { time.withLock { $0 } }
        func set(_ now: Timestamp) { time.withLock { $0 = now } }
    }

    final class Clock: Sendable {
        private let time = Mutex(Instant(nanoseconds: 0))
        var now: Instant { time.withLock { $0 } }
        func advance(_ duration: Duration) { time.withLock { $0 = $0.advanced(by: duration) } }
    }

    init(admitsNamedCertificates: Bool = false) throws {
        authority = try MeshAuthority("mesh.test")
        tokens = Tokens(authority.domain)
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        directory = SecretDirectory(trustDomain: authority.domain, logger: logger)
        directory.show(.empty, as: "all")
        var configuration = MeshAdmission.Configuration(logger: logger)
        configuration.admitsNamedCertificates = admitsNamedCertificates
        configuration.clock = { [clock] in clock.now }
        admission = MeshAdmission(
            MeshAuthenticator(trustDomain: authority.domain, tokens: tokens, clock: { [wall] in wall.now }),
            directory: directory,
            configuration: configuration)
    }

    func certificate(of account: String) throws -> CallOrigin {
        CallOrigin(
            transport: .mtls, peer: "10.0.0.1:1", certificates: [try authority.issue(account).leaf.der])
    }

    func admit(
        _ origin: CallOrigin, token: String? = nil, node: Node = Node(id: "n"), service: DiscoveryService = .aggregated,
        stream: StreamToken = StreamToken(), secretNames: [String]? = nil
    ) -> AdmissionDecision {
        var metadata = GRPCMetadata()
        if let token { metadata.append("authorization", token) }
        let decision = Mutex<AdmissionDecision?>(nil)
        admission.admit(
            Applicant(
                stream: stream, service: service, origin: origin, metadata: metadata, node: node,
                secretNames: secretNames)
        ) { made in decision.withLock { $0 = made } }
        return decision.withLock { $0 } ?? .refused(StreamRefusal(GRPCStatus(.unknown, "undecided"), reason: ""))
    }
}

extension AdmissionDecision {
    /// `as PRINCIPAL`, or `CODE reason`.
    fileprivate var text: String {
        switch self {
        case .admitted(let principal, _): "as \(principal ?? "nobody")"
        case .refused(let refusal): "\(refusal.status.code) \(refusal.reason)"
        }
    }

    fileprivate var refusal: StreamRefusal? {
        if case .refused(let refusal) = self { return refusal }
        return nil
    }
}

private let tls = CallOrigin(transport: .tls, peer: "10.0.0.9:1")
private let plaintext = CallOrigin(transport: .plaintext, peer: "10.0.0.8:1")

private func node(namespace: String? = nil, account: String? = nil) -> Node {
    var node = Node(id: "n")
    if let namespace { node.metadata["NAMESPACE"] = .string(namespace) }
    if let account { node.metadata["SERVICE_ACCOUNT"] = .string(account) }
    return node
}

@Suite struct MeshAdmissionTests {
    @Test func overPlaintextAndTheUnixSocketNobodyProvesAnythingAndGetsNoSecrets() throws {
        let world = try World()
        for origin in [plaintext, CallOrigin(transport: .unix, peer: "unix")] {
            #expect(world.admit(origin, token: "Bearer token-of-web").text == "as nobody")
            let refused = world.admit(origin, service: .single(.secret))
            #expect(refused.text == "PERMISSION_DENIED plaintext")
            #expect(refused.refusal?.status.message.contains("use the TLS port") == true)
        }
        #expect(world.directory.counts.views == 0)
        #expect(world.tokens.redeemed.withLock { $0 } == 0)
    }

    @Test func overTLSEveryoneProvesWhoItIs() throws {
        let world = try World()
        #expect(world.admit(tls).text == "UNAUTHENTICATED no_proof")
        #expect(world.admit(tls).refusal?.status.message.contains("martinet token create") == true)
        #expect(world.admit(tls, token: "Basic x").text == "UNAUTHENTICATED token")
        #expect(
            world.admit(tls, token: "Bearer " + String(repeating: "x", count: 5000)).text == "UNAUTHENTICATED token")
        #expect(world.admit(tls, token: "Bearer wrong").text == "UNAUTHENTICATED token_unknown")
        #expect(world.admit(tls, token: "Bearer token-of-web").text == "as spiffe://mesh.test/ns/shop/sa/web")
        #expect(
            world.admit(try world.certificate(of: "web")).text == "as spiffe://mesh.test/ns/shop/sa/web")
        // A certificate goes before a token.
        #expect(
            world.admit(try world.certificate(of: "web"), token: "Bearer token-of-cart").text
                == "as spiffe://mesh.test/ns/shop/sa/web")
    }

    @Test func aTokenOrCertificateOfOneWithTheClaimsOfAnotherIsRefused() throws {
        let world = try World()
        let cases: [(Node, String)] = [
            (node(namespace: "shop", account: "web"), "as spiffe://mesh.test/ns/shop/sa/web"),
            (node(namespace: "shop"), "as spiffe://mesh.test/ns/shop/sa/web"),
            (node(namespace: "shop", account: "cart"), "PERMISSION_DENIED other_service_account"),
            (node(namespace: "bank", account: "web"), "PERMISSION_DENIED other_namespace"),
        ]
        for (node, expected) in cases {
            let before = world.directory.counts.views
            #expect(world.admit(tls, token: "Bearer token-of-web", node: node).text == expected)
            #expect(world.admit(try world.certificate(of: "web"), node: node).text == expected)
            if expected.hasPrefix("P") { #expect(world.directory.counts.views == before) }
        }
    }

    @Test func aStreamIsAdmittedUntilItsCertificateAndTheGraceAreOver() throws {
        let world = try World()
        let origin = try world.certificate(of: "web")
        let end = try #require(try Certificate(der: origin.certificates[0]).notAfter)
        func until(_ decision: AdmissionDecision) -> Instant?? {
            if case .admitted(_, let end) = decision { return .some(end) }
            return nil
        }
        let left = end + MeshAuthenticator.grace - world.wall.now
        #expect(until(world.admit(origin)) == .some(world.clock.now.advanced(by: left)))
        #expect(until(world.admit(tls, token: "Bearer token-of-web")) == .some(nil))
        world.wall.set(end + .seconds(59))
        #expect(until(world.admit(origin)) == .some(world.clock.now.advanced(by: .seconds(1))))
        world.wall.set(end + .seconds(60))
        #expect(world.admit(origin).text == "UNAUTHENTICATED certificate_expired")
    }

    @Test func aTokenIsUsedUpByNobodyWhoIsRefused() throws {
        let world = try World()
        let token = "Bearer token-of-web"
        #expect(world.admit(tls, token: token, node: node(account: "cart")).text.hasPrefix("PERMISSION_DENIED"))
        #expect(world.admit(tls, token: token, node: Node(id: "")).text == "PERMISSION_DENIED no_node_id")
        let foreign = ["spiffe://mesh.test/ns/shop/sa/cart"]
        let secret = world.admit(tls, token: token, service: .single(.secret), secretNames: foreign)
        #expect(secret.text == "PERMISSION_DENIED foreign_secret")
        #expect(world.tokens.used.withLock { $0 } == 0)
        #expect(
            world.admit(tls, token: token, service: .single(.secret), secretNames: ["default", "ROOTCA"]).text
                == "as spiffe://mesh.test/ns/shop/sa/web")
        #expect(world.tokens.used.withLock { $0 } == 1)
    }

    @Test func aMemberOfTheMeshSeesItsOwnStatusAndOperatorsSeeAll() throws {
        let world = try World()
        let web = "spiffe://mesh.test/ns/shop/sa/web"
        let member = try world.certificate(of: "web")
        let visible = Access.visibleProxies(member, operators: ["spiffe://mesh.test/ns/ops/sa/admin"])
        #expect(visible == .own(principal: web))
        #expect(visible.includes(Node(id: "n", principal: web)))
        #expect(!visible.includes(Node(id: "n", principal: web + "2")) && !visible.includes(Node(id: "n")))
        #expect(Access.visibleProxies(member, operators: [web]) == .all)
        let unnamed = CallOrigin(transport: .mtls, peer: "10.0.0.1:1", certificates: [try openSSLCertificate()])
        #expect(Access.visibleProxies(unnamed, operators: []) == .own(principal: "certificate:proxy.test"))
        #expect(Access.visibleProxies(unnamed, operators: ["proxy.test"]) == .all)
        let broken = CallOrigin(transport: .mtls, peer: "10.0.0.1:1", certificates: [[1]])
        #expect(!Access.visibleProxies(broken, operators: []).includes(Node(id: "n")))
        #expect(Access.visibleProxies(CallOrigin(transport: .unix, peer: "unix"), operators: []) == .all)
    }

    @Test func aCertificateOfAnotherDomainIsRefused() throws {
        let world = try World()
        let stranger = try MeshAuthority("other.test").issue("web").leaf.der
        let origin = CallOrigin(transport: .mtls, peer: "10.0.0.1:1", certificates: [stranger])
        #expect(world.admit(origin).text == "PERMISSION_DENIED other_trust_domain")
        let broken = CallOrigin(transport: .mtls, peer: "10.0.0.1:1", certificates: [[1, 2, 3]])
        #expect(world.admit(broken).text == "UNAUTHENTICATED certificate")
    }

    @Test func anothersNameIsRefusedOnSDSAndMissingOnADS() throws {
        let world = try World()
        world.directory.setBundle([1])
        let web = Node(id: "n", principal: "spiffe://mesh.test/ns/shop/sa/web")
        let foreign = "spiffe://mesh.test/ns/shop/sa/cart"
        for (service, expected) in [
            (DiscoveryService.single(.secret), GRPCStatusCode.permissionDenied), (.aggregated, nil),
        ] {
            let stream = StreamToken()
            #expect(
                world.admit(try world.certificate(of: "web"), node: Node(id: "n"), service: service, stream: stream)
                    .text == "as spiffe://mesh.test/ns/shop/sa/web")
            let answer = Mutex<GRPCStatus??>(nil)
            world.admission.prepare([foreign], of: .secret, for: stream, node: web) { status in
                answer.withLock { $0 = .some(status) }
            }
            #expect(answer.withLock { $0 }??.code == expected)
            let view = world.directory.cache.view(of: web)
            #expect(world.directory.cache.snapshot(of: view)?[.secret].resource(named: foreign) == nil)
            // The bundle is everybody's.
            world.admission.prepare(["ROOTCA", "spiffe://mesh.test"], of: .secret, for: stream, node: web) { status in
                answer.withLock { $0 = .some(status) }
            }
            #expect(answer.withLock { $0 } == .some(nil))
            world.admission.ended(stream)
        }
        #expect(world.directory.counts.streams == 0)
    }

    @Test func aCertificateWithoutAnIdentityIsForThoseWhoseAuthorityTheOperatorGave() throws {
        let unnamed = try openSSLCertificate()
        let origin = CallOrigin(transport: .mtls, peer: "10.0.0.1:1", certificates: [unnamed])
        #expect(try World().admit(origin).text == "UNAUTHENTICATED certificate")
        let world = try World(admitsNamedCertificates: true)
        #expect(world.admit(origin).text == "as certificate:proxy.test")
        // It sees what users made, and no one's identity.
        world.directory.show(
            try Snapshot([Resource(.secret, name: "gateway", body: [1])]), as: "all")
        let view = world.directory.cache.view(of: Node(id: "n", principal: "certificate:proxy.test"))
        #expect(world.directory.cache.snapshot(of: view)?[.secret].names == ["gateway"])
    }

    @Test func tenThousandWrongTokensOfOnePeerAreSlowedAndBounded() throws {
        let world = try World()
        var delays: [Duration] = []
        for _ in 0..<10_000 {
            let stream = StreamToken()
            let refusal = try #require(world.admit(tls, token: "Bearer wrong", stream: stream).refusal)
            delays.append(refusal.delay)
            world.admission.ended(stream)
        }
        #expect(delays[0] == .zero)
        #expect(Array(delays[1..<8]) == [1, 2, 4, 8, 16, 30, 30].map { Duration.seconds($0) })
        // So many were looked at, and no more while they wait for their answers.
        #expect(world.tokens.redeemed.withLock { $0 } == RefusalDelays.mostPending + 1)
        #expect(world.admit(tls, token: "Bearer token-of-web").text == "RESOURCE_EXHAUSTED throttled")
        // Others are not slowed, and who has a certificate is not either.
        let other = CallOrigin(transport: .tls, peer: "10.0.0.10:1")
        #expect(world.admit(other, token: "Bearer token-of-web").text.hasPrefix("as"))
        let certified = CallOrigin(
            transport: .mtls, peer: tls.peer, certificates: [try world.authority.issue("web").leaf.der])
        #expect(world.admit(certified).text.hasPrefix("as"))
        world.clock.advance(.seconds(31))
        #expect(world.admit(tls, token: "Bearer token-of-web").text.hasPrefix("as"))
    }

    @Test func aCrowdOfRefusedPeersTakesBoundedMemory() {
        var delays = RefusalDelays()
        for host in 0..<20_000 {
            for _ in 0..<2 { _ = delays.refuse("10.\(host)", now: Instant(nanoseconds: 0)) }
        }
        #expect(delays.counts.throttled <= RefusalDelays.mostHosts)
        #expect(delays.counts.pending <= RefusalDelays.mostHosts + 1)
    }
}
