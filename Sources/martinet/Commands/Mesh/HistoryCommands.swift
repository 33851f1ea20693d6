import ArgumentParser
import ControlPlane
import EnvoyAPI
import Foundation
import Mesh

struct Diff: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show what `apply` would change in the mesh, and change nothing.",
        discussion: """
            Prints a unified diff of every object that says something else, in the text that its users wrote; then, \
            where the control plane can tell, which proxies would get which resources. What is wrong with the \
            objects is told as `apply` tells it.

            EXAMPLES
              martinet diff -f virtual-service-reviews-80-20.yaml
              martinet diff -f mesh/ --prune

            EXIT CODES
              0   Shown; there may be no difference.
              1   Something is wrong with the objects.
              64  The command line is wrong.
            """)

    @Option(
        name: .shortAndLong,
        help: ArgumentHelp("What to compare; may be repeated. - stands for standard input.", valueName: "file|dir|-"))
    var file: [String]

    @Option(name: .shortAndLong, help: ArgumentHelp("Of objects that name none.", valueName: "namespace"))
    var namespace = "default"

    @Flag(help: "As if every object went that is not in the files.")
    var prune = false

    @Flag(help: "A reference to something that is not there is an error, not a warning.")
    var strict = false

    @OptionGroup var target: ControlTarget

    func validate() throws {
        if file.isEmpty { throw ValidationError("name what to compare: -f FILE, -f DIR or -f -") }
    }

    func run() throws {
        guard case .objects(let documents) = try GivenFiles(file).content else {
            throw CommandProblem(
                "there are no objects of the mesh in \(file.joined(separator: ", "))",
                hint: "for raw Envoy resources use `martinet apply --dry-run`")
        }
        var request = MeshRequest()
        (request.namespace, request.prunes, request.isStrict) = (namespace, prune, strict)
        _ = try documents.checked(namespace: namespace)
        request.documents = documents
        let answer = try target.call(ControlMesh.diff, request.encodedAsApply(), timeout: .seconds(300))
        let plan = try PlanText(answer, isDryRun: true)
        plan.tellWarnings()
        let count = ChangeText.print(plan.report.changes)
        for line in plan.report.pushes { Terminal.output.line(line.printable) }
        Terminal.errors.line(
            count == 0
                ? "nothing differs from revision \(plan.report.base)"
                : "\(count) \(count == 1 ? "object differs" : "objects differ") from revision \(plan.report.base)")
    }
}

/// Objects before and after.
enum ChangeText {
    /// - Returns: how many objects differ.
    static func print(_ changes: [PlanReport.Change]) -> Int {
        var count = 0
        for change in changes where change.kind != .unchanged {
            count += 1
            let object = change.object
            let place = object.namespace.isEmpty ? object.name : object.namespace + "/" + object.name
            let diff = UnifiedDiff(change.before, change.after)
            let name = "\(object.kind)/\(place)".printable
            guard !diff.isEmpty else {
                Terminal.output.line("\(name): differs in values that are not shown")
                continue
            }
            Terminal.output.write(
                diff.render(
                    name, isNew: change.kind == .created, isGone: change.kind == .removed, on: Terminal.output))
        }
        return count
    }
}

struct History: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "List the revisions of the mesh, newest first.",
        discussion: """
            Each apply, delete, edit and rollback of objects that changed something is a revision. The newest 1,000 \
            are kept (fewer, if their texts are more than 256 MiB).

            EXAMPLES
              martinet history
              martinet history --limit 5
              martinet history virtualservice/reviews -n shop

            EXIT CODES
              0   Shown.
              1   Something is wrong.
              64  The command line is wrong.
            """)

    @Argument(help: ArgumentHelp("Only revisions that changed this object.", valueName: "kind/name"))
    var object: String?

    @Option(name: .shortAndLong, help: ArgumentHelp("Of the object.", valueName: "namespace"))
    var namespace = "default"

    @Option(help: ArgumentHelp("How many at most.", valueName: "n"))
    var limit = 20

    @Option(help: ArgumentHelp("Only those that are older than this.", valueName: "revision"))
    var before: Int64?

    @Option(name: .shortAndLong, help: ArgumentHelp("How to print: table or json.", valueName: "form"))
    var output: TableOrJSON = .table

    @OptionGroup var target: ControlTarget

    func validate() throws {
        if limit < 1 { throw ValidationError("--limit must be 1 or more") }
        if let before, before < 1 { throw ValidationError("--before is a number of `martinet history`") }
    }

    func run() throws {
        var query = HistoryQuery()
        (query.limit, query.before) = (limit, before)
        if let object {
            let arguments = try ObjectArguments(object, [])
            guard arguments.kinds.count == 1, let kind = arguments.kinds.first, let name = arguments.names.first,
                arguments.names.count == 1
            else {
                throw CommandProblem("`\(object)` does not name one object", hint: "write KIND/NAME, as in vs/reviews")
            }
            query.object = ObjectKey(kind, kind.isNamespaced ? namespace : "", name)
        }
        let answer = try target.call(ControlMesh.history, query.encoded())
        let revisions = try readAnswer { try RevisionEntry.list(decoding: answer) }
        switch output {
        case .table:
            let rollout = try RolloutText.ask(RolloutRequest(), target)
            Terminal.output.write(Self.table(revisions, rollout))
        case .json: try Self.print(revisions)
        }
    }

    static func table(_ revisions: [RevisionEntry], _ rollout: RolloutReport?) -> String {
        guard !revisions.isEmpty else { return "there are none\n" }
        var table = TextTable(["REVISION", "TIME", "AUTHOR", "CHANGES", "MESSAGE"])
        for revision in revisions {
            table.add([
                .init("\(revision.number)"), .init(revision.time.rfc3339), .init(revision.author),
                .init(revision.counts), .init(revision.message + (rollout?.mark(of: revision.number) ?? "")),
            ])
        }
        return table.render(on: Terminal.output)
    }

    private struct Printed: Encodable {
        var revision: Int64
        var time: String
        var author: String
        var message: String
        var base: Int64
        var created: Int
        var configured: Int
        var removed: Int
    }

    private static func print(_ revisions: [RevisionEntry]) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        let printed = revisions.map {
            Printed(
                revision: $0.number, time: $0.time.rfc3339, author: $0.author, message: $0.message, base: $0.base,
                created: $0.created, configured: $0.configured, removed: $0.removed)
        }
        Terminal.output.line(String(decoding: try encoder.encode(printed), as: UTF8.self))
    }
}

extension RolloutReport {
    /// What is said of a revision that not all proxies have.
    func mark(of number: Int64) -> String {
        guard number > base, number <= revision else { return "" }
        return switch phase {
        case .probing, .spreading, .holding: " (rolled out to \(percent) %)"
        case .held: " (held: no proxy has it)"
        case .undoing: " (being undone)"
        case .complete: ""
        case .undone: undoneBy.map { " (undone by revision \($0))" } ?? ""
        }
    }
}

extension RevisionEntry {
    /// `2 created, 1 deleted`
    var counts: String {
        [(created, "created"), (configured, "configured"), (removed, "deleted")]
            .filter { $0.0 > 0 }.map { "\($0.0) \($0.1)" }.joined(separator: ", ")
    }
}

struct Show: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show what one revision changed.",
        discussion: """
            Prints who made the revision, when and why, and a unified diff of every object that it changed.

            EXAMPLES
              martinet show 42

            EXIT CODES
              0   Shown.
              1   Something is wrong, or there is no such revision.
              64  The command line is wrong.
            """)

    @Argument(help: ArgumentHelp("A number of `martinet history`.", valueName: "revision"))
    var revision: Int64

    @OptionGroup var target: ControlTarget

    func run() throws {
        let answer = try target.call(ControlMesh.show, RevisionQuery(revision).encodedAsShow())
        guard let detail = try readAnswer({ try RevisionDetail(decoding: answer) }) else { throw unreadableAnswer() }
        let entry = detail.revision
        Terminal.output.line(Terminal.output.paint("revision \(entry.number)", .yellow))
        Terminal.output.line("author  \(entry.author.printable)")
        Terminal.output.line("time    \(entry.time.rfc3339)")
        Terminal.output.line("base    \(entry.base)")
        if !entry.message.isEmpty {
            let lines = entry.message.printable.split(separator: "\n", omittingEmptySubsequences: false)
            Terminal.output.line("\n    " + lines.joined(separator: "\n    ") + "\n")
        }
        _ = ChangeText.print(detail.changes)
    }
}

struct Rollback: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Go back to the state of an older revision.",
        discussion: """
            Makes a new revision in which every object is as it was in the one that is named: history is added to, \
            never rewritten, and a rollback can be rolled back. It is checked like any other change: a state that is \
            not valid any more is refused, with the reasons, and nothing is changed.

            EXAMPLES
              martinet rollback 41
              martinet rollback 41 --dry-run
              martinet rollback 41 -m "reviews v3 is slow" --wait

            EXIT CODES
              0   It is in force; or with --dry-run, it would be.
              1   Something is wrong, and nothing has changed; or with --wait, a proxy rejects it or does not answer.
              64  The command line is wrong.
            """)

    @Argument(help: ArgumentHelp("A number of `martinet history`.", valueName: "revision"))
    var revision: Int64

    @Flag(help: "A reference to something that is not there is an error, not a warning.")
    var strict = false

    @Flag(help: "Say what would change, and change nothing.")
    var dryRun = false

    @Flag(name: .shortAndLong, help: "Print nothing but errors and warnings.")
    var quiet = false

    @OptionGroup var change: ChangeOptions
    @OptionGroup var waiting: WaitOptions
    @OptionGroup var target: ControlTarget

    func run() throws {
        let request = change.request(isDryRun: dryRun, isStrict: strict)
        let answer = try target.call(
            ControlMesh.rollback, request.encodedAsRollback(to: revision), timeout: .seconds(300))
        let plan = try PlanText(answer, isDryRun: dryRun)
        plan.tell(isQuiet: quiet)
        if !dryRun { try waiting.follow(plan.report.revision, target, isQuiet: quiet) }
    }
}

struct Export: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print all objects of the mesh as files that `apply` takes back.",
        discussion: """
            Prints every object as its users wrote it, comments kept, as YAML documents; with --revision, as they \
            were then. The values of Secrets are left out, and `apply` refuses them until they are filled in.

            EXAMPLES
              martinet export > mesh.yaml
              martinet export --revision 41 | martinet diff -f - --prune

            EXIT CODES
              0   Printed.
              1   Something is wrong.
              64  The command line is wrong.
            """)

    @Option(help: ArgumentHelp("As it was in this revision. (default: what is in force)", valueName: "revision"))
    var revision: Int64?

    @Option(name: .shortAndLong, help: ArgumentHelp("Only objects of this namespace.", valueName: "namespace"))
    var namespace = ""

    @OptionGroup var target: ControlTarget

    func validate() throws {
        if let revision, revision < 1 { throw ValidationError("--revision is a number of `martinet history`") }
    }

    func run() throws {
        var query = ObjectQuery()
        (query.revision, query.namespace) = (revision ?? 0, namespace)
        let report = try ObjectPrinter.ask(query, target)
        Terminal.output.write(ObjectPrinter.yaml(report.objects))
        let secrets = report.objects.count { $0.name.key?.kind == .secret }
        if secrets > 0 {
            Terminal.errors.line(
                Terminal.errors.paint("warning:", .yellow) + " the values of \(secrets) Secrets were left out")
        }
    }
}
