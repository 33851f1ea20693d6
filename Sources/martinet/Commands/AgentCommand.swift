import Agent
import ArgumentParser
import Certificates
import Foundation
import Identity
import Logging
import Reactor

struct AgentCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "agent",
        abstract: "Keep a workload's certificate fresh: over the SPIFFE Workload API, and as files.",
        discussion: """
            Makes a key, has the control plane sign a certificate for it, and renews both at half the certificate's \
            life, or at once when another authority issues. The key never leaves this machine. Trust bundles, those of \
            federated trust domains too, come as the control plane changes them. What was good stays in force until \
            something better is there, also while the control plane is away; what nears its end is logged as critical.

            PROOF
              The first certificate is given for a join token (--token-file; see `martinet token create`), the next \
            ones for the certificate itself. With --out a new start goes on with the files of the last one as long as \
            they are valid: a token that may be used once is enough. The control plane is believed by --root-cert, and \
            by the bundle that it has pushed as soon as there is one. Both files are read again when they are needed.

            WORKLOAD API
              --socket PATH serves X.509-SVIDs, JWT-SVIDs and bundles to programs with a SPIFFE library; give them \
            SPIFFE_ENDPOINT_SOCKET=unix:PATH. Everybody may connect (--socket-mode), but only who matches a --selector \
            is answered, by what the kernel says of the process:
                uid:1000, user:web    The user.
                gid:1000              The group, the main one.
                path:/usr/bin/x       The file of the program; it takes root, or the same user, to see it.
              Several with commas between them must all hold; --selector can be repeated, and one must match. Without \
            any, only processes of the agent's own user are answered. A process may pass its connection on: users keep \
            programs apart, paths alone do not.

            FILES
              --out DIR keeps key.pem (mode 0600), cert-chain.pem and root-cert.pem. They are links into a directory of \
            one set, and change together by one rename: resolve DIR/..data once to read a set that fits. gRPC's file \
            watchers and Envoy's file-based SDS can read them. --exec CMD then runs by /bin/sh, one run at a time, for \
            30 seconds at most; its output and its failure are logged.

            SIGNALS
              SIGTERM, SIGINT  End. The files stay.
              SIGHUP           Renew at once.

            EXAMPLES
              For workloads with a SPIFFE library:
                martinet agent --control mesh.example.org:15012 --root-cert root-cert.pem --token-file token \\
                  --namespace shop --service-account web --socket /run/martinet/agent.sock --selector user:web
              For a server that reads files:
                martinet agent --root-cert root-cert.pem --token-file token --namespace shop \\
                  --service-account db --out /etc/db/tls --exec 'systemctl reload db'
              In an init container:
                martinet agent --once --root-cert /ca/root-cert.pem --token-file /token --namespace shop \\
                  --service-account web --out /tls

            EXIT CODES
              0   It was told to end, or --once: the files are there, and the command ended with 0.
              1   It cannot start, or --once: no files within --timeout, or the command failed.
              64  The command line is wrong.
            """)

    @Option(help: ArgumentHelp("The control plane's TLS port.", valueName: "host:port"))
    var control = "127.0.0.1:15012"

    @Option(
        help: ArgumentHelp("The name in the control plane's certificate, if it is not the host.", valueName: "name"))
    var tlsServerName: String?

    @Option(help: ArgumentHelp("PEM file of the roots that the control plane is believed by.", valueName: "file"))
    var rootCert: String

    @Option(help: ArgumentHelp("File with a join token.", valueName: "file"))
    var tokenFile: String?

    @Option(help: ArgumentHelp("The workload's trust domain.", valueName: "name"))
    var trustDomain = "cluster.local"

    @Option(help: ArgumentHelp("The workload's namespace.", valueName: "name"))
    var namespace = "default"

    @Option(help: ArgumentHelp("The workload's service account.", valueName: "name"))
    var serviceAccount = "default"

    @Option(
        help: ArgumentHelp(
            "The node id to say. (default: SERVICE-ACCOUNT.NAMESPACE@ and this machine's name)", valueName: "id"))
    var nodeId: String?

    @Option(
        help: ArgumentHelp("Wanted life of certificates, such as 1h. (default: the authority's)", valueName: "time"))
    var ttl: String?

    @Option(help: ArgumentHelp("Kind of key: ecdsa-p256, ecdsa-p384, rsa-2048 or ed25519.", valueName: "kind"))
    var key: KeyKind = .ecdsaP256

    @Option(help: ArgumentHelp("Serve the Workload API on this Unix socket.", valueName: "path"))
    var socket: String?

    @Option(help: ArgumentHelp("Permissions of the socket, octal.", valueName: "mode"))
    var socketMode = "0666"

    @Option(
        help: ArgumentHelp(
            "Processes that the Workload API answers; repeatable. (default: those of the agent's own user)",
            valueName: "conditions"))
    var selector: [String] = []

    @Option(help: ArgumentHelp("Keep key, chain and bundle as files in this directory.", valueName: "dir"))
    var out: String?

    @Option(help: ArgumentHelp("With --out: run this after the files have changed.", valueName: "command"))
    var exec: String?

    @Flag(help: "With --out: end when the files are there.")
    var once = false

    @Option(help: ArgumentHelp("With --once: how long to try.", valueName: "time"))
    var timeout = "60s"

    @Option(
        help: ArgumentHelp(
            "Least severe events to log: trace, debug, info, notice, warning, error or critical.", valueName: "level"))
    var logLevel: LogLevel = .info

    @Option(help: ArgumentHelp("How to log, to standard error: text or json.", valueName: "format"))
    var logFormat: LineLog.Format = .text

    enum KeyKind: String, ExpressibleByArgument {
        case ecdsaP256 = "ecdsa-p256"
        case ecdsaP384 = "ecdsa-p384"
        case rsa2048 = "rsa-2048"
        case ed25519

        var algorithm: KeyAlgorithm {
            switch self {
            case .ecdsaP256: .ecdsaP256
            case .ecdsaP384: .ecdsaP384
            case .rsa2048: .rsa(bits: 2048)
            case .ed25519: .ed25519
            }
        }
    }

    func validate() throws {
        if socket == nil, out == nil {
            throw ValidationError("nothing is to be done: name a --socket, an --out directory, or both")
        }
        if exec != nil, out == nil { throw ValidationError("--exec has no use without --out") }
        if once, out == nil { throw ValidationError("--once has no use without --out") }
        if once, socket != nil { throw ValidationError("--once and --socket do not go together") }
        if !selector.isEmpty, socket == nil { throw ValidationError("--selector has no use without --socket") }
        if nodeId == "" { throw ValidationError("--node-id is empty; write the id of a node") }
        guard let mode = UInt32(socketMode, radix: 8), mode <= 0o777 else {
            throw ValidationError("--socket-mode \(socketMode) is not octal, such as 0660")
        }
        _ = try Self.seconds(timeout, of: "--timeout")
        if let ttl { _ = try Self.seconds(ttl, of: "--ttl") }
        _ = try identity()
        for text in selector {
            do throws(AgentError) {
                _ = try CallerSelector(parsing: text)
            } catch {
                throw ValidationError("\(error); \(error.hint)")
            }
        }
    }

    func run() throws {
        // A log that nobody reads any more must not end the agent.
        signal(SIGPIPE, SIG_IGN)
        let (format, level) = (logFormat, logLevel.level)
        LoggingSystem.bootstrap { label in
            LineLog(label: label, format: format, level: level) { Terminal.errors.write($0) }
        }
        let control = try ControlTarget.address(control, tls: nil)
        let host = self.control.prefix(upTo: self.control.lastIndex(of: ":") ?? self.control.endIndex)
        let identity = try identity()
        var configuration = Agent.Configuration(
            control: control.address, serverName: tlsServerName ?? host.trimmingCharacters(in: ["[", "]"]),
            rootCertificateFile: rootCert, spiffeID: identity,
            nodeID: nodeId ?? "\(serviceAccount).\(namespace)@\(ProcessInfo.processInfo.hostName)",
            version: martinetVersion)
        configuration.tokenFile = tokenFile
        configuration.certificateLife = try ttl.map { try Self.seconds($0, of: "--ttl") }
        configuration.keyAlgorithm = key.algorithm
        configuration.socketPath = socket
        configuration.socketMode = UInt32(socketMode, radix: 8) ?? 0o666
        if !selector.isEmpty { configuration.selectors = try selector.map { try CallerSelector(parsing: $0) } }
        configuration.outputDirectory = out
        configuration.command = exec
        configuration.onceWithin = once ? try Self.seconds(timeout, of: "--timeout") : nil
        do throws(AgentError) {
            try Agent(configuration).run()
        } catch {
            throw CommandProblem("\(error)", hint: error.hint)
        }
    }

    private func identity() throws -> SPIFFEID {
        do throws(SPIFFEIDError) {
            return try SPIFFEID(try TrustDomain(trustDomain), namespace: namespace, serviceAccount: serviceAccount)
        } catch {
            throw ValidationError("\(error); \(error.hint)")
        }
    }

    /// Reads `90s`, `10m`, `24h` or `90d`.
    private static func seconds(_ text: String, of option: String) throws -> Duration {
        let units: [Character: Int64] = ["s": 1, "m": 60, "h": 3600, "d": 86_400]
        guard let last = text.last, let unit = units[last], let count = Int64(text.dropLast()), count > 0,
            count <= 1_000_000
        else { throw ValidationError("\(option) \(text) is no time; write for example 90s, 10m, 24h or 90d") }
        return .seconds(count * unit)
    }
}
