import Foundation
import Testing

/// `martinet serve`: what keeps it from starting, its logs, its signals and its pages.
@Suite(.serialized) struct ServeTests {
    /// Runs it where it must fail.
    private func failure(_ arguments: [String], in directory: String) throws -> String {
        let all = [
            "serve", "--data", directory + "/data", "--http", "off", "--xds-plaintext", "off", "--xds-tls", "off",
        ]
        let (status, output, errors) = try ChildProcess.run(Installation.martinet, all + arguments, timeout: 15)
        #expect(status == 1, "\(output)\(errors)")
        // The log's lines come before it.
        return errors.split(separator: "\n").filter { $0.hasPrefix("error:") || $0.hasPrefix("hint:") }
            .joined(separator: "\n")
    }

    @Test func whatKeepsItFromServingIsToldWithTheMend() throws {
        let control = try ControlPlaneProcess()
        let other = try temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: other) }

        let held = try ChildProcess.run(
            Installation.martinet,
            ["serve", "--data", control.data, "--http", "off", "--xds-plaintext", "off", "--xds-tls", "off"])
        #expect(held.status == 1)
        #expect(
            held.errors == """
                error: the data directory \(control.data) is in use by another martinet (process \
                \(control.process.process.processIdentifier))
                hint: stop the other one, or pass another --data

                """)
        #expect(
            try failure(["--xds-plaintext", "127.0.0.1:\(control.xdsPort)"], in: other) == """
                error: cannot listen on 127.0.0.1:\(control.xdsPort): the address is in use
                hint: stop the other program (ss -ltnp shows it), or choose another address
                """)
        #expect(
            try failure(["--http", "127.0.0.1:\(control.httpPort)"], in: other) == """
                error: cannot listen on 127.0.0.1:\(control.httpPort) for HTTP: the address is in use
                hint: stop the other program (ss -ltnp shows it), or pass another --http
                """)
        #expect(!FileManager.default.fileExists(atPath: other + "/data/control.sock"))
        let unreadable = try failure(["--resources", other + "/nowhere"], in: other)
        #expect(unreadable.hasPrefix("error: cannot watch \(other)/nowhere: "), "\(unreadable)")
        #expect(unreadable.contains("\nhint: "))
        try "no certificate".write(toFile: other + "/x.pem", atomically: true, encoding: .utf8)
        let certificate = try failure(
            [
                "--xds-tls", "127.0.0.1:0", "--tls-cert", other + "/x.pem", "--tls-key", other + "/x.pem",
                "--tls-client-ca", other + "/x.pem",
            ], in: other)
        #expect(certificate.hasPrefix("error: ") && certificate.contains("/x.pem"), "\(certificate)")
        let long = try failure(["--data", other + "/" + String(repeating: "d", count: 120)], in: other)
        #expect(long.contains("a Unix socket's has at most 107"), "\(long)")
        try FileManager.default.createDirectory(atPath: other + "/strict", withIntermediateDirectories: true)
        try RawResources.clusters(["lonely"]).write(
            toFile: other + "/strict/c.yaml", atomically: true, encoding: .utf8)
        let strict = try failure(["--resources", other + "/strict", "--strict"], in: other)
        #expect(strict.contains("EDS \"lonely\" is not there"), "\(strict)")
        // The one that runs goes on.
        #expect(try control.command("status").status == 0)
    }

    @Test func itsFilesAreForItsOwnerOnly() throws {
        let control = try ControlPlaneProcess()
        func mode(_ path: String) throws -> Int {
            try #require(FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int)
        }
        #expect(try mode(control.data) == 0o700)
        #expect(try mode(control.data + "/control.sock") == 0o600)
        #expect(try mode(control.data + "/lock") == 0o600)
    }

    @Test(arguments: [SIGTERM, SIGINT])
    func aSignalEndsItInOrder(signal: Int32) throws {
        let control = try ControlPlaneProcess(resources: ["clusters.yaml": RawResources.clusters(["web"])])
        let watch = try ChildProcess(
            Installation.martinet,
            ["watch", "--type", "CDS", "--server", "127.0.0.1:\(control.xdsPort)"], in: control.directory)
        defer { watch.stop() }
        try eventually("the watch to have its cluster") { watch.log.contains("name: web") ? true : nil }
        let process = control.process.process
        kill(process.processIdentifier, signal)
        try eventually("the end, though a proxy is connected", within: 5) { process.isRunning ? nil : true }
        #expect(process.terminationStatus == 0 && process.terminationReason == .exit)
        #expect(control.process.log.contains("ended"))
        #expect(!FileManager.default.fileExists(atPath: control.data + "/control.sock"))
    }

    @Test func aFileThatIsMendedIsToldSo() throws {
        let control = try ControlPlaneProcess(resources: ["clusters.yaml": RawResources.clusters(["web"])])
        try control.write("resources: [", to: "clusters.yaml")
        try eventually("the problem in the status") {
            try control.command("status").output.contains("did not find expected node content") ? true : nil
        }
        #expect(try control.command("get", "--raw", "CDS").output.contains("web"))
        try control.write(RawResources.clusters(["web", "two"]), to: "clusters.yaml")
        try eventually("the problem to go") {
            try control.command("status").output.contains("did not find expected node content") ? nil : true
        }
        #expect(try control.command("get", "--raw", "CDS").output.contains("two"))
    }

    @Test func logsAreOneJSONObjectALine() throws {
        let control = try ControlPlaneProcess(["--log-format", "json", "--log-level", "debug"])
        _ = try control.command("apply", "-f", "-", input: RawResources.clusters(["web"]))
        let lines = control.process.log.split(separator: "\n")
        #expect(lines.count > 4)
        for line in lines {
            let object = try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: String])
            #expect(object["time"]?.hasSuffix("Z") == true)
            #expect(object["level"] != nil && object["message"] != nil && object["logger"] != nil)
        }
        let applied = try #require(lines.first { $0.contains("\"message\":\"applied\"") })
        #expect(applied.contains("\"added\":\"1\""))
    }

    @Test func pagesTellHealthAndMetrics() throws {
        let control = try ControlPlaneProcess(resources: ["clusters.yaml": RawResources.clusters(["web"])])
        func get(_ path: String) throws -> (code: Int, body: String) {
            try httpGet("http://127.0.0.1:\(control.httpPort)\(path)")
        }
        #expect(try get("/healthz").body == "ok\n")
        #expect(try get("/readyz").body == "ready\n")
        let watch = try ChildProcess(
            Installation.martinet,
            ["watch", "--type", "CDS", "--sotw", "--server", "127.0.0.1:\(control.xdsPort)"], in: control.directory)
        defer { watch.stop() }
        try eventually("the watch to have its cluster") { watch.log.contains("name: web") ? true : nil }
        let text = try get("/metrics").body
        for line in [
            "martinet_xds_streams{variant=\"sotw\",transport=\"plaintext\"} 1",
            "martinet_xds_streams{variant=\"delta\",transport=\"plaintext\"} 0",
            "martinet_xds_subscriptions{type=\"CDS\"} 1", "martinet_xds_subscriptions{type=\"EDS\"} 0",
            "martinet_xds_resources_sent_total{type=\"CDS\"} 1", "martinet_xds_nacks_total{type=\"CDS\"} 0",
        ] {
            #expect(text.contains(line + "\n"), "\(line) in:\n\(text)")
        }
        for name in [
            "martinet_build_info{version=", "martinet_xds_snapshots_total ", "martinet_xds_bytes_sent_total ",
            "martinet_xds_push_latency_seconds_count ", "martinet_xds_ack_latency_seconds_count ",
            "martinet_connections_refused_total{limit=\"connections\"} 0", "process_resident_memory_bytes ",
            "process_open_fds ", "martinet_xds_resources_removed_total{type=\"CDS\"} 0",
        ] {
            #expect(text.contains("\n" + name), "\(name)")
        }
        watch.stop()
        try eventually("the stream to be counted out") {
            try control.metric("martinet_xds_subscriptions") == 0 && control.metric("martinet_xds_streams") == 0
                ? true : nil
        }
    }
}
