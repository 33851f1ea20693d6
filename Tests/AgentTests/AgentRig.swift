import Certificates
import Foundation
import Logging
import Reactor
import Synchronization
import Testing
import Time

@testable import Agent

/// An agent in this process, with its control plane, a directory of its own, and what it logs.
final class AgentRig {
    let plane: TestControlPlane
    let directory: String
    let log = LogRecorder()
    private let run = Run()

    private final class Run: Sendable {
        let stop = Mutex<(@Sendable () -> Void)?>(nil)
        let result = Mutex<Result<Void, AgentError>?>(nil)
    }

    var socket: String { directory + "/agent.sock" }
    var out: String { directory + "/out" }
    var keyFile: String { out + "/key.pem" }
    var chainFile: String { out + "/cert-chain.pem" }
    var bundleFile: String { out + "/root-cert.pem" }

    init(_ plane: TestControlPlane? = nil, in directory: String? = nil) throws {
        self.plane = try plane ?? TestControlPlane()
        self.directory = try directory ?? temporaryDirectory()
        try write("root.pem", String(decoding: self.plane.first.root.pem, as: UTF8.self))
        try write("token", "good-token\n")
    }

    deinit {
        end()
        try? FileManager.default.removeItem(atPath: directory)
    }

    func write(_ name: String, _ text: String) throws {
        try text.write(toFile: directory + "/" + name, atomically: true, encoding: .utf8)
    }

    func read(_ path: String) -> String { (try? String(contentsOfFile: path, encoding: .utf8)) ?? "" }

    func configuration() -> Agent.Configuration {
        var configuration = Agent.Configuration(
            control: .loopback(port: plane.port), serverName: "localhost", rootCertificateFile: directory + "/root.pem",
            spiffeID: workload, nodeID: "web-1")
        configuration.tokenFile = directory + "/token"
        configuration.takesSignals = false
        configuration.logger = log.logger
        return configuration
    }

    /// Runs an agent on a thread of its own.
    func start(_ change: (inout Agent.Configuration) -> Void) {
        var configuration = configuration()
        change(&configuration)
        run.result.withLock { $0 = nil }
        let (settled, run) = (configuration, run)
        Thread.detachNewThread {
            let outcome = Result<Void, AgentError> { () throws(AgentError) in
                try Agent(settled).run { stopper in run.stop.withLock { $0 = stopper } }
            }
            run.result.withLock { $0 = outcome }
        }
    }

    /// Waits for the end of a run that ends by itself.
    func outcome() throws -> Result<Void, AgentError> {
        try eventually("the agent to end; it logged \(log.lines.suffix(5))") { run.result.withLock { $0 } }
    }

    /// Ends the run.
    func end() {
        guard let stopper = run.stop.withLock({ $0 }) else { return }
        stopper()
        _ = try? eventually("the agent to end") { run.result.withLock { $0 } }
        run.stop.withLock { $0 = nil }
    }
}

/// What an agent logs.
final class LogRecorder: Sendable {
    private let state = Mutex<[String]>([])

    var lines: [String] { state.withLock { $0 } }
    func has(_ words: String) -> Bool { lines.contains { $0.contains(words) } }

    var logger: Logger { Logger(label: "agent") { [self] _ in Lines(recorder: self) } }

    private struct Lines: LogHandler {
        let recorder: LogRecorder
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.trace

        init(recorder: LogRecorder) { self.recorder = recorder }

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            let fields = (event.metadata ?? [:]).sorted { $0.key < $1.key }.map { " \($0.key)=\($0.value)" }.joined()
            recorder.state.withLock { $0.append("\(event.level) \(event.message)\(fields)") }
        }
    }
}

/// A program, run to its end.
struct Program {
    let status: Int32
    let output: String
    let errors: String

    static let python =
        URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().path + "/.build/venv/bin/python"
    static func peer(_ name: String) -> String {
        URL(fileURLWithPath: #filePath).deletingLastPathComponent().path + "/Peers/" + name
    }

    init(_ executable: String, _ arguments: [String]) throws {
        let running = try RunningProgram(executable, arguments)
        (status, output, errors) = running.wait()
    }

    var lines: [String] { output.split(separator: "\n").map(String.init) }
}

final class RunningProgram {
    private let process = Process()
    private let directory: String

    init(_ executable: String, _ arguments: [String]) throws {
        directory = try temporaryDirectory()
        for name in ["out", "err"] { FileManager.default.createFile(atPath: directory + "/" + name, contents: nil) }
        process.executableURL = URL(fileURLWithPath: executable)
        process.arguments = arguments
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = FileHandle(forWritingAtPath: directory + "/out")
        process.standardError = FileHandle(forWritingAtPath: directory + "/err")
        // Tests run on threads that block signals, and children inherit that.
        var (none, old) = (sigset_t(), sigset_t())
        sigemptyset(&none)
        pthread_sigmask(SIG_SETMASK, &none, &old)
        defer { pthread_sigmask(SIG_SETMASK, &old, nil) }
        try process.run()
    }

    deinit {
        if process.isRunning { kill(process.processIdentifier, SIGKILL) }
        try? FileManager.default.removeItem(atPath: directory)
    }

    var lines: [String] { text("out").split(separator: "\n").map(String.init) }

    private func text(_ name: String) -> String {
        (try? String(contentsOfFile: directory + "/" + name, encoding: .utf8)) ?? ""
    }

    func wait() -> (Int32, String, String) {
        _ = try? eventually("\(process.arguments ?? []) to end", within: 90) { process.isRunning ? nil : true }
        if process.isRunning { kill(process.processIdentifier, SIGKILL) }
        process.waitUntilExit()
        return (process.terminationStatus, text("out"), text("err"))
    }
}

func temporaryDirectory() throws -> String {
    let path = NSTemporaryDirectory() + "martinet-agent-" + UUID().uuidString.prefix(8)
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    return path
}

/// Asks again and again until the answer is there; a failure names what was waited for.
@discardableResult
func eventually<Value>(
    _ what: @autoclosure () -> String, within seconds: TimeInterval = 20,
    sourceLocation: SourceLocation = #_sourceLocation, _ ask: () throws -> Value?
) throws -> Value {
    let deadline = Date().addingTimeInterval(seconds)
    while Date() < deadline {
        if let value = try ask() { return value }
        usleep(5_000)
    }
    Issue.record("waited \(seconds) s in vain for: \(what())", sourceLocation: sourceLocation)
    throw WaitedInVain(what: what())
}

struct WaitedInVain: Error { var what: String }

/// A TCP port of 127.0.0.1 that nobody listened on a moment ago.
func freePort() throws -> UInt16 {
    for _ in 0..<1_000 {
        let port = lastPort.withLock { last in
            last = last >= 19_999 ? 16_000 : last + 1
            return last
        }
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        address.sin_port = port.bigEndian
        let bound = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
        if bound { return port }
    }
    throw WaitedInVain(what: "a free port")
}

private let lastPort = Mutex(UInt16.random(in: 16_000..<20_000))
