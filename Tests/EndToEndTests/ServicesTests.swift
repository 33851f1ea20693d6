import Foundation
import Testing

/// The services beside xDS, asked by grpcio's own clients, and the TLS port.
@Suite(.serialized) struct ServicesTests {
    /// What Peers/services.py finds out.
    private func facts(_ target: String, _ credentials: [String] = [], in directory: String) throws -> [String: String]
    {
        let script = Installation.root + "/Tests/EndToEndTests/Peers/services.py"
        let (status, output, errors) = try ChildProcess.run(Installation.python, [script, target] + credentials)
        #expect(status == 0, "\(output)\(errors)")
        var facts: [String: String] = [:]
        for line in output.split(separator: "\n") {
            let parts = line.split(separator: " ", maxSplits: 1)
            facts[String(parts[0])] = parts.count > 1 ? String(parts[1]) : ""
        }
        return facts
    }

    private func startWatch(_ control: ControlPlaneProcess) throws -> ChildProcess {
        let watch = try ChildProcess(
            Installation.martinet,
            ["watch", "--type", "CDS", "--node", "probe", "--name", "web", "--name", "none", "--data", control.data],
            in: control.directory)
        try eventually("the watch to have its cluster") { watch.log.contains("name: web") ? true : nil }
        try eventually("its ACK") { try control.command("status").output.contains("synced") ? true : nil }
        return watch
    }

    @Test func healthReflectionAndClientStatusAnswerGrpcio() throws {
        let control = try ControlPlaneProcess(resources: ["clusters.yaml": RawResources.clusters(["web"])])
        let watch = try startWatch(control)
        defer { watch.stop() }
        let facts = try facts("127.0.0.1:\(control.xdsPort)", in: control.directory)
        #expect(facts["health-server"] == "SERVING")
        #expect(facts["health-ads"] == "SERVING")
        #expect(facts["health-unknown"] == "NOT_FOUND there is no service no.such.Service")
        #expect(facts["health-watch"] == "SERVING")
        #expect(facts["health-watch-unknown"] == "SERVICE_UNKNOWN")
        let services = try #require(facts["reflection-services"]).split(separator: " ")
        #expect(services.contains("envoy.service.discovery.v3.AggregatedDiscoveryService"))
        #expect(services.contains("martinet.control.v1.Control") && services.contains("grpc.health.v1.Health"))
        #expect(services.contains("envoy.service.accesslog.v3.AccessLogService"))
        #expect(!services.contains("envoy.service.ratelimit.v3.RateLimitService"))
        #expect(facts["reflection-listener"] == "3")
        #expect(facts["reflection-control"] == "Apply List Status")
        // 3: ACKED, 2: DOES_NOT_EXIST; 1: SYNCED, 2: NOT_SENT.
        #expect(facts["csds-fetch"] == "probe/Cluster/none/2/2 probe/Cluster/web/3/1")
        #expect(facts["csds-stream"] == facts["csds-fetch"])
        #expect(facts["csds-nobody"] == "")
        #expect(
            facts["control-list"]?.hasPrefix("PERMISSION_DENIED the control service is for the Unix socket") == true)

        let socket = try self.facts("unix:" + control.data + "/control.sock", in: control.directory)
        #expect(socket["control-list"] == "True" && socket["health-server"] == "SERVING")
    }

    @Test func whoAsksForClientStatusFasterThanItIsAnsweredIsToldToRead() throws {
        let control = try ControlPlaneProcess()
        let script = Installation.root + "/Tests/EndToEndTests/Peers/csds_flood.py"
        let process = control.process.process.processIdentifier
        let (status, output, errors) = try ChildProcess.run(
            Installation.python, [script, "127.0.0.1:\(control.xdsPort)", "\(process)"])
        #expect(status == 0, "\(errors)")
        #expect(
            output == "41 RESOURCE_EXHAUSTED more than 16 requests wait for their answer; read the answers first\n")
        #expect(try control.command("status").status == 0)
    }

    @Test func theTLSPortWantsACertificateAndTakesNewFilesIntoForce() throws {
        let directory = try temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let (authority, other) = (
            try CertificateAuthority("ca", in: directory), try CertificateAuthority("other", in: directory)
        )
        let (server, client) = (try authority.issue("server"), try authority.issue("client"))
        let control = try ControlPlaneProcess(
            [
                "--tls-cert", server.certificate, "--tls-key", server.key, "--tls-client-ca", authority.certificate,
                "--operator", "client.test",
            ], resources: ["clusters.yaml": RawResources.clusters(["web"])])
        let target = "127.0.0.1:\(control.tlsPort)"
        func status(
            as client: CertificateAuthority.Issued, trusting authority: CertificateAuthority
        ) throws -> (status: Int32, output: String, errors: String) {
            try ChildProcess.run(
                Installation.martinet,
                [
                    "status", "--server", target, "--tls-cert", client.certificate, "--tls-key", client.key,
                    "--tls-ca", authority.certificate,
                ])
        }
        let good = try status(as: client, trusting: authority)
        #expect(good.status == 0, "\(good)")
        let facts = try facts(
            target, [authority.certificate, client.certificate, client.key], in: control.directory)
        #expect(facts["control-list"] == "True" && facts["health-server"] == "SERVING", "\(facts)")

        let proxy = try status(as: try authority.issue("proxy"), trusting: authority)
        #expect(proxy.status == 1 && proxy.errors.contains("proxy.test does not name an operator"), "\(proxy)")
        let stranger = try status(as: try other.issue("stranger"), trusting: authority)
        #expect(stranger.status == 1 && stranger.errors.hasPrefix("error: no control plane answers at \(target)"))
        let distrust = try status(as: client, trusting: other)
        #expect(distrust.status == 1 && distrust.errors.contains("TLS"), "\(distrust)")
        try eventually("the refusal in the log") { control.process.log.contains("reason=\"TLS: ") ? true : nil }

        // New files are taken into force; broken ones leave what was there.
        func serial() throws -> String {
            let (_, output, _) = try ChildProcess.run(
                "/bin/sh",
                [
                    "-c",
                    "openssl s_client -connect \(target) -alpn h2 -cert \(client.certificate) "
                        + "-key \(client.key) </dev/null 2>/dev/null "
                        + "| openssl x509 -noout -serial",
                ])
            return output
        }
        let before = try serial()
        #expect(before.hasPrefix("serial="))
        try "broken".write(toFile: server.certificate, atomically: true, encoding: .utf8)
        try eventually("the broken file to be told of") {
            control.process.log.contains("the ones before stay in force") ? true : nil
        }
        #expect(try serial() == before)
        _ = try authority.issue("server")
        try eventually("the new certificate") {
            let now = try serial()
            return now.hasPrefix("serial=") && now != before ? true : nil
        }
        #expect(try status(as: client, trusting: authority).status == 0)
    }
}
