import ArgumentParser
import ControlPlane
import EnvoyAPI
import Protobuf
import Time

struct AuthorityStatusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Show every authority, when what expires, and whom a rotation waits for.",
        discussion: """
            Times are UTC, by the control plane's clock. A rotation that is under way names the proxies that it waits \
            for, what they hold, and until when that is valid. Problems are what has expired, what will expire and \
            cannot be renewed, and renewals that failed: they make the exit code 1, for scripts and monitoring. \
            `clock:` names workloads whose clocks are off by more than a third of the time by which certificates are \
            backdated; beyond all of that time it is a problem.

            EXAMPLES
              martinet ca status
              martinet ca status -o json
              martinet ca status --quiet || page-someone

            EXIT CODES
              0   All is well.
              1   Something has expired, will expire unrenewed, or could not be renewed.
              2   The status cannot be had.
              64  The command line is wrong.
            """)

    @Option(name: .shortAndLong, help: ArgumentHelp("How to print: table or json.", valueName: "form"))
    var output: TableOrJSON = .table

    @Flag(name: .shortAndLong, help: "Print nothing; the exit code tells.")
    var quiet = false

    @OptionGroup var target: ControlTarget

    func run() throws {
        let report: AuthorityReport
        do {
            let answer = try target.call(ControlAuthority.status, AuthorityReport.request)
            report = try readAnswer { try AuthorityReport(decoding: answer) }
        } catch var problem as CommandProblem {
            problem.exitCode = 2
            throw problem
        }
        if !quiet {
            switch output {
            case .table: Terminal.output.write(AuthorityText(report).table(on: Terminal.output))
            case .json: Terminal.output.write(AuthorityText(report).document.json())
            }
        }
        if !report.allProblems.isEmpty { throw ExitCode(1) }
    }
}

extension AuthorityReport {
    /// What the control plane says is wrong, and what anyone can see from the dates.
    var allProblems: [String] {
        var found = problems
        for authority in authorities where authority.state == "active" && authority.validity.upperBound <= now {
            found.append("the \(authority.tier) \(authority.id) has expired")
        }
        if let serverExpiry, serverExpiry <= now { found.append("the control plane's own certificate has expired") }
        for bundle in federatedBundles where !bundle.problem.isEmpty {
            found.append("the bundle of \(bundle.trustDomain) could not be refreshed: \(bundle.problem)")
        }
        return found.reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
    }
}
