import ArgumentParser
import ControlPlane
import EnvoyAPI
import Foundation
import Time

struct RotateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rotate",
        abstract: "Replace the intermediate, or the root, now and not on schedule; or go back.",
        discussion: """
            Each step waits until every connected proxy has acknowledged the step before, and until what the others \
            hold is replaced or past. With --force-after a step waits no longer than that for proxies that are away: \
            they may fail handshakes until they are back. Said again while a rotation is under way, --force-after \
            changes its patience.

            EXAMPLES
              martinet ca rotate --wait
              martinet ca rotate --root --wait --timeout 1h
              martinet ca rotate --root --force-after 30m
              martinet ca rotate --abort

            EXIT CODES
              0   It is ordered; with --wait, it is complete.
              1   It is refused; or with --wait, it was aborted, or --timeout has passed.
              64  The command line is wrong.
            """)

    @Flag(help: "The root, and the intermediate with it.")
    var root = false

    @Flag(help: "Go back from the rotation that is under way.")
    var abort = false

    @Option(help: ArgumentHelp("Wait no longer in each step for proxies that are away.", valueName: "duration"))
    var forceAfter: DurationArgument?

    @Flag(help: "Return when it is complete, and tell its progress meanwhile.")
    var wait = false

    @Option(help: ArgumentHelp("With --wait: give up waiting, not the rotation, after this.", valueName: "duration"))
    var timeout: DurationArgument?

    @OptionGroup var target: ControlTarget

    func validate() throws {
        if abort, root || forceAfter != nil {
            throw ValidationError("--abort goes back from whatever is under way: leave out --root and --force-after")
        }
        if timeout != nil, !wait { throw ValidationError("--timeout has no use without --wait") }
    }

    func run() throws {
        // Whether the order was carried out can be told only by what was active before.
        let before = wait && !abort ? try report().active : []
        let answer: [UInt8]
        if abort {
            answer = try target.call(ControlAuthority.abort, RotationOrder.abortRequest)
        } else {
            let order = RotationOrder(root: root, forceAfter: forceAfter?.duration)
            answer = try target.call(ControlAuthority.rotate, order.encoded())
        }
        let rotations = try readAnswer { try AuthorityReport.Rotation.list(decoding: answer) }
        for rotation in rotations { Terminal.output.line(rotation.words) }
        if rotations.isEmpty { Terminal.output.line(abort ? "no rotation is under way now" : "complete") }
        guard wait, !rotations.isEmpty else { return }
        let end = try waitForEnd()
        guard !abort else { return Terminal.output.line("gone back") }
        let tier = root ? "root" : "intermediate"
        let isReplaced = end.active.contains { $0.tier == tier && !before.contains($0) }
        guard isReplaced else {
            throw CommandProblem(
                "the rotation ended without a new \(tier)",
                hint: "someone may have aborted it; see `martinet ca status`")
        }
        Terminal.output.line("complete")
    }

    private func report() throws -> AuthorityReport {
        let answer = try target.call(ControlAuthority.status, AuthorityReport.request)
        return try readAnswer { try AuthorityReport(decoding: answer) }
    }

    /// - Returns: the status after the last rotation has ended.
    private func waitForEnd() throws -> AuthorityReport {
        let start = Timestamp.ofThisMachine()
        var told = ""
        while true {
            let report = try report()
            guard !report.rotations.isEmpty else {
                Terminal.errors.progress("")
                return report
            }
            let waited = Timestamp.ofThisMachine() - start
            let words = report.rotations.map(\.words).joined(separator: "; ")
            if Terminal.errors.isInteractive {
                Terminal.errors.progress("\(waited.brief)  \(words)")
            } else if words != told {
                // Nobody looks on: each change is a line.
                Terminal.errors.line(words)
                told = words
            }
            if let timeout, waited >= timeout.duration {
                Terminal.errors.progress("")
                throw CommandProblem(
                    "not complete after \(timeout): \(words)",
                    hint: "it goes on; `martinet ca status` names who is waited for, and --force-after decides")
            }
            usleep(200_000)
        }
    }
}

extension AuthorityReport {
    /// Who issues now.
    fileprivate var active: [ActiveAuthority] {
        authorities.filter { $0.state == "active" }.map { ActiveAuthority(tier: $0.tier, id: $0.id) }
    }

    fileprivate struct ActiveAuthority: Equatable {
        var tier: String
        var id: String
    }
}

extension AuthorityReport.Rotation {
    /// In one line.
    var words: String {
        let names = awaited.prefix(3).map { $0.nodeID.printable }
        let more = awaitedCount > names.count ? ", …" : ""
        let list = names.isEmpty ? "" : " (\(names.joined(separator: ", "))\(more))"
        return "\(tier.printable): \(phase.printable), waits for \(awaitedCount)\(list)"
    }
}
