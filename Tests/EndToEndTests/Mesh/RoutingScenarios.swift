import Foundation
import Testing

/// The book shop's demos of routing, as users of Istio know them, on real Envoys.
@Suite(.serialized, .anyDataPlane)
struct RoutingScenarios {
    @Test(arguments: BookinfoFiles.all)
    func weightsAreWhatTheRouteSays(files: BookinfoFiles) throws {
        let shop = try BookinfoMesh(files)
        // Without any route, all versions answer.
        try shop.apply("bookinfo/networking/destination-rule-all-mtls.yaml")
        #expect(Set(try shop.tally(120).keys) == ["v1", "v2", "v3"])

        try shop.apply("bookinfo/networking/virtual-service-all-v1.yaml")
        #expect(try shop.tally(300) == ["v1": 300])

        try shop.apply("bookinfo/networking/virtual-service-reviews-80-20.yaml")
        expectShares(try shop.tally(1_000), ["v1": 0.8, "v2": 0.2])
        try shop.apply("bookinfo/networking/virtual-service-reviews-90-10.yaml")
        expectShares(try shop.tally(1_000), ["v1": 0.9, "v2": 0.1])
        try shop.apply("bookinfo/networking/virtual-service-reviews-50-v3.yaml")
        expectShares(try shop.tally(1_000), ["v1": 0.5, "v3": 0.5])
        try shop.apply("bookinfo/networking/virtual-service-reviews-v2-v3.yaml")
        expectShares(try shop.tally(1_000), ["v2": 0.5, "v3": 0.5])
        try shop.mesh.apply(BookinfoFiles.ours.path("bookinfo/networking/virtual-service-reviews-thirds.yaml"))
        expectShares(try shop.tally(1_000), ["v1": 1.0 / 3, "v2": 1.0 / 3, "v3": 1.0 / 3])
        try shop.apply("bookinfo/networking/virtual-service-reviews-v3.yaml")
        #expect(try shop.tally(300) == ["v3": 300])
    }

    @Test(arguments: BookinfoFiles.all)
    func jasonAndOnlyJasonGetsTheBeta(files: BookinfoFiles) throws {
        let shop = try BookinfoMesh(files)
        try shop.apply(
            "bookinfo/networking/destination-rule-all.yaml", "bookinfo/networking/virtual-service-all-v1.yaml")
        try shop.apply("bookinfo/networking/virtual-service-reviews-test-v2.yaml")
        #expect(try shop.tally(100, as: "jason") == ["v2": 100])
        #expect(try shop.tally(100) == ["v1": 100])
        for other in ["jasonx", "Jason", "xjason", ""] {
            #expect(try shop.tally(20, as: other) == ["v1": 20], "\(other)")
        }
        // On the page: black stars for him, none for others.
        #expect(try shop.page(as: "jason").body.contains("stars black"))
        let others = try shop.page().body
        #expect(!others.contains("class=\"stars") && others.contains("reviews-v1"), "\(others)")

        try shop.apply("bookinfo/networking/virtual-service-reviews-jason-v2-v3.yaml")
        #expect(try shop.tally(50, as: "jason") == ["v2": 50])
        #expect(try shop.tally(50) == ["v3": 50])
        #expect(try shop.page(as: "jane").body.contains("stars red"))
    }

    @Test func aCutOverUnderLoadFailsNoRequest() throws {
        let shop = try BookinfoMesh()
        try shop.apply(
            "bookinfo/networking/destination-rule-all.yaml", "bookinfo/networking/virtual-service-all-v1.yaml")
        let load = SteadyLoad(try shop.reviews(), perSecond: 150)
        try eventually("the load to run") { load.tally["v1", default: 0] > 50 ? true : nil }
        for version in ["v2", "v3", "v1", "v3"] {
            try shop.mesh.apply(
                yaml: """
                    apiVersion: networking.istio.io/v1
                    kind: VirtualService
                    metadata: { name: reviews }
                    spec:
                      hosts: [reviews]
                      http: [{ route: [{ destination: { host: reviews, subset: \(version) } }] }]
                    """)
            #expect(try shop.tally(50) == [version: 50])
        }
        // The last step takes subsets away that nothing leads to any more.
        try shop.mesh.apply(
            yaml: """
                apiVersion: networking.istio.io/v1
                kind: DestinationRule
                metadata: { name: reviews }
                spec: { host: reviews, subsets: [{ name: v3, labels: { version: v3 } }] }
                """)
        let before = load.tally["v3", default: 0]
        try eventually("the load to go on") { load.tally["v3", default: 0] > before + 100 ? true : nil }
        let answers = load.stop()
        #expect(Set(answers.keys) == ["v1", "v2", "v3"], "\(answers)")
    }

    @Test func aWorkloadThatComesTakesPartAndOneThatGoesIsForgotten() throws {
        let shop = try BookinfoMesh(reviews: ["v1"])
        #expect(try shop.tally(60) == ["v1": 60])
        let load = SteadyLoad(try shop.reviews(), perSecond: 100)
        try shop.mesh.add(
            .init(
                name: "reviews-v2", serviceAccount: "bookinfo-reviews", labels: ["app": "reviews", "version": "v2"],
                application: ["reviews", "--version", "v2"], isCalling: true)
        ).envoy?.waitUntilReady()
        try eventually("v2 to take part", within: 30) {
            try shop.tally(30)["v2", default: 0] > 0 ? true : nil
        }
        let answers = load.stop()
        #expect(Set(answers.keys) == ["v1", "v2"], "\(answers)")

        // Its endpoint is kept for a while, as for a proxy that but restarts, and then it is gone.
        let address = try shop.mesh["reviews-v2"].address
        try shop.mesh.remove("reviews-v2")
        try eventually("v2 to be forgotten; \(shop.mesh.state)", within: 60) {
            try shop.mesh["productpage-v1"].envoy?.admin("/clusters").contains(address) == false
                && shop.tally(60) == ["v1": 60] ? true : nil
        }
    }
}
