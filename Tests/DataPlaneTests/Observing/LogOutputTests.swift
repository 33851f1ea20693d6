import Foundation
import Synchronization
import Testing

@testable import DataPlane

/// Lines to real files and pipes.
struct LogOutputTests {
    private func folder() throws -> URL {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("logs-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        return folder
    }

    @Test func linesOfAllWritersAreAppendedWhole() throws {
        let path = try folder().appendingPathComponent("access.log").path
        try Data("before\n".utf8).write(to: URL(fileURLWithPath: path))
        let outputs = LogOutputs()
        DispatchQueue.concurrentPerform(iterations: 4) { writer in
            for number in 0..<500 { outputs.output(path).write(Array("\(writer) \(number)\n".utf8), lines: 1) }
        }
        outputs.close()
        let lines = try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n")
        #expect(lines.first == "before")
        #expect(lines.count == 2001)
        #expect(Set(lines).count == 2001)
        for writer in 0..<4 {
            let own = lines.dropFirst().filter { $0.hasPrefix("\(writer) ") }
            #expect(own == (0..<500).map { "\(writer) \($0)" })
        }
        #expect(outputs.dropped == 0)
    }

    @Test func aFileThatWasMovedAwayIsOpenedAgain() throws {
        let folder = try folder()
        let path = folder.appendingPathComponent("access.log").path
        let moved = folder.appendingPathComponent("access.log.1").path
        let output = LogOutput(path: path)
        output.write(Array("one\n".utf8), lines: 1)
        output.waitUntilWritten()
        try FileManager.default.moveItem(atPath: path, toPath: moved)
        output.write(Array("two\n".utf8), lines: 1)
        output.waitUntilWritten()
        output.reopen()
        output.write(Array("three\n".utf8), lines: 1)
        output.close()
        #expect(try String(contentsOfFile: moved, encoding: .utf8) == "one\ntwo\n")
        #expect(try String(contentsOfFile: path, encoding: .utf8) == "three\n")
    }

    /// A pipe that nobody reads takes what fits; the rest waits up to the bound, and more is dropped and counted.
    @Test func aReaderThatStallsCostsBoundedMemory() throws {
        let path = try folder().appendingPathComponent("pipe").path
        #expect(mkfifo(path, 0o600) == 0)
        let reader = open(path, O_RDONLY | O_NONBLOCK)
        let output = LogOutput(path: path, limit: 100_000)
        let line = [UInt8](repeating: UInt8(ascii: "x"), count: 9_999) + [UInt8(ascii: "\n")]
        for _ in 0..<100 { output.write(line, lines: 1) }
        // The pipe holds 64 KiB, one batch is being written, one waits: the rest of the million bytes cannot be anywhere.
        #expect(output.dropped >= 70)
        #expect(output.dropped < 100)
        // Its end lets the writer go: what is left fails, and is not waited for.
        _ = signal(SIGPIPE, SIG_IGN)
        close(reader)
        output.close()
    }

    @Test func aFileThatCannotBeOpenedLosesItsLinesAlone() throws {
        let output = LogOutput(path: "/no/such/folder/access.log")
        output.write(Array("one\n".utf8), lines: 1)
        output.close()
        #expect(output.written == 0)
        output.write(Array("two\n".utf8), lines: 1)
        #expect(output.dropped == 2)
    }

    @Test func histogramsCountByEnvoysBounds() {
        var histogram = Histogram()
        for microseconds in [0, 500, 501, 1_000, 4_000, 7_200_000_000] { histogram.note(.microseconds(microseconds)) }
        #expect(histogram.count == 6)
        #expect(histogram.counts[0] == 2 && histogram.counts[1] == 2 && histogram.counts[2] == 1)
        #expect(histogram.counts.last == 1)
        var twice = histogram
        twice.add(histogram)
        #expect(twice.count == 12 && twice.sum == histogram.sum * 2)
        let text = StatisticsText.prometheus(
            Statistic.summed([
                Statistic(.cluster("web"), "upstream_rq_time", histogram),
                Statistic(.cluster("web"), "upstream_rq_time", histogram),
            ]))
        #expect(text.hasPrefix("# TYPE envoy_cluster_upstream_rq_time histogram\n"))
        #expect(text.contains("envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"web\",le=\"0.5\"} 4\n"))
        #expect(text.contains("envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"web\",le=\"+Inf\"} 12\n"))
        #expect(text.contains("envoy_cluster_upstream_rq_time_count{envoy_cluster_name=\"web\"} 12\n"))
    }

    @Test func outputsThatNobodyHoldsAreLetGoOf() throws {
        let folder = try folder()
        let outputs = LogOutputs()
        let kept = outputs.output(folder.appendingPathComponent("kept.log").path)
        for number in 0..<20 {
            outputs.output(folder.appendingPathComponent("\(number).log").path).write(Array("x\n".utf8), lines: 1)
        }
        outputs.release()
        #expect(outputs.paths == [kept.path])
        withExtendedLifetime(kept) {}
    }

    @Test func whyLinesAreLostIsToldOnceAndCounted() throws {
        let told = Mutex<[String]>([])
        let path = try folder().appendingPathComponent("none/access.log").path
        let output = LogOutput(path: path) { problem in told.withLock { $0.append(problem) } }
        for _ in 0..<3 {
            output.write(Array("x\n".utf8), lines: 1)
            output.waitUntilWritten()
        }
        output.close()
        #expect(told.withLock { $0 } == ["it cannot be opened: No such file or directory"])
        #expect(output.dropped == 3)
    }
}
