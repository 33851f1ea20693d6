import ControlPlane
import XDS

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
