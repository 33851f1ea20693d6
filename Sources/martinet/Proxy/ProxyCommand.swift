import Agent
import ArgumentParser
import DataPlane
import Foundation
import Logging
import Reactor

struct ProxyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "proxy",
        abstract: "Carry traffic: a sidecar or gateway that its control plane configures over xDS.",
        discussion: """
            Takes listeners, routes, clusters, endpoints and secrets over delta ADS, from `martinet serve` or any other \
            control plane of Envoy, and serves by them. What it cannot do is refused with the place in the resource \
            (`martinet status` shows it), and what served before goes on, also while the control plane is away. A \
            listener, route or cluster serves when what it needs is there, or 15 seconds later without.

            IDENTITY
              With --root-cert the control plane is reached over TLS. The proxy makes its own key, has the control \
            plane sign a certificate for it (for a join token, see `martinet token create`, later for the certificate \
            itself), and renews both at half of the certificate's life. The key stays in memory. Without --root-cert \
            the control plane is reached in plaintext, and there is no certificate.

            WHO IT IS
              What the command line does not say comes from the environment and the files of Kubernetes' downward API, \
            as Istio's template sets them: POD_NAME, POD_NAMESPACE, INSTANCE_IP, SERVICE_ACCOUNT, TRUST_DOMAIN, \
            ISTIO_META_WORKLOAD_NAME, ISTIO_META_INTERCEPTION_MODE, ISTIO_META_POD_PORTS and every other ISTIO_META_…, \
            and labels in /etc/istio/pod/labels or /etc/podinfo/labels.

            WHERE IT LISTENS
              Without interception, on --address for calls of others and on --outbound-address for those of its \
            application, at the ports of the services; applications use it as their HTTP proxy or by its address. With \
            --interception redirect, where `martinet intercept` leads connections: 15006 and 15001.

            ENVOY'S BOOTSTRAP
              --bootstrap FILE takes the node, the aggregated xDS server with its TLS and metadata, static resources \
            and the admin address from an Envoy bootstrap file. What it says otherwise is named in the log. Options of the \
            control plane and of who it is have no place beside it; the others win.

            ADMIN
              --admin serves Envoy's paths for people and scripts: /ready, /stats, /clusters, /certs, /config_dump, \
            /listeners, /logging, /reopen_logs, /drain_listeners, /healthcheck/fail, /healthcheck/ok, /quitquitquit, /server_info. \
            --stats serves /stats/prometheus and /healthz/ready alone, for the network.

            ANOTHER IN ITS PLACE
              With --hand-over DIR a proxy that is started with the same node takes the place of the one that runs: it gets \
            its listening sockets and its certificate over a Unix socket in DIR, which only this user can open, and accepts \
            connections beside it as soon as it serves; then it has the admin ports too, and the old one drains and ends \
            with 0. No connection is refused meanwhile. Counters begin anew. If the new one cannot serve, the old one goes \
            on. Where none runs it starts as without. A supervisor that ends the old one first gains nothing by it.

            SIGNALS
              SIGTERM, SIGINT  Drain: end the stream to the control plane, accept connections until it has told the \
            others (six seconds, at most half of --drain-time), stop listening, let what is under way finish for the rest \
            of --drain-time, and end. A second one ends at once.
              SIGUSR1          Open the files of access logs again, after they were moved away.
              SIGHUP           Renew the certificate.

            EXAMPLES
              Beside a workload:
                martinet proxy --control mesh.example.org:15012 --root-cert root-cert.pem --token-file token \\
                  --namespace shop --service-account web --workload web --labels app=web,version=v1 --address 10.0.0.7
              A gateway:
                martinet proxy --gateway --root-cert root-cert.pem --token-file token --namespace edge \\
                  --service-account edge --labels istio=ingressgateway --address 10.0.0.8
              In the place of an Envoy:
                martinet proxy --bootstrap envoy.yaml

            EXIT CODES
              0   It was told to end.
              1   It cannot start: a port in use, an unreadable file, a static resource that it cannot serve.
              64  The command line is wrong.
            """)

    @OptionGroup(title: "Control plane") var controlOptions: ControlOptions
    @OptionGroup(title: "Who it is") var nodeOptions: NodeOptions

    @Option(help: ArgumentHelp("Take node, xDS server and static resources from this file.", valueName: "file"))
    var bootstrap: String?

    @Option(help: ArgumentHelp("Where to serve the admin interface.", valueName: "host:port|off"))
    var admin: String?

    @Option(help: ArgumentHelp("Where to serve metrics and readiness.", valueName: "host:port|off"))
    var stats: String?

    @Option(help: ArgumentHelp("Threads that carry traffic.", valueName: "n"))
    var concurrency = 1

    @Option(
        help: ArgumentHelp(
            "How long connections may take to end, such as 45s: of listeners that change, and at the end.",
            valueName: "time"))
    var drainTime = "45s"

    @Option(
        help: ArgumentHelp(
            "Keep the last good resources in this directory, to start with when the control plane is away.",
            valueName: "dir"))
    var cache: String?

    @Option(
        help: ArgumentHelp(
            "Take the place of the proxy that this directory knows of, and let another one take ours.", valueName: "dir"
        ))
    var handOver: String?

    @Option(
        help: ArgumentHelp(
            "Least severe events to log: trace, debug, info, notice, warning, error or critical.", valueName: "level"))
    var logLevel: LogLevel = .info

    @Option(help: ArgumentHelp("How to log, to standard error: text or json.", valueName: "format"))
    var logFormat: LineLog.Format = .text

    func validate() throws {
        guard (1...64).contains(concurrency) else { throw ValidationError("--concurrency is a number from 1 to 64") }
        _ = try TimeOption.seconds(drainTime, of: "--drain-time")
        _ = try Self.listening(admin, of: "--admin")
        _ = try Self.listening(stats, of: "--stats")
        if bootstrap == nil {
            _ = try nodeOptions.node(Self.here)
            try controlOptions.requireUse()
        } else if let option = (controlOptions.given + nodeOptions.given).first {
            throw ValidationError("\(option) has no place beside --bootstrap: write it into that file")
        }
    }

    private static var here: Surroundings {
        Surroundings(environment: ProcessInfo.processInfo.environment) { path in
            guard let file = FileHandle(forReadingAtPath: path),
                let bytes = try? file.read(upToCount: Surroundings.longestFile)
            else { return nil }
            return String(decoding: bytes, as: UTF8.self)
        }
    }

    private static func listening(_ text: String?, of option: String) throws -> SocketAddress? {
        guard let text, text != "off" else { return nil }
        do throws(ReactorError) {
            return try SocketAddress(parsing: text)
        } catch {
            throw ValidationError("\(option): \(error)")
        }
    }

    func run() throws {
        // A log that nobody reads any more must not end the proxy.
        signal(SIGPIPE, SIG_IGN)
        let (format, level) = (logFormat, logLevel.level)
        let shared = LineLog.SharedLevel(level)
        LoggingSystem.bootstrap { label in
            LineLog(label: label, format: format, level: level, shared: shared) { Terminal.errors.write($0) }
        }
        let logger = Logger(label: "martinet.proxy")
        var settings = try bootstrap.map { try bootstrapped($0, logger) } ?? flagged(logger)
        if let admin { settings.admin = try Self.listening(admin, of: "--admin") }
        settings.metrics = try Self.listening(stats ?? (bootstrap == nil ? "0.0.0.0:15090" : "off"), of: "--stats")
        settings.concurrency = concurrency
        settings.setLogLevel = { shared.set($0) }
        settings.drainTime = try TimeOption.seconds(drainTime, of: "--drain-time")
        settings.cacheDirectory = try cache.map { try Self.directory($0, of: "--cache") }
        settings.handOverDirectory = try handOver.map { try Self.directory($0, of: "--hand-over") }
        do throws(ProxyError) {
            try Proxy(settings).run()
        } catch {
            throw CommandProblem("\(error)", hint: error.hint)
        }
    }

    /// Makes a directory of this user alone, if there is none.
    private static func directory(_ path: String, of option: String) throws -> String {
        do {
            try FileManager.default.createDirectory(
                atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        } catch {
            throw CommandProblem("cannot make \(path): \(error.localizedDescription)", hint: "name another \(option)")
        }
        return path
    }

    private func flagged(_ logger: Logger) throws -> Proxy.Configuration {
        let node = try nodeOptions.node(Self.here)
        var settings = Proxy.Configuration(
            node: node.node(version: martinetVersion), control: try controlOptions.controlPlane(of: node),
            version: martinetVersion, logger: logger)
        settings.admin = try Self.listening("127.0.0.1:15000", of: "--admin")
        return settings
    }

    private func bootstrapped(_ path: String, _ logger: Logger) throws -> Proxy.Configuration {
        guard let text = try? String(contentsOfFile: path, encoding: .utf8) else {
            throw CommandProblem("cannot read \(path)", hint: "check the path and its permissions")
        }
        let file: Bootstrap
        do throws(BootstrapError) {
            file = try Bootstrap(yaml: text, file: path)
        } catch {
            throw CommandProblem(error.problem, hint: "correct \(path)")
        }
        for name in file.unused {
            logger.notice("not used of the bootstrap file", metadata: ["path": "\(path)", "field": "\(name)"])
        }
        var node = file.node
        node.userAgent = "martinet-proxy/\(martinetVersion)"
        var settings = Proxy.Configuration(
            node: node, control: try file.control.map(ControlOptions.controlPlane) ?? .none, version: martinetVersion,
            logger: logger)
        if file.control?.isDelta == false { settings.variant = .stateOfTheWorld }
        settings.fixed = file.resources
        settings.admin = try Self.listening(file.admin, of: "admin in \(path)")
        return settings
    }
}

/// Times of the command line.
enum TimeOption {
    /// Reads `90s`, `10m`, `24h` or `90d`.
    static func seconds(_ text: String, of option: String) throws -> Duration {
        let units: [Character: Int64] = ["s": 1, "m": 60, "h": 3600, "d": 86_400]
        guard let last = text.last, let unit = units[last], let count = Int64(text.dropLast()), count >= 0,
            count <= 1_000_000
        else { throw ValidationError("\(option) \(text) is no time; write for example 90s, 10m, 24h or 90d") }
        return .seconds(count * unit)
    }
}
