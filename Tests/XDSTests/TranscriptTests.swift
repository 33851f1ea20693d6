import Foundation
import Testing

/// The folder with the transcripts: one file for each rule of the protocol, named after it.
private let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Transcripts")

private let transcriptNames: [String] = {
    let files = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
    return files.filter { $0.hasSuffix(".transcript") }.map { String($0.dropLast(11)) }.sorted()
}()

@Suite struct TranscriptTests {
    /// `REWRITE=1 swift test --filter TranscriptTests` writes what the machines answer now into the files; read the
    /// change before you keep it.
    @Test(arguments: transcriptNames) func theServerAnswersAsWritten(name: String) throws {
        let file = folder.appendingPathComponent(name + ".transcript")
        let expected = try String(contentsOf: file, encoding: .utf8)
        let actual = try TranscriptRunner.run(expected)
        if ProcessInfo.processInfo.environment["REWRITE"] == "1" {
            try actual.write(to: file, atomically: true, encoding: .utf8)
        } else if actual != expected {
            Issue.record("\(name).transcript does not hold:\n\(difference(expected, actual))")
        }
    }

    @Test func everyRuleHasATranscript() {
        for rule in 1...20 {
            let prefix = rule < 10 ? "rule-0\(rule)-" : "rule-\(rule)-"
            #expect(transcriptNames.contains { $0.hasPrefix(prefix) }, "no transcript for rule \(rule)")
        }
    }
}

/// The lines that are missing (`-`) and the lines that are new (`+`), each with the line before it.
private func difference(_ expected: String, _ actual: String) -> String {
    let (old, new) = (expected.split(separator: "\n"), actual.split(separator: "\n"))
    var lines: [String] = []
    for change in new.difference(from: old) {
        switch change {
        case .remove(let offset, let line, _):
            lines.append("  line \(offset + 1), after \"\(offset > 0 ? old[offset - 1] : "")\":\n  - \(line)")
        case .insert(let offset, let line, _):
            lines.append("  line \(offset + 1), after \"\(offset > 0 ? new[offset - 1] : "")\":\n  + \(line)")
        }
    }
    return lines.joined(separator: "\n")
}
