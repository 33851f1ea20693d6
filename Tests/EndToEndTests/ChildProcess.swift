import Foundation
import Synchronization
import Testing

/// A real program under test: started with its output in a file, ended with the object, by its own id.
final class ChildProcess {
    let process = Process()
    let logPath: String

    init(_ executable: String, _ arguments: [String], in directory: String, environment: [String: String] = [:]) throws
    {
        logPath = directory + "/" + (executable as NSString).lastPathComponent + "-" + shortID() + ".log"
        FileManager.default.createFile(atPath: logPath, contents: nil)
        let log = try #require(FileHandle(forWritingAtPath: logPath))
        process.executableURL = URL(fileURLWithPath: executable)
        process.arguments = arguments
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = log
        process.standardError = log
        try process.runUnmasked()
    }

    deinit { stop() }

    var log: String { (try? String(contentsOfFile: logPath, encoding: .utf8)) ?? "" }

    /// Ends it with a signal and waits until it is gone. Killed unless told otherwise: the threads that start programs
    /// here block SIGTERM, programs inherit that, and most never unblock it.
    func stop(_ signal: Int32 = SIGKILL) {
        guard process.isRunning else { return }
        kill(process.processIdentifier, signal)
        let deadline = Date().addingTimeInterval(5)
        while process.isRunning, Date() < deadline { usleep(5_000) }
        if process.isRunning { kill(process.processIdentifier, SIGKILL) }
        process.waitUntilExit()
    }

    /// Runs a program to its end.
    static func run(
        _ executable: String, _ arguments: [String], input: String? = nil, environment: [String: String] = [:],
        timeout: TimeInterval = 60
    ) throws -> (status: Int32, output: String, errors: String) {
        let directory = try temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let (out, err) = (directory + "/out", directory + "/err")
        for path in [out, err] { FileManager.default.createFile(atPath: path, contents: nil) }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: executable)
        process.arguments = arguments
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        process.standardOutput = FileHandle(forWritingAtPath: out)
        process.standardError = FileHandle(forWritingAtPath: err)
        if let input {
            try input.write(toFile: directory + "/in", atomically: true, encoding: .utf8)
            process.standardInput = FileHandle(forReadingAtPath: directory + "/in")
        } else {
            process.standardInput = FileHandle.nullDevice
        }
        try process.runUnmasked()
        let deadline = Date().addingTimeInterval(timeout)
        while process.isRunning, Date() < deadline { usleep(5_000) }
        if process.isRunning {
            kill(process.processIdentifier, SIGKILL)
            Issue.record("\(executable) \(arguments) did not end within \(timeout) s")
        }
        process.waitUntilExit()
        return (
            process.terminationStatus, try String(contentsOfFile: out, encoding: .utf8),
            try String(contentsOfFile: err, encoding: .utf8)
        )
    }
}

extension Process {
    /// Starts it with no signal blocked. Tests run on threads that block signals, and children inherit that.
    fileprivate func runUnmasked() throws {
        var (none, old) = (sigset_t(), sigset_t())
        sigemptyset(&none)
        pthread_sigmask(SIG_SETMASK, &none, &old)
        defer { pthread_sigmask(SIG_SETMASK, &old, nil) }
        try run()
    }
}

func shortID() -> String { String(UUID().uuidString.prefix(8)) }

func temporaryDirectory() throws -> String {
    let path = NSTemporaryDirectory() + "martinet-e2e-" + shortID()
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    return path
}

/// Asks again and again until the answer is there; a failure names what was waited for.
@discardableResult
func eventually<Value>(
    _ what: @autoclosure () -> String, within seconds: TimeInterval = 15,
    sourceLocation: SourceLocation = #_sourceLocation,
    _ ask: () throws -> Value?
) throws -> Value {
    let deadline = Date().addingTimeInterval(seconds)
    while Date() < deadline {
        if let value = try? ask() { return value }
        usleep(20_000)
    }
    let what = what()
    Issue.record("waited \(seconds) s in vain for: \(what)", sourceLocation: sourceLocation)
    throw WaitedInVain(what: what)
}

struct WaitedInVain: Error { var what: String }

/// A TCP port of 127.0.0.1 that nobody listened on a moment ago, and that no other test of this run was given. Below
/// the range from which the system takes the ports of outgoing connections, which the tests make by the hundred.
func freePort() throws -> Int {
    for _ in 0..<1_000 {
        let port = lastPort.withLock { last in
            last = last >= 31_999 ? 20_000 : last + 1
            return last
        }
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        address.sin_port = in_port_t(port).bigEndian
        let bound = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
        if bound { return port }
    }
    throw WaitedInVain(what: "a free port")
}

private let lastPort = Mutex(Int.random(in: 20_000..<32_000))

/// One HTTP/1.1 exchange by curl, which no one here wrote.
func httpGet(_ url: String, headers: [String] = [], timeout: Int = 5) throws -> (code: Int, body: String) {
    let arguments =
        ["-s", "-m", "\(timeout)", "-w", "\n%{http_code}"] + headers.flatMap { ["-H", $0] } + [url]
    let (_, output, _) = try ChildProcess.run("/usr/bin/curl", arguments)
    let end = output.lastIndex(of: "\n") ?? output.startIndex
    return (Int(output[end...].dropFirst()) ?? 0, String(output[..<end]))
}
