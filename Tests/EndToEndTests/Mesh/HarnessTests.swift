import Foundation
import Testing

/// The parts that the scenarios stand on, with raw resources in the place of translated ones.
@Suite(.anyDataPlane)
struct HarnessTests {
    @Test func everyWorkloadHasAnApplicationAndAnEnvoyOnAddressesOfItsOwn() throws {
        let mesh = try MeshOfEnvoys(
            [
                .init(
                    name: "reviews-v1", serviceAccount: "bookinfo-reviews", labels: ["app": "reviews"],
                    application: ["reviews", "--version", "v1"]),
                .init(
                    name: "reviews-v2", serviceAccount: "bookinfo-reviews", labels: ["app": "reviews"],
                    application: ["reviews", "--version", "v3", "--ratings", "http://127.0.0.1:1"]),
                .init(
                    name: "productpage-v1", serviceAccount: "bookinfo-productpage", labels: ["app": "productpage"],
                    application: ["productpage"], isCalling: true),
            ])
        let page = try mesh["productpage-v1"]
        func at(_ address: String, _ text: String) -> String { text.replacing("127.0.0.1", with: address) }
        let folder = "node-cluster=productpage-v1.default/"
        try mesh.control.write(
            at(page.outboundAddress, RawResources.listener("outbound", port: 9080, routes: "9080")),
            to: folder + "listener.yaml")
        for version in ["v1", "v2"] {
            let reviews = try mesh["reviews-\(version)"]
            let cluster = "inbound-\(version)"
            let folder = "node-cluster=reviews-\(version).default/"
            try mesh.control.write(
                at(reviews.address, RawResources.listener("inbound", port: 9080, routes: "inbound")),
                to: folder + "listener.yaml")
            try mesh.control.write(
                RawResources.routes("inbound", weights: [(cluster, 1)]), to: folder + "routes.yaml")
            try mesh.control.write(RawResources.clusters([cluster]), to: folder + "clusters.yaml")
            try mesh.control.write(
                at(reviews.applicationAddress, RawResources.endpoints([(cluster, [9080])])),
                to: folder + "endpoints.yaml")
            try mesh.control.write(
                at(reviews.address, RawResources.endpoints([(version, [9080])])),
                to: "node-cluster=productpage-v1.default/endpoints-\(version).yaml")
        }
        try mesh.control.write(RawResources.clusters(["v1", "v2"]), to: folder + "clusters.yaml")
        try mesh.control.write(
            RawResources.routes("9080", weights: [("v1", 80), ("v2", 20)]), to: folder + "routes.yaml")

        let call = page.call("reviews:9080", "/reviews/0")
        try eventually("both versions to answer; \(mesh.state)", within: 30) {
            Set(call.tally(30).keys) == ["v1", "v3"] ? true : nil
        }
        let load = SteadyLoad(call, perSecond: 100)
        expectShares(call.tally(1_000), ["v1": 0.8, "v3": 0.2])
        try mesh.control.write(RawResources.routes("9080", weights: [("v1", 1)]), to: folder + "routes.yaml")
        try eventually("all calls to go to v1") { call.tally(30) == ["v1": 30] ? true : nil }
        let during = load.stop()
        #expect(Set(during.keys) == ["v1", "v3"] && during["v1", default: 0] > 20, "\(during)")

        // One that fails is told by its code, and the page by its cause.
        try mesh["reviews-v1"].administer("/admin/fail?rate=1&status=555")
        #expect(call.tally(20) == ["555": 20])
        try mesh["reviews-v1"].administer("/admin/fail?rate=0")
        try mesh["reviews-v1"].administer("/admin/fail?next=3")
        #expect(call.tally(20) == ["503": 3, "v1": 17])
        let requests = try mesh["reviews-v1"].requests()
        #expect(requests > 800, "\(requests)")
    }

    @Test(.enabled(if: InterceptedMesh.isPossible, "network namespaces want root and iptables"))
    func everyConnectionOfAWorkloadInANamespaceIsLedThroughItsEnvoy() throws {
        let mesh = try InterceptedMesh([
            .init(
                name: "productpage-v1", serviceAccount: "bookinfo-productpage", labels: ["app": "productpage"],
                application: ["productpage"], isCalling: true),
            .init(
                name: "reviews-v1", serviceAccount: "bookinfo-reviews", labels: ["app": "reviews"],
                application: ["reviews", "--version", "v1"]),
        ])
        let (page, reviews) = (try mesh["productpage-v1"], try mesh["reviews-v1"])
        // What comes in goes to port 15006, what goes out to port 15001, whatever it was meant for.
        for (name, listener, port, target) in [
            (page.name, "outbound", 15_001, (reviews.address, 9080)),
            (reviews.name, "inbound", 15_006, ("127.0.0.1", 9080)),
        ] {
            let folder = "node-cluster=\(name).default/"
            try mesh.control.write(RawResources.clusters([listener]), to: folder + "clusters.yaml")
            try mesh.control.write(
                RawResources.endpoints([(listener, [target.1])]).replacing("127.0.0.1", with: target.0),
                to: folder + "endpoints.yaml")
            try mesh.control.write(
                RawResources.routes(listener, weights: [(listener, 1)]), to: folder + "routes.yaml")
            try mesh.control.write(
                RawResources.listener(listener, port: port, routes: listener)
                    .replacing("127.0.0.1", with: "0.0.0.0"), to: folder + "listener.yaml")
        }
        try eventually("calls to go through", within: 30) {
            try page.tally(5, "http://10.96.0.10:9080/reviews/0", host: "reviews:9080") == ["v1": 5] ? true : nil
        }
        #expect(try page.tally(200, "http://10.96.0.10:9080/reviews/0", host: "reviews:9080") == ["v1": 200])
        #expect(try page.envoy.stat("http.outbound.downstream_rq_completed") >= 205)
        #expect(try reviews.envoy.stat("http.inbound.downstream_rq_completed") >= 205)
    }
}
