import Foundation
import HTTP1
import Testing

/// Messages that two readers understand in two ways: each of them is refused, for the reason that its file says.
struct SmugglingTests {
    struct Case: CustomStringConvertible {
        var name: String
        var role: String
        var problem: String
        var bytes: [UInt8]

        var description: String { name }

        /// The first line says why, then come `role: …` and `problem: …`, an empty line and the message.
        init(_ file: URL) throws {
            name = file.deletingPathExtension().lastPathComponent
            let text = try String(contentsOf: file, encoding: .utf8)
            let lines = text.split(separator: "\n", maxSplits: 4, omittingEmptySubsequences: false)
            role = try #require(lines[1].split(separator: ": ").last.map(String.init))
            problem = try #require(lines[2].split(separator: ": ").last.map(String.init))
            #expect(lines[3].isEmpty)
            bytes = unescaped(lines[4])
        }

        func transcript(_ parts: [ArraySlice<UInt8>]) -> [String] {
            var limits = HTTP1Limits()
            limits.acceptsHTTP10 = role == "server10"
            var transcript =
                role.hasPrefix("server")
                ? Transcript(.server, limits: limits)
                : Transcript(.client, to: role == "client head" ? .head : .other, upgrades: role == "client upgrade")
            return transcript.run(parts)
        }
    }

    private static func cases() throws -> [Case] {
        let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent(
            "Corpus/smuggling")
        return try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
            .filter { $0.pathExtension == "http" }.sorted { $0.path < $1.path }.map(Case.init)
    }

    @Test func eachIsRefusedForItsReasonHoweverItIsCut() throws {
        let cases = try Self.cases()
        #expect(cases.count > 150)
        for one in cases {
            let problem = try #require(HTTP1Problem(rawValue: one.problem), "\(one): no problem \(one.problem)")
            let whole = one.transcript([one.bytes[...]])
            let status = HTTP1Failure(problem, one.role.hasPrefix("server") ? .server : .client).status
            #expect(whole.last == "failed \(one.problem) \(status)", "\(one)")
            for parts in allCuts(one.bytes) {
                let cut = one.transcript(parts)
                if cut != whole {
                    Issue.record("\(one): cut as \(parts.map(\.count)) gives \(cut), whole \(whole)")
                    break
                }
            }
        }
    }

    /// Each problem that a peer can cause has a case, or a test of its own here.
    @Test func everyProblemHasACase() throws {
        let covered = Set(try Self.cases().map(\.problem))
        let elsewhere: Set<HTTP1Problem> = [
            .targetTooLong, .lineTooLong, .headTooLarge, .tooManyFields, .timeout,
        ]
        for problem in HTTP1Problem.allCases where !elsewhere.contains(problem) {
            #expect(covered.contains(problem.rawValue), "no case for \(problem)")
        }
    }

    @Test func statusesAreWhatClientsUnderstand() {
        for problem in HTTP1Problem.allCases {
            #expect(HTTP1Failure(problem, .client).status == 502)
            #expect([400, 408, 413, 414, 417, 426, 431, 501, 502, 505].contains(problem.status))
            #expect(!problem.text.isEmpty)
        }
        #expect(HTTP1Problem.timeout.status == 408)
    }
}
