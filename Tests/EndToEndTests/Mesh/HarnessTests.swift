import Foundation
import Testing

/// The parts that the scenarios stand on, with raw resources in the place of translated ones.
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
}
