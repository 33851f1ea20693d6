import Foundation
import Testing

/// gRPC's own xDS client, which shares no line with Envoy's.
struct GRPCClientTests {
    @Test func anXDSNameIsResolvedAndFollowsItsEndpointsThroughARestart() throws {
        let (one, two) = (try freePort(), try freePort())
        let control = try ControlPlaneProcess(resources: [
            "listener.yaml": RawResources.apiListener("greeter.test", routes: "greeter"),
            "routes.yaml": RawResources.routes("greeter", weights: [("greeters", 1)]),
            "clusters.yaml": RawResources.clusters(["greeters"]),
            "endpoints.yaml": RawResources.endpoints([("greeters", [one])]),
        ])
        let peers = Installation.root + "/Tests/EndToEndTests/Peers/"
        let greeters = try ChildProcess(
            Installation.python, [peers + "greeter.py", "\(one)=one", "\(two)=two"], in: control.directory)
        try eventually("the greeters to listen") { greeters.log.contains("ready") ? true : nil }

        let bootstrap = control.directory + "/grpc.json"
        try """
        {
          "xds_servers": [{
            "server_uri": "127.0.0.1:\(control.xdsPort)",
            "channel_creds": [{ "type": "insecure" }],
            "server_features": ["xds_v3"]
          }],
          "node": { "id": "grpc-caller", "cluster": "test" }
        }
        """.write(toFile: bootstrap, atomically: true, encoding: .utf8)
        let caller = try ChildProcess(
            Installation.python, [peers + "xds_caller.py", "greeter.test", "300"], in: control.directory,
            environment: ["GRPC_XDS_BOOTSTRAP": bootstrap])
        func answers() -> [Substring] { caller.log.split(separator: "\n") }
        try eventually("a call through the xDS name") { answers().last == "one" ? true : nil }
        try eventually("every type to be synced") {
            let output = try control.command("status").output
            return output.contains("grpc-caller") && output.components(separatedBy: "synced").count == 5 ? true : nil
        }

        try control.write(RawResources.endpoints([("greeters", [two])]), to: "endpoints.yaml")
        try eventually("the endpoint to change") { answers().last == "two" ? true : nil }

        control.stop(SIGKILL)
        let before = answers().count
        try eventually("calls to go on without a control plane") { answers().count > before + 10 ? true : nil }
        try control.restart()
        // Four types ask again with what they have, and nothing is sent.
        try eventually("the client to come back", within: 30) {
            try control.metric("martinet_xds_subscriptions") >= 4 ? true : nil
        }
        #expect(try control.metric("martinet_xds_resources_sent_total") == 0)
        try control.write(RawResources.endpoints([("greeters", [one])]), to: "endpoints.yaml")
        try eventually("changes to flow again") { answers().last == "one" ? true : nil }
        #expect(Set(answers()) == ["one", "two"])
    }
}
