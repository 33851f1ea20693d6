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
        #expect(!services.contains("envoy.service.accesslog.v3.AccessLogService"))
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

    @Test func theTLSPortWantsACertificateAndTakesNewFilesIntoForce() throws {
        let directory = try temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let certificates = try TestCertificates(in: directory)
        for name in ["server", "client"] { try certificates.leaf(name) }
        try certificates.authority("other")
        try certificates.leaf("stranger", by: "other")
        let control = try ControlPlaneProcess(
            [
                "--tls-cert", certificates.path("server.pem"), "--tls-key", certificates.path("server.key"),
                "--tls-client-ca", certificates.path("ca.pem"),
            ], resources: ["clusters.yaml": RawResources.clusters(["web"])])
        let target = "127.0.0.1:\(control.tlsPort)"
        func status(_ client: String, authority: String = "ca") throws -> (
            status: Int32, output: String, errors: String
        ) {
            try ChildProcess.run(
                Installation.martinet,
                [
                    "status", "--server", target, "--tls-cert", certificates.path(client + ".pem"),
                    "--tls-key", certificates.path(client + ".key"), "--tls-ca", certificates.path(authority + ".pem"),
                ])
        }
        let good = try status("client")
        #expect(good.status == 0, "\(good)")
        let facts = try facts(
            target, ["ca.pem", "client.pem", "client.key"].map(certificates.path), in: control.directory)
        #expect(facts["control-list"] == "True" && facts["health-server"] == "SERVING", "\(facts)")

        let stranger = try status("stranger")
        #expect(stranger.status == 1 && stranger.errors.hasPrefix("error: no control plane answers at \(target)"))
        let distrust = try status("client", authority: "other")
        #expect(distrust.status == 1 && distrust.errors.contains("TLS"), "\(distrust)")
        try eventually("the refusal in the log") { control.process.log.contains("reason=\"TLS: ") ? true : nil }

        // New files are taken into force; broken ones leave what was there.
        func serial() throws -> String {
            let (_, output, _) = try ChildProcess.run(
                "/bin/sh",
                [
                    "-c",
                    "openssl s_client -connect \(target) -alpn h2 -cert \(certificates.path("client.pem")) "
                        + "-key \(certificates.path("client.key")) </dev/null 2>/dev/null "
                        + "| openssl x509 -noout -serial",
                ])
            return output
        }
        let before = try serial()
        #expect(before.hasPrefix("serial="))
        try "broken".write(toFile: certificates.path("server.pem"), atomically: true, encoding: .utf8)
        try eventually("the broken file to be told of") {
            control.process.log.contains("the ones before stay in force") ? true : nil
        }
        #expect(try serial() == before)
        try certificates.leaf("server")
        try eventually("the new certificate") {
            let now = try serial()
            return now.hasPrefix("serial=") && now != before ? true : nil
        }
        #expect(try status("client").status == 0)
    }

    @Test func aRealEnvoyComesOverMutualTLS() throws {
        let directory = try temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let certificates = try TestCertificates(in: directory)
        for name in ["server", "client"] { try certificates.leaf(name) }
        let control = try ControlPlaneProcess(
            [
                "--tls-cert", certificates.path("server.pem"), "--tls-key", certificates.path("server.key"),
                "--tls-client-ca", certificates.path("ca.pem"),
            ], resources: ["clusters.yaml": RawResources.clusters(["web"])])
        let envoy = try Envoy(
            nodeID: "secure", xdsPort: control.tlsPort,
            credentials: Envoy.Credentials(
                certificate: certificates.path("client.pem"), key: certificates.path("client.key"),
                trusted: certificates.path("ca.pem")),
            in: control.directory)
        try eventually("its clusters to be acknowledged; \(envoy.process.log.suffix(500))", within: 30) {
            let lines = try control.command("status").output.split(separator: "\n")
            return lines.contains { $0.hasPrefix("secure") && $0.contains("mtls") && $0.contains("synced") }
                ? true : nil
        }
    }
}
