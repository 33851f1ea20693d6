import Foundation
import Testing

/// The files that a control plane with a TLS port is given, and certificates for its clients.
struct Mesh {
    let directory: String
    let authority: CertificateAuthority
    /// What the control plane reads; the test replaces them.
    let server: CertificateAuthority.Issued
    let clientAuthorities: String
    let proxy: Envoy.Credentials

    init() throws {
        directory = try temporaryDirectory()
        authority = try CertificateAuthority("mesh", in: directory)
        server = CertificateAuthority.Issued(certificate: directory + "/tls.pem", key: directory + "/tls.key")
        clientAuthorities = directory + "/clients.pem"
        let client = try authority.issue("proxy")
        proxy = Envoy.Credentials(
            certificate: client.certificate, key: client.key, trusted: authority.certificate)
        try show(try authority.issue("first"))
        try replaceFile(clientAuthorities, with: authority.certificate)
    }

    var flags: [String] {
        ["--tls-cert", server.certificate, "--tls-key", server.key, "--tls-client-ca", clientAuthorities]
            + ["--operator", "proxy.test"]
    }

    /// Has the control plane show another certificate.
    func show(_ certificate: CertificateAuthority.Issued) throws {
        try replaceFile(server.key, with: certificate.key)
        try replaceFile(server.certificate, with: certificate.certificate)
    }

    /// What openssl sees of a TLS port.
    func connect(
        to port: Int, as client: CertificateAuthority.Issued?
    ) throws -> (status: Int32, output: String, errors: String) {
        try ChildProcess.run(
            "/usr/bin/openssl",
            [
                "s_client", "-connect", "127.0.0.1:\(port)", "-servername", "localhost", "-alpn", "h2",
                "-verify_return_error", "-CAfile", authority.certificate,
            ] + (client.map { ["-cert", $0.certificate, "-key", $0.key] } ?? []))
    }

    func remove() { try? FileManager.default.removeItem(atPath: directory) }
}

struct MutualTLSTests {
    static let proxies: [(Envoy.Variant, Installation.EnvoyVersion)] = [
        (.delta, .newest), (.stateOfTheWorld, .newest), (.delta, .oldest),
    ]

    @Test(arguments: proxies)
    func aRealEnvoyIsServedOverMutualTLSWhileTheFilesAreReplaced(
        variant: Envoy.Variant, version: Installation.EnvoyVersion
    ) throws {
        let mesh = try Mesh()
        defer { mesh.remove() }
        let shop = try Shop(variant, version: version, credentials: mesh.proxy, serving: mesh.flags)
        let client = CertificateAuthority.Issued(
            certificate: try #require(mesh.proxy.certificate), key: try #require(mesh.proxy.key))
        let port = shop.control.tlsPort
        #expect(try mesh.connect(to: port, as: client).output.contains("subject=CN = first"))
        let remote = [
            "status", "--server", "127.0.0.1:\(port)", "--tls-cert", client.certificate, "--tls-key", client.key,
            "--tls-ca", mesh.authority.certificate,
        ]
        let status = try ChildProcess.run(Installation.martinet, remote)
        #expect(status.status == 0 && status.output.contains("shop-proxy"), "\(status)")
        #expect(status.output.contains("mtls"), "\(status)")

        // Another certificate is shown to who connects from now on; who is connected stays so.
        try mesh.show(try mesh.authority.issue("second"))
        try eventually("the new certificate to be shown; \(shop.control.process.log.suffix(1_000))") {
            try mesh.connect(to: port, as: client).output.contains("subject=CN = second") ? true : nil
        }
        // Other authorities: the certificate of before does not open the door any more, the new one does.
        let successor = try CertificateAuthority("successor", in: mesh.directory)
        let newClient = try successor.issue("successor-proxy")
        try replaceFile(mesh.clientAuthorities, with: successor.certificate)
        try eventually("the new authorities to be in force") {
            let refused = try ChildProcess.run(Installation.martinet, remote).status != 0
            return refused ? true : nil
        }
        #expect(try mesh.connect(to: port, as: newClient).output.contains("Verification: OK"))
        #expect(shop.control.process.log.contains("unknown issuer"), "\(shop.control.process.log.suffix(2_000))")

        try shop.control.write(RawResources.routes("shop", weights: [("v2", 1)]), to: "routes.yaml")
        try eventually("changes to flow over the connection of before") { try shop.get() == "v2" ? true : nil }
        #expect(try shop.envoy.stat("cluster\\.martinet\\.upstream_cx_total") == 1)
    }

    @Test func whoShowsNoCertificateOrAStrangersIsRefusedAndTheLogNamesWhy() throws {
        let mesh = try Mesh()
        defer { mesh.remove() }
        let control = try ControlPlaneProcess(
            mesh.flags, resources: ["clusters.yaml": RawResources.clusters(["v1"])])
        _ = try mesh.connect(to: control.tlsPort, as: nil)
        try eventually("the log to name the missing certificate") {
            control.process.log.contains("no client certificate: the peer showed none") ? true : nil
        }
        // Plaintext on the TLS port.
        #expect(try httpGet("http://127.0.0.1:\(control.tlsPort)/").code == 0)
        try eventually("the log to name the plaintext") {
            control.process.log.contains("the peer speaks plaintext") ? true : nil
        }

        let stranger = try CertificateAuthority("stranger", in: mesh.directory)
        let leaf = try stranger.issue("strangers-proxy")
        let envoy = try Envoy(
            nodeID: "stranger", xdsPort: control.tlsPort,
            credentials: Envoy.Credentials(
                certificate: leaf.certificate, key: leaf.key, trusted: mesh.authority.certificate),
            in: control.directory)
        let line = try eventually("the log to name the stranger", within: 30) {
            control.process.log.split(separator: "\n").first { $0.contains("unknown issuer") }
        }
        #expect(line.contains("issued by CN=stranger, trusted: CN=mesh") && line.contains("127.0.0.1"), "\(line)")
        // Not `control_plane.connected_state`: to Envoy a stream is there from its first byte, and TLS 1.3 lets a client
        // write before the server has seen its certificate.
        #expect(try envoy.stat("cluster_manager\\.cds\\.update_success") == 0)
        #expect(try control.metric("martinet_xds_subscriptions") == 0)
        #expect(try control.command("status").output.contains("no proxy is connected"))

        // With a certificate of the mesh the same port serves.
        let proxy = try Envoy(
            nodeID: "member", xdsPort: control.tlsPort, credentials: mesh.proxy, in: control.directory)
        try eventually("the member to be served") { try proxy.stat("cluster_manager\\.cds\\.update_success") }
        #expect(try control.command("status").output.contains("member"))
    }

    @Test func whoShowsAnExpiredCertificateIsRefusedAndTheLogNamesItsDate() throws {
        let mesh = try Mesh()
        defer { mesh.remove() }
        let control = try ControlPlaneProcess(
            mesh.flags, resources: ["clusters.yaml": RawResources.clusters(["v1"])])
        let expired = try mesh.authority.issueExpired("late")
        let watch = try ChildProcess(
            Installation.martinet,
            [
                "watch", "--type", "CDS", "--server", "127.0.0.1:\(control.tlsPort)", "--tls-cert",
                expired.certificate, "--tls-key", expired.key, "--tls-ca", mesh.authority.certificate,
            ], in: control.directory)
        defer { watch.stop() }
        let line = try eventually("the log to name the expired certificate") {
            control.process.log.split(separator: "\n").first { $0.contains("certificate has expired") }
        }
        #expect(line.contains("late.test") && line.contains("2021-02-03"), "\(line)")
        #expect(!watch.log.contains("name: v1"))
        #expect(try control.metric("martinet_xds_streams") == 0)
    }
}
