import Foundation
import Testing

/// Real Envoys check workloads, and what they find decides who is called.
@Suite(.serialized)
struct HealthScenarios {
    @Test func aWorkloadThatIsNotReadyIsNotCalled() throws {
        let shop = try BookinfoMesh(checksHealth: true)
        let deployments = ["v1", "v2", "v3"].map { version in
            """
            apiVersion: apps/v1
            kind: Deployment
            metadata: { name: reviews-\(version) }
            spec:
              selector: { matchLabels: { app: reviews, version: \(version) } }
              template:
                metadata: { labels: { app: reviews, version: \(version) } }
                spec:
                  serviceAccountName: bookinfo-reviews
                  containers:
                    - name: reviews
                      image: bookinfo
                      ports: [{ name: web, containerPort: 9080 }]
                      readinessProbe:
                        httpGet: { path: /reviews/0, port: 9080 }
                        periodSeconds: 1
                        failureThreshold: 1
            """
        }
        try shop.mesh.apply(yaml: deployments.joined(separator: "\n---\n"))
        func explained() throws -> String {
            try shop.mesh.control.command("explain", "--from", "productpage-v1", "--to", "reviews:9080").output
        }
        try eventually("three healthy workloads; \(shop.mesh.state)", within: 30) {
            try explained().split(separator: "\n").count { $0.hasSuffix("mutual TLS, healthy") } == 3 ? true : nil
        }
        #expect(Set(try shop.tally(60).keys) == ["v1", "v2", "v3"])

        // One fails its probe: nobody is sent to it, and no request fails on it.
        try shop.mesh["reviews-v2"].administer("/admin/fail?rate=1")
        try eventually("v2 to be found out", within: 30) {
            try explained().contains("reviews-v2: mutual TLS, unhealthy") ? true : nil
        }
        try eventually("callers to hear of it") { try shop.tally(30)["v2"] == nil ? true : nil }
        let answers = try shop.tally(100)
        #expect(Set(answers.keys) == ["v1", "v3"], "\(answers)")
        try shop.mesh["reviews-v2"].administer("/admin/fail?rate=0")
        try eventually("v2 to be called again", within: 30) { try shop.tally(30)["v2"] != nil ? true : nil }
    }

    @Test func entriesWithoutAProxyAreCheckedByOneOfTheirNamespace() throws {
        let shop = try BookinfoMesh(reviews: ["v1"], checksHealth: true)
        let there = try shop.mesh["ratings-v1"].applicationAddress
        // Nobody listens on the other address.
        try shop.mesh.apply(
            yaml: """
                apiVersion: networking.istio.io/v1
                kind: WorkloadGroup
                metadata: { name: old }
                spec:
                  metadata: { labels: { app: old } }
                  template: { serviceAccount: old }
                  probe: { tcpSocket: { port: 9080 }, periodSeconds: 1, failureThreshold: 1 }
                ---
                apiVersion: networking.istio.io/v1
                kind: WorkloadEntry
                metadata: { name: old-1 }
                spec: { address: \(there), labels: { app: old } }
                ---
                apiVersion: networking.istio.io/v1
                kind: WorkloadEntry
                metadata: { name: old-2 }
                spec: { address: 127.9.9.9, labels: { app: old } }
                ---
                apiVersion: networking.istio.io/v1
                kind: ServiceEntry
                metadata: { name: old }
                spec:
                  hosts: [old.example.com]
                  location: MESH_INTERNAL
                  resolution: STATIC
                  ports: [{ number: 9080, name: http, protocol: HTTP }]
                  workloadSelector: { labels: { app: old } }
                """)
        let call = try shop.mesh["productpage-v1"].call("old.example.com:9080", "/ratings/0")
        try eventually("the dead entry to be found out; \(shop.mesh.state)", within: 30) {
            try shop.mesh.control.command("explain", "--from", "productpage-v1", "--to", "old.example.com:9080").output
                .contains("127.9.9.9:9080 old-2: plaintext, unhealthy") ? true : nil
        }
        try eventually("callers to hear of it") { call.tally(10) == ["v1": 10] ? true : nil }
        #expect(call.tally(60) == ["v1": 60])
    }
}
