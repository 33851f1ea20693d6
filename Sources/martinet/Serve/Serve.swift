import ArgumentParser
import Console
import ControlPlane
import Foundation
import Logging
import Reactor
import Synchronization

struct Serve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run the control plane: serve configuration to proxies until told to end.",
        discussion: """
            Proxies connect to the plaintext port or, with proof of who they are, to the TLS port, and get the \
            resources that are for them: those in files below --resources, and those that `martinet apply` has set. \
            Both are followed: a change reaches every proxy that it concerns as one new snapshot. Over TLS they get \
            certificates of their identity too, from the authority in the data directory.

            OBJECTS
              `martinet apply` takes Kubernetes, Istio and Gateway API objects, and keeps them in revisions in the \
            data directory. With --config DIR the files below a directory are the objects instead: they are read \
            again whenever they change, all of them or, if anything is wrong in one, none, so that the last good \
            state stays in force. Each change is a revision by `directory`; apply, edit, delete and rollback are \
            refused then.

            RESOURCES
              Files end in .yaml, .yml or .json and are in Envoy's own form: a list `resources:` whose elements have \
            `@type`. Those in a folder named node-cluster=NAME or node-id=ID are for these proxies only, all others \
            are for all. A file with an error is reported, and what it said before stays in force.

            PORTS
              Each takes HOST:PORT or `off`. Plaintext has no authentication: anything but a loopback address needs \
            --allow-plaintext, and there are no secrets over it. Over TLS everyone shows a client certificate of the \
            mesh or a token of `martinet token create`.
              The TLS port shows a certificate of the authority in the data directory; clients find its root in \
            ca/root-cert.pem there. With --tls-cert, --tls-key and --tls-client-ca an authority elsewhere makes all \
            certificates, and everyone must show one; the three files are read again when they change.
              The commands `apply`, `get`, `status` and their like come through the Unix socket control.sock in the \
            data directory, which only its owner can open, or through the TLS port from those whom --operator names.

            SIGNALS
              SIGTERM, SIGINT  End: proxies are told to connect elsewhere, for 10 seconds at most.
              SIGHUP           Read all files again.

            EXAMPLES
              On one machine, beside Envoy:
                martinet serve --resources ./resources
              For proxies on other machines, with a name of this one that they know:
                martinet serve --resources /etc/martinet/resources --tls-name control.example.org
              With certificates from elsewhere:
                martinet serve --resources /etc/martinet/resources --tls-cert server.pem --tls-key server.key \\
                  --tls-client-ca mesh-ca.pem

            EXIT CODES
              0   It was told to end.
              1   It cannot serve: a port in use, an unreadable file, a data directory that another one holds.
              64  The command line is wrong.
            """)

    @OptionGroup var dataOptions: DataOptions

    @Option(
        help: ArgumentHelp(
            "Directory of Kubernetes, Istio and Gateway API objects that is the mesh. Without it objects are applied.",
            valueName: "dir"))
    var config: String?

    @Option(
        help: ArgumentHelp("Directory of resource files. Without it there is only what is applied.", valueName: "dir"))
    var resources: String?

    @Option(help: ArgumentHelp("Where to serve xDS in plaintext.", valueName: "host:port|off"))
    var xdsPlaintext = "127.0.0.1:15010"

    @Flag(help: "Serve plaintext on an address that other machines can reach.")
    var allowPlaintext = false

    @Option(
        help: ArgumentHelp(
            "Where to serve xDS, certificates and control over TLS.", valueName: "host:port|off"))
    var xdsTls = "0.0.0.0:15012"

    @Option(help: ArgumentHelp("PEM file of the server's certificate, with its intermediates.", valueName: "file"))
    var tlsCert: String?

    @Option(help: ArgumentHelp("PEM file of the server's private key.", valueName: "file"))
    var tlsKey: String?

    @Option(help: ArgumentHelp("PEM file of the authorities that sign client certificates.", valueName: "file"))
    var tlsClientCa: String?

    @Option(
        name: .customLong("operator"),
        help: ArgumentHelp(
            "A URI or DNS name in a client certificate that may change and show what is here over TLS; "
                + "repeatable. (default: nobody)", valueName: "name"))
    var operators: [String] = []

    @OptionGroup(title: "Certificate authority") var authorityOptions: AuthorityOptions

    @Option(help: ArgumentHelp("Where to serve /metrics, /healthz and /readyz over HTTP.", valueName: "host:port|off"))
    var http = "127.0.0.1:15014"

    @Flag(help: "Refuse configurations with dangling references, instead of warning of them.")
    var strict = false

    @Option(help: ArgumentHelp("Threads that serve proxies. (default: one per processor, up to 8)", valueName: "n"))
    var loops: Int?

    @Option(
        help: ArgumentHelp(
            "Least severe events to log: trace, debug, info, notice, warning, error or critical.", valueName: "level"))
    var logLevel: LogLevel = .info

    @Option(help: ArgumentHelp("How to log, to standard error: text or json.", valueName: "format"))
    var logFormat: LineLog.Format = .text

    /// How long proxies may take to go.
    static let grace = Duration.seconds(10)

    func validate() throws {
        _ = try ports()
        if let loops, !(1...64).contains(loops) { throw ValidationError("--loops must be 1 to 64") }
    }

    func run() async throws {
        let ports = try ports()
        // A log that nobody reads any more must not end the server.
        signal(SIGPIPE, SIG_IGN)
        raiseDescriptorLimit()
        let (format, level) = (logFormat, logLevel.level)
        LoggingSystem.bootstrap { label in
            LineLog(label: label, format: format, level: level) { Terminal.errors.write($0) }
        }
        let registry = PrometheusRegistry()
        registry.install()
        let logger = Logger(label: "martinet")

        var configuration = ControlPlaneServer.Configuration(
            dataDirectory: dataOptions.directory, authority: try authorityOptions.configuration(), logger: logger)
        configuration.resourcesDirectory = resources
        configuration.meshDirectory = config
        configuration.plaintext = ports.plaintext
        configuration.tls = ports.tls
        configuration.isStrict = strict
        configuration.loops = loops ?? min(8, max(1, ProcessInfo.processInfo.activeProcessorCount))
        let (signals, signalled) = AsyncStream.makeStream(of: ControlPlaneServer.Signal.self)
        let plane: ControlPlaneServer
        do {
            plane = try ControlPlaneServer(configuration) { signalled.yield($0) }
        } catch {
            throw CommandProblem(lines: "\(error)".split(separator: "\n").map(String.init), hint: error.hint)
        }
        announce(ports, configuration, logger)
        let readiness = Mutex(Console.Readiness.ready)
        let console: Task<Void, Never>?
        do {
            console = try await startConsole(ports, registry, logger) { readiness.withLock { $0 } }
        } catch {
            plane.drain(grace: .zero)
            throw error
        }

        for await _ in signals { break }
        logger.info("ending: proxies are told to connect elsewhere", metadata: ["grace": "\(Self.grace)"])
        readiness.withLock { $0 = .notReady(because: "ending") }
        let impatience = Task.detached {
            for await _ in signals { Foundation.exit(1) }
        }
        plane.drain(grace: Self.grace)
        impatience.cancel()
        console?.cancel()
        logger.info("ended")
    }

    /// Serves pages in a task of their own, from before this returns.
    private func startConsole(
        _ ports: Ports, _ registry: PrometheusRegistry, _ logger: Logger,
        readiness: @escaping @Sendable () -> Console.Readiness
    ) async throws -> Task<Void, Never>? {
        guard let address = ports.http else { return nil }
        let process = ProcessMetrics(version: martinetVersion)
        let console = Console(registry: registry, readiness: readiness, refresh: { process.refresh() })
        var quiet = Logger(label: "martinet.http")
        // It logs its own end as an error; what matters comes as an error that is thrown.
        quiet.logLevel = .critical
        let httpLogger = quiet
        let (outcomes, outcome) = AsyncStream.makeStream(of: Console.ListenProblem?.self)
        let task = Task {
            do {
                try await console.serve(host: address.host, port: address.port, logger: httpLogger) { _ in
                    outcome.yield(nil)
                }
            } catch let problem as Console.ListenProblem {
                outcome.yield(problem)
            } catch {
                // Cancelled: the end.
            }
        }
        for await problem in outcomes {
            if let problem { throw CommandProblem(problem.description, hint: problem.hint) }
            break
        }
        logger.info("serving HTTP", metadata: ["address": "\(http)", "paths": "/metrics /healthz /readyz"])
        return task
    }

    private func announce(_ ports: Ports, _ configuration: ControlPlaneServer.Configuration, _ logger: Logger) {
        logger.info(
            "serving control",
            metadata: ["socket": "\(DataDirectory.controlSocket(in: configuration.dataDirectory))"])
        if let address = ports.plaintext {
            logger.info("serving xDS in plaintext", metadata: ["address": "\(address)"])
        } else {
            logger.info("xDS in plaintext is off")
        }
        if let tls = ports.tls {
            logger.info("serving xDS, certificates and control over TLS", metadata: ["address": "\(tls.address)"])
        } else {
            logger.info("xDS over TLS is off")
        }
    }

    /// Thousands of proxies are thousands of descriptors: as many as the system lets this user have.
    private func raiseDescriptorLimit() {
        var limit = rlimit()
        let kind = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        guard getrlimit(kind, &limit) == 0, limit.rlim_cur < limit.rlim_max else { return }
        limit.rlim_cur = limit.rlim_max
        _ = setrlimit(kind, &limit)
    }
}

// MARK: - Ports

extension Serve {
    struct Ports {
        var plaintext: SocketAddress?
        var tls: ControlPlaneServer.TLSPort?
        var http: (host: String, port: Int)?
    }

    /// - Throws: what is wrong with the options that say where to serve.
    private func ports() throws -> Ports {
        var ports = Ports()
        if let address = try Self.address(xdsPlaintext, of: "--xds-plaintext") {
            guard address.isLoopback || allowPlaintext else {
                throw ValidationError(
                    "--xds-plaintext \(xdsPlaintext) can be reached from other machines, and plaintext has no "
                        + "authentication; use 127.0.0.1, use the TLS port, or add --allow-plaintext")
            }
            ports.plaintext = address
        }
        ports.tls = try tlsPort()
        if let address = try Self.address(http, of: "--http") {
            // The address in the form that is looked up: without brackets and port.
            let text = "\(address)"
            let host = text.prefix(upTo: text.lastIndex(of: ":") ?? text.endIndex)
            ports.http = (host.trimmingCharacters(in: ["[", "]"]), Int(address.port ?? 0))
        }
        return ports
    }

    private func tlsPort() throws -> ControlPlaneServer.TLSPort? {
        let files = [("--tls-cert", tlsCert), ("--tls-key", tlsKey), ("--tls-client-ca", tlsClientCa)]
        let missing = files.filter { $0.1 == nil }.map(\.0)
        let given = files.filter { $0.1 != nil }.map(\.0)
        guard let address = try Self.address(xdsTls, of: "--xds-tls") else {
            guard given.isEmpty else { throw ValidationError("\(given[0]) has no use with --xds-tls off") }
            return nil
        }
        guard !given.isEmpty else { return ControlPlaneServer.TLSPort(address, operators: Set(operators)) }
        guard let certificate = tlsCert, let key = tlsKey, let authorities = tlsClientCa else {
            throw ValidationError("an authority elsewhere needs \(missing.joined(separator: " and ")) too")
        }
        return ControlPlaneServer.TLSPort(
            address,
            files: ControlPlaneServer.TLSPortFiles(
                certificate: certificate, key: key, clientAuthorities: authorities),
            operators: Set(operators))
    }

    /// - Returns: nil for `off`.
    private static func address(_ text: String, of option: String) throws -> SocketAddress? {
        if text == "off" { return nil }
        let isLocal = text.hasPrefix("localhost:")
        do throws(ReactorError) {
            let address = try SocketAddress(parsing: isLocal ? "127.0.0.1:" + text.dropFirst("localhost:".count) : text)
            guard !address.isUnix else { throw .badAddress(text, problem: "it is no port") }
            return address
        } catch {
            throw ValidationError("\(option): \(error); write HOST:PORT such as 127.0.0.1:15010, or off")
        }
    }
}

/// A level by its name.
enum LogLevel: String, ExpressibleByArgument, CaseIterable {
    case trace, debug, info, notice, warning, error, critical

    var level: Logger.Level {
        switch self {
        case .trace: .trace
        case .debug: .debug
        case .info: .info
        case .notice: .notice
        case .warning: .warning
        case .error: .error
        case .critical: .critical
        }
    }
}

extension LineLog.Format: ExpressibleByArgument {}
