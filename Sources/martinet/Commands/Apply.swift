import ArgumentParser
import ControlPlane
import EnvoyAPI
import XDS

struct Apply: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Add and replace resources of a running control plane.",
        discussion: """
            Reads resources in Envoy's own form, checks them, and puts them into force in one step: every proxy that \
            they concern gets all of them, or, if anything is wrong, nothing has changed. They are kept in the \
            control plane's database and survive its restart.

            A resource that a file below the server's --resources defines cannot be replaced here: change the file.

            Of a directory every file below it is read that ends in .yaml, .yml or .json; folders named \
            node-cluster=NAME or node-id=ID make a scope, and each scope is a step of its own.

            EXAMPLES
              martinet apply -f cluster.yaml
              martinet apply -f shop/ --replace-all --version 2026-11-23
              generate | martinet apply -f - --dry-run
              martinet apply -f listener.yaml --scope node-cluster=edge

            EXIT CODES
              0   It is in force; or with --dry-run, it would be.
              1   Something is wrong, and nothing has changed.
              64  The command line is wrong.
            """)

    @Option(
        name: .shortAndLong,
        help: ArgumentHelp("What to apply; may be repeated. - stands for standard input.", valueName: "file|dir|-"))
    var file: [String]

    @Option(
        help: ArgumentHelp(
            "The proxies that it is for: all, node-cluster=NAME or node-id=ID.", valueName: "scope"))
    var scope = "all"

    @Option(
        help: ArgumentHelp(
            "The version that proxies see for what changes. (default: a hash of the content)", valueName: "text"))
    var version = ""

    @Flag(help: "A dangling reference is an error, not a warning.")
    var strict = false

    @Flag(help: "Say what would change, and change nothing.")
    var dryRun = false

    @Flag(help: "Remove what was applied to the scope before and is not applied now.")
    var replaceAll = false

    @Flag(name: .shortAndLong, help: "Print nothing but errors and warnings.")
    var quiet = false

    @OptionGroup var target: ControlTarget

    func validate() throws {
        if file.isEmpty { throw ValidationError("name what to apply: -f FILE, -f DIR or -f -") }
        if file.count(where: { $0 == "-" }) > 1 { throw ValidationError("standard input can be read once only") }
    }

    func run() throws {
        let given = try Scope.parse(scope)
        Terminal.errors.progress("reading…")
        defer { Terminal.errors.progress("") }
        let arguments = try ResourceArguments(file, scope: given)
        var requests = arguments.requests
        // Nothing in the files is everything gone, where that is asked for.
        if requests.isEmpty && replaceAll { requests = [(given, [])] }
        guard !requests.isEmpty else {
            throw CommandProblem("there are no resources in \(file.joined(separator: ", "))", hint: "check the files")
        }
        for (scope, resources) in requests {
            let request = ApplyRequest(
                scope: scope.text, resources: resources, replacesAll: replaceAll, version: version, isStrict: strict,
                isDryRun: dryRun)
            Terminal.errors.progress("applying \(resources.count) resources for \(scope)…")
            let answer = try target.call(ControlControl.apply, request.encoded(), timeout: .seconds(300))
            Terminal.errors.progress("")
            try ChangeReport(answer, scope: scope, isDryRun: dryRun).tell(isQuiet: quiet)
        }
    }
}

/// What a change has done, for people.
struct ChangeReport {
    private let report: ApplyReport
    private let scope: Scope
    private let isDryRun: Bool
    /// How many warnings are told one by one.
    private static let warningLimit = 20

    init(_ answer: [UInt8], scope: Scope, isDryRun: Bool) throws {
        do {
            report = try ApplyReport(decoding: answer)
        } catch {
            throw CommandProblem(
                "the control plane's answer cannot be read: \(error)", hint: "use the same version here and there")
        }
        self.scope = scope
        self.isDryRun = isDryRun
    }

    func tell(isQuiet: Bool) {
        let mark = Terminal.errors.paint("warning:", .yellow)
        for warning in report.warnings.prefix(Self.warningLimit) {
            Terminal.errors.line(mark + " " + warning.printable)
        }
        if report.warnings.count > Self.warningLimit {
            let more = report.warnings.count - Self.warningLimit
            Terminal.errors.line(mark + " \(more) more of these; `martinet status` lists all that are in force")
        }
        guard !isQuiet else { return }
        let place = scope == .all ? "" : " (\(scope))"
        var unchanged = 0
        for change in report.changes {
            let (word, color): (String, Terminal.Color)
            switch change.kind {
            case .unchanged:
                unchanged += 1
                continue
            case .added: (word, color) = ("added", .green)
            case .changed: (word, color) = ("changed", .yellow)
            case .removed: (word, color) = ("removed", .red)
            }
            let name = "\(ResourceType.shortName(ofURL: change.typeURL)) \(change.name.printable)\(place)"
            Terminal.output.line(Terminal.output.paint(word, color) + " " + name)
        }
        let changed = report.changes.count - unchanged
        var summary = changed == 0 ? "nothing changes" : "\(changed) changed"
        if unchanged > 0 { summary += ", \(unchanged) unchanged" }
        if isDryRun { summary += " (dry run: nothing was done)" }
        Terminal.output.line(summary)
    }
}
