import Foundation
import Testing

/// `martinet serve` as a user runs it, with its data and resources in a directory of the test's.
final class ControlPlaneProcess {
    let directory: String
    let xdsPort: Int
    let tlsPort: Int
    let httpPort: Int
    private let extra: [String]
    private(set) var process: ChildProcess

    var data: String { directory + "/data" }
    var resources: String { directory + "/resources" }

    /// - Parameter extra: further flags, for example those of the TLS port.
    init(_ extra: [String] = [], resources: [String: String] = [:]) throws {
        directory = try temporaryDirectory()
        xdsPort = try freePort()
        tlsPort = try freePort()
        httpPort = try freePort()
        self.extra = extra
        try FileManager.default.createDirectory(
            atPath: directory + "/resources", withIntermediateDirectories: true)
        for (name, text) in resources {
            try Self.write(text, to: directory + "/resources/" + name)
        }
        process = try ChildProcess(
            Installation.martinet,
            Self.arguments(directory: directory, xds: xdsPort, tls: tlsPort, http: httpPort, extra: extra),
            in: directory)
        try waitUntilReady()
    }

    deinit {
        process.stop()
        try? FileManager.default.removeItem(atPath: directory)
    }

    /// Ends it.
    func stop(_ signal: Int32) { process.stop(signal) }

    /// Starts it where it cannot serve, and waits until it has ended.
    /// - Parameter user: a program that runs another as somebody else, with its arguments.
    func runToItsEnd(as user: [String] = []) throws -> (status: Int32, output: String, errors: String) {
        let command =
            user + [Installation.martinet]
            + Self.arguments(directory: directory, xds: xdsPort, tls: tlsPort, http: httpPort, extra: extra)
        return try ChildProcess.run(command[0], Array(command.dropFirst()), timeout: 20)
    }

    /// Ends it and starts it again on the same ports and the same data.
    func restart(_ signal: Int32 = SIGKILL) throws {
        process.stop(signal)
        process = try ChildProcess(
            Installation.martinet,
            Self.arguments(directory: directory, xds: xdsPort, tls: tlsPort, http: httpPort, extra: extra),
            in: directory)
        try waitUntilReady()
    }

    /// Writes a file of the resources directory as a careful user does: beside it, then renamed.
    func write(_ text: String, to name: String) throws {
        try Self.write(text, to: resources + "/" + name)
    }

    /// Runs a subcommand against this control plane.
    func command(_ arguments: String..., input: String? = nil) throws -> (status: Int32, output: String, errors: String)
    {
        try ChildProcess.run(Installation.martinet, arguments + ["--data", data], input: input)
    }

    /// A value of `/metrics`, the sum over its labels; 0 where it is not there yet.
    func metric(_ name: String) throws -> Double {
        let lines = try httpGet("http://127.0.0.1:\(httpPort)/metrics").body.split(separator: "\n")
        return lines.filter { $0.hasPrefix(name + " ") || $0.hasPrefix(name + "{") }
            .compactMap { Double($0.split(separator: " ").last ?? "") }.reduce(0, +)
    }

    private func waitUntilReady() throws {
        try eventually("martinet to be ready; its log: \(process.log.suffix(2_000))") {
            try httpGet("http://127.0.0.1:\(httpPort)/readyz").code == 200 ? true : nil
        }
    }

    private static func arguments(directory: String, xds: Int, tls: Int, http: Int, extra: [String]) -> [String] {
        [
            "serve", "--data", directory + "/data", "--resources", directory + "/resources", "--xds-plaintext",
            "127.0.0.1:\(xds)", "--xds-tls", "127.0.0.1:\(tls)", "--http",
            "127.0.0.1:\(http)",
        ] + extra
    }

    private static func write(_ text: String, to path: String) throws {
        try FileManager.default.createDirectory(
            atPath: (path as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
        try text.write(toFile: path, atomically: true, encoding: .utf8)
    }
}
