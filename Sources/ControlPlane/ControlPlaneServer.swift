import Certificates
import Discovery
import EnvoyAPI
import GRPC
import Glibc
import Identity
import Logging
import Reactor
import Store
import Synchronization
import TLS
import Time
import XDS

/// A control plane in one process: sources of resources, the xDS server, and the services beside it.
public final class ControlPlaneServer: Sendable {
    /// What to serve, and where.
    public struct Configuration: Sendable {
        public var dataDirectory: String
        /// A tree of files in Envoy's own form; nil: only what was applied.
        public var resourcesDirectory: String?
        /// A tree of Kubernetes, Istio and Gateway API objects that is the mesh; nil: what users apply is.
        public var meshDirectory: String?
        /// nil: off.
        public var plaintext: Reactor.SocketAddress?
        /// nil: off.
        public var tls: TLSPort?
        /// The certificate authority, and the trust domain: proxies that show a certificate of another are refused.
        public var authority: AuthorityConfiguration
        /// Dangling references are errors.
        public var isStrict = false
        /// How long proxies have to answer to a revision that not all have yet.
        public var rolloutPatience = Rollout.Patience()
        /// Event loops that serve proxies, each on its own thread.
        public var loops = 1
        public var logger: Logger

        public init(dataDirectory: String, authority: AuthorityConfiguration, logger: Logger) {
            self.dataDirectory = dataDirectory
            self.authority = authority
            self.logger = logger
        }
    }

    /// Where TLS is served.
    public struct TLSPort: Sendable {
        public var address: Reactor.SocketAddress
        /// PEM files of an authority elsewhere; nil: this control plane has an authority of its own.
        public var files: TLSPortFiles?
        /// URI or DNS names of the client certificates that may use the control service.
        public var operators: Set<String>

        public init(_ address: Reactor.SocketAddress, files: TLSPortFiles? = nil, operators: Set<String> = []) {
            self.address = address
            self.files = files
            self.operators = operators
        }
    }

    /// PEM files for the TLS port.
    public struct TLSPortFiles: Hashable, Sendable {
        /// The leaf first, then the intermediates.
        public var certificate: String
        public var key: String
        /// The anchors that client certificates must lead to.
        public var clientAuthorities: String

        public init(certificate: String, key: String, clientAuthorities: String) {
            self.certificate = certificate
            self.key = key
            self.clientAuthorities = clientAuthorities
        }
    }

    /// What the operating system asked for.
    public enum Signal: Sendable {
        /// SIGTERM or SIGINT: end, in order.
        case end
    }

    /// Bytes of one request on the Unix socket: whole configurations are applied in one.
    public static let controlMessageSize = 256 << 20

    private let directory: DataDirectory
    private let control: EventLoopGroup<NoConnections>
    private let identity: IdentityParts
    private let server: DiscoveryServer
    private let reference: ServerReference
    private let health: HealthService
    private let logger: Logger

    /// Reads everything, and serves on threads of its own until ``drain(grace:)``.
    /// - Parameter signalled: called on the control thread.
    /// - Throws: what keeps it from serving, with the mend: a ``StartProblem``.
    public init(_ configuration: Configuration, signalled: @escaping @Sendable (Signal) -> Void) throws(StartProblem) {
        let logger = configuration.logger
        self.logger = logger
        let reference = ServerReference()
        self.reference = reference
        let health = HealthService(
            names: DiscoveryServer.servedServices + [
                ControlControl.name, ControlMesh.name, ClientStatusDiscoveryService.name, AccessLogService.name,
                LoadReportingService.name, HealthDiscoveryService.name, GrpcHealth.name,
                ServerReflection.name,
                ServerReflectionAlpha.name,
            ] + IdentityParts.serviceNames(hasAuthority: configuration.tls?.files == nil))
        self.health = health
        (directory, control, identity, server) = try StartProblem.wrap {
            let secrets = SecretDirectory(trustDomain: configuration.authority.trustDomain, logger: logger)
            let directory = try DataDirectory(configuration.dataDirectory)
            let store = try Store(directory: configuration.dataDirectory)
            let (events, answers) = (StreamEvents(), AnswerBell())
            let made = Mutex<LoopParts?>(nil)
            let control = try EventLoopGroup<NoConnections>(count: 1, name: "control") { loop, _ in
                var sourceConfiguration = ResourceSource.Configuration(directory: configuration.resourcesDirectory)
                sourceConfiguration.isStrict = configuration.isStrict
                sourceConfiguration.logger = logger
                let source = ResourceSource(store: store, configuration: sourceConfiguration, secrets: secrets)
                try source.start(on: loop)
                for problem in source.problems { logger.log(level: problem.level, "\(problem)") }
                let files = try configuration.tls?.files.map { try TLSFiles(TLSFiles.Paths($0), logger: logger) }
                files?.watch(on: loop)
                let identity = try IdentityParts(configuration, store: store, secrets: secrets, loop: loop)
                let mesh = try MeshParts(
                    configuration, store: store, secrets: secrets, resources: source, events: events,
                    answers: answers, server: reference, loop: loop)
                try loop.onSignals([SIGTERM, SIGINT, SIGHUP]) { signal in
                    guard signal == SIGHUP else { return signalled(.end) }
                    logger.info("reading everything again", metadata: ["signal": "SIGHUP"])
                    source.rescan()
                    mesh.source.rescan()
                    files?.reload(isForced: true)
                }
                let thread = ControlThread(mailbox: loop.mailbox, source: OnControlThread(source))
                let parts = LoopParts(
                    thread: thread, identity: identity, mesh: OnControlThread(mesh),
                    tls: files?.source ?? identity.portSource)
                made.withLock { $0 = parts }
            }
            guard let parts = made.withLock({ $0 }) else { preconditionFailure("a loop was set up") }
            do {
                let server = try Self.serve(
                    configuration, secrets, parts, events: events, answers: answers, reference: reference,
                    health: health)
                return (directory, control, parts.identity, server)
            } catch {
                control.stop()
                control.join()
                throw error
            }
        }
        reference.set(server)
        // Scopes may have come between the first scan and now.
        server.assignViewsAgain()
    }

    /// What is made on the control thread.
    private struct LoopParts: Sendable {
        var thread: ControlThread
        var identity: IdentityParts
        var mesh: OnControlThread<MeshParts>
        var tls: TLSSource?
    }

    private static func serve(
        _ configuration: Configuration, _ secrets: SecretDirectory, _ parts: LoopParts, events: StreamEvents,
        answers: AnswerBell, reference: ServerReference, health: HealthService
    ) throws -> DiscoveryServer {
        let logger = configuration.logger
        var listeners = [
            DiscoveryServer.Listener(
                .unix(path: DataDirectory.controlSocket(in: configuration.dataDirectory)),
                messageSize: controlMessageSize)
        ]
        if let address = configuration.plaintext { listeners.append(DiscoveryServer.Listener(address)) }
        if let port = configuration.tls, let tls = parts.tls {
            listeners.append(DiscoveryServer.Listener(port.address, tls: tls))
        }
        var serving = DiscoveryServer.Configuration()
        serving.loops = configuration.loops
        serving.answers = answers
        serving.logger = logger
        var rules = MeshAdmission.Configuration(logger: logger)
        // The operator's own authority for client certificates says who belongs here.
        rules.admitsNamedCertificates = configuration.tls?.files != nil
        rules.began = { events.note(.began($0, $1)) }
        rules.listening = { events.note(.listening($0)) }
        rules.ended = { events.note(.ended($0)) }
        serving.admission = MeshAdmission(parts.identity.authenticator, directory: secrets, configuration: rules)
        let operators = configuration.tls?.operators ?? []
        let control = ControlService(thread: parts.thread, server: reference, operators: operators, logger: logger)
        let mesh = MeshService(
            mailbox: parts.thread.mailbox, source: OnControlThread(parts.mesh.value.source), operators: operators,
            logger: logger)
        let clientStatus = ClientStatusService(thread: parts.thread, server: reference, operators: operators)
        let checks = HealthDiscovery(
            mailbox: parts.thread.mailbox, desk: OnControlThread(parts.mesh.value.health),
            authenticator: parts.identity.authenticator,
            refusals: CallRefusals(parts.thread.mailbox, logger: logger))
        let services: [any Service] =
            [control, mesh, clientStatus, health, checks, AccessLogSink(), LoadReportSink(parts.mesh.value.loads)]
            + parts.identity.services(operators: operators, logger: logger)
        let reflection = ReflectionService(
            served: DiscoveryServer.servedServices + services.flatMap { $0.methods.map(\.serviceName) })
        return try DiscoveryServer(
            secrets.cache, on: listeners, configuration: serving, services: services + [reflection])
    }

    /// Tells proxies to go elsewhere, and returns when they have gone or `grace` has passed.
    public func drain(grace: Duration) {
        health.stop()
        server.drain(grace: grace)
        reference.set(nil)
        identity.stop()
        control.stop()
        control.join()
    }
}

extension TLSFiles.Paths {
    fileprivate init(_ files: ControlPlaneServer.TLSPortFiles) {
        self.init(certificate: files.certificate, key: files.key, clientAuthorities: files.clientAuthorities)
    }
}

extension ResourceSource.Problem {
    fileprivate var level: Logger.Level {
        switch severity {
        case .error: .error
        case .warning: .warning
        }
    }
}

extension GRPCMethod {
    /// `package.Service` of `/package.Service/Method`.
    fileprivate var serviceName: String { String(path.dropFirst().prefix { $0 != "/" }) }
}

/// Why a control plane cannot serve: what, where, and the mend.
public struct StartProblem: Error, Hashable, Sendable, CustomStringConvertible {
    public var description: String
    public var hint: String

    public init(_ description: String, hint: String) {
        self.description = description
        self.hint = hint
    }

    static func wrap<Result>(_ body: () throws -> Result) throws(StartProblem) -> Result {
        do {
            return try body()
        } catch let error as StartProblem {
            throw error
        } catch let error as ReactorError {
            throw StartProblem("\(error)", hint: error.hint)
        } catch let error as TLSError {
            throw StartProblem("\(error)", hint: error.hint)
        } catch let error as StoreError {
            throw StartProblem("\(error)", hint: error.hint)
        } catch let error as ResourceSourceError {
            throw StartProblem("\(error)", hint: error.hint)
        } catch let error as AuthorityFileError {
            throw StartProblem("\(error)", hint: error.hint)
        } catch let error as CertificateError {
            throw StartProblem("\(error)", hint: error.hint)
        } catch let error as PolicyError {
            throw StartProblem("\(error)", hint: error.hint)
        } catch let error as DataDirectory.Problem {
            throw StartProblem("\(error)", hint: error.hint)
        } catch {
            throw StartProblem("\(error)", hint: "see the reason above")
        }
    }
}
