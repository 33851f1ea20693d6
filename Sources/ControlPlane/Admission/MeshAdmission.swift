import Certificates
import Discovery
import GRPC
import Identity
import Logging
import Metrics
import Reactor
import Synchronization
import Time
import Translation
import XDS

/// Redeems join tokens: durably, on another thread than the caller's.
public protocol TokenRedeeming: Sendable {
    /// - Parameters:
    ///   - node: `node.id` of who joins; one that joined with the token before does not use it up again.
    ///   - objection: why the bearer, who would be this identity, is refused all the same: then the token is not used
    ///     up. Must be cheap; called from any thread.
    ///   - completion: called once, from any thread, with the identity that the token stands for.
    func redeem(
        _ token: String, node: String, objection: @escaping Objection,
        completion: @escaping @Sendable (Result<SPIFFEID, StreamRefusal>) -> Void)
}

/// What speaks against a caller who has proved to be an identity: claims that say otherwise, a request that is not for
/// it. nil: nothing.
public typealias Objection = @Sendable (SPIFFEID) -> StreamRefusal?

/// Finds out who calls. Streams of xDS and calls of other services prove themselves alike.
public struct MeshAuthenticator: Sendable {
    public let trustDomain: TrustDomain
    /// nil: there are no join tokens.
    public let tokens: (any TokenRedeeming)?
    /// This machine's clock, UTC.
    public let clock: @Sendable () -> Timestamp

    /// How long a certificate that has expired is still a proof on a connection that it opened: clocks differ, and the
    /// next one may be on its way.
    public static let grace = Duration.seconds(60)

    public init(
        trustDomain: TrustDomain, tokens: (any TokenRedeeming)? = nil,
        clock: @escaping @Sendable () -> Timestamp = { .systemClock() }
    ) {
        self.trustDomain = trustDomain
        self.tokens = tokens
        self.clock = clock
    }

    /// - Parameters:
    ///   - node: the id that the peer gives itself, for the use of a token; empty for who is no node.
    ///   - objection: refuses who has proved himself, before a token is used up.
    ///   - completion: called once, from any thread, with the identity that was proved.
    public func authenticate(
        _ origin: CallOrigin, _ metadata: GRPCMetadata, node: String, objection: @escaping Objection = { _ in nil },
        completion: @escaping @Sendable (Result<SPIFFEID, StreamRefusal>) -> Void
    ) {
        do throws(StreamRefusal) {
            authenticate(
                try PeerProof(origin, metadata), origin, node: node, objection: objection, completion: completion)
        } catch {
            completion(.failure(error))
        }
    }

    func authenticate(
        _ proof: PeerProof, _ origin: CallOrigin, node: String, objection: @escaping Objection,
        completion: @escaping @Sendable (Result<SPIFFEID, StreamRefusal>) -> Void
    ) {
        if let refusal = expiry(of: proof) { return completion(.failure(refusal)) }
        switch proof {
        case .none: completion(.failure(.noProof(over: origin.transport)))
        case .namedCertificate(let name, _): completion(.failure(.noIdentity(in: name)))
        case .certificate(let identity, _):
            guard identity.trustDomain == trustDomain else {
                return completion(.failure(StreamRefusal(.otherTrustDomain(identity, ours: trustDomain))))
            }
            completion(objection(identity).map { .failure($0) } ?? .success(identity))
        case .token(let token):
            guard let tokens else { return completion(.failure(.noTokens)) }
            tokens.redeem(token, node: node, objection: objection, completion: completion)
        }
    }

    /// A certificate was valid when its connection began, or when the session began that the connection resumes.
    func expiry(of proof: PeerProof) -> StreamRefusal? {
        guard let end = proof.notAfter, end + Self.grace <= clock() else { return nil }
        return .expired(at: end)
    }
}

/// Who may open xDS streams in a mesh, and what each stream may know.
///
/// - Over plaintext and the Unix socket nobody proves anything: a stream gets the configuration of its class and no
///   secrets.
/// - Over TLS every peer proves who it is, by a join token or a certificate of the mesh, and what the node says of
///   itself must agree with it. A stream ends ``MeshAuthenticator/grace`` after the certificate that opened it; a token
///   that is revoked or past opens no more streams, and those that it opened go on.
public final class MeshAdmission: Admission {
    public struct Configuration: Sendable {
        /// Whether a certificate that names no identity is enough, as it is where the operator gave an authority for
        /// client certificates of its own: such a proxy gets what users made, and no identity.
        public var admitsNamedCertificates = false
        /// Tells the time by which repeated refusals are slowed.
        public var clock: @Sendable () -> Instant = { EventLoop<NoConnections>.readClock() }
        /// Told of every stream that was let in, on any thread, with what it has proved; before its messages are read.
        public var began: @Sendable (StreamToken, Node) -> Void = { _, _ in }
        /// Told of every stream whose proxy has its listeners.
        public var listening: @Sendable (StreamToken) -> Void = { _ in }
        /// Told of the end of every stream that was asked about.
        public var ended: @Sendable (StreamToken) -> Void = { _ in }
        public var logger: Logger

        public init(logger: Logger) { self.logger = logger }
    }

    public let authenticator: MeshAuthenticator
    private let directory: SecretDirectory
    private let configuration: Configuration
    private let state = Mutex(State())

    private struct State: Sendable {
        /// The streams that were asked about, and the services that they called.
        var streams: [StreamToken: DiscoveryService] = [:]
        var delays = RefusalDelays()
        var logLimit = LogLimit()
    }

    /// Secrets of others that were asked for, and secrets that were asked for by who has proved nothing.
    private let claimsRefused = Counter(label: "martinet_node_claims_refused_total")
    private let secretsRefused = [true, false].map {
        Counter(label: "martinet_secrets_refused_total", dimensions: [("reason", $0 ? "foreign" : "no_identity")])
    }

    public init(_ authenticator: MeshAuthenticator, directory: SecretDirectory, configuration: Configuration) {
        self.authenticator = authenticator
        self.directory = directory
        self.configuration = configuration
    }

    public func admit(_ applicant: Applicant, decide: @escaping @Sendable (AdmissionDecision) -> Void) {
        let (host, clock) = (applicant.origin.host, configuration.clock)
        consider(applicant) { [self] decision in
            guard case .refused(var refusal) = decision else {
                if applicant.origin.transport == .tls { state.withLock { $0.delays.admit(host) } }
                return decide(decision)
            }
            refusal.delay = state.withLock { $0.delays.refuse(host, now: clock()) }
            decide(.refused(refusal))
        }
    }

    private func consider(_ applicant: Applicant, decide: @escaping @Sendable (AdmissionDecision) -> Void) {
        state.withLock { $0.streams[applicant.stream] = applicant.service }
        directory.expect(applicant.stream)
        let origin = applicant.origin
        let proof: PeerProof
        do throws(StreamRefusal) {
            proof = try PeerProof(origin, applicant.metadata)
        } catch {
            return decide(.refused(error))
        }
        switch (proof, origin.transport) {
        case (.none, .unix), (.none, .plaintext):
            guard applicant.service != .single(.secret) else {
                return decide(.refused(.secretsOver(origin.transport)))
            }
            noteClaims(of: applicant.node, origin)
            configuration.began(applicant.stream, applicant.node)
            decide(.admitted(principal: nil))
        case (.namedCertificate(let name, let end), _) where configuration.admitsNamedCertificates:
            if let refusal = authenticator.expiry(of: proof) { return decide(.refused(refusal)) }
            letIn(applicant, as: "certificate:\(name)", until: end, decide)
        case (.token, _) where isThrottled(origin.host): decide(.refused(.throttled))
        default:
            let objection: Objection = { [self] in self.objection(to: applicant, as: $0) }
            authenticator.authenticate(proof, origin, node: applicant.node.id, objection: objection) {
                [self] result in
                switch result {
                case .success(let identity):
                    letIn(applicant, as: "\(identity)", until: proof.notAfter, decide)
                case .failure(let refusal): decide(.refused(refusal))
                }
            }
        }
    }

    private func isThrottled(_ host: String) -> Bool {
        let now = configuration.clock()
        return state.withLock { $0.delays.isThrottled(host, now: now) }
    }

    private func letIn(
        _ applicant: Applicant, as principal: String, until end: Timestamp?,
        _ decide: @Sendable (AdmissionDecision) -> Void
    ) {
        var node = applicant.node
        node.principal = principal
        directory.enter(applicant.stream, node)
        noteClaims(of: node, applicant.origin)
        configuration.began(applicant.stream, node)
        let deadline = end.map { end in
            configuration.clock().advanced(by: end + MeshAuthenticator.grace - authenticator.clock())
        }
        decide(.admitted(principal: principal, until: deadline))
    }

    /// Who would be part of the mesh and cannot be understood is served raw resources alone: that is told.
    private func noteClaims(of node: Node, _ origin: CallOrigin) {
        let isOfMesh =
            node.id.split(separator: "~", omittingEmptySubsequences: false).count == 4
            || node.metadata.keys.contains(where: Translation.NodeClaims.metadataNames.contains)
        guard isOfMesh else { return }
        do throws(NodeClaimError) {
            _ = try Translation.NodeClaims(node)
        } catch {
            claimsRefused.increment()
            let now = configuration.clock()
            guard let withheld = state.withLock({ $0.logLimit.line(of: origin.host, now: now) }) else { return }
            configuration.logger.warning(
                "no part of the mesh: \(error)",
                metadata: [
                    "node": "\(node.id.prefix(200))", "peer": "\(origin.peer)",
                    "proved": "\(node.principal ?? "nothing")", "lines withheld": "\(withheld)",
                ])
        }
    }

    public func prepare(
        _ names: [String], of type: ResourceType, for stream: StreamToken, node: Node,
        ready: @escaping @Sendable (GRPCStatus?) -> Void
    ) {
        let isOnlySecrets = state.withLock { $0.streams[stream] } == .single(.secret)
        let foreign = names.filter { directory.isForeign($0, to: node) }
        if !foreign.isEmpty || node.principal == nil { noteRefused(foreign, node) }
        if isOnlySecrets, let name = foreign.first {
            return ready(StreamRefusal.foreignSecret(name, of: node.principal).status)
        }
        guard let holder = node.holder else { return ready(nil) }
        directory.asked(holder, stream, names)
        // Who subscribes to everything sees what is there, and has nothing made: an agent brings its own key.
        let own = [SecretDirectory.certificateName, "\(holder.identity)"]
        guard names.contains(where: own.contains) else { return ready(nil) }
        directory.prepareIdentity(of: holder, ready)
    }

    /// On an aggregated stream such secrets are missing: all else that it asks for is served.
    private func noteRefused(_ foreign: [String], _ node: Node) {
        secretsRefused[foreign.isEmpty ? 1 : 0].increment()
        let (who, now) = (node.principal ?? "nobody", configuration.clock())
        guard let withheld = state.withLock({ $0.logLimit.line(of: who, now: now) }) else { return }
        configuration.logger.warning(
            "secrets were asked for and are not given",
            metadata: [
                "node": "\(node.id)", "proved": "\(who)", "lines withheld": "\(withheld)",
                "names":
                    "\(foreign.isEmpty ? "all" : foreign.prefix(5).map { String($0.prefix(200)) }.joined(separator: ", "))",
            ])
    }

    public func answered(_ stream: StreamToken, node: Node, holdings: TypeHoldings) {
        guard let holder = node.holder else { return }
        let names = directory.authorityNames(of: holder)
        directory.answered(
            holder, stream, SecretAnswer(entries: holdings.entries(named: names), refusal: holdings.refusal?.detail))
    }

    public func listening(_ stream: StreamToken) { configuration.listening(stream) }

    public func ended(_ stream: StreamToken) {
        state.withLock { _ = $0.streams.removeValue(forKey: stream) }
        directory.leave(stream)
        configuration.ended(stream)
    }
}

extension MeshAdmission {
    /// What a node says of itself must be what was proved; what it does not say is no contradiction. Who asks for
    /// secrets alone must ask for its own.
    private func objection(to applicant: Applicant, as identity: SPIFFEID) -> StreamRefusal? {
        var node = applicant.node
        func claim(_ key: String) -> String? {
            guard case .string(let text)? = node.metadata[key], !text.isEmpty else { return nil }
            return text
        }
        let claims = NodeClaims(
            id: node.id, namespace: claim("NAMESPACE"), serviceAccount: claim("SERVICE_ACCOUNT"))
        do throws(AdmissionRefusal) {
            _ = try claims.admitted(.certificate(identity), in: authenticator.trustDomain)
        } catch {
            return StreamRefusal(error)
        }
        node.principal = "\(identity)"
        guard applicant.service == .single(.secret),
            let foreign = applicant.secretNames?.first(where: { directory.isForeign($0, to: node) })
        else { return nil }
        noteRefused([foreign], node)
        return .foreignSecret(foreign, of: node.principal)
    }
}

extension StreamRefusal {
    /// A refusal as the peer hears of it.
    public init(_ refusal: AdmissionRefusal) {
        self.init(
            GRPCStatus(
                refusal.isUnauthenticated ? .unauthenticated : .permissionDenied, "\(refusal); \(refusal.hint)"),
            reason: refusal.reason)
    }
}

extension StreamRefusal {
    static func noProof(over transport: CallOrigin.Transport) -> StreamRefusal {
        StreamRefusal(
            GRPCStatus(
                .unauthenticated,
                "this call came over \(transport.rawValue) and proves nothing; show a client certificate of the mesh, or "
                    + "send `authorization: Bearer TOKEN` over TLS with a token of `martinet token create`"),
            reason: "no_proof")
    }

    static func noIdentity(in name: String) -> StreamRefusal {
        StreamRefusal(
            GRPCStatus(
                .unauthenticated,
                "the client certificate of \(name.prefix(200)) names no SPIFFE ID; show one of the mesh"),
            reason: "certificate")
    }

    static func expired(at end: Timestamp) -> StreamRefusal {
        StreamRefusal(
            GRPCStatus(
                .unauthenticated,
                "the client certificate of this connection expired \(end.utcText); connect again with a newer one"),
            reason: "certificate_expired")
    }

    static func foreignSecret(_ name: String, of principal: String?) -> StreamRefusal {
        StreamRefusal(
            GRPCStatus(
                .permissionDenied,
                "\(name.prefix(200)) is not the identity of this proxy (\(principal ?? "none")); ask for "
                    + "`\(SecretDirectory.certificateName)`"),
            reason: "foreign_secret")
    }

    static let throttled = StreamRefusal(
        GRPCStatus(
            .resourceExhausted,
            "too many proxies of this address were refused and wait for their answer: the token was not looked at; "
                + "mend what is refused, and connect again later"),
        reason: "throttled")

    static let noTokens = StreamRefusal(
        GRPCStatus(.unauthenticated, "this server takes no join tokens; show a client certificate of the mesh"),
        reason: "token")

    static func secretsOver(_ transport: CallOrigin.Transport) -> StreamRefusal {
        StreamRefusal(
            GRPCStatus(
                .permissionDenied,
                "secrets are not served over \(transport.rawValue); use the TLS port with a join token or a client "
                    + "certificate"),
            reason: "plaintext")
    }
}
