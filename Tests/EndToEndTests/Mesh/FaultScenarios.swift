import Foundation
import Testing

/// Faults that are injected, and faults that are met: ejection, sticky sessions, retries, timeouts.
@Suite(.serialized, .anyDataPlane)
struct FaultScenarios {
    private static func shop(_ files: BookinfoFiles = .best) throws -> BookinfoMesh {
        let shop = try BookinfoMesh(files)
        try shop.apply(
            "bookinfo/networking/destination-rule-all.yaml", "bookinfo/networking/virtual-service-all-v1.yaml")
        return shop
    }

    @Test(arguments: BookinfoFiles.all)
    func delaysAndAbortsHitJasonAlone(files: BookinfoFiles) throws {
        let shop = try Self.shop(files)
        try shop.apply("bookinfo/networking/virtual-service-reviews-test-v2.yaml")
        #expect(try shop.page(as: "jason").body.contains("stars black"))

        // Ratings take seven seconds for him, and the page waits three.
        try shop.apply("bookinfo/networking/virtual-service-ratings-test-delay.yaml")
        let late = try shop.page(as: "jason").body
        #expect(late.contains("The reviews cannot be had: reviews cannot be reached: no answer in time"), "\(late)")
        let caller = try shop.mesh["reviews-v2"]
        #expect(caller.call("ratings:9080", "/ratings/0").tally(50) == ["v1": 50])
        #expect(
            caller.call("ratings:9080", "/ratings/0", headers: ["end-user": "jason"]).tally(2) == ["v1": 2])
        // His three requests were delayed, and nobody else's.
        #expect(try delaysInjected(caller) == 3)

        try shop.apply("bookinfo/networking/virtual-service-ratings-test-abort.yaml")
        #expect(try shop.page(as: "jason").body.contains("No stars: ratings answered 500"))
        #expect(
            caller.call("ratings:9080", "/ratings/0", headers: ["end-user": "jason"]).tally(20) == ["500": 20])
        #expect(caller.call("ratings:9080", "/ratings/0").tally(50) == ["v1": 50])

        // Details fail for everybody with a status of their own.
        try shop.apply("bookinfo/networking/fault-injection-details-v1.yaml")
        #expect(try shop.mesh["productpage-v1"].call("details:9080", "/details/0").tally(20) == ["555": 20])
        #expect(try shop.page().body.contains("Its details cannot be had: details answered 555"))
    }

    private func delaysInjected(_ member: MeshOfEnvoys.Member) throws -> Int {
        let envoy = try #require(member.envoy)
        return try envoy.admin("/stats?filter=fault.delays_injected").split(separator: "\n")
            .compactMap { Int($0.split(separator: " ").last ?? "") }.reduce(0, +)
    }

    @Test func aFailingVersionIsEjectedAndTakenBackByItself() throws {
        let shop = try BookinfoMesh()
        try shop.mesh.apply(
            yaml: """
                apiVersion: networking.istio.io/v1
                kind: DestinationRule
                metadata: { name: reviews }
                spec:
                  host: reviews
                  trafficPolicy:
                    loadBalancer: { simple: ROUND_ROBIN }
                    outlierDetection:
                      consecutive5xxErrors: 3
                      interval: 1s
                      baseEjectionTime: 3s
                      maxEjectionPercent: 100
                ---
                apiVersion: networking.istio.io/v1
                kind: VirtualService
                metadata: { name: reviews }
                spec:
                  hosts: [reviews]
                  http: [{ route: [{ destination: { host: reviews } }], retries: { attempts: 0 } }]
                """)
        #expect(Set(try shop.tally(90).keys) == ["v1", "v2", "v3"])
        try shop.mesh["reviews-v3"].administer("/admin/fail?rate=1")
        // At first its failures are seen, then nothing of it is.
        let first = try shop.tally(60)
        #expect(first["503", default: 0] >= 3, "\(first)")
        try eventually("v3 to be ejected") {
            let tally = try shop.tally(90)
            return Set(tally.keys) == ["v1", "v2"] ? true : nil
        }
        try shop.mesh["reviews-v3"].administer("/admin/fail?rate=0")
        try eventually("v3 to be taken back", within: 60) {
            let tally = try shop.tally(90)
            return Set(tally.keys) == ["v1", "v2", "v3"] ? true : nil
        }
    }

    @Test func sessionsStickByCookieAndByHeader() throws {
        let shop = try BookinfoMesh()
        try shop.mesh.apply(yaml: Self.sticky("httpCookie: { name: shop-session, ttl: 3600s }"))
        let call = try shop.reviews()
        // Whoever comes without a cookie gets one, and stays with who gave it.
        var versions: Set<String> = []
        for _ in 0..<12 {
            let answer = try HTTPConnection.exchange(call)
            let version = try #require(answer.headers["x-version"], "\(answer)")
            let cookie = try #require(
                answer.headers["set-cookie"]?.split(separator: ";").first.map(String.init), "\(answer)")
            #expect(cookie.hasPrefix("shop-session="))
            #expect(call.adding(["cookie": cookie]).tally(30, connections: 4) == [version: 30])
            versions.insert(version)
        }
        #expect(versions.count >= 2, "twelve sessions on one version: \(versions)")

        try shop.mesh.apply(yaml: Self.sticky("httpHeaderName: x-session"))
        versions = []
        for session in 0..<20 {
            let tally = call.adding(["x-session": "s\(session)"]).tally(20, connections: 4)
            #expect(tally.count == 1 && tally.values.first == 20, "\(session): \(tally)")
            versions.formUnion(tally.keys)
        }
        #expect(versions == ["v1", "v2", "v3"])
    }

    private static func sticky(_ hash: String) -> String {
        """
        apiVersion: networking.istio.io/v1
        kind: DestinationRule
        metadata: { name: reviews }
        spec:
          host: reviews
          trafficPolicy: { loadBalancer: { consistentHash: { \(hash) } } }
        """
    }

    @Test func retriesHideAFailureAndTimeoutsEndAWait() throws {
        let shop = try Self.shop()
        let ratings = try shop.mesh["ratings-v1"]
        let call = try shop.mesh["reviews-v2"].call("ratings:9080", "/ratings/0")
        func route(_ more: String) throws {
            try shop.mesh.apply(
                yaml: """
                    apiVersion: networking.istio.io/v1
                    kind: VirtualService
                    metadata: { name: ratings }
                    spec:
                      hosts: [ratings]
                      http: [{ route: [{ destination: { host: ratings, subset: v1 } }], \(more) }]
                    """)
        }
        try route("retries: { attempts: 3, perTryTimeout: 2s, retryOn: 5xx }")
        let before = try ratings.requests()
        try ratings.administer("/admin/fail?next=2")
        #expect(call.tally(1) == ["v1": 1])
        #expect(try ratings.requests() == before + 3)
        // Four tries are all there are.
        try ratings.administer("/admin/fail?next=4")
        #expect(call.tally(1) == ["503": 1])
        #expect(try ratings.requests() == before + 7)

        try route("retries: { attempts: 0 }")
        try ratings.administer("/admin/fail?next=1")
        #expect(call.tally(1) == ["503": 1])
        #expect(try ratings.requests() == before + 8)

        try route("timeout: 0.5s, retries: { attempts: 0 }")
        try ratings.administer("/admin/delay?by=3s")
        #expect(call.tally(2) == ["504": 2])
        try ratings.administer("/admin/delay?by=0s")
        #expect(call.tally(20) == ["v1": 20])
    }
}
