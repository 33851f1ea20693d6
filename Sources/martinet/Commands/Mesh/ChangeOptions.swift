import ArgumentParser
import ControlPlane
import EnvoyAPI
import Foundation
import Mesh

/// What is said of a change of objects.
struct ChangeOptions: ParsableArguments {
    @Option(name: .shortAndLong, help: ArgumentHelp("Why, for the history.", valueName: "text"))
    var message = ""

    @Option(
        help: ArgumentHelp(
            "The revision that this is based on: if another one is in force, nothing is changed.", valueName: "revision"
        ))
    var base: Int64?

    @Option(help: ArgumentHelp("Who, beside the name of this user.", valueName: "name"))
    var author = ""

    func validate() throws {
        if let base, base < 0 { throw ValidationError("--base is a number of `martinet history`") }
    }

    /// The first option that was given, for messages.
    var given: String? {
        if !message.isEmpty { return "--message" }
        if base != nil { return "--base" }
        return author.isEmpty ? nil : "--author"
    }

    func request(isDryRun: Bool = false, isStrict: Bool = false) -> MeshRequest {
        var request = MeshRequest()
        (request.message, request.base, request.author) = (message, base, author)
        (request.isDryRun, request.isStrict) = (isDryRun, isStrict)
        return request
    }
}

/// Waiting for proxies.
struct WaitOptions: ParsableArguments {
    @Flag(help: "Wait until every proxy that is affected has acknowledged; exit code 1 if one rejects.")
    var wait = false

    @Option(help: ArgumentHelp("With --wait: how long at most.", valueName: "time"))
    var timeout = DurationArgument(.seconds(60))

    /// How often the control plane is asked.
    private static let pause = 0.1

    /// - Throws: a ``CommandProblem`` for a proxy that rejects, and for one that does not answer in time.
    func follow(_ revision: Int64, _ target: ControlTarget, isQuiet: Bool) throws {
        guard wait else { return }
        let deadline = Date(timeIntervalSinceNow: Double(timeout.duration.nanoseconds) / 1e9)
        defer { Terminal.errors.progress("") }
        while true {
            let answer = try target.call(ControlMesh.progress, RevisionQuery(revision).encodedAsProgress())
            guard let report = try readAnswer({ try RevisionReport(decoding: answer) }) else {
                Terminal.errors.line("revision \(revision): this control plane knows of no proxy that it affects")
                return
            }
            guard report.rejected == 0 else {
                Terminal.errors.progress("")
                throw CommandProblem(
                    lines: [
                        "\(report.rejected) of \(report.affected) proxies reject revision \(revision), "
                            + "\(report.acknowledged) have acknowledged it"
                    ] + report.rejections.map(\.printable),
                    hint: "`martinet rollout` shows whether others get it; apply what mends it, or go back with "
                        + "`martinet rollback`")
            }
            guard report.pending > 0 else {
                Terminal.errors.progress("")
                guard !isQuiet else { return }
                Terminal.output.line(
                    report.affected == 0
                        ? "revision \(revision): no proxy is affected"
                        : "revision \(revision): all \(report.affected) proxies have acknowledged")
                return
            }
            guard Date() < deadline else {
                throw CommandProblem(
                    "\(report.pending) of \(report.affected) proxies have not answered in \(timeout)",
                    hint: "it is in force; `martinet status` shows who has what")
            }
            Terminal.errors.progress(
                "revision \(revision): \(report.acknowledged) of \(report.affected) proxies have acknowledged…")
            Thread.sleep(forTimeInterval: Self.pause)
        }
    }
}

/// What a change of objects has done, for people.
struct PlanText {
    let report: PlanReport
    var isDryRun = false
    /// What is said of an object that goes.
    var removal = "deleted"
    /// nil: it goes to all proxies, once one of each class has tried it.
    var rollout: RolloutOrder?
    /// How many warnings are told one by one.
    private static let warningLimit = 50

    init(
        _ answer: [UInt8], isDryRun: Bool, removal: String = "deleted", rollout: RolloutOrder? = nil
    ) throws {
        report = try readAnswer { try PlanReport(decoding: answer) }
        (self.isDryRun, self.removal, self.rollout) = (isDryRun, removal, rollout)
    }

    func tell(isQuiet: Bool) {
        tellWarnings()
        guard !isQuiet else { return }
        for change in report.changes {
            let (word, color): (String, Terminal.Color?) =
                switch change.kind {
                case .unchanged: ("unchanged", nil)
                case .created: ("created", .green)
                case .configured: ("configured", .yellow)
                case .removed: (removal, .red)
                }
            let name = "\(change.object.kind)/\(change.object.name)".printable
            let painted = color.map { Terminal.output.paint(word, $0) } ?? word
            Terminal.output.line("\(name) \(painted)" + (isDryRun ? " (dry run)" : ""))
        }
        guard !isDryRun else { return }
        let state =
            switch rollout {
            case _ where report.revision == report.base: "stays in force"
            case nil: "is in force"
            case let rollout?: "is being rolled out: " + rollout.percents.map { "\($0) %" }.joined(separator: ", ")
            }
        Terminal.output.line("revision \(report.revision) \(state)")
    }

    func tellWarnings() {
        let mark = Terminal.errors.paint("warning:", .yellow)
        for finding in report.findings.prefix(Self.warningLimit) {
            Terminal.errors.line(mark + " " + "\(finding)".printable)
        }
        if report.findings.count > Self.warningLimit {
            Terminal.errors.line(mark + " \(report.findings.count - Self.warningLimit) more of these")
        }
    }
}
