import Foundation
import Glibc
import Logging
import Synchronization

/// Runs a command after the files have changed: one run at a time, and once more if they changed meanwhile.
final class ChangeCommand: Sendable {
    private struct State {
        var isRunning = false
        var runsAgain = false
        var waiting: [@Sendable (String?) -> Void] = []
    }

    private let command: String
    private let limit: Duration
    private let logger: Logger
    private let state = Mutex(State())

    /// Bytes of the command's output that are logged.
    static let outputLimit = 8 << 10

    /// - Parameters:
    ///   - command: for `/bin/sh -c`.
    ///   - limit: after which it is killed with all it has started.
    init(_ command: String, limit: Duration = .seconds(30), logger: Logger) {
        self.command = command
        self.limit = limit
        self.logger = logger
    }

    /// Has the command run, now or after the run that is under way.
    /// - Parameter completion: called on another thread after a run that began after this call: nil, or how it failed.
    func trigger(_ completion: @escaping @Sendable (String?) -> Void = { _ in }) {
        let begins = state.withLock { state in
            state.waiting.append(completion)
            if state.isRunning {
                state.runsAgain = true
                return false
            }
            state.isRunning = true
            return true
        }
        if begins { Thread.detachNewThread { [self] in runAll() } }
    }

    /// Waits until no run is under way; as long as a run may take at most.
    func wait() {
        while state.withLock({ $0.isRunning }) { usleep(10_000) }
    }

    private func runAll() {
        while true {
            let waiting = state.withLock { state in
                defer {
                    state.waiting = []
                    state.runsAgain = false
                }
                return state.waiting
            }
            let problem = run()
            for completion in waiting { completion(problem) }
            let isOver = state.withLock { state in
                if state.runsAgain { return false }
                state.isRunning = false
                return true
            }
            if isOver { return }
        }
    }

    /// - Returns: nil, or how it failed.
    private func run() -> String? {
        do {
            let outcome = try ShellRun(command, limit: limit)
            let output = outcome.output.isEmpty ? "" : String(decoding: outcome.output, as: UTF8.self)
            guard let problem = outcome.problem else {
                logger.info("the command has run", metadata: ["command": "\(command)", "output": "\(output)"])
                return nil
            }
            logger.error(
                "the command after the files failed",
                metadata: ["command": "\(command)", "reason": "\(problem)", "output": "\(output)"])
            return problem
        } catch {
            logger.error("the command cannot run", metadata: ["command": "\(command)", "reason": "\(error.reason)"])
            return error.reason
        }
    }
}

/// One run of a shell command, from its start to its end.
private struct ShellRun {
    struct Failure: Error { var reason: String }

    /// The first ``ChangeCommand/outputLimit`` bytes of what it wrote.
    private(set) var output: [UInt8] = []
    /// nil: it ended with 0.
    private(set) var problem: String?

    init(_ command: String, limit: Duration) throws(Failure) {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw Failure(reason: "pipe: \(errorWords(errno))") }
        // The command gets copies without these flags.
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        _ = fcntl(ends[0], F_SETFL, O_NONBLOCK)
        defer { close(ends[0]) }
        let process: pid_t
        do {
            defer { close(ends[1]) }
            process = try Self.start(command, writer: ends[1])
        }
        let deadline = ContinuousClock.now + limit
        while true {
            read(ends[0])
            var status: Int32 = 0
            if waitpid(process, &status, WNOHANG) == process {
                // What it wrote last; what it left running may write on, and is not waited for.
                read(ends[0])
                problem = Self.problem(status)
                return
            }
            if ContinuousClock.now > deadline {
                // Its group: what it has started goes too.
                kill(-process, SIGKILL)
                waitpid(process, &status, 0)
                problem = "took longer than \(limit.components.seconds) s and was killed"
                return
            }
            usleep(10_000)
        }
    }

    private static func start(_ command: String, writer: Int32) throws(Failure) -> pid_t {
        var files = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&files)
        defer { posix_spawn_file_actions_destroy(&files) }
        posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_adddup2(&files, writer, 1)
        posix_spawn_file_actions_adddup2(&files, writer, 2)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var (none, all) = (sigset_t(), sigset_t())
        sigemptyset(&none)
        sigfillset(&all)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setsigdefault(&attributes, &all)
        posix_spawnattr_setpgroup(&attributes, 0)
        posix_spawnattr_setflags(
            &attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
        var process = pid_t()
        let words: [String] = ["/bin/sh", "-c", command]
        let arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        defer { for argument in arguments { free(argument) } }
        let result = posix_spawn(&process, "/bin/sh", &files, &attributes, arguments, environ)
        guard result == 0 else { throw Failure(reason: "cannot start /bin/sh: \(errorWords(result))") }
        return process
    }

    private mutating func read(_ descriptor: Int32) {
        var bytes = [UInt8](repeating: 0, count: 4096)
        // As much as one look may take: a command that writes without end is stopped by the clock.
        for _ in 0..<64 {
            let count = Glibc.read(descriptor, &bytes, bytes.count)
            guard count > 0 else { return }
            output += bytes[..<min(count, ChangeCommand.outputLimit - output.count)]
        }
    }

    private static func problem(_ status: Int32) -> String? {
        let signal = status & 0x7F
        if signal != 0 { return "was ended by signal \(signal)" }
        let code = status >> 8 & 0xFF
        return code == 0 ? nil : "ended with exit code \(code)"
    }
}

/// `No such file or directory` for ENOENT.
func errorWords(_ number: Int32) -> String { String(cString: strerror(number)) }
