import Foundation
import Testing

struct EnvoyTests {
    @Test(arguments: Envoy.Variant.allCases, Installation.EnvoyVersion.allCases)
    func aRealEnvoyIsConfiguredAndFollowsChanges(
        variant: Envoy.Variant, version: Installation.EnvoyVersion
    ) throws {
        let shop = try Shop(variant, version: version)
        #expect(try shop.tally(20) == ["v1": 20])

        try shop.control.write(RawResources.routes("shop", weights: [("v1", 20), ("v2", 80)]), to: "routes.yaml")
        try eventually("traffic to move to v2") { try shop.tally(20)["v2", default: 0] > 5 ? true : nil }
        let share = try shop.tally(500)
        #expect((340...460).contains(share["v2", default: 0]), "\(share)")
        #expect(share.values.reduce(0, +) == 500 && Set(share.keys) == ["v1", "v2"])

        try shop.control.write(RawResources.routes("shop", weights: [("v2", 1)]), to: "routes.yaml")
        try eventually("all traffic to move to v2") { try shop.tally(20) == ["v2": 20] ? true : nil }

        try shop.control.write(RawResources.endpoints([("v1", [shop.v1]), ("v2", [shop.v1])]), to: "endpoints.yaml")
        try eventually("v2's endpoint to change") { try shop.tally(20) == ["v1": 20] ? true : nil }
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
        try eventually("the load to run") { load.log.contains("v1 200") ? true : nil }
        // In one change the route leaves v1 and the cluster v1 goes away.
        try shop.control.write(RawResources.routes("shop", weights: [("v2", 1)]), to: "routes.yaml")
        try shop.control.write(RawResources.clusters(["v2"]), to: "clusters.yaml")
        try shop.control.write(RawResources.endpoints([("v2", [shop.v2])]), to: "endpoints.yaml")
        try eventually("v1 to be gone", within: 45) {
            try shop.envoy.admin("/clusters?format=json").contains("\"v1\"") ? nil : true
        }
        #expect(load.process.isRunning, "the cluster is to go under load")
        try eventually("the load to end", within: 60) { load.process.isRunning ? nil : true }
        let answers = Dictionary(load.log.split(separator: "\n").map { (String($0), 1) }, uniquingKeysWith: +)
        // Requests from before the change, from after it, and no others.
        #expect(Set(answers.keys) == ["v1 200", "v2 200"], "\(answers)")
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
