import Mesh
import Testing
import XDS

@testable import Translation

struct InboundTests {
    private let proxy = ProxyClass(namespace: "default", labels: ["app": "reviews"])

    private func made(_ rig: ClusterRig, _ proxy: ProxyClass) throws -> [String: Tree] {
        let resources = rig.translator.inboundClusters(of: proxy)
        try EnvoyValidation.expectValid(resources)
        return Dictionary(uniqueKeysWithValues: try resources.map { ($0.name, try $0.tree) })
    }

    @Test func withInterceptionCallsGoOnToWhereTheyWereMeantToGo() throws {
        let clusters = try made(try ClusterRig(ClusterRig.reviews), proxy)
        #expect(clusters.keys.sorted() == ["InboundPassthroughCluster", "inbound|8080||"])
        let cluster = try #require(clusters["inbound|8080||"])
        #expect(cluster["type"].text == "ORIGINAL_DST")
        #expect(cluster["upstream_bind_config"]["source_address"]["address"].text == "127.0.0.6")
    }

    @Test func withoutItTheyGoToWhereTheApplicationListens() throws {
        var explicit = proxy
        explicit.interception = .explicit(.init(inbound: "127.3.0.1", outbound: "127.3.0.2"))
        explicit.applicationAddress = "127.3.0.9"
        let clusters = try made(try ClusterRig(ClusterRig.reviews), explicit)
        #expect(clusters.keys.sorted() == ["inbound|8080||"])
        let address = clusters["inbound|8080||"]?["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"][
            "address"]["socket_address"]
        #expect(address?["address"].text == "127.3.0.9" && address?["port_value"].number == 8080)
    }

    @Test func aSidecarSaysItsOwnListenersAndWhereTheyLead() throws {
        let rig = try ClusterRig(
            ClusterRig.reviews + """
                ---
                apiVersion: networking.istio.io/v1
                kind: Sidecar
                metadata: {name: s, namespace: default}
                spec:
                  workloadSelector: {labels: {app: reviews}}
                  inboundConnectionPool: {http: {http2MaxRequests: 5}}
                  ingress:
                  - {port: {number: 8080, protocol: HTTP, name: http}, defaultEndpoint: '127.0.0.1:9000'}
                  - {port: {number: 8081, protocol: TCP, name: tcp}, defaultEndpoint: 'unix:///run/a.sock'}
                  - {port: {number: 8082, protocol: GRPC, name: grpc}, defaultEndpoint: '0.0.0.0:9002',
                     connectionPool: {http: {http2MaxRequests: 6}}}
                """)
        let ports = rig.translator.inboundPorts(of: proxy)
        #expect(ports.map(\.number) == [8080, 8081, 8082])
        #expect(ports.map(\.statedProtocol) == [.http, .tcp, .grpc])
        #expect(ports[0].services.map(\.service.host) == ["reviews.default.svc.cluster.local"])
        let clusters = try made(rig, proxy)
        func address(_ number: Int) -> Tree {
            clusters["inbound|\(number)||"]?["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"][
                "address"] ?? Tree(nil)
        }
        #expect(address(8080)["socket_address"]["port_value"].number == 9000)
        #expect(address(8081)["pipe"]["path"].text == "/run/a.sock")
        #expect(clusters["inbound|8082||"]?["original_dst_lb_config"]["upstream_port_override"].number == 9002)
        func bound(_ number: Int) -> Double? {
            clusters["inbound|\(number)||"]?["circuit_breakers"]["thresholds"][0]["max_requests"].number
        }
        #expect(bound(8080) == 5 && bound(8082) == 6)
    }

    @Test func aRulesConnectionPoolBoundsTheServerToo() throws {
        let rig = try ClusterRig(
            ClusterRig.reviews
                + ClusterRig.rule(
                    "trafficPolicy: {connectionPool: {tcp: {maxConnections: 3}, http: {h2UpgradePolicy: UPGRADE}}}"))
        let cluster = try #require(made(rig, proxy)["inbound|8080||"])
        #expect(cluster["circuit_breakers"]["thresholds"][0]["max_connections"].number == 3)
        // What callers speak with the proxy says nothing of the application.
        let options = cluster["typed_extension_protocol_options"][
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"]
        #expect(options["explicit_http_config"]["http2_protocol_options"].text == nil)
        #expect("\(options)".contains("http2_protocol_options") == "\(options)".contains("use_downstream_protocol"))
    }

    @Test func aPortByNameIsTheProxysOwn() throws {
        let text = ClusterRig.reviews.replacing("targetPort: 8080", with: "targetPort: web")
        var named = proxy
        #expect(try ClusterRig(text).translator.inboundPorts(of: named).isEmpty)
        named.namedPorts = ["web": 7070]
        #expect(try ClusterRig(text).translator.inboundPorts(of: named).map(\.number) == [7070])
    }
}

struct VisibleServiceTests {
    private let services = """
        apiVersion: v1
        kind: Service
        metadata: {name: web, namespace: shop}
        spec: {ports: [{port: 80, name: http}], selector: {app: web}}
        ---
        apiVersion: v1
        kind: Service
        metadata: {name: db, namespace: shop, annotations: {networking.istio.io/exportTo: .}}
        spec: {ports: [{port: 80, name: http}], selector: {app: db}}
        ---
        apiVersion: v1
        kind: Service
        metadata: {name: bank, namespace: money}
        spec: {ports: [{port: 80, name: http}], selector: {app: bank}}
        ---
        apiVersion: networking.istio.io/v1
        kind: ServiceEntry
        metadata: {name: copy, namespace: money}
        spec: {hosts: [web.shop.svc.cluster.local, api.example.com], ports: [{number: 80, name: http, protocol: HTTP}]}
        ---
        apiVersion: networking.istio.io/v1
        kind: Sidecar
        metadata: {name: narrow, namespace: money}
        spec: {egress: [{hosts: [./*, 'shop/web.shop.svc.cluster.local']}]}

        """

    @Test func aNamespaceSeesWhatIsExportedToItAndOneServiceForAHost() throws {
        let rig = try ClusterRig(services)
        let visible = rig.translator.visibleServices(for: OutboundScope(namespace: "other"))
        #expect(
            visible.map(\.host) == [
                "api.example.com", "bank.money.svc.cluster.local", "web.shop.svc.cluster.local",
            ])
        #expect(visible.last?.key == ObjectKey(.service, "shop", "web"))
    }

    @Test func aSidecarNarrowsIt() throws {
        let rig = try ClusterRig(services)
        let key = ObjectKey(.sidecar, "money", "narrow")
        #expect(rig.translator.sidecar(for: ProxyClass(namespace: "money"))?.key == key)
        let scope = OutboundScope(namespace: "money", sidecar: key)
        #expect(
            rig.translator.visibleServices(for: scope).map(\.host) == [
                "api.example.com", "bank.money.svc.cluster.local", "web.shop.svc.cluster.local",
            ])
        let shop = OutboundScope(namespace: "shop", sidecar: key)
        #expect(!rig.translator.visibleServices(for: shop).contains { $0.host.hasPrefix("bank") })
    }
}
