import Foundation
import Testing

/// Runs the programs that judge our definitions from outside.
enum Tools {
    static let root = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    static let protos = root.appendingPathComponent("Protos").path
    static let python = root.appendingPathComponent(".build/venv/bin/python").path

    struct Missing: Error, CustomStringConvertible {
        var description: String
    }

    struct Result {
        var status: Int32
        var output: [UInt8]
        var errors: String
        var text: String { String(decoding: output, as: UTF8.self) }
    }

    /// Runs a program to its end. Input and output go through files, so that no pipe can fill up.
    static func run(_ program: String, _ arguments: [String], input: [UInt8] = []) throws -> Result {
        let directory = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let files = try ["input", "output", "errors"].map { name in
            let file = directory.appendingPathComponent(name)
            try Data(name == "input" ? input : []).write(to: file)
            return file
        }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = arguments
        process.standardInput = try FileHandle(forReadingFrom: files[0])
        process.standardOutput = try FileHandle(forWritingTo: files[1])
        process.standardError = try FileHandle(forWritingTo: files[2])
        try process.run()
        process.waitUntilExit()
        return Result(
            status: process.terminationStatus, output: [UInt8](try Data(contentsOf: files[1])),
            errors: String(decoding: try Data(contentsOf: files[2]), as: UTF8.self))
    }

    static func protoc(_ arguments: [String], input: [UInt8] = []) throws -> Result {
        guard FileManager.default.isExecutableFile(atPath: "/usr/bin/protoc") else {
            throw Missing(description: "protoc is missing: run `apt-get install protobuf-compiler`")
        }
        return try run("/usr/bin/protoc", arguments, input: input)
    }

    /// Runs a script of the repository with the Python of `.build/venv`.
    static func python(_ script: String, _ arguments: [String] = []) throws -> Result {
        guard FileManager.default.isExecutableFile(atPath: python) else {
            throw Missing(
                description: """
                    \(python) is missing: run `python3 -m venv .build/venv && .build/venv/bin/pip install \
                    xds-protos==1.85.0 grpcio-health-checking==1.85.1 grpcio-reflection==1.85.1`
                    """)
        }
        return try run(python, [root.appendingPathComponent(script).path] + arguments)
    }
}
