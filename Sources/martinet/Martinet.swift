import ArgumentParser
import Foundation

@main
struct Martinet: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "martinet",
        abstract: "A service-mesh control plane: configures Envoy and gRPC proxies over xDS.",
        discussion: """
            `martinet serve` takes the objects that mesh users already write (Kubernetes, Istio, Gateway API) and \
            resources in Envoy's own form, and pushes configuration to the proxies that connect. The other commands \
            change and show what a running control plane has; they find it by its data directory (--data), or over \
            mutual TLS (--server).

            EXAMPLES
              Serve the files of a directory, and follow their changes:
                martinet serve --resources /etc/martinet/resources
              Change something, see what that changed, and take it back:
                martinet apply -f virtual-service-reviews-80-20.yaml -m "a fifth to v2"
                martinet history
                martinet rollback 41
              See whether every proxy took it:
                martinet status

            ENVIRONMENT
              MARTINET_DATA  The data directory where --data is not given.
              NO_COLOR       No colours, whatever the terminal.

            EXIT CODES
              0   It is done.
              1   It failed, or `status` found a proxy that rejects its configuration.
              64  The command line is wrong.
            """,
        version: martinetVersion,
        subcommands: [
            Serve.self, ProxyCommand.self, AgentCommand.self, Intercept.self, Check.self, Apply.self, Diff.self,
            Get.self, Describe.self, Edit.self, Delete.self, History.self, Show.self, Rollback.self,
            RolloutCommand.self, Export.self, Status.self, Watch.self, AuthorityCommand.self,
            Token.self, Analyze.self, Explain.self, Version.self,
        ])

    /// Runs the command; an error of ours is told with its mend.
    static func main() async {
        // Whoever started this may have blocked signals, and what it cannot hear cannot end it.
        var none = sigset_t()
        sigemptyset(&none)
        sigprocmask(SIG_SETMASK, &none, nil)
        do {
            var command = try parseAsRoot()
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
        } catch let problem as CommandProblem {
            problem.tell()
            exit(withError: ExitCode(problem.exitCode))
        } catch {
            exit(withError: error)
        }
    }
}

/// As `martinet version` prints it.
let martinetVersion = "0.1.0"

/// A command that cannot do its work: what is wrong, and the mend.
struct CommandProblem: Error, Equatable {
    var lines: [String]
    var hint: String?
    var exitCode: Int32 = 1

    init(_ line: String, hint: String? = nil) {
        lines = [line]
        self.hint = hint
    }

    init(lines: [String], hint: String? = nil) {
        self.lines = lines
        self.hint = hint
    }

    /// `error:` for each thing that is wrong, and `hint:` for what to do.
    func tell() {
        for line in lines { Terminal.errors.line(Terminal.errors.paint("error:", .red) + " " + line) }
        if let hint { Terminal.errors.line(Terminal.errors.paint("hint:", .cyan) + " " + hint) }
    }
}
