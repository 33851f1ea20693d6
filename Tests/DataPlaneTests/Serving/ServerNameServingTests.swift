import Certificates
import Forwarding
import TLS
import Testing
import Time

@testable import DataPlane

/// TLS to servers that requests, or endpoints, name.
@Suite struct ServerNameServingTests {
    private let authority: TestAuthority

    init() throws { authority = try TestAuthority() }

    /// A server of TLS that answers with the name that it was asked for.
    private func origin(_ identity: TLSIdentity) throws -> ServedListener {
        try Resources.httpListener(
            "origin",
            routes: """
                - match: {prefix: /}
                  direct_response: {status: 200}
                  response_headers_to_add:
                  - {header: {key: x-asked, value: "%REQUESTED_SERVER_NAME%"}, keep_empty_value: true}
                """
        ).secured(.server(identity, applicationProtocols: ["h2", "http/1.1"]))
    }

    /// A proxy before it.
    private func stage(_ names: [String], _ fields: String, _ security: TransportSecurity, host: String = "") throws
        -> Stage
    {
        let origin = try origin(try authority.identity(dns: names))
        let front = try Resources.httpListener(
            routes: #"- {match: {prefix: /}, route: {cluster: web}}"#)
        let stage = try Stage([origin, front], [])
        let configuration = try ClusterConfiguration(
            Resources.bytes(
                "envoy.config.cluster.v3.Cluster",
                """
                name: web
                type: STATIC
                connect_timeout: 2s
                \(fields)
                load_assignment:
                  cluster_name: web
                  endpoints:
                  - lb_endpoints:
                    - endpoint:
                        hostname: "\(host)"
                        address: {socket_address: {address: 127.0.0.1, port_value: \(stage.port("origin"))}}
                """))
        stage.serve(
            [origin, front],
            [ServedCluster(name: "web", configuration: configuration, endpoints: nil, security: [security])])
        return stage
    }

    private func options(_ names: String, _ more: String = "") -> String {
        """
        typed_extension_protocol_options:
          envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
            "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
            upstream_http_protocol_options: {\(names)}
            explicit_http_config: {http_protocol_options: {}}
        \(more)
        """
    }

    private func get(_ stage: Stage, _ host: String, _ fields: String = "") -> Message? {
        let wire = stage.connect()
        wire.send("GET / HTTP/1.1\r\nhost: \(host)\r\n\(fields)\r\n")
        return wire.message()
    }

    private func count(_ stage: Stage, _ name: String) -> Int64 {
        Statistic.summed(stage.workers.ask { $0.statistics }.flatMap { $0 })
            .first { $0.scope == .cluster("web") && $0.name == name }?.value ?? 0
    }

    @Test func theServerMustBeWhomTheRequestNames() throws {
        let stage = try stage(
            ["shop.test", "*.shop.test"], options("auto_sni: true, auto_san_validation: true"), try authority.client())
        for host in ["shop.test", "a.shop.test:8080", "B.Shop.Test."] {
            let answer = try #require(get(stage, host))
            #expect(answer.status == 200, "\(host): \(answer)")
            #expect(
                answer["x-asked"] == host.lowercased().replacing(":8080", with: "").replacing("test.", with: "test"))
        }
        #expect(count(stage, "ssl.fail_verify_san") == 0)
        for host in ["evil.test", "a.b.shop.test", ".shop.test", "127.0.0.1"] {
            let answer = try #require(get(stage, host))
            #expect(answer.status == 503, "\(host)")
            #expect(answer.body.contains("remote connection failure, transport failure reason: the peer is"), "\(host)")
        }
        #expect(count(stage, "ssl.fail_verify_san") == 4)
        // The right name has its connection still, and nobody else's.
        #expect(get(stage, "a.shop.test")?.status == 200)
        #expect(count(stage, "ssl.handshake") == 3)
    }

    @Test func aHeaderMayNameTheServer() throws {
        let names = "auto_sni: true, auto_san_validation: true, override_auto_sni_header: X-Server"
        let stage = try stage(["a.shop.test", "b.shop.test"], options(names), try authority.client())
        #expect(get(stage, "evil.test", "x-server: a.shop.test\r\n")?["x-asked"] == "a.shop.test")
        #expect(get(stage, "b.shop.test")?["x-asked"] == "b.shop.test")
        #expect(get(stage, "b.shop.test", "x-server: evil.test\r\n")?.status == 503)
    }

    @Test func theEndpointsNameIsSentAndChecked() throws {
        let naming = TransportSecurity.ServerNaming(sendsEndpointName: true, checksSentName: true)
        let right = try stage(["one.shop.test"], "", try authority.client(naming), host: "One.shop.test")
        #expect(get(right, "any")?["x-asked"] == "one.shop.test")
        let wrong = try stage(["two.shop.test"], "", try authority.client(naming), host: "one.shop.test")
        #expect(get(wrong, "any")?.status == 503)
        #expect(count(wrong, "ssl.fail_verify_san") == 1)
        // Without a name the address is who must answer: nothing of the authority's is as good as another.
        let nameless = try stage(["two.shop.test"], "", try authority.client(naming))
        #expect(get(nameless, "any")?.status == 503)
    }

    @Test func namesDoNotMakeConnectionsWithoutBound() throws {
        let names = options("auto_sni: true")
        let stage = try stage(["shop.test"], names, try authority.client())
        for number in 0..<HostPools.mostNames + 5 { #expect(get(stage, "n\(number).test")?.status == 200) }
        #expect(count(stage, "upstream_cx_total") == Int64(HostPools.mostNames + 5))
        #expect(count(stage, "upstream_cx_active") <= Int64(HostPools.mostNames))
        // The breaker holds for all names together: an idle connection makes room.
        let breaker = "circuit_breakers: {thresholds: [{max_connections: 1}]}"
        let narrow = try self.stage(["shop.test"], options("auto_sni: true", breaker), try authority.client())
        for name in ["a.test", "b.test", "a.test"] { #expect(get(narrow, name)?["x-asked"] == name) }
        #expect(count(narrow, "upstream_cx_active") <= 1)
    }

    @Test func whatCannotBeSecuredIsNotSent() throws {
        let upstream = TestServer.echo()
        let clusters = [try Resources.cluster("web", ports: [upstream.port], security: .unusable)]
        let front = try Resources.httpListener(routes: #"- {match: {prefix: /}, route: {cluster: web}}"#)
        let stage = try Stage([front, try Resources.tcpListener(cluster: "web")], clusters)
        let answer = try #require(get(stage, "shop"))
        #expect(answer.status == 503 && answer.body.contains("remote connection failure"))
        let wire = stage.connect("tcp")
        wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        #expect(wire.readToEnd() == "")
        #expect(count(stage, "upstream_cx_total") == 0)
    }
}
