import Foundation
import Testing

/// Who may talk to whom: identities, refusals on both ends, policies.
@Suite(.serialized, .anyDataPlane)
struct TrustScenarios {
    /// A plaintext call past the sidecar of the caller, to the sidecar of `name`.
    private func plaintext(_ mesh: MeshOfEnvoys, _ name: String, _ path: String) throws -> HTTPConnection.Call {
        HTTPConnection.Call(
            address: try mesh[name].address, port: 9080, host: "anybody", path: path, timeout: 5)
    }

    @Test func strictRefusesPlaintextAndPermissiveTakesBoth() throws {
        let shop = try BookinfoMesh(reviews: ["v1"])
        let call = try plaintext(shop.mesh, "reviews-v1", "/reviews/0")
        #expect(call.tally(20) == ["v1": 20])
        // Within the mesh it is TLS all the same.
        #expect(try shop.tally(20) == ["v1": 20])
        #expect(try handshakes(shop.mesh["reviews-v1"]) > 0)

        let load = SteadyLoad(try shop.reviews(), perSecond: 50)
        try shop.mesh.apply(
            yaml: """
                apiVersion: security.istio.io/v1
                kind: PeerAuthentication
                metadata: { name: default }
                spec: { mtls: { mode: STRICT } }
                """)
        try eventually("plaintext to be refused") {
            let tally = call.tally(10)
            return tally["v1"] == nil && tally["200"] == nil ? true : nil
        }
        #expect(try shop.tally(50) == ["v1": 50])
        let answers = load.stop()
        #expect(Set(answers.keys) == ["v1"], "\(answers)")
    }

    private func handshakes(_ member: MeshOfEnvoys.Member) throws -> Int {
        let lines = try #require(member.envoy).admin("/stats?filter=ssl.handshake").split(separator: "\n")
        return lines.filter { $0.hasPrefix("listener.") }.compactMap { Int($0.split(separator: " ").last ?? "") }
            .reduce(0, +)
    }

    @Test func aRogueIsRefusedOnBothEnds() throws {
        let shop = try BookinfoMesh(reviews: ["v2"])
        try shop.mesh.apply(
            yaml: """
                apiVersion: security.istio.io/v1
                kind: PeerAuthentication
                metadata: { name: default }
                spec: { mtls: { mode: STRICT } }
                """)
        // It has a certificate, but of an authority of its own; and it has none.
        let authority = try CertificateAuthority("rogue", in: shop.mesh.control.directory)
        let rogue = try authority.issue("bookinfo-productpage")
        let target = "https://\(try shop.mesh["reviews-v2"].address):9080/reviews/0"
        for credentials in [["--cert", rogue.certificate, "--key", rogue.key], []] {
            let (_, output, _) = try ChildProcess.run(
                "/usr/bin/curl",
                ["-sk", "-m", "5", "--http1.1", "-w", "%{http_code}", "-o", "/dev/null"] + credentials + [target])
            #expect(output == "000", "\(credentials): \(output)")
        }

        // And as a server: an entry leads to it, under the account of the true ratings.
        let number = Int.random(in: 1...250)
        let rogueServer = try ChildProcess(
            "/usr/bin/openssl",
            [
                "s_server", "-accept", "127.8.\(number).1:9080", "-cert", rogue.certificate, "-key", rogue.key, "-www",
            ], in: shop.mesh.control.directory)
        defer { rogueServer.stop() }
        let call = try shop.mesh["reviews-v2"].call("ratings:9080", "/ratings/0")
        #expect(call.tally(20) == ["v1": 20])
        try shop.mesh.apply(
            yaml: """
                apiVersion: networking.istio.io/v1
                kind: WorkloadEntry
                metadata: { name: rogue }
                spec:
                  address: 127.8.\(number).1
                  serviceAccount: bookinfo-ratings
                  labels: { app: ratings, version: v1, security.istio.io/tlsMode: istio }
                ---
                apiVersion: networking.istio.io/v1
                kind: DestinationRule
                metadata: { name: ratings }
                spec: { host: ratings, trafficPolicy: { loadBalancer: { simple: ROUND_ROBIN } } }
                ---
                apiVersion: networking.istio.io/v1
                kind: VirtualService
                metadata: { name: ratings }
                spec:
                  hosts: [ratings]
                  http: [{ route: [{ destination: { host: ratings } }], retries: { attempts: 0 } }]
                """)
        // Every second call goes there, and is not made: the certificate is not of the mesh.
        let tally = call.tally(40)
        #expect(tally["v1", default: 0] > 0 && tally["503", default: 0] > 0, "\(tally)")
        #expect(Set(tally.keys) == ["v1", "503"], "\(tally)")
        let member = try shop.mesh["reviews-v2"]
        let refused = try #require(member.envoy).admin("/stats?filter=ssl.(fail_verify|connection_error)")
            .split(separator: "\n").filter { $0.hasPrefix("cluster.") }
            .compactMap { Int($0.split(separator: " ").last ?? "") }.reduce(0, +)
        #expect(refused > 0)
    }

    @Test func aPolicySaysWhoMayCallWhat() throws {
        let shop = try BookinfoMesh(reviews: ["v2"])
        try shop.mesh.apply(
            yaml: """
                apiVersion: security.istio.io/v1
                kind: AuthorizationPolicy
                metadata: { name: ratings }
                spec:
                  selector: { matchLabels: { app: ratings } }
                  action: ALLOW
                  rules:
                    - from: [{ source: { principals: [cluster.local/ns/default/sa/bookinfo-reviews] } }]
                      to: [{ operation: { methods: [GET], paths: ["/ratings/*"] } }]
                """)
        let reviews = try shop.mesh["reviews-v2"]
        // Envoy has acknowledged it, and takes a moment to hand it to its workers; a connection that was open before
        // answers once more by the old rules.
        try eventually("the policy to hold") {
            reviews.call("ratings:9080", "/other").tally(5) == ["403": 5] ? true : nil
        }
        #expect(reviews.call("ratings:9080", "/ratings/0").tally(20) == ["v1": 20])
        #expect(reviews.call("ratings:9080", "/other").tally(5) == ["403": 5])
        #expect(try shop.mesh["productpage-v1"].call("ratings:9080", "/ratings/0").tally(20) == ["403": 20])
        #expect(try plaintext(shop.mesh, "ratings-v1", "/ratings/0").tally(20) == ["403": 20])
        #expect(try shop.page().body.contains("stars black"))
        // Denied is denied, whatever is allowed.
        try shop.mesh.apply(
            yaml: """
                apiVersion: security.istio.io/v1
                kind: AuthorizationPolicy
                metadata: { name: no-jason }
                spec:
                  selector: { matchLabels: { app: ratings } }
                  action: DENY
                  rules: [{ when: [{ key: "request.headers[end-user]", values: [jason] }] }]
                """)
        let jason = reviews.call("ratings:9080", "/ratings/0", headers: ["end-user": "jason"])
        try eventually("the denial to hold") { jason.tally(5) == ["403": 5] ? true : nil }
        #expect(jason.tally(20) == ["403": 20])
        #expect(reviews.call("ratings:9080", "/ratings/0").tally(20) == ["v1": 20])
    }

    @Test func namespacesAreLanesWhereThatIsAsked() throws {
        let shop = try BookinfoMesh(reviews: ["v1"])
        let outsider = try shop.mesh.add(
            .init(
                name: "sleep", namespace: "elsewhere", serviceAccount: "sleep", labels: ["app": "sleep"],
                application: ["helloworld"], ports: [9080], isCalling: true))
        try #require(outsider.envoy).waitUntilReady()
        let call = outsider.call("reviews.default:9080", "/reviews/0")
        try eventually("the outsider to be configured; \(shop.mesh.state)", within: 30) {
            call.tally(1) == ["v1": 1] ? true : nil
        }
        try shop.mesh.apply(
            yaml: """
                apiVersion: martinet.dev/v1
                kind: MeshConfig
                metadata: { name: default }
                spec: { mtls: STRICT, isolateNamespaces: true }
                """)
        try eventually("the outsider to be locked out") { call.tally(10)["v1"] == nil ? true : nil }
        #expect(try shop.tally(20) == ["v1": 20])

        // Nobody of its namespace learns of the others either: neither from what a proxy is given, nor by asking for them
        // by name, nor under the name of another namespace. (What a proxy had before drains for a while.)
        let spy = try shop.mesh.add(
            .init(
                name: "spy", namespace: "elsewhere", serviceAccount: "sleep", labels: ["app": "spy"],
                application: ["helloworld"], ports: [9080], isCalling: true))
        try #require(spy.envoy).waitUntilReady()
        let secret = try shop.mesh["reviews-v1"].address
        func given() throws -> String { try #require(spy.envoy).admin("/config_dump?include_eds") }
        try eventually("the spy to be configured") { try given().contains("BlackHoleCluster") ? true : nil }
        #expect(try !given().contains("reviews.default") && !given().contains(secret + "\""))
        func ask(_ namespace: String, _ type: String, _ names: [String]) throws -> String {
            let token = try shop.mesh.control.token(namespace: "elsewhere", serviceAccount: "sleep")
            let asked: [String: Any] = [
                "id": "sidecar~127.0.0.1~thief.\(namespace)~\(namespace).svc.cluster.local", "namespace": namespace,
                "service_account": "sleep", "token": token, "type": "type.googleapis.com/envoy.config.\(type)",
                "names": names,
            ]
            let json = String(decoding: try JSONSerialization.data(withJSONObject: asked), as: UTF8.self)
            return try ChildProcess.run(
                Installation.python,
                [
                    Installation.root + "/Tests/EndToEndTests/Peers/ads_caller.py", "\(shop.mesh.control.tlsPort)",
                    shop.mesh.control.rootCertificate, json,
                ]
            ).output
        }
        let cluster = "outbound|9080||reviews.default.svc.cluster.local"
        let stolen = try ask("elsewhere", "endpoint.v3.ClusterLoadAssignment", [cluster])
        #expect(
            stolen.hasPrefix("DEADLINE_EXCEEDED") || stolen.hasPrefix("response ClusterLoadAssignment 0"), "\(stolen)")
        let looked = try ask("elsewhere", "cluster.v3.Cluster", [cluster])
        #expect(looked.hasPrefix("DEADLINE_EXCEEDED") || looked.hasPrefix("response Cluster 0"), "\(looked)")
        let posed = try ask("default", "endpoint.v3.ClusterLoadAssignment", [cluster])
        #expect(posed.hasPrefix("PERMISSION_DENIED"), "\(posed)")

        // A policy opens one door, and shows that one alone.
        try shop.mesh.apply(
            yaml: """
                apiVersion: security.istio.io/v1
                kind: AuthorizationPolicy
                metadata: { name: reviews }
                spec:
                  selector: { matchLabels: { app: reviews } }
                  rules: [{ from: [{ source: { namespaces: [default, elsewhere] } }] }]
                """)
        try eventually("the door to open; \(shop.mesh.state)") { call.tally(5) == ["v1": 5] ? true : nil }
        try eventually("the spy to see that one") {
            try given().contains("reviews.default") && given().contains(secret + "\"") ? true : nil
        }
        #expect(try !given().contains("ratings.default"))
        #expect(try shop.tally(20) == ["v1": 20])
    }
}
