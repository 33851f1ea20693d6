import ArgumentParser
import ControlPlane
import EnvoyAPI
import Mesh

struct Describe: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show all that is known of objects of the mesh.",
        discussion: """
            Prints an object's labels and annotations, who changed it last and when, its latest revisions, the \
            conditions of an object of the Gateway API, the warnings about it with their lines, and its text.

            EXAMPLES
              martinet describe virtualservice reviews
              martinet describe svc/reviews -n shop

            EXIT CODES
              0   Shown.
              1   Something is wrong, or there is no such object.
              64  The command line is wrong.
            """)

    @Argument(help: ArgumentHelp("A kind, or KIND/NAME.", valueName: "kind"))
    var kind: String

    @Argument(help: ArgumentHelp("Names.", valueName: "name"))
    var names: [String] = []

    @Option(name: .shortAndLong, help: ArgumentHelp("Only in this one. (default: all)", valueName: "namespace"))
    var namespace = ""

    @OptionGroup var target: ControlTarget

    func run() throws {
        let arguments = try ObjectArguments(kind, names)
        var query = ObjectQuery()
        (query.kinds, query.names, query.namespace) = (arguments.kinds, arguments.names, namespace)
        let objects = try ObjectPrinter.ask(query, target).objects
        guard !objects.isEmpty else {
            throw CommandProblem(
                "there is no \(kind.printable) \(names.joined(separator: ", ").printable)",
                hint: "`martinet get all` lists what there is")
        }
        for (index, object) in objects.enumerated() {
            if index > 0 { Terminal.output.line("") }
            try describe(object)
        }
    }

    private func describe(_ object: StandingObject) throws {
        func field(_ name: String, _ value: String) {
            let padding = String(repeating: " ", count: max(1, 13 - name.count))
            let label = name.isEmpty ? " " : Terminal.output.paint(name + ":", .bold)
            Terminal.output.line(label + padding + value.printable)
        }
        field("Name", object.name.name)
        if !object.name.namespace.isEmpty { field("Namespace", object.name.namespace) }
        field("Kind", object.name.kind)
        let metadata = ObjectPrinter.metadata(of: object)
        for (name, values) in [("Labels", metadata?.labels ?? [:]), ("Annotations", metadata?.annotations ?? [:])]
        where !values.isEmpty {
            field(name, values.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: ", "))
        }
        if !object.file.isEmpty { field("File", object.file) }
        var query = HistoryQuery()
        (query.object, query.limit) = (object.name.key, 5)
        let answer = try target.call(ControlMesh.history, query.encoded())
        let revisions = try readAnswer { try RevisionEntry.list(decoding: answer) }
        if revisions.isEmpty, let revision = object.revision { field("Revision", "\(revision)") }
        for (index, revision) in revisions.enumerated() {
            let words = revision.message.isEmpty ? "" : ": " + (revision.message.split(separator: "\n").first ?? "")
            field(
                index == 0 ? "Revisions" : "",
                "\(revision.number)  \(revision.time.rfc3339)  \(revision.author)\(words)")
        }
        for (index, condition) in object.conditions.enumerated() {
            field(index == 0 ? "Conditions" : "", "\(condition)")
        }
        for (index, finding) in object.findings.enumerated() {
            field(index == 0 ? "Findings" : "", "\(finding.severity.rawValue): \(finding)")
        }
        Terminal.output.line("")
        let lines = object.yaml.printable.split(separator: "\n", omittingEmptySubsequences: false)
        Terminal.output.line(lines.map { $0.isEmpty ? "" : "  " + $0 }.joined(separator: "\n"))
    }
}
