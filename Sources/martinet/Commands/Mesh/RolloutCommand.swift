import ArgumentParser
import ControlPlane
import EnvoyAPI
import Foundation
import Time

struct RolloutCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rollout",
        abstract: "Show and steer how the newest revision comes to the proxies.",
        discussion: """
            `martinet apply --canary 5%,25%,100%` gives a revision to a part of the proxies first, and goes on by \
            itself when these have acknowledged it and the time of --hold has passed. If one of them rejects it, or \
            does not answer in 60 seconds, it is taken back from all, and a new revision undoes it.
              Without --canary a revision goes to one proxy of each class that has several, and to all others once \
            these have acknowledged it. If one rejects it, no proxy gets it: it is held until another revision mends \
            it, or a user ends this.

            EXAMPLES
              martinet rollout
              martinet rollout promote
              martinet rollout abort

            EXIT CODES
              0   Shown, or done.
              1   There is no roll-out, or it cannot be had.
              64  The command line is wrong.
            """,
        subcommands: [Show.self, Promote.self, Abort.self], defaultSubcommand: Show.self)

    struct Show: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "status", abstract: "Show how far the newest roll-out is, or how it ended.")

        @OptionGroup var target: ControlTarget

        func run() throws {
            guard let report = try RolloutText.ask(RolloutRequest(), target) else {
                return Terminal.output.line("there was no roll-out")
            }
            for line in RolloutText.lines(report) { Terminal.output.line(line) }
        }
    }

    struct Promote: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Give the revision to all proxies now, whatever they have answered.")

        @OptionGroup var order: OrderOptions

        func run() throws { try order.perform(.promote) }
    }

    struct Abort: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Take the revision back from all proxies, and undo it by a new revision.")

        @OptionGroup var order: OrderOptions

        func run() throws { try order.perform(.abort) }
    }

    struct OrderOptions: ParsableArguments {
        @Argument(
            help: ArgumentHelp("The revision that is meant. (default: the one under way)", valueName: "revision"))
        var revision: Int64?

        @Option(help: ArgumentHelp("Who, beside the name of this user.", valueName: "name"))
        var author = ""

        @OptionGroup var target: ControlTarget

        func validate() throws {
            if let revision, revision < 1 { throw ValidationError("the revision is a number of `martinet history`") }
        }

        func perform(_ order: RolloutRequest.Order) throws {
            let request = RolloutRequest(order, revision: revision, author: author)
            guard let report = try RolloutText.ask(request, target) else { throw unreadableAnswer() }
            for line in RolloutText.lines(report) { Terminal.output.line(line) }
        }
    }
}

/// How a roll-out stands, for people.
enum RolloutText {
    static func ask(_ request: RolloutRequest, _ target: ControlTarget) throws -> RolloutReport? {
        let answer = try target.call(ControlMesh.rollout, request.encoded())
        return try readAnswer { try RolloutReport(decoding: answer) }
    }

    /// `revision 42: 2 of 8 proxies have it (25 %), 2 have acknowledged; the next step comes in 12s`
    static func line(_ report: RolloutReport) -> String {
        let has = "\(report.share) of \(report.affected) proxies have it (\(report.percent) %)"
        let answered = "\(report.acknowledged) have acknowledged"
        let words =
            switch report.phase {
            case .probing: "\(has), one of each class tries it, \(answered)"
            case .spreading: "\(has), \(answered)"
            case .holding:
                "\(has), all have acknowledged"
                    + (report.left.map { "; the next step comes in \(DurationArgument($0))" } ?? "")
            case .held: "no proxy has it: \(report.reason)"
            case .undoing: "it is taken back: \(report.reason)"
            case .complete: "all proxies have it"
            case .undone:
                (report.undoneBy.map { "undone by revision \($0): " } ?? "undone: ") + report.reason
            }
        return "revision \(report.revision): \(words)".printable
    }

    static func lines(_ report: RolloutReport) -> [String] {
        guard report.isUnderWay else { return [line(report)] }
        let all =
            report.isGuard
            ? "one proxy of each class first, then all"
            : report.percents.map { "\($0) %" }.joined(separator: ", ") + ", held \(DurationArgument(report.hold))"
        return [line(report), "the other proxies have revision \(report.base)", "steps: \(all)"]
    }

    /// Waits until it has come to its end, and says each step.
    /// - Throws: a ``CommandProblem`` where it was undone.
    static func follow(_ revision: Int64, _ target: ControlTarget, isQuiet: Bool) throws {
        defer { Terminal.errors.progress("") }
        var told = ""
        while true {
            guard let report = try ask(RolloutRequest(), target), report.revision == revision else {
                throw CommandProblem("revision \(revision) is not rolled out any more", hint: "see `martinet history`")
            }
            switch report.phase {
            case .probing, .spreading, .holding:
                let step =
                    "revision \(revision): \(report.acknowledged) of \(report.affected) proxies have acknowledged it "
                    + "(\(report.percent) %)"
                if report.phase == .holding, step != told, !isQuiet {
                    told = step
                    Terminal.errors.progress("")
                    Terminal.output.line(step)
                }
                Terminal.errors.progress(line(report))
            case .complete:
                Terminal.errors.progress("")
                if !isQuiet { Terminal.output.line(line(report)) }
                return
            case .held, .undone:
                Terminal.errors.progress("")
                throw CommandProblem(
                    line(report), hint: "correct it and apply it again; `martinet status` shows every proxy")
            case .undoing: break
            }
            Thread.sleep(forTimeInterval: 0.1)
        }
    }
}

/// How a revision is to come to the proxies.
struct CanaryOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Give it to these shares of the affected proxies, one after the other, and take it back if one rejects it.",
            valueName: "5%,25%,100%"))
    var canary: RolloutPercents?

    @Option(
        help: ArgumentHelp(
            "With --canary: how long a share has it before the next one. (default: 30s)", valueName: "time"))
    var hold: DurationArgument?

    func validate() throws {
        if canary == nil, hold != nil { throw ValidationError("--hold is for --canary") }
        if canary != nil, order == nil { throw ValidationError("--hold is at most 7d") }
    }

    var order: RolloutOrder? {
        canary.flatMap { RolloutOrder(percents: $0.percents, hold: hold?.duration ?? .seconds(30)) }
    }

    /// The first option that was given, for messages.
    var given: String? { canary == nil ? nil : "--canary" }
}

/// `5%,25%,100%`: shares that grow; 100 % may be left out at the end.
struct RolloutPercents: ExpressibleByArgument, Hashable, Sendable {
    let percents: [Int]

    init?(argument: String) {
        var percents: [Int] = []
        for part in argument.split(separator: ",", omittingEmptySubsequences: false) {
            guard let number = Int(part.hasSuffix("%") ? part.dropLast() : part) else { return nil }
            percents.append(number)
        }
        guard RolloutOrder(percents: percents, hold: .zero) != nil else { return nil }
        self.percents = percents
    }
}
