import Foundation
import Testing

/// What comes in and what goes out: gateways of both APIs, TCP, and the closed way out.
@Suite(.serialized, .anyDataPlane)
struct BorderScenarios {
    @Test(arguments: BookinfoFiles.all)
    func theGatewayLeadsIntoTheShopAndNowhereElse(files: BookinfoFiles) throws {
        let shop = try BookinfoMesh(files, gateways: [BookinfoMesh.gateway])
        try shop.apply(
            "bookinfo/networking/destination-rule-all-mtls.yaml", "bookinfo/networking/virtual-service-all-v1.yaml",
            "bookinfo/networking/bookinfo-gateway.yaml")
        let gateway = try shop.mesh["istio-ingressgateway"]
        let door = HTTPConnection.Call(
            address: gateway.address, port: 8080, host: "shop.example", path: "/productpage")
        try eventually("the gateway to lead in; \(shop.mesh.state)") { door.tally(1) == ["v1": 1] ? true : nil }
        let page = try HTTPConnection.exchange(door)
        #expect(page.code == 200 && page.body.contains("The Natural History of Selborne"), "\(page)")
        #expect(page.body.contains("reviews-v1"))
        for (path, code) in [
            ("/api/v1/products/0/reviews", 200), ("/api/v1/products", 200), ("/productpage/x", 404), ("/", 404),
            ("/reviews/0", 404), ("/admin/requests", 404), ("/logout", 303), ("/apix", 404),
        ] {
            var call = door
            call.path = path
            #expect(try HTTPConnection.exchange(call).code == code, "\(path)")
        }
        // A person signs in, and sees the beta.
        try shop.apply("bookinfo/networking/virtual-service-reviews-test-v2.yaml")
        var signIn = door
        (signIn.path, signIn.method, signIn.body) = ("/login", "POST", "username=jason")
        signIn.headers["content-type"] = "application/x-www-form-urlencoded"
        let signedIn = try HTTPConnection.exchange(signIn)
        let cookie = try #require(signedIn.headers["set-cookie"]?.split(separator: ";").first, "\(signedIn)")
        let beta = try HTTPConnection.exchange(door.adding(["cookie": String(cookie)]))
        #expect(beta.body.contains("stars black") && beta.body.contains("signed in as <b>jason</b>"), "\(beta)")
        #expect(door.tally(100) == ["v1": 100])
    }

    @Test(arguments: BookinfoFiles.all)
    func theSameThroughTheGatewayAPI(files: BookinfoFiles) throws {
        let gateway = MeshOfEnvoys.Workload(
            name: "bookinfo-gateway-istio", serviceAccount: "bookinfo-gateway-istio",
            labels: [
                "gateway.networking.k8s.io/gateway-name": "bookinfo-gateway", "istio": "ingressgateway",
            ])
        let shop = try BookinfoMesh(
            files, gateways: [gateway], further: ["bookinfo/kube/bookinfo-versions.yaml"])
        try shop.apply("bookinfo/gateway-api/bookinfo-gateway.yaml", "bookinfo/gateway-api/route-all-v1.yaml")
        #expect(try shop.tally(200) == ["v1": 200])
        try shop.apply("bookinfo/gateway-api/route-reviews-90-10.yaml")
        expectShares(try shop.tally(1_000), ["v1": 0.9, "v2": 0.1])
        try shop.apply("bookinfo/gateway-api/route-reviews-50-v3.yaml")
        expectShares(try shop.tally(1_000), ["v1": 0.5, "v3": 0.5])
        try shop.apply("bookinfo/gateway-api/route-reviews-v3.yaml")
        #expect(try shop.tally(200) == ["v3": 200])
        try shop.apply("bookinfo/gateway-api/route-reviews-v1.yaml")
        #expect(try shop.tally(200) == ["v1": 200])

        let door = HTTPConnection.Call(
            address: try shop.mesh["bookinfo-gateway-istio"].address, port: 80, host: "shop.example",
            path: "/productpage")
        try eventually("the gateway to lead in; \(shop.mesh.state)") { door.tally(1) == ["v1": 1] ? true : nil }
        #expect(try HTTPConnection.exchange(door).body.contains("reviews-v1"))
        for (path, code) in [
            ("/api/v1/products/0", 200), ("/productpage/x", 404), ("/reviews/0", 404), ("/api/v1/productsx", 404),
        ] {
            var call = door
            call.path = path
            #expect(try HTTPConnection.exchange(call).code == code, "\(path)")
        }
    }

    @Test(arguments: BookinfoFiles.all)
    func connectionsOfTCPAreSplitAtTheGateway(files: BookinfoFiles) throws {
        func echo(_ version: String, _ word: String) -> MeshOfEnvoys.Workload {
            MeshOfEnvoys.Workload(
                name: "tcp-echo-\(version)", serviceAccount: "default",
                labels: ["app": "tcp-echo", "version": version], application: ["echo", "--prefix", word],
                ports: [9000, 9001])
        }
        let mesh = try MeshOfEnvoys([echo("v1", "one"), echo("v2", "two"), BookinfoMesh.gateway])
        try mesh.apply(files.path("tcp-echo/tcp-echo-services.yaml"))
        try mesh.apply(files.path("tcp-echo/tcp-echo-all-v1.yaml"))
        let address = try mesh["istio-ingressgateway"].address
        func tally(_ count: Int) -> [String: Int] {
            (0..<count).reduce(into: [:]) { tally, _ in
                let word = (try? TCPLine.exchange("hello", address: address, port: 31_400)) ?? "nothing"
                tally[word, default: 0] += 1
            }
        }
        try eventually("the gateway to lead in; \(mesh.state)") { tally(1) == ["one hello": 1] ? true : nil }
        #expect(tally(50) == ["one hello": 50])
        try mesh.apply(files.path("tcp-echo/tcp-echo-20-v2.yaml"))
        expectShares(tally(400), ["one hello": 0.8, "two hello": 0.2])
    }

    @Test(arguments: BookinfoFiles.all)
    func helloAndHTTPBinStandBehindOneGateway(files: BookinfoFiles) throws {
        func hello(_ version: String) -> MeshOfEnvoys.Workload {
            MeshOfEnvoys.Workload(
                name: "helloworld-\(version)", serviceAccount: "default",
                labels: ["app": "helloworld", "version": version],
                application: ["helloworld", "--version", version], ports: [5000])
        }
        let httpbin = MeshOfEnvoys.Workload(
            name: "httpbin", serviceAccount: "httpbin", labels: ["app": "httpbin", "version": "v1"],
            application: ["httpbin"], ports: [8080])
        let mesh = try MeshOfEnvoys([hello("v1"), hello("v2"), httpbin, BookinfoMesh.gateway])
        try mesh.apply(
            files.paths("helloworld/helloworld.yaml", "helloworld/helloworld-gateway.yaml", "httpbin/httpbin.yaml"))
        var call = HTTPConnection.Call(
            address: try mesh["istio-ingressgateway"].address, port: 80, host: "hello.example", path: "/hello")
        try eventually("both versions to answer; \(mesh.state)", within: 30) {
            Set(call.tally(20).keys) == ["v1", "v2"] ? true : nil
        }
        // Neither rule nor weight: the endpoints share, by who has less to do.
        let shares = call.tally(1_000)
        #expect(Set(shares.keys) == ["v1", "v2"] && shares.values.allSatisfy { $0 > 200 }, "\(shares)")
        call.path = "/headers"
        #expect(try HTTPConnection.exchange(call).code == 404)

        // A second gateway on the same port, for the hosts that the first has already: its routes come behind.
        try mesh.apply(files.path("httpbin/httpbin-gateway.yaml"))
        let headers = try eventually("httpbin to answer; \(mesh.state)") {
            let answer = try HTTPConnection.exchange(call.adding(["x-mine": "kept"]))
            return answer.code == 200 ? answer.body : nil
        }
        for header in [
            "\"x-mine\":\"kept\"", "\"x-request-id\":", "\"x-forwarded-for\":", "\"host\":\"hello.example\"",
        ] {
            #expect(headers.contains(header), "\(header) in \(headers)")
        }
        for code in [204, 404, 418, 503] {
            call.path = "/status/\(code)"
            #expect(try HTTPConnection.exchange(call).code == code)
        }
    }

    /// The certificate is an object like any other, and reaches the gateway alone.
    @Test func theGatewayShowsTheCertificateOfASecret() throws {
        let shop = try BookinfoMesh(reviews: ["v1"], gateways: [BookinfoMesh.gateway])
        let authority = try CertificateAuthority("web", in: shop.mesh.control.directory)
        let issued = try authority.issue("shop")
        func indented(_ path: String) throws -> String {
            try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n")
                .map { "    " + $0 }.joined(separator: "\n")
        }
        try shop.mesh.apply(
            yaml: """
                apiVersion: v1
                kind: Secret
                metadata: { name: shop-cert, namespace: istio-system }
                type: kubernetes.io/tls
                stringData:
                  tls.crt: |
                \(try indented(issued.certificate))
                  tls.key: |
                \(try indented(issued.key))
                ---
                apiVersion: networking.istio.io/v1
                kind: Gateway
                metadata: { name: shop }
                spec:
                  selector: { istio: ingressgateway }
                  servers:
                    - port: { number: 8443, name: https, protocol: HTTPS }
                      hosts: [shop.test]
                      tls: { mode: SIMPLE, credentialName: shop-cert }
                ---
                apiVersion: networking.istio.io/v1
                kind: VirtualService
                metadata: { name: shop }
                spec:
                  hosts: [shop.test]
                  gateways: [shop]
                  http: [{ route: [{ destination: { host: productpage, port: { number: 9080 } } }] }]
                """)
        let gateway = try shop.mesh["istio-ingressgateway"]
        let page = try eventually("a page over HTTPS; \(shop.mesh.state)") {
            let answer = try ChildProcess.run(
                "/usr/bin/curl",
                [
                    "-s", "-m", "5", "--cacert", authority.certificate, "--resolve",
                    "shop.test:8443:\(gateway.address)", "https://shop.test:8443/productpage",
                ])
            return answer.status == 0 ? answer.output : nil
        }
        #expect(page.contains("The Natural History of Selborne"), "\(page.prefix(300))")
        // What a sidecar sees has no such secret.
        let seen = try #require(shop.mesh["reviews-v1"].envoy).admin("/config_dump?resource=dynamic_active_secrets")
        #expect(seen.contains("ROOTCA") && !seen.contains("shop-cert"))
    }

    @Test func theWayOutIsClosedButForAServiceEntry() throws {
        let shop = try BookinfoMesh()
        // A server that is no part of the mesh.
        let outside = try ChildProcess(
            Installation.bookinfo, ["httpbin", "--listen", "127.9.\(Int.random(in: 1...250)).1:9080"],
            in: shop.mesh.control.directory)
        defer { outside.stop() }
        let address = try eventually("the server outside to listen") {
            outside.log.split(separator: " ").last.map { $0.split(separator: ":")[0] }.map(String.init)
        }
        try shop.mesh.apply(
            yaml: """
                apiVersion: martinet.dev/v1
                kind: MeshConfig
                metadata: { name: default }
                spec: { outboundTrafficPolicy: REGISTRY_ONLY }
                """)
        let page = try shop.mesh["productpage-v1"]
        let call = page.call("outside.example:9080", "/anything")
        #expect(call.tally(20)["v1"] == nil)
        #expect(try shop.tally(20).values.reduce(0, +) == 20)
        try shop.mesh.apply(
            yaml: """
                apiVersion: networking.istio.io/v1
                kind: ServiceEntry
                metadata: { name: outside }
                spec:
                  hosts: [outside.example]
                  location: MESH_EXTERNAL
                  resolution: STATIC
                  ports: [{ number: 9080, name: http, protocol: HTTP }]
                  endpoints: [{ address: \(address) }]
                """)
        #expect(call.tally(20) == ["v1": 20])
        // It opened for this name and no other.
        #expect(page.call("elsewhere.example:9080", "/anything").tally(20)["v1"] == nil)
    }
}

/// One line to and fro over TCP.
enum TCPLine {
    static func exchange(_ line: String, address: String, port: Int) throws -> String {
        let (status, output, errors) = try ChildProcess.run(
            Installation.python,
            [
                "-c",
                "import socket, sys; s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5); "
                    + "s.sendall(sys.argv[3].encode() + b'\\n'); print(s.makefile().readline(), end='')",
                address, "\(port)", line,
            ])
        guard status == 0, !output.isEmpty else { throw WaitedInVain(what: "an answer over TCP: \(errors)") }
        return output.trimmingCharacters(in: .newlines)
    }
}
