import Foundation
import Testing

/// A control plane, two upstreams `v1` and `v2`, and one Envoy that has everything from the control plane.
private final class Shop {
    let control: ControlPlaneProcess
    let upstreams: ChildProcess
    let envoy: Envoy
    let port: Int
    let v1: Int
    let v2: Int

    init(
        _ variant: Envoy.Variant, version: Installation.EnvoyVersion = .newest, credentials: Envoy.Credentials? = nil,
        serving extra: [String] = []
    ) throws {
        port = try freePort()
        v1 = try freePort()
        v2 = try freePort()
        control = try ControlPlaneProcess(
            extra,
            resources: [
                "listener.yaml": RawResources.listener("shop", port: port, routes: "shop"),
                "routes.yaml": RawResources.routes("shop", weights: [("v1", 1)]),
                "clusters.yaml": RawResources.clusters(["v1", "v2"]),
                "endpoints.yaml": RawResources.endpoints([("v1", [v1]), ("v2", [v2])]),
            ])
        upstreams = try ChildProcess(
            Installation.python,
            [Installation.root + "/Tests/EndToEndTests/Peers/upstream.py", "\(v1)=v1", "\(v2)=v2"],
            in: control.directory)
        envoy = try Envoy(
            nodeID: "shop-proxy", xdsPort: credentials == nil ? control.xdsPort : control.tlsPort, variant: variant,
            version: version, credentials: credentials, in: control.directory)
        try envoy.waitUntilReady()
        try eventually("the first request to reach v1; \(control.process.log.suffix(2_000))") {
            try get() == "v1" ? true : nil
        }
    }

    func get() throws -> String {
        let answer = try httpGet("http://127.0.0.1:\(port)/")
        return answer.code == 200 ? answer.body : "code \(answer.code): \(answer.body)"
    }

    /// Who answered `count` requests.
    func tally(_ count: Int) throws -> [String: Int] {
        let arguments = ["-s", "-m", "20", "-w", "\n", "http://127.0.0.1:\(port)/[1-\(count)]"]
        let output = try ChildProcess.run("/usr/bin/curl", arguments).output
        return Dictionary(output.split(separator: "\n").map { (String($0), 1) }, uniquingKeysWith: +)
    }

    /// What Envoy counts as taken, per type.
    func updates() throws -> [String: Int] {
        var counts: [String: Int] = [:]
        for (type, name) in [
            ("CDS", "cluster_manager.cds.update_success"), ("LDS", "listener_manager.lds.update_success"),
            ("RDS", "http.shop.rds.shop.update_success"), ("EDS", "cluster.v1.update_success"),
        ] {
            counts[type] = try envoy.stat(name.replacing(".", with: "\\."))
        }
        return counts
    }
}

@Suite(.serialized) struct EnvoyTests {
    @Test(arguments: Envoy.Variant.allCases, Installation.EnvoyVersion.allCases)
    func aRealEnvoyIsConfiguredAndFollowsChanges(
        variant: Envoy.Variant, version: Installation.EnvoyVersion
    ) throws {
        let shop = try Shop(variant, version: version)
        #expect(try shop.tally(50) == ["v1": 50])

        try shop.control.write(RawResources.routes("shop", weights: [("v1", 20), ("v2", 80)]), to: "routes.yaml")
        try eventually("traffic to move to v2") { try shop.tally(20)["v2", default: 0] > 5 ? true : nil }
        let share = try shop.tally(500)
        #expect((340...460).contains(share["v2", default: 0]), "\(share)")
        #expect(share.values.reduce(0, +) == 500 && Set(share.keys) == ["v1", "v2"])

        try shop.control.write(RawResources.routes("shop", weights: [("v2", 1)]), to: "routes.yaml")
        try eventually("all traffic to move to v2") { try shop.tally(50) == ["v2": 50] ? true : nil }

        try shop.control.write(RawResources.endpoints([("v1", [shop.v1]), ("v2", [shop.v1])]), to: "endpoints.yaml")
        try eventually("v2's endpoint to change") { try shop.tally(50) == ["v1": 50] ? true : nil }
        let (status, output, errors) = try shop.control.command("status")
        #expect(status == 0, "\(output)\(errors)")
        #expect(output.contains("shop-proxy"))
    }

    @Test(arguments: Envoy.Variant.allCases)
    func aClusterThatGoesBreaksNoRequest(variant: Envoy.Variant) throws {
        let shop = try Shop(variant)
        let load = try ChildProcess(
            "/usr/bin/curl",
            ["-s", "-m", "60", "-w", " %{http_code}\n", "--rate", "200/s", "http://127.0.0.1:\(shop.port)/[1-800]"],
            in: shop.control.directory)
        usleep(300_000)
        // In one change the route leaves v1 and the cluster v1 goes away.
        try shop.control.write(RawResources.routes("shop", weights: [("v2", 1)]), to: "routes.yaml")
        try shop.control.write(RawResources.clusters(["v2"]), to: "clusters.yaml")
        try shop.control.write(RawResources.endpoints([("v2", [shop.v2])]), to: "endpoints.yaml")
        try eventually("v1 to be gone", within: 45) {
            try shop.envoy.admin("/clusters?format=json").contains("\"v1\"") ? nil : true
        }
        try eventually("the load to end", within: 60) { load.process.isRunning ? nil : true }
        let answers = Dictionary(load.log.split(separator: "\n").map { (String($0), 1) }, uniquingKeysWith: +)
        #expect(Set(answers.keys).isSubset(of: ["v1 200", "v2 200"]), "\(answers)")
        #expect(answers.values.reduce(0, +) == 800)
    }

    @Test(arguments: Envoy.Variant.allCases)
    func aRejectedListenerIsShownInEnvoysWordsWhileTheOldOneServes(variant: Envoy.Variant) throws {
        let shop = try Shop(variant)
        try shop.control.write(RawResources.brokenListener("shop", routes: "shop"), to: "listener.yaml")
        let output = try eventually("the NACK to show") {
            let (status, output, _) = try shop.control.command("status")
            return status == 1 && output.contains("not-an-address") ? output : nil
        }
        #expect(output.contains("LDS"))
        #expect(try shop.get() == "v1")
        #expect(try shop.control.metric("martinet_xds_nacks_total") == 1)

        // Mended, it is taken again, and the status says so.
        try shop.control.write(RawResources.listener("shop", port: shop.port, routes: "shop"), to: "listener.yaml")
        try eventually("the status to be clean") { try shop.control.command("status").status == 0 ? true : nil }
        #expect(try shop.get() == "v1")
    }

    @Test(arguments: Envoy.Variant.allCases)
    func aRestartOfTheControlPlanePushesNothing(variant: Envoy.Variant) throws {
        let shop = try Shop(variant)
        let before = try shop.updates()
        try shop.control.restart(SIGKILL)
        try eventually("Envoy to come back", within: 40) {
            try shop.control.command("status").output.contains("shop-proxy") ? true : nil
        }
        // Every type has asked again, and nothing was sent.
        try eventually("all subscriptions to be back") {
            try shop.control.metric("martinet_xds_subscriptions") >= 4 ? true : nil
        }
        #expect(try shop.control.metric("martinet_xds_resources_sent_total") == 0)
        #expect(try shop.updates() == before)
        #expect(try shop.get() == "v1")

        try shop.control.write(RawResources.routes("shop", weights: [("v2", 1)]), to: "routes.yaml")
        try eventually("changes to flow again") { try shop.tally(10) == ["v2": 10] ? true : nil }
    }
}
