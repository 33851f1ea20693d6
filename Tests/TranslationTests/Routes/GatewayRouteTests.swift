import Addresses
import Foundation
import Mesh
import Testing

@testable import Translation

struct GatewayRouteTests {
    private let proxy = ProxyClass(.gateway, namespace: "front", labels: ["istio": "ingress"])

    private func gateway(_ servers: String) -> String {
        made(.gateway, "front", in: "front", "selector: {istio: ingress}\nservers:\n" + servers)
    }

    private func route(_ name: String, _ time: Int, _ hosts: String, _ http: String) -> String {
        made(
            .virtualService, name, in: "shop", at: time,
            "hosts: [\(hosts)]\ngateways: [front/front]\nhttp:\n" + http)
    }

    @Test func virtualServicesOfOneHostAreMergedOnAGateway() throws {
        let mesh = mesh(
            gateway(
                """
                - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["shop/*.example.com"]}
                - {port: {number: 81, name: redirect, protocol: HTTP}, hosts: ["*"], tls: {httpsRedirect: true}}
                - {port: {number: 443, name: https, protocol: HTTPS}, hosts: ["a.example.com"], tls: {mode: SIMPLE, credentialName: a}}
                """),
            service("web", in: "shop", ports: [80]),
            route(
                "newer", 2, "a.example.com",
                "- {match: [{uri: {prefix: /new}}], route: [{destination: {host: web}}]}\n- {match: [{port: 443}], redirect: {uri: /x, derivePort: FROM_REQUEST_PORT}}"
            ),
            route("older", 1, "a.example.com, b.example.org", "- {route: [{destination: {host: web}}]}"))
        let hosts = mesh.gatewayVirtualHosts(named: "http.80", of: proxy)
        #expect(hosts.map(\.domains) == [["a.example.com"]])
        #expect(hosts[0].rules.map(\.name) == ["shop/newer[0]", "shop/older[0]"])
        let secure = mesh.gatewayVirtualHosts(named: "https.443.https.front.front", of: proxy)
        #expect(secure.flatMap(\.rules).map(\.name) == ["shop/newer[0]", "shop/older[0]"])
        let redirected = mesh.gatewayVirtualHosts(named: "http.81", of: proxy)
        #expect(redirected.map(\.domains) == [["*"], ["a.example.com"], ["b.example.org"]])
        #expect(redirected[0].redirectsToHTTPS && redirected[0].rules.isEmpty)
        let resources = mesh.gatewayRouteConfigurations(of: proxy)
        #expect(resources.map(\.name) == ["http.80", "http.81", "https.443.https.front.front"])
        try EnvoyPeer.expectAccepted(resources)
    }

    @Test func aGatewayWithoutRoutesAnswersNotFound() throws {
        let mesh = mesh(gateway("- {port: {number: 80, name: http, protocol: HTTP}, hosts: [\"*\"]}"))
        let resources = mesh.gatewayRouteConfigurations(of: proxy)
        #expect(
            try Shown(resources[0])["virtual_hosts"].text
                == #"[{"domains":["*"],"include_request_attempt_count":true,"name":"blackhole:80"}]"#)
        try EnvoyPeer.expectAccepted(resources)
    }

    @Test func connectionsAreRoutedByServerNameAndAddress() throws {
        let mesh = mesh(
            """
            ---
            apiVersion: v1
            kind: Service
            metadata: {name: db, namespace: default}
            spec: {ports: [{port: 5432, name: tcp-db}, {port: 443, name: tls-db}]}

            """,
            made(
                .virtualService, "db",
                """
                hosts: [db]
                tcp:
                - match: [{port: 5432, destinationSubnets: [10.1.0.0/16]}]
                  route: [{destination: {host: db, subset: near}}]
                - match: [{port: 5432, sourceLabels: {app: web}}]
                  route: [{destination: {host: db, subset: web}, weight: 1}, {destination: {host: db, subset: v2}, weight: 2}, {destination: {host: db, subset: v3}, weight: 0}]
                tls:
                - match: [{sniHosts: [db.example.com, "*.db.example.com"]}]
                  route: [{destination: {host: db, subset: v2}}]
                - match: [{sniHosts: [db.example.com, other.example.com], port: 443}]
                  route: [{destination: {host: db}}]
                """))
        func routes(_ port: Int, _ labels: [String: String] = [:]) throws -> [StreamRoute] {
            let service = try #require(mesh.mesh.services(matching: "db", from: "default").first)
            return mesh.streamRoutes(of: service, port: port, for: OutboundScope(namespace: "default", labels: labels))
        }
        let plain = try routes(5432)
        #expect(plain.map(\.destinations) == [[AddressBlock("10.1.0.0/16")].compactMap { $0 }, []])
        #expect(plain.map(\.origin?.path) == ["spec.tcp[0].match[0]", nil])
        #expect(
            plain.map(\.targets.first?.cluster) == [
                "outbound|5432|near|db.default.svc.cluster.local", "outbound|5432||db.default.svc.cluster.local",
            ])
        #expect(try routes(5432, ["app": "web"]).map { $0.targets.map(\.subset) } == [["near"], ["web", "v2"]])
        let secure = try routes(443)
        #expect(secure.map(\.serverNames) == [["db.example.com", "*.db.example.com"], ["other.example.com"]])
        #expect(secure.map(\.targets.first?.port) == [443, 443])
    }

    @Test func aGatewayLeadsTLSAndTCPOn() throws {
        let mesh = mesh(
            gateway(
                """
                - {port: {number: 443, name: tls, protocol: TLS}, hosts: ["*.example.com"], tls: {mode: PASSTHROUGH}}
                - {port: {number: 5432, name: tcp, protocol: TCP}, hosts: ["*"]}
                """),
            service("web", in: "shop", ports: [80]),
            made(
                .virtualService, "r", in: "shop",
                """
                hosts: ["*"]
                gateways: [front/front]
                tls: [{match: [{port: 443, sniHosts: [a.example.com, b.example.org]}], route: [{destination: {host: web}}]}]
                tcp: [{match: [{port: 5432}], route: [{destination: {host: web}}]}]
                """))
        let servers = mesh.gatewayServers(of: proxy)
        let routes = servers.map { mesh.streamRoutes(of: $0, for: proxy) }
        #expect(routes.map { $0.map(\.serverNames) } == [[["a.example.com"]], [[]]])
        #expect(
            routes.flatMap { $0 }.flatMap(\.targets).map(\.cluster) == [
                "outbound|80||web.shop.svc.cluster.local", "outbound|80||web.shop.svc.cluster.local",
            ])
    }

    private static let samples = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("shared/samples/istio")

    @Test(
        .enabled(
            if: FileManager.default.fileExists(atPath: samples.path),
            "needs ../shared/samples/istio beside the checkout"))
    func envoyTakesTheRoutesOfEverySample() throws {
        let walk = try #require(FileManager.default.enumerator(at: Self.samples, includingPropertiesForKeys: nil))
        let files = walk.compactMap { $0 as? URL }.filter { $0.pathExtension == "yaml" }.sorted { $0.path < $1.path }
        let objects = try files.map {
            try ObjectText(Array(try Data(contentsOf: $0)), file: $0.lastPathComponent).objects
        }
        let services = objects.flatMap { $0 }.filter { $0.key.kind == .service }
        let proxies = [
            ProxyClass(.gateway, namespace: "default", labels: ["istio": "ingressgateway"]),
            ProxyClass(
                .gateway, namespace: "default", labels: ["gateway.networking.k8s.io/gateway-name": "bookinfo-gateway"]),
        ]
        var configurations = 0
        for file in objects where file.contains(where: { [.virtualService, .httpRoute].contains($0.key.kind) }) {
            let mesh = translator(services + file)
            let resources =
                [mesh.sidecarRoutes(), mesh.sidecarRoutes(80)]
                + proxies.flatMap { mesh.gatewayRouteConfigurations(of: $0) }
            configurations += resources.count
            try EnvoyPeer.expectAccepted(resources)
        }
        #expect(configurations > 40)
    }
}
