import Foundation
import Testing

/// The shop where applications know nothing of a mesh, and every connection is led through Envoy.
@Suite(
    .serialized, .anyDataPlane,
    .enabled(if: InterceptedMesh.isPossible, "network namespaces want root and iptables"))
struct InterceptionScenarios {
    @Test func theShopRunsBehindTheBacksOfItsApplications() throws {
        func workload(_ service: String, _ version: String, isCalling: Bool = false) -> MeshOfEnvoys.Workload {
            MeshOfEnvoys.Workload(
                name: "\(service)-\(version)", serviceAccount: "bookinfo-\(service)",
                labels: ["app": service, "version": version], application: [service, "--version", version],
                isCalling: isCalling)
        }
        let mesh = try InterceptedMesh([
            workload("productpage", "v1", isCalling: true), workload("details", "v1"), workload("ratings", "v1"),
            workload("reviews", "v1"), workload("reviews", "v2", isCalling: true),
        ])
        let files = BookinfoFiles.best
        func apply(_ arguments: String...) throws {
            let (status, output, errors) = try ChildProcess.run(
                Installation.martinet,
                ["apply", "--wait", "--data", mesh.control.data] + arguments.flatMap { ["-f", $0] })
            try #require(status == 0, "\(output)\(errors)")
        }
        try apply(
            files.path("bookinfo/kube/bookinfo.yaml"),
            files.path("bookinfo/networking/destination-rule-all-mtls.yaml"),
            files.path("bookinfo/networking/virtual-service-all-v1.yaml"))
        let page = try mesh["productpage-v1"]
        let reviews = "http://10.96.0.10:9080/reviews/0"
        try eventually("reviews to answer; \(mesh.control.process.log.suffix(2_000))", within: 40) {
            try page.tally(10, reviews, host: "reviews:9080") == ["v1": 10] ? true : nil
        }
        try apply(files.path("bookinfo/networking/virtual-service-reviews-80-20.yaml"))
        expectShares(try page.tally(500, reviews, host: "reviews:9080"), ["v1": 0.8, "v2": 0.2])

        // The whole page, from outside every namespace, as plaintext.
        let whole = try httpGet("http://\(page.address):9080/productpage")
        #expect(whole.code == 200 && whole.body.contains("The Natural History of Selborne"), "\(whole)")
        #expect(!whole.body.contains("class=\"problem\""), "\(whole)")

        let strict = mesh.control.directory + "/strict.yaml"
        try """
        apiVersion: security.istio.io/v1
        kind: PeerAuthentication
        metadata: { name: default }
        spec: { mtls: { mode: STRICT } }
        """.write(toFile: strict, atomically: true, encoding: .utf8)
        try apply(strict)
        try eventually("plaintext to be refused") {
            try httpGet("http://\(page.address):9080/productpage").code == 0 ? true : nil
        }
        expectShares(try page.tally(300, reviews, host: "reviews:9080"), ["v1": 0.8, "v2": 0.2])
    }
}
