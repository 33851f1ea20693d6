import Foundation
import Glibc

/// What a part of the benchmark says when it cannot go on.
struct BenchFailure: Error, CustomStringConvertible {
    var description: String

    init(_ description: String) { self.description = description }

    /// A system call that failed just now.
    static func system(_ call: String) -> BenchFailure {
        BenchFailure("\(call): \(String(cString: strerror(errno)))")
    }
}

/// One line of a role: a word, and figures by name.
struct Reply {
    var word: String
    var figures: [String: Int] = [:]

    init(_ word: String, _ figures: [String: Int] = [:]) {
        self.word = word
        self.figures = figures
    }

    init(parsing line: String) {
        let words = line.split(separator: " ")
        word = words.first.map(String.init) ?? ""
        for pair in words.dropFirst() {
            let parts = pair.split(separator: "=", maxSplits: 1)
            if parts.count == 2, let figure = Int(parts[1]) { figures[String(parts[0])] = figure }
        }
    }

    var line: String {
        ([word] + figures.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }).joined(separator: " ")
    }

    subscript(name: String) -> Int {
        get throws {
            guard let figure = figures[name] else { throw BenchFailure("no \(name) in: \(line)") }
            return figure
        }
    }

    /// Says it to whoever started this process.
    func say() {
        let bytes = Array((line + "\n").utf8)
        // Far below what a pipe takes at once.
        if write(1, bytes, bytes.count) != bytes.count { exit(1) }
    }
}

/// This program in another role, pinned to a cpu, asked and answering in lines.
final class ChildProcess {
    let process: pid_t
    private let input: Int32
    private let output: Int32
    private var unread: [UInt8] = []
    private var hasEnded = false

    /// - Parameters:
    ///   - cpu: the one that it runs on; nil for any.
    ///   - program: this one if not given.
    init(cpu: Int?, _ arguments: [String], program: String? = nil) throws(BenchFailure) {
        signal(SIGPIPE, SIG_IGN)
        var (down, up): ([Int32], [Int32]) = ([-1, -1], [-1, -1])
        guard pipe(&down) == 0, pipe(&up) == 0 else { throw .system("pipe") }
        // The ends that stay here are not for the children.
        for descriptor in [down[1], up[0]] { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawn_file_actions_adddup2(&actions, down[0], 0)
        posix_spawn_file_actions_adddup2(&actions, up[1], 1)
        for descriptor in [down[0], up[1]] { posix_spawn_file_actions_addclose(&actions, descriptor) }
        defer { posix_spawn_file_actions_destroy(&actions) }
        let pin = cpu.map { ["/usr/bin/taskset", "-c", "\($0)"] } ?? []
        let words = pin + [program ?? Self.ownPath] + arguments
        var identifier: pid_t = 0
        let result = Self.withWords(words) { list in
            Self.withWords(Self.environment) { posix_spawn(&identifier, words[0], &actions, nil, list, $0) }
        }
        close(down[0])
        close(up[1])
        guard result == 0 else {
            throw BenchFailure("cannot start \(words[0]): \(String(cString: strerror(result)))")
        }
        process = identifier
        input = down[1]
        output = up[0]
    }

    deinit { kill() }

    func tell(_ line: String) {
        let bytes = Array((line + "\n").utf8)
        _ = write(input, bytes, bytes.count)
    }

    /// The next line that the process says.
    func reply(within seconds: Int = 120) throws -> Reply {
        let deadline = Clock.now + seconds * 1_000_000_000
        while true {
            if let end = unread.firstIndex(of: 10) {
                let line = String(decoding: unread[..<end], as: UTF8.self)
                unread.removeSubrange(...end)
                let reply = Reply(parsing: line)
                if reply.word == "error" { throw BenchFailure("a part of the benchmark: \(line)") }
                return reply
            }
            var wait = pollfd(fd: output, events: Int16(POLLIN), revents: 0)
            let left = (deadline - Clock.now) / 1_000_000
            guard left > 0, poll(&wait, 1, Int32(left)) > 0 else {
                throw BenchFailure("no answer from process \(process) within \(seconds) s")
            }
            var buffer = [UInt8](repeating: 0, count: 4096)
            let count = read(output, &buffer, buffer.count)
            guard count > 0 else { throw BenchFailure("process \(process) has ended before it answered") }
            unread += buffer[..<count]
        }
    }

    func ask(_ line: String, within seconds: Int = 120) throws -> Reply {
        tell(line)
        return try reply(within: seconds)
    }

    /// Resident memory, bytes.
    var memory: Int {
        get throws {
            let text = try readText("/proc/\(process)/statm").split(separator: " ")
            guard text.count > 1, let pages = Int(text[1]) else { throw BenchFailure("no memory of \(process)") }
            return pages * sysconf(Int32(_SC_PAGESIZE))
        }
    }

    /// What its threads have used, in nanoseconds.
    /// - Parameter name: of the threads that count; nil: all.
    func processorTime(ofThread name: String? = nil) throws -> Int {
        let directory = "/proc/\(process)/task"
        var sum = 0
        for thread in try FileManager.default.contentsOfDirectory(atPath: directory) {
            if let name, try readText("\(directory)/\(thread)/comm").split(separator: "\n").first ?? "" != name {
                continue
            }
            guard let used = try readText("\(directory)/\(thread)/schedstat").split(separator: " ").first,
                let time = Int(used)
            else { throw BenchFailure("no processor time of \(process)") }
            sum += time
        }
        return sum
    }

    /// Ends it as a crash would.
    func kill() {
        guard !hasEnded else { return }
        hasEnded = true
        _ = Glibc.kill(process, SIGKILL)
        var status: Int32 = 0
        _ = waitpid(process, &status, 0)
        close(input)
        close(output)
    }

    private static let ownPath: String = {
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = readlink("/proc/self/exe", &buffer, buffer.count - 1)
        return count > 0 ? String(decoding: buffer[..<count].map(UInt8.init(bitPattern:)), as: UTF8.self) : ""
    }()

    private static let environment: [String] = ["PATH", "LD_LIBRARY_PATH"].compactMap { name in
        guard let value = getenv(name) else { return nil }
        return "\(name)=\(String(cString: value))"
    }

    private static func withWords<Result>(
        _ words: [String], _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Result
    ) -> Result {
        var pointers: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
        pointers.append(nil)
        defer { for pointer in pointers { free(pointer) } }
        return pointers.withUnsafeMutableBufferPointer { body($0.baseAddress!) }
    }
}

/// The machine's clocks, in nanoseconds, the same in all processes.
enum Clock {
    static var now: Int { read(CLOCK_MONOTONIC) }
    /// What all threads of this process have used.
    static var processorTime: Int { read(CLOCK_PROCESS_CPUTIME_ID) }

    /// Seconds since 1970.
    static var utc: Int64 { Int64(read(CLOCK_REALTIME) / 1_000_000_000) }

    private static func read(_ clock: clockid_t) -> Int {
        var time = timespec()
        clock_gettime(clock, &time)
        return time.tv_sec * 1_000_000_000 + time.tv_nsec
    }
}

func readText(_ path: String) throws(BenchFailure) -> String {
    let descriptor = open(path, O_RDONLY)
    guard descriptor >= 0 else { throw .system(path) }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
        let count = read(descriptor, &buffer, buffer.count)
        guard count > 0 else { return String(decoding: bytes, as: UTF8.self) }
        bytes += buffer[..<count]
    }
}
