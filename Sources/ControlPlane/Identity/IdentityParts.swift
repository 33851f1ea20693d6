import Certificates
import Discovery
import EnvoyAPI
import GRPC
import Identity
import Logging
import Reactor
import Store
import TLS
import Time

/// What a control plane has to do with identities, put together: the authority, join tokens, and who is believed.
struct IdentityParts: Sendable {
    let authenticator: MeshAuthenticator
    /// nil: an authority elsewhere made what the TLS port shows.
    let authority: OnControlThread<CertificateAuthority>?
    private let desk: AuthorityDesk?
    /// What the TLS port shows; nil without an authority here.
    let portSource: TLSSource?
    let ledger: OnControlThread<JoinTokenLedger>
    private let tokens: JoinTokenDesk
    private let mailbox: Mailbox<NoConnections>
    private let clock: @Sendable () -> Timestamp

    /// On the control thread's loop, before it runs.
    init(
        _ configuration: ControlPlaneServer.Configuration, store: Store, secrets: SecretDirectory,
        loop: EventLoop<NoConnections>
    ) throws {
        clock = configuration.authority.clock
        mailbox = loop.mailbox
        let ledger = try JoinTokenLedger(store: store)
        self.ledger = OnControlThread(ledger)
        tokens = JoinTokenDesk(trustDomain: secrets.trustDomain, clock: clock)
        tokens.open(loop.mailbox, ledger: self.ledger)
        authenticator = MeshAuthenticator(trustDomain: secrets.trustDomain, tokens: tokens, clock: clock)
        guard configuration.tls?.files == nil else {
            (authority, desk, portSource) = (nil, nil, nil)
            return
        }
        let authority = try CertificateAuthority(
            configuration.authority, store: store, dataDirectory: configuration.dataDirectory, secrets: secrets,
            logger: configuration.logger)
        secrets.attach(authority.desk)
        authority.start(on: loop)
        self.authority = OnControlThread(authority)
        desk = authority.desk
        portSource = authority.port?.source
    }

    /// What is served beside xDS.
    func services(operators: Set<String>, logger: Logger) -> [any Service] {
        var services: [any Service] = [
            JoinTokenService(mailbox: mailbox, ledger: ledger, operators: operators, clock: clock, logger: logger)
        ]
        if let authority, let desk {
            services.append(
                AuthorityService(
                    mailbox: mailbox, authority: OnControlThread(authority.value), operators: operators, clock: clock,
                    logger: logger))
            let refusals = CallRefusals(mailbox, logger: logger)
            services.append(CertificateService(authenticator: authenticator, desk: desk, refusals: refusals))
            services.append(IdentityService(authenticator: authenticator, desk: desk, refusals: refusals))
        }
        return services
    }

    /// Full names of ``services(operators:logger:)``.
    static func serviceNames(hasAuthority: Bool) -> [String] {
        let always = [ControlJoinTokens.name]
        return hasAuthority
            ? always + [ControlAuthority.name, IstioCertificateService.name, WorkloadIdentity.name] : always
    }

    /// Answers what waits, before the control thread ends.
    func stop() {
        tokens.close()
        guard let authority else { return }
        desk?.close()
        _ = mailbox.submit { _ in authority.value.stop() }
    }
}
