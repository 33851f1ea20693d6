import Foundation
import Testing

struct SecretTests {
    /// The certificate that a TLS listener shows is a resource of its own, replaced while the listener stays.
    @Test(arguments: Envoy.Variant.allCases)
    func aCertificateOverSDSIsReplacedUnderAServingListener(variant: Envoy.Variant) throws {
        let directory = try temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let authority = try CertificateAuthority("shop-ca", in: directory)
        let (upstream, port) = (try freePort(), try freePort())
        let mesh = try Mesh()
        defer { mesh.remove() }
        let control = try ControlPlaneProcess(
            mesh.flags,
            resources: [
                "listener.yaml": RawResources.tlsListener("shop", port: port, routes: "shop", secret: "shop-cert"),
                "routes.yaml": RawResources.routes("shop", weights: [("v1", 1)]),
                "clusters.yaml": RawResources.clusters(["v1"]),
                "endpoints.yaml": RawResources.endpoints([("v1", [upstream])]),
                "secret.yaml": try RawResources.secret("shop-cert", try authority.issue("first")),
            ])
        let upstreams = try ChildProcess(
            Installation.python,
            [Installation.root + "/Tests/EndToEndTests/Peers/upstream.py", "\(upstream)=v1"], in: control.directory)
        defer { upstreams.stop() }
        let envoy = try Envoy(
            nodeID: "tls-proxy", xdsPort: control.tlsPort, variant: variant, credentials: mesh.proxy,
            in: control.directory)
        let url = "https://127.0.0.1:\(port)/"
        /// The subject of the certificate that answers, if the authority vouches for it.
        func served() throws -> String? {
            let answer = try ChildProcess.run(
                "/usr/bin/curl", ["-sv", "-m", "5", "--cacert", authority.certificate, url])
            guard answer.status == 0, answer.output == "v1" else { return nil }
            return answer.errors.split(separator: "\n").first { $0.contains("subject: ") }?
                .split(separator: "=").last.map { $0.trimmingCharacters(in: .whitespaces) }
        }
        try eventually("the first certificate; \(envoy.process.log.suffix(1_000))") {
            try served() == "first" ? true : nil
        }
        let listenerUpdates = try envoy.stat("listener_manager\\.lds\\.update_success")

        // One connection with requests all the while.
        let load = try ChildProcess(
            "/usr/bin/curl",
            [
                "-s", "--cacert", authority.certificate, "-w", " %{http_code} %{num_connects}\n", "--rate", "50/s",
                url + "[1-150]",
            ], in: control.directory)
        try eventually("the load to run") { load.log.contains("v1 200 0") ? true : nil }
        try control.write(try RawResources.secret("shop-cert", try authority.issue("second")), to: "secret.yaml")
        try eventually("the second certificate") { try served() == "second" ? true : nil }
        #expect(load.process.isRunning, "the replacement is to come under load")
        try eventually("the load to end") { load.process.isRunning ? nil : true }
        let answers = Dictionary(load.log.split(separator: "\n").map { (String($0), 1) }, uniquingKeysWith: +)
        #expect(answers == ["v1 200 1": 1, "v1 200 0": 149])
        #expect(try envoy.stat("listener_manager\\.lds\\.update_success") == listenerUpdates)
        #expect(try envoy.stat("listener_manager\\.listener_create_success") == 1)

        let status = try control.command("status")
        #expect(status.status == 0 && status.output.contains("SDS"), "\(status)")
        #expect(!control.process.log.contains("PRIVATE KEY") && !status.output.contains("PRIVATE KEY"))
    }
}
