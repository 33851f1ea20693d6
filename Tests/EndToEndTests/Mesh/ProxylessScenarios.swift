import Foundation
import Testing

/// gRPC programs that take part without a proxy, beside workloads that have one.
@Suite(.serialized)
struct ProxylessScenarios {
    @Test func grpcCallsByTheWeightsOfItsRoute() throws {
        let mesh = try MeshOfEnvoys([])
        let address = "127.0.0.1"
        let (one, two) = (try freePort(), try freePort())
        let peers = Installation.root + "/Tests/EndToEndTests/Peers/"
        let greeters = try ChildProcess(
            Installation.python, [peers + "greeter.py", "\(one)=v1", "\(two)=v2"], in: mesh.control.directory)
        try eventually("the greeters to listen") { greeters.log.contains("ready") ? true : nil }
        try mesh.apply(
            yaml: """
                apiVersion: networking.istio.io/v1
                kind: ServiceEntry
                metadata: { name: greeter }
                spec:
                  hosts: [greeter.default.svc.cluster.local]
                  location: MESH_EXTERNAL
                  resolution: STATIC
                  ports: [{ number: 7070, name: grpc, protocol: GRPC }]
                  endpoints:
                    - { address: \(address), ports: { grpc: \(one) }, labels: { version: v1 } }
                    - { address: \(address), ports: { grpc: \(two) }, labels: { version: v2 } }
                ---
                apiVersion: networking.istio.io/v1
                kind: DestinationRule
                metadata: { name: greeter }
                spec:
                  host: greeter.default.svc.cluster.local
                  subsets: [{ name: v1, labels: { version: v1 } }, { name: v2, labels: { version: v2 } }]
                ---
                \(Self.route([("v1", 1)]))
                """)
        let bootstrap = mesh.control.directory + "/grpc.json"
        try """
        {
          "xds_servers": [{
            "server_uri": "127.0.0.1:\(mesh.control.xdsPort)",
            "channel_creds": [{ "type": "insecure" }], "server_features": ["xds_v3"]
          }],
          "node": {
            "id": "sidecar~127.0.0.1~caller.default~default.svc.cluster.local", "cluster": "caller",
            "metadata": {
              "GENERATOR": "grpc", "NAMESPACE": "default", "SERVICE_ACCOUNT": "caller", "WORKLOAD_NAME": "caller",
              "INSTANCE_IPS": "127.0.0.1", "LABELS": { "app": "caller" }
            }
          }
        }
        """.write(toFile: bootstrap, atomically: true, encoding: .utf8)
        let caller = try ChildProcess(
            Installation.python, [peers + "xds_caller.py", "greeter.default.svc.cluster.local:7070", "120"],
            in: mesh.control.directory, environment: ["GRPC_XDS_BOOTSTRAP": bootstrap])
        func answers() -> [Substring] { caller.log.split(separator: "\n") }
        try eventually("calls to v1; \(mesh.state)", within: 30) { answers().last == "v1" ? true : nil }
        var from = answers().count
        try eventually("more calls") { answers().count > from + 50 ? true : nil }
        #expect(Set(answers().dropFirst(from)) == ["v1"])

        try mesh.apply(yaml: Self.route([("v1", 50), ("v2", 50)]))
        try eventually("calls to v2") { answers().last == "v2" ? true : nil }
        from = answers().count
        try eventually("more calls", within: 30) { answers().count > from + 300 ? true : nil }
        let tally = Dictionary(answers().dropFirst(from).map { (String($0), 1) }, uniquingKeysWith: +)
        expectShares(tally, ["v1": 0.5, "v2": 0.5])
        #expect(try mesh.control.command("status").status == 0, "\(mesh.state)")
    }

    /// gRPC's own server, which asks the control plane who may call it, beside a client with an Envoy and clients of
    /// gRPC's own.
    @Test func aGRPCServerWithoutAProxyTakesWhomItsPoliciesAllow() throws {
        let mesh = try MeshOfEnvoys([
            MeshOfEnvoys.Workload(
                name: "web", namespace: "shop", serviceAccount: "web", labels: ["app": "web"],
                application: ["helloworld"], isCalling: true)
        ])
        let port = try freePort()
        let address = "127.0.0.1"
        try mesh.apply(
            yaml: """
                apiVersion: v1
                kind: Service
                metadata: { name: greeter, namespace: shop }
                spec: { selector: { app: greeter }, ports: [{ name: grpc, port: 7070, targetPort: \(port) }] }
                ---
                apiVersion: networking.istio.io/v1
                kind: DestinationRule
                metadata: { name: greeter, namespace: shop }
                spec: { host: greeter, trafficPolicy: { tls: { mode: ISTIO_MUTUAL } } }
                ---
                apiVersion: security.istio.io/v1
                kind: PeerAuthentication
                metadata: { name: default, namespace: shop }
                spec: { mtls: { mode: STRICT } }
                ---
                apiVersion: security.istio.io/v1
                kind: AuthorizationPolicy
                metadata: { name: greeter, namespace: shop }
                spec:
                  selector: { matchLabels: { app: greeter } }
                  rules:
                    - from: [{ source: { principals: [cluster.local/ns/shop/sa/web] } }]
                      to: [{ operation: { paths: [/test.Greeter/Name] } }]
                """)
        let peers = Installation.root + "/Tests/EndToEndTests/Peers/"
        func program(_ account: String, _ app: String, _ arguments: [String]) throws -> ChildProcess {
            let files = mesh.control.directory + "/\(account)-\(app)"
            let agent = try Agent(mesh.control, account, ["--out", files])
            agents.append(agent)
            try eventually("the files; \(agent.process.log)") {
                FileManager.default.fileExists(atPath: files + "/cert-chain.pem") ? true : nil
            }
            let bootstrap = mesh.control.directory + "/\(account)-\(app).json"
            let watched = """
                "certificate_file": "\(files)/cert-chain.pem", "private_key_file": "\(files)/key.pem",
                "ca_certificate_file": "\(files)/root-cert.pem", "refresh_interval": "1s"
                """
            try """
            {
              "xds_servers": [{
                "server_uri": "localhost:\(mesh.control.tlsPort)",
                "channel_creds": [{ "type": "tls", "config": { \(watched) } }], "server_features": ["xds_v3"]
              }],
              "node": {
                "id": "sidecar~\(address)~\(account)-\(app).shop~shop.svc.cluster.local", "cluster": "\(app)",
                "metadata": {
                  "GENERATOR": "grpc", "NAMESPACE": "shop", "SERVICE_ACCOUNT": "\(account)",
                  "INSTANCE_IPS": "\(address)", "LABELS": { "app": "\(app)" },
                  "MARTINET": { "APP_ADDRESS": "\(address)" }
                }
              },
              "server_listener_resource_name_template": "xds.istio.io/grpc/lds/inbound/%s",
              "certificate_providers": { "default": { "plugin_name": "file_watcher", "config": { \(watched) } } }
            }
            """.write(toFile: bootstrap, atomically: true, encoding: .utf8)
            return try ChildProcess(
                Installation.python, arguments, in: mesh.control.directory,
                environment: ["GRPC_XDS_BOOTSTRAP": bootstrap])
        }
        var agents: [Agent] = []
        let server = try program("greeter", "greeter", [peers + "xds_greeter.py", "\(port)"])
        let name = "greeter.shop.svc.cluster.local:7070"
        let own = try program("web", "caller", [peers + "xds_caller.py", name, "100", "secure"])
        let identity = "spiffe://cluster.local/ns/shop/sa/web"
        try eventually("gRPC to be let in; \(server.log)\(own.log.suffix(500))\(mesh.state)", within: 40) {
            own.log.split(separator: "\n").last == Substring(identity) ? true : nil
        }
        // Another account is who it is, and is told so.
        let rogue = try program("rogue", "rogue", [peers + "xds_caller.py", name, "100", "secure"])
        try eventually("the rogue to be refused; \(rogue.log.suffix(500))", within: 40) {
            rogue.log.contains("error PERMISSION_DENIED") ? true : nil
        }
        #expect(!rogue.log.contains("spiffe://"), "\(rogue.log)")

        // Beside an Envoy, which is a client of the same server.
        let envoy = try ChildProcess(
            Installation.python,
            [peers + "plain_caller.py", "\(try mesh["web"].outboundAddress):7070", "greeter.shop:7070", "60"],
            in: mesh.control.directory)
        try eventually("the client with an Envoy to be let in; \(envoy.log.suffix(500))\(mesh.state)", within: 40) {
            envoy.log.contains(identity) ? true : nil
        }
        // A stranger without a certificate gets no connection.
        let stranger = try ChildProcess(
            Installation.python, [peers + "plain_caller.py", "\(address):\(port)", "greeter", "3"],
            in: mesh.control.directory)
        try eventually("the stranger to end") { stranger.process.isRunning ? nil : true }
        #expect(stranger.log.contains("error UNAVAILABLE") && !stranger.log.contains("spiffe://"), "\(stranger.log)")
        for process in [server, own, rogue, envoy] { process.stop() }
        for agent in agents { agent.process.stop() }
    }

    private static func route(_ weights: [(String, Int)]) -> String {
        let destinations = weights.map {
            "{ destination: { host: greeter.default.svc.cluster.local, subset: \($0.0) }, weight: \($0.1) }"
        }
        return """
            apiVersion: networking.istio.io/v1
            kind: VirtualService
            metadata: { name: greeter }
            spec:
              hosts: [greeter.default.svc.cluster.local]
              http: [{ route: [\(destinations.joined(separator: ", "))] }]
            """
    }
}
