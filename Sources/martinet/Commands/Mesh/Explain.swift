import Addresses
import ArgumentParser
import Identity
import Mesh
import Translation

struct Explain: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Say what becomes of a request, and which line of which object says so.",
        discussion: """
            Follows a request from the workload that makes it: its listener, the rule that takes it, the shares and \
            subsets, every server with mutual TLS on both sides, and the authorization policy and rule that decides. \
            Reads the objects of a mesh from files, without a control plane. Workloads are Pods, Deployments and \
            WorkloadEntries; those without an address are told as expected.

            EXAMPLES
              martinet explain -f mesh/ --from productpage-v1 --to reviews:9080 --path /reviews/0
              martinet explain -f mesh/ --from shop/web --to db --header end-user=jason --method POST
              martinet explain -f mesh/ --from shop/web --to reviews --without-sidecar

            EXIT CODES
              0   It is told, whatever it is.
              1   The files have errors, or there is no such workload.
              64  The command line is wrong.
            """)

    @Option(name: .shortAndLong, help: ArgumentHelp("What to read; may be repeated.", valueName: "file|dir|-"))
    var file: [String]

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

    @Option(help: ArgumentHelp("Of the mesh.", valueName: "name"))
    var trustDomain = "cluster.local"

    func validate() throws {
        for pair in headers + claims where !pair.contains("=") {
            throw ValidationError("`\(pair)` is no name=value")
        }
    }

    func run() throws {
        guard let domain = try? TrustDomain(trustDomain) else {
            throw CommandProblem("`\(trustDomain)` is no trust domain", hint: "write a name like cluster.local")
        }
        let index = MeshIndex(try Analyze.objects(of: file, namespace: namespace))
        let (host, port) = called()
        var question = TrafficQuestion(
            from: try caller(in: index), to: host, port: port, method: method, path: path,
            headers: Dictionary(headers.map(Self.pair), uniquingKeysWith: { $0 + "," + $1 }))
        for (name, value) in claims.map(Self.pair) { question.claims[name, default: []].append(value) }
        let translator = Translator(MeshReader(index), settings: TranslationSettings(trustDomain: domain))
        let text = translator.explain(question).text
        for line in text.split(separator: "\n") { Terminal.output.line(String(line)) }
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

    private func caller(in index: MeshIndex) throws(CommandProblem) -> TrafficQuestion.Caller {
        let parts = from.split(separator: "/", maxSplits: 1).map(String.init)
        let (namespace, name) = parts.count == 2 ? (parts[0], parts[1]) : (self.namespace, from)
        let workloads = index.workloads(in: namespace)
        guard let workload = workloads.first(where: { $0.id.name == name }) else {
            let names = workloads.prefix(10).map(\.id.name).joined(separator: ", ")
            throw CommandProblem(
                "there is no workload \(name) in \(namespace)",
                hint: names.isEmpty ? "name the files with its Pod or Deployment too" : "there are \(names)")
        }
        return TrafficQuestion.Caller(workload, hasSidecar: withoutSidecar ? false : nil)
    }
}
