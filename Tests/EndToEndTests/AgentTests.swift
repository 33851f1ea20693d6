import Foundation
import Testing

/// `martinet agent` beside `martinet serve`, with programs that no one here wrote.
struct AgentTests {
    @Test func theSPIFFELibraryFollowsARotationOfTheRoot() throws {
        let control = try ControlPlaneProcess(["--trust-domain", "mesh.test", "--ca-leaf-ttl", "20s"])
        let socket = control.directory + "/agent.sock"
        let agent = try Agent(control, "web", ["--trust-domain", "mesh.test", "--socket", socket])
        try eventually("the Workload API; \(agent.process.log)") {
            FileManager.default.fileExists(atPath: socket) ? true : nil
        }
        let script = Installation.root + "/Tests/AgentTests/Peers/workload.py"
        let all = try ChildProcess.run(Installation.python, [script, socket, "all", "db"])
        let facts = all.output
        #expect(all.status == 0, "\(all.errors)\(agent.process.log)")
        for fact in [
            "svid spiffe://mesh.test/ns/shop/sa/web chain 2 key True", "openssl verified",
            "checked spiffe://mesh.test/ns/shop/sa/web", "validated spiffe://mesh.test/ns/shop/sa/web",
            "other-audience refused True", "forged refused True", "no-header INVALID_ARGUMENT",
        ] {
            #expect(facts.contains(fact), "\(fact) in \(facts)")
        }

        let watcher = try ChildProcess(Installation.python, [script, socket, "watch", "4"], in: control.directory)
        try eventually("the first update") { watcher.log.contains("update") ? true : nil }
        let (status, output, errors) = try control.command("ca", "rotate", "--root", "--wait")
        #expect(status == 0, "\(output)\(errors)")
        try eventually("the updates; \(watcher.log)\(agent.process.log)", within: 30) {
            watcher.process.isRunning ? nil : true
        }
        let updates = watcher.log.split(separator: "\n").filter { $0.hasPrefix("update") }
        #expect(updates.count >= 4 && updates.allSatisfy { $0.hasSuffix("verified") }, "\(watcher.log)")
        // Old root alone, both, and leaves of two intermediates.
        #expect(updates.contains { $0.contains("+") })
        #expect(Set(updates.compactMap { $0.split(separator: " ").dropFirst().first }).count >= 2)
    }

    /// gRPC's own xDS client and server secure each other with the files that agents keep.
    @Test func grpcSpeaksMutualTLSWithTheAgentsFiles() throws {
        let port = try freePort()
        let control = try ControlPlaneProcess(
            ["--ca-leaf-ttl", "30s"],
            resources: [
                "listener.yaml": RawResources.apiListener("greeter.test", routes: "greeter"),
                "routes.yaml": RawResources.routes("greeter", weights: [("greeters", 1)]),
                "endpoints.yaml": RawResources.endpoints([("greeters", [port])]),
                "clusters.yaml": RawResources.clusters(
                    ["greeters"], options: RawResources.proxylessUpstream(accepting: MeshPair.id("api"))),
                "server.yaml": RawResources.proxylessServer(port: port),
            ])
        let (web, api) = (control.directory + "/web", control.directory + "/api")
        let agents = [try Agent(control, "web", ["--out", web]), try Agent(control, "api", ["--out", api])]
        try eventually("the files; \(agents.map(\.process.log))") {
            [web, api].allSatisfy { FileManager.default.fileExists(atPath: $0 + "/cert-chain.pem") } ? true : nil
        }
        let peers = Installation.root + "/Tests/EndToEndTests/Peers/"
        let server = try ChildProcess(
            Installation.python, [peers + "xds_greeter.py", "\(port)"], in: control.directory,
            environment: ["GRPC_XDS_BOOTSTRAP": try bootstrap("api", control, files: api)])
        let caller = try ChildProcess(
            Installation.python, [peers + "xds_caller.py", "greeter.test", "300", "secure"], in: control.directory,
            environment: ["GRPC_XDS_BOOTSTRAP": try bootstrap("web", control, files: web)])
        let answer = "spiffe://cluster.local/ns/shop/sa/web"
        try eventually("a call over mutual TLS; \(server.log)\(caller.log)", within: 30) {
            caller.log.contains(answer) ? true : nil
        }
        let before = caller.log.split(separator: "\n").count
        let (status, output, errors) = try control.command("ca", "rotate", "--root", "--wait")
        #expect(status == 0, "\(output)\(errors)")
        try eventually("calls after the rotation") {
            caller.log.split(separator: "\n").count > before + 20 ? true : nil
        }
        let answers = caller.log.split(separator: "\n")
        #expect(Set(answers.dropFirst(answers.firstIndex { $0 == answer } ?? 0)) == [Substring(answer)])
    }

    private func bootstrap(_ name: String, _ control: ControlPlaneProcess, files: String) throws -> String {
        let path = control.directory + "/\(name).json"
        try """
        {
          "xds_servers": [{
            "server_uri": "127.0.0.1:\(control.xdsPort)",
            "channel_creds": [{ "type": "insecure" }],
            "server_features": ["xds_v3"]
          }],
          "node": { "id": "grpc-\(name)", "cluster": "test" },
          "server_listener_resource_name_template": "grpc/server?xds.resource.listening_address=%s",
          "certificate_providers": { "agent": { "plugin_name": "file_watcher", "config": {
            "certificate_file": "\(files)/cert-chain.pem", "private_key_file": "\(files)/key.pem",
            "ca_certificate_file": "\(files)/root-cert.pem", "refresh_interval": "1s" } } }
        }
        """.write(toFile: path, atomically: true, encoding: .utf8)
        return path
    }
}

/// A `martinet agent` with a token of its own.
final class Agent {
    let process: ChildProcess

    init(_ control: ControlPlaneProcess, _ serviceAccount: String, _ flags: [String]) throws {
        process = try ChildProcess(
            Installation.martinet, try Self.arguments(control, serviceAccount) + flags, in: control.directory)
    }

    /// The flags that say where the control plane is and who the workload is, with a new token.
    static func arguments(_ control: ControlPlaneProcess, _ serviceAccount: String) throws -> [String] {
        let file = control.directory + "/token-" + shortID()
        try control.token(serviceAccount: serviceAccount).write(toFile: file, atomically: true, encoding: .utf8)
        return [
            "agent", "--control", "127.0.0.1:\(control.tlsPort)", "--root-cert", control.rootCertificate,
            "--token-file", file, "--namespace", "shop", "--service-account", serviceAccount, "--node-id",
            "\(serviceAccount)-1",
        ]
    }

    /// Files of a certificate, fetched once.
    static func files(
        of serviceAccount: String, from control: ControlPlaneProcess, _ more: String...
    ) throws -> CertificateAuthority.Issued {
        let directory = control.directory + "/" + serviceAccount + shortID()
        let (status, output, errors) = try ChildProcess.run(
            Installation.martinet, try arguments(control, serviceAccount) + ["--once", "--out", directory] + more)
        try #require(status == 0, "\(output)\(errors)")
        return CertificateAuthority.Issued(
            certificate: directory + "/cert-chain.pem", key: directory + "/key.pem")
    }
}

extension RawResources {
    private static let instances =
        "common_tls_context: { tls_certificate_provider_instance: { instance_name: agent }, validation_context: { "
        + "ca_certificate_provider_instance: { instance_name: agent }"

    /// What gRPC needs to call with its certificate provider `agent`.
    static func proxylessUpstream(accepting id: String) -> String {
        "    transport_socket: { name: envoy.transport_sockets.tls, typed_config: { "
            + "\"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, "
            + instances + ", match_subject_alt_names: [{ exact: \"\(id)\" }] } } } }\n"
    }

    /// The listener that a gRPC server asks for by its address.
    static func proxylessServer(port: Int) -> String {
        """
        resources:
          - "@type": type.googleapis.com/envoy.config.listener.v3.Listener
            name: grpc/server?xds.resource.listening_address=127.0.0.1:\(port)
            address: { socket_address: { address: 127.0.0.1, port_value: \(port) } }
            filter_chains:
              - filters:
                  - name: http
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                      stat_prefix: server
                      route_config:
                        name: inbound
                        virtual_hosts:
                          - { name: all, domains: ["*"], routes: [{ match: { prefix: "" }, non_forwarding_action: {} }] }
                      http_filters:
                        - name: router
                          typed_config:
                            "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
                transport_socket: { name: envoy.transport_sockets.tls, typed_config: { "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, require_client_certificate: true, \(instances) } } } }
        """
    }
}
