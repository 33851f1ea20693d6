import Foundation
import Testing

/// `martinet serve` and the signals that operators send.
@Suite(.serialized) struct SignalTests {
    @Test func whatNoEventTellsOfIsReadUponSIGHUP() throws {
        let control = try ControlPlaneProcess()
        // Changed through a name outside of the directory that is watched: the kernel reports nothing there.
        let outside = control.directory + "/elsewhere.yaml"
        try RawResources.clusters(["web"]).write(toFile: outside, atomically: false, encoding: .utf8)
        try FileManager.default.linkItem(atPath: outside, toPath: control.resources + "/clusters.yaml")
        try eventually("the file") { try control.command("get", "--raw", "CDS").output.contains("web") ? true : nil }
        try RawResources.clusters(["web", "two"]).write(toFile: outside, atomically: false, encoding: .utf8)
        #expect(try !control.command("get", "--raw", "CDS").output.contains("two"))
        kill(control.process.process.processIdentifier, SIGHUP)
        try eventually("what it says now") {
            try control.command("get", "--raw", "CDS").output.contains("two") ? true : nil
        }
        #expect(control.process.log.contains("reading everything again"))
        #expect(control.process.process.isRunning)
    }

    @Test func aSecondSIGTERMEndsItWithoutWaitingForProxies() throws {
        let control = try ControlPlaneProcess(resources: ["clusters.yaml": RawResources.clusters(["web"])])
        let watch = try ChildProcess(
            Installation.martinet,
            ["watch", "--type", "CDS", "--server", "127.0.0.1:\(control.xdsPort)"], in: control.directory)
        defer { watch.stop() }
        try eventually("the watch to have its cluster") { watch.log.contains("name: web") ? true : nil }
        // A proxy that is held never says that it has gone.
        kill(watch.process.processIdentifier, SIGSTOP)
        let process = control.process.process
        kill(process.processIdentifier, SIGTERM)
        try eventually("the drain") { control.process.log.contains("ending: ") ? true : nil }
        kill(process.processIdentifier, SIGTERM)
        try eventually("the end") { process.isRunning ? nil : true }
        #expect(process.terminationStatus == 1 && process.terminationReason == .exit)
        #expect(!control.process.log.contains(" ended"), "\(control.process.log)")
    }

    @Test func whoWatchesItsHealthHearsOfTheDrainFirst() throws {
        let control = try ControlPlaneProcess()
        let watch = try ChildProcess(
            Installation.python,
            [Installation.root + "/Tests/EndToEndTests/Peers/health_watch.py", "127.0.0.1:\(control.xdsPort)"],
            in: control.directory)
        defer { watch.stop() }
        try eventually("the first status") { watch.log.contains("SERVING") ? true : nil }
        kill(control.process.process.processIdentifier, SIGTERM)
        try eventually("the end of the watch") { watch.process.isRunning ? nil : true }
        #expect(watch.log == "SERVING\nNOT_SERVING\nUNAVAILABLE\n")
    }
}
