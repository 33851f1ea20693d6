import Addresses
import ArgumentParser
import ControlPlane
import EnvoyAPI
import Identity
import Mesh
import Translation

struct Explain: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Say what becomes of a request, and which line of which object says so.",
        discussion: """
            Follows a request from the workload that makes it: its listener, the rule that takes it, the shares and \
            subsets, every server with mutual TLS on both sides, and the authorization policy and rule that decides. \
            Asks the control plane, which knows the workloads that are connected; with -f, reads the objects of a mesh \
            from files, without a control plane. Workloads without an address (a Deployment's) are told as expected.

            EXAMPLES
              martinet explain --from productpage-v1 --to reviews:9080 --path /reviews/0
              martinet explain -f mesh/ --from productpage-v1 --to reviews:9080 --path /reviews/0
              martinet explain -f mesh/ --from shop/web --to db --header end-user=jason --method POST
              martinet explain -f mesh/ --from shop/web --to reviews --without-sidecar

            EXIT CODES
              0   It is told, whatever it is.
              1   The files have errors, or there is no such workload.
              64  The command line is wrong.
            """)

    enum Form: String, ExpressibleByArgument, CaseIterable {
        case text, json
    }

    @Option(
        name: .shortAndLong,
        help: ArgumentHelp(
            "What to read instead of asking the control plane; may be repeated.", valueName: "file|dir|-"))
    var file: [String] = []

    @Option(help: ArgumentHelp("Who calls.", valueName: "[namespace/]workload"))
    var from: String

    @Option(help: ArgumentHelp("Who is called, as the caller writes it.", valueName: "host[:port]"))
    var to: String

    @Option(help: ArgumentHelp("Of the request.", valueName: "method"))
    var method = "GET"

    @Option(help: ArgumentHelp("Of the request, with its query.", valueName: "path"))
    var path = "/"

    @Option(
        name: [.customShort("H"), .customLong("header")],
        help: ArgumentHelp("May be repeated.", valueName: "name=value"))
    var headers: [String] = []

    @Option(
        name: .customLong("claim"),
        help: ArgumentHelp("Of a token that is valid; may be repeated.", valueName: "name=value"))
    var claims: [String] = []

    @Flag(help: "The caller has no sidecar: what would a stranger get?")
    var withoutSidecar = false

    @Option(help: ArgumentHelp("Of objects that name none, and of the caller.", valueName: "namespace"))
    var namespace = "default"

    @Option(help: ArgumentHelp("With -f: of the mesh. (default: cluster.local)", valueName: "name"))
    var trustDomain: String?

    @Option(name: .shortAndLong, help: ArgumentHelp("How to print: text or json.", valueName: "form"))
    var output: Form = .text

    @OptionGroup var target: ControlTarget

    func validate() throws {
        if file.isEmpty, trustDomain != nil {
            throw ValidationError("--trust-domain is for files: the control plane knows its own")
        }
        for pair in headers + claims where !pair.contains("=") {
            throw ValidationError("`\(pair)` is no name=value")
        }
    }

    func run() throws {
        let (host, port) = called()
        let parts = from.split(separator: "/", maxSplits: 1).map(String.init)
        var query = ExplainQuery(
            namespace: parts.count == 2 ? parts[0] : namespace, workload: parts.count == 2 ? parts[1] : from,
            host: host)
        (query.port, query.method, query.path) = (port, method, path)
        (query.isWithoutSidecar, query.headers, query.claims) = (
            withoutSidecar, headers.map(Self.pair), claims.map(Self.pair)
        )
        let report = try file.isEmpty ? asked(query) : read(query)
        let text =
            switch output {
            case .text: report.text
            case .json: report.json
            }
        for line in text.split(separator: "\n") { Terminal.output.line(String(line).printable) }
    }

    private func asked(_ query: ExplainQuery) throws -> ExplainReport {
        let answer = try target.call(ControlMesh.explain, query.encoded())
        return try readAnswer { try ExplainReport(decoding: answer) }
    }

    private func read(_ query: ExplainQuery) throws -> ExplainReport {
        guard let domain = try? TrustDomain(trustDomain ?? "cluster.local") else {
            throw CommandProblem("`\(trustDomain ?? "")` is no trust domain", hint: "write a name like cluster.local")
        }
        let index = MeshIndex(try Analyze.objects(of: file, namespace: namespace))
        do throws(ExplainError) {
            return try ExplainReport(query, of: index, settings: TranslationSettings(trustDomain: domain))
        } catch {
            throw CommandProblem("\(error)", hint: error.hint)
        }
    }

    private static func pair(_ text: String) -> (String, String) {
        let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        return (parts[0], parts[1])
    }

    /// A colon within an address of IPv6 is none before a port, unless the address has brackets.
    private func called() -> (host: String, port: Int?) {
        guard IPAddress(to) == nil, let colon = to.lastIndex(of: ":"), let port = Int(to[to.index(after: colon)...])
        else { return (to, nil) }
        return (String(to[..<colon].filter { $0 != "[" && $0 != "]" }), port)
    }
}
