import Foundation
import Testing

/// A gateway that passes on what its clients ask for by server name, TLS and all.
@Suite(.serialized)
struct PassthroughScenarios {
    @Test func aClientOfTheMeshReachesASubsetThroughTheGatewayByItsServerName() throws {
        let shop = try BookinfoMesh(gateways: [BookinfoMesh.gateway])
        try shop.mesh.apply(
            yaml: """
                apiVersion: networking.istio.io/v1
                kind: Gateway
                metadata: { name: east-west, namespace: istio-system }
                spec:
                  selector: { istio: ingressgateway }
                  servers:
                    - port: { number: 15443, name: tls, protocol: TLS }
                      tls: { mode: AUTO_PASSTHROUGH }
                      hosts: ["*.default.svc.cluster.local"]
                ---
                apiVersion: networking.istio.io/v1
                kind: DestinationRule
                metadata: { name: reviews }
                spec:
                  host: reviews
                  subsets: [{ name: v1, labels: { version: v1 } }, { name: v3, labels: { version: v3 } }]
                ---
                apiVersion: security.istio.io/v1
                kind: PeerAuthentication
                metadata: { name: default }
                spec: { mtls: { mode: STRICT } }
                """)
        let files = try Agent.files(of: "caller", from: shop.mesh.control)
        let gateway = try shop.mesh["istio-ingressgateway"].address
        /// What the server answers to a client of the mesh that asks for a name.
        func ask(_ name: String, _ certificate: [String]) throws -> String {
            try ChildProcess.run(
                "/usr/bin/timeout",
                [
                    "5", "/usr/bin/openssl", "s_client", "-connect", "\(gateway):15443", "-servername", name, "-alpn",
                    "istio",
                    "-quiet",
                ] + certificate,
                input: "GET /reviews/0 HTTP/1.1\r\nhost: reviews\r\nconnection: close\r\n\r\n"
            ).output
        }
        let own = ["-cert", files.certificate, "-key", files.key, "-cert_chain", files.certificate]
        for version in ["v1", "v3"] {
            let name = "outbound_.9080_.\(version)_.reviews.default.svc.cluster.local"
            try eventually("\(version) through the gateway; \(shop.mesh.state)", within: 30) {
                try ask(name, own).contains("x-version: \(version)") ? true : nil
            }
        }
        // The TLS is the workload's: without a certificate of the mesh it ends there. What no server's host takes in is
        // not there.
        #expect(try !ask("outbound_.9080_.v1_.reviews.default.svc.cluster.local", []).contains("x-version"))
        #expect(try !ask("outbound_.9080_.v9_.reviews.default.svc.cluster.local", own).contains("x-version"))
        #expect(try !ask("reviews.default.svc.cluster.local", own).contains("x-version"))
    }

    @Test func aProxyThatCannotBeUnderstoodIsToldOf() throws {
        let control = try ControlPlaneProcess()
        let envoy = try Envoy(
            nodeID: "sidecar~127.0.0.1~odd.shop~shop.svc.cluster.local", xdsPort: control.xdsPort,
            workload: Envoy.Workload(namespace: "shop", serviceAccount: "x", more: "INTERCEPTION_MODE: BOGUS"),
            in: control.directory)
        defer { envoy.process.stop() }
        let words = "no part of the mesh: node INTERCEPTION_MODE: it is neither REDIRECT, TPROXY nor NONE; correct the"
        try eventually("the warning; \(control.process.log)") { control.process.log.contains(words) ? true : nil }
        let line = control.process.log.split(separator: "\n").first { $0.contains(words) } ?? ""
        #expect(line.contains("peer=127.0.0.1:") || line.contains("\"peer\":\"127.0.0.1:"), "\(line)")
        #expect(try control.metric("martinet_node_claims_refused_total") >= 1)
    }
}
