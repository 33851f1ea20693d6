import Foundation
import Testing

@testable import Agent

struct FilesTests {
    private func contents(_ name: String) -> SVIDDirectory.Contents {
        SVIDDirectory.Contents(
            chain: Array("chain \(name)".utf8), key: Array("key \(name)".utf8), bundle: Array("bundle \(name)".utf8))
    }

    private func mode(_ path: String) throws -> Int {
        try #require(FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int)
    }

    @Test func aSetIsReadBackAndOnlyItsOwnerReadsTheKey() throws {
        let path = try temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: path) }
        let directory = try SVIDDirectory(path + "/out")
        #expect(directory.read() == nil)
        try directory.write(contents("a"))
        #expect(directory.read() == contents("a"))
        let base = path + "/out/..data/"
        #expect(try mode(base + "key.pem") == 0o600)
        #expect(try mode(base + "cert-chain.pem") == 0o644)
        #expect(try mode(base + "root-cert.pem") == 0o644)
    }

    /// A reader resolves `..data` once; then what it reads is of one set.
    @Test func noReaderSeesTwoSetsMixed() throws {
        let path = try temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: path) }
        let directory = try SVIDDirectory(path)
        try directory.write(contents("0"))
        let last = 200
        let writer = Thread {
            for number in 1...last { try? directory.write(contents("\(number)")) }
        }
        writer.start()
        var seen: Set<String> = []
        while !seen.contains("key \(last)") {
            // nil where the set went away in the middle: it is read again.
            guard let set = directory.read() else { continue }
            let key = String(decoding: set.key, as: UTF8.self)
            let number = String(key.dropFirst("key ".count))
            #expect(set == contents(number))
            seen.insert(key)
        }
        #expect(seen.count > 1)
        try eventually("old keys to be nowhere") {
            let names = try FileManager.default.contentsOfDirectory(atPath: path)
            return names.count { $0.hasPrefix("..set-") } == 1 ? true : nil
        }
    }

    @Test func whatACrashHasLeftBehindIsRemoved() throws {
        let path = try temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: path) }
        let directory = try SVIDDirectory(path)
        try directory.write(contents("a"))
        try FileManager.default.createDirectory(atPath: path + "/..set-7", withIntermediateDirectories: false)
        try "old key".write(toFile: path + "/..set-7/key.pem", atomically: false, encoding: .utf8)
        #expect(directory.read() == contents("a"))
        try directory.write(contents("b"))
        let names = try FileManager.default.contentsOfDirectory(atPath: path).filter { $0.hasPrefix("..set-") }
        #expect(names.count == 1)
        #expect(directory.read() == contents("b"))
    }

    @Test func filesOfOthersAreLeftAlone() throws {
        let path = try temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: path) }
        try "mine".write(toFile: path + "/key.pem", atomically: false, encoding: .utf8)
        #expect(throws: AgentError.notOurs(path: path + "/key.pem")) { try SVIDDirectory(path) }
        #expect(try String(contentsOfFile: path + "/key.pem", encoding: .utf8) == "mine")
    }

    @Test func aFullDirectoryLeavesTheOldSet() throws {
        // Root writes through permissions: a file in the way of the set's directory is what stops it.
        let path = try temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: path) }
        let directory = try SVIDDirectory(path)
        try directory.write(contents("a"))
        try FileManager.default.createDirectory(atPath: path + "/..new-..data/x", withIntermediateDirectories: true)
        #expect {
            try directory.write(contents("b"))
        } throws: {
            "\($0)".contains("cannot write \(path)/..data")
        }
        #expect(directory.read() == contents("a"))
        let names = try FileManager.default.contentsOfDirectory(atPath: path).filter { $0.hasPrefix("..set-") }
        #expect(names.count == 1)
    }

    // MARK: The command

    private func run(_ text: String, limit: Duration = .seconds(30), log: LogRecorder = LogRecorder()) -> String? {
        let outcome = CommandOutcome()
        let command = ChangeCommand(text, limit: limit, logger: log.logger)
        command.trigger { outcome.set($0) }
        command.wait()
        return outcome.problem
    }

    @Test func theCommandRunsAndItsOutputIsLogged() {
        let log = LogRecorder()
        #expect(run("echo reloaded; echo warned >&2", log: log) == nil)
        #expect(log.has("info the command has run"))
        #expect(log.has("output=reloaded\nwarned"))
    }

    @Test func aFailureIsLoud() {
        let log = LogRecorder()
        #expect(run("echo broken; exit 3", log: log) == "ended with exit code 3")
        #expect(log.has("error the command after the files failed"))
        #expect(log.has("output=broken"))
        #expect(run("kill -9 $$") == "was ended by signal 9")
    }

    @Test func aCommandThatHangsIsKilledWithAllItStarted() throws {
        let path = try temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: path) }
        #expect(
            run("sleep 1000 & echo $! > \(path)/pid; wait", limit: .milliseconds(300))
                == "took longer than 0 s and was killed")
        let pid = try #require(
            Int32(String(contentsOfFile: path + "/pid", encoding: .utf8).trimmingCharacters(in: .newlines)))
        try eventually("the child's end") { kill(pid, 0) != 0 || isZombie(pid) ? true : nil }
    }

    private func isZombie(_ pid: Int32) -> Bool {
        let text = (try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8)) ?? ""
        return text.isEmpty || text.contains(") Z ")
    }

    @Test func runsDoNotOverlapAndTheLastChangeIsSeen() throws {
        let path = try temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: path) }
        let command = ChangeCommand(
            "mkdir \(path)/lock || echo overlap >> \(path)/log; sleep 0.05; cat \(path)/state >> \(path)/log; "
                + "rmdir \(path)/lock", logger: LogRecorder().logger)
        for number in 1...20 {
            try "state \(number)\n".write(toFile: path + "/state", atomically: true, encoding: .utf8)
            command.trigger()
        }
        command.wait()
        let lines = try String(contentsOfFile: path + "/log", encoding: .utf8).split(separator: "\n")
        #expect(!lines.contains("overlap"))
        #expect(lines.last == "state 20")
        #expect(lines.count < 20)
    }

    @Test func outputWithoutEndIsBounded() {
        let log = LogRecorder()
        #expect(run("yes", limit: .milliseconds(300), log: log) != nil)
        #expect((log.lines.last?.utf8.count ?? 0) < ChangeCommand.outputLimit + 500)
    }
}
