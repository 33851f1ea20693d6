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
