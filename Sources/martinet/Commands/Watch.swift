import ArgumentParser
import ControlPlane
import Discovery
import Documents
import EnvoyAPI
import Foundation
import Protobuf
import TLS
import XDS

struct Watch: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Be a proxy: subscribe to resources, and print them and their changes as YAML.",
        discussion: """
            Opens an xDS stream as the given node, acknowledges what comes, and prints each resource and each change \
            as a YAML document: what a proxy of that node id and cluster is sent, and when. It connects again when the \
            connection is lost, and prints nothing that it had already.

            Without --server it comes through the Unix socket in the data directory. With --server it comes as proxies \
            do: in plaintext, or over TLS with --tls-ca, and with --tls-cert and --tls-key where a client certificate \
            is wanted. Any xDS server can be watched.

            EXAMPLES
              martinet watch --type CDS --node web-1
              martinet watch --type endpoints --name reviews --count 1
              martinet watch --type LDS --node edge-1 --cluster edge --server 127.0.0.1:15010 --sotw

            EXIT CODES
              0   --count documents were printed, or --timeout has passed without --count.
              1   --timeout has passed before --count documents were printed.
              64  The command line is wrong.
            """)

    @Option(help: ArgumentHelp("The type of the resources: CDS, clusters, …", valueName: "type"))
    var type: String

    @Option(help: ArgumentHelp("The node id to say.", valueName: "id"))
    var node = "martinet-watch"

    @Option(help: ArgumentHelp("The node's cluster to say.", valueName: "name"))
    var cluster = ""

    @Option(help: ArgumentHelp("A resource to ask for; may be repeated. (default: all of them)", valueName: "name"))
    var name: [String] = []

    @Flag(help: "Speak the state-of-the-world variant of the protocol, not the incremental one.")
    var sotw = false

    @Option(help: ArgumentHelp("End after so many documents.", valueName: "n"))
    var count: Int?

    @Option(help: ArgumentHelp("End after so many seconds.", valueName: "seconds"))
    var timeout: Double?

    @OptionGroup var dataOptions: DataOptions

    @Option(help: ArgumentHelp("The xDS server to watch, instead of the one in --data.", valueName: "host:port"))
    var server: String?

    @Option(
        help: ArgumentHelp("With --server: PEM file of the authorities that sign its certificate.", valueName: "file"))
    var tlsCa: String?

    @Option(help: ArgumentHelp("With --tls-ca: PEM file of the certificate to show.", valueName: "file"))
    var tlsCert: String?

    @Option(help: ArgumentHelp("With --tls-ca: PEM file of its private key.", valueName: "file"))
    var tlsKey: String?

    @Option(
        help: ArgumentHelp(
            "With --tls-ca: the name in the server's certificate, if it is not the host.", valueName: "name"))
    var tlsServerName: String?

    func validate() throws {
        if let count, count < 1 { throw ValidationError("--count must be 1 or more") }
        if let timeout, !(timeout > 0 && timeout < 1e8) { throw ValidationError("--timeout must be more than 0") }
        let secondary = [("--tls-cert", tlsCert), ("--tls-key", tlsKey), ("--tls-server-name", tlsServerName)]
        if tlsCa == nil, let (option, _) = secondary.first(where: { $0.1 != nil }) {
            throw ValidationError("\(option) has no use without --tls-ca")
        }
        if server == nil, tlsCa != nil { throw ValidationError("--tls-ca has no use without --server") }
        if (tlsCert == nil) != (tlsKey == nil) { throw ValidationError("--tls-cert and --tls-key go together") }
        if node.isEmpty { throw ValidationError("--node is empty; write the id of a node") }
    }

    func run() throws {
        let type = try ResourceType.parse(type)
        let place = server ?? DataDirectory.controlSocket(in: dataOptions.directory)
        let address: ServerAddress
        if let server {
            address = try ControlTarget.address(
                server,
                tls: ControlTarget.TLSFiles(
                    certificate: tlsCert, key: tlsKey, authorities: tlsCa, serverName: tlsServerName))
        } else {
            address = ServerAddress(.unix(path: place))
        }
        let configuration = DiscoveryClient.Configuration(
            node: Node(id: node, cluster: cluster, userAgent: "martinet-watch/\(martinetVersion)"),
            variant: sotw ? .stateOfTheWorld : .delta, servers: [place])
        let printer = WatchPrinter(type, limit: count)
        let runner: DiscoveryClientRunner
        do {
            runner = try DiscoveryClientRunner(
                configuration, servers: [address], seed: .random(in: .min ... .max),
                validate: WatchPrinter.validate
            ) { printer.note($0) }
            printer.stop = { runner.stop() }
            try runner.subscribe(type, to: name.isEmpty ? ["*"] : name)
        } catch {
            throw CommandProblem("\(error)")
        }
        if let timeout { runner.schedule(after: .milliseconds(Int64(timeout * 1000))) { runner.stop() } }
        runner.run()
        if let problem = printer.problem { throw problem }
        if let count, printer.printed < count {
            throw CommandProblem(
                "\(printer.printed) of \(count) documents came within \(timeout ?? 0) s",
                hint: "`martinet get --raw \(self.type)` shows what there is; wait longer with --timeout")
        }
    }
}

/// Prints what an xDS client hears, each thing as a YAML document.
final class WatchPrinter {
    private let type: ResourceType
    private let limit: Int?
    private var known: Set<String> = []
    private(set) var printed = 0
    private(set) var problem: CommandProblem?
    var stop: () -> Void = {}

    init(_ type: ResourceType, limit: Int?) {
        self.type = type
        self.limit = limit
    }

    /// Refuses what cannot be decoded, as a proxy would; the name is that in the message.
    static let validate: ResourceValidator = { type, resource in
        guard resource.typeURL == type.typeURL, let descriptor = envoyTypes.descriptor(typeURL: resource.typeURL) else {
            return .rejected(name: nil, reason: "the type is \(resource.typeURL), not \(type.typeURL)")
        }
        let arena = Arena()
        do throws(ProtobufError) {
            let message = try arena.decode(descriptor, from: resource.body ?? [], types: envoyTypes)
            let name = message.string(type == .endpoints ? "cluster_name" : "name") ?? ""
            return .accepted(name: resource.name.isEmpty ? name : resource.name)
        } catch {
            return .rejected(name: resource.name.isEmpty ? nil : resource.name, reason: "\(error)")
        }
    }

    func note(_ action: DiscoveryClient.Action) {
        // What comes in one response after the last document that was wanted is not printed.
        if let limit, printed >= limit { return }
        switch action {
        case .update(let type, let held):
            let isNew = known.insert(held.name).inserted
            do {
                let resource = try resourceDocument(RawResource(typeURL: type.typeURL, body: held.body))
                print(
                    isNew ? "added" : "changed", held.name,
                    [("version", .string(held.version)), ("resource", resource)])
            } catch {
                problem = error as? CommandProblem ?? CommandProblem("\(error)")
                stop()
            }
        case .removed(_, let name, let reason):
            known.remove(name)
            if reason != .unsubscribed { print("removed", name, []) }
        case .doesNotExist(_, let name): print("missing", name, [])
        case .rejected(_, let name, let version, let reason):
            warn("refused \(name ?? "a resource") of version \(version): \(reason)")
        case .receivedError(_, let name, let detail):
            print("error", name, [("detail", .string(detail.message))])
        case .connectionFailed(_, let reason), .unreachable(let reason): warn("\(reason); trying again")
        case .ignoredResponse(let url, _, let reason): warn("a response for \(url) was ignored: \(reason)")
        case .openStream, .closeStream, .send, .sendDelta, .ackSent, .nackSent, .streamEnded, .serverInUse: break
        }
    }

    private func print(_ change: String, _ name: String, _ members: [(String, DocumentNode)]) {
        let document = DocumentNode.object(
            [("change", .string(change)), ("type", .string(type.shortName)), ("name", .string(name))] + members)
        Terminal.output.write("---\n" + document.yaml())
        printed += 1
        if printed == limit { stop() }
    }

    private func warn(_ words: String) {
        Terminal.errors.line(Terminal.errors.paint("warning:", .yellow) + " " + words.printable)
    }
}
