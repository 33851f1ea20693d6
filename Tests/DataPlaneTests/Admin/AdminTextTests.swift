import Documents
import Forwarding
import HTTP
import Testing
import Time
import XDS

@testable import DataPlane

struct AdminTextTests {
    private let statistics = [
        Statistic(.cluster("outbound|80||web.default"), "upstream_rq_2xx", 3),
        Statistic(.cluster("outbound|80||web.default"), "upstream_rq_404", 1),
        Statistic(.http("in:1"), "downstream_rq_active", 2, .gauge),
        Statistic(.proxy("server"), "live", 1, .gauge),
        Statistic(.listener("0.0.0.0_15006"), "ssl.handshake", 5),
    ]

    @Test func statisticsHaveEnvoysNames() {
        #expect(
            StatisticsText.plain(statistics) == """
                cluster.outbound|80||web.default.upstream_rq_2xx: 3
                cluster.outbound|80||web.default.upstream_rq_404: 1
                http.in_1.downstream_rq_active: 2
                listener.0.0.0.0_15006.ssl.handshake: 5
                server.live: 1

                """)
        #expect(StatisticsText.plain(statistics) { $0.hasPrefix("server") } == "server.live: 1\n")
        #expect(
            StatisticsText.json(statistics) { $0.hasPrefix("server") }
                == "{\"stats\":[{\"name\":\"server.live\",\"value\":1}]}\n")
    }

    @Test func whatHasANameOfItsOwnIsALabelInPrometheusForm() {
        #expect(
            StatisticsText.prometheus(statistics) == """
                # TYPE envoy_cluster_upstream_rq counter
                envoy_cluster_upstream_rq{envoy_cluster_name="outbound|80||web.default",envoy_response_code="404"} 1
                # TYPE envoy_cluster_upstream_rq_xx counter
                envoy_cluster_upstream_rq_xx{envoy_cluster_name="outbound|80||web.default",envoy_response_code_class="2"} 3
                # TYPE envoy_http_downstream_rq_active gauge
                envoy_http_downstream_rq_active{envoy_http_conn_manager_prefix="in:1"} 2
                # TYPE envoy_listener_ssl_handshake counter
                envoy_listener_ssl_handshake{envoy_listener_address="0.0.0.0_15006"} 5
                # TYPE envoy_server_live gauge
                envoy_server_live{} 1

                """)
        let odd = StatisticsText.prometheus([Statistic(.cluster("a\"b\\c\n"), "x", 1)])
        #expect(odd.contains(#"envoy_cluster_name="a\"b\\c\n""#))
    }

    @Test func workersNumbersAreAddedUp() {
        let summed = Statistic.summed(statistics + statistics)
        #expect(summed.count == statistics.count)
        #expect(Set(summed.map(\.value)) == [6, 2, 4, 10])
        var one = ClusterStatus(name: "web")
        one.hosts = [HostStatus(address: "10.0.0.1:80")]
        one.hosts[0].numbers = ["rq_total": 2]
        var other = one
        other.hosts[0].healthFlags = "/failed_outlier_check"
        let merged = ClusterStatus.merged([one, other])
        #expect(merged.count == 1 && merged[0].hosts.count == 1)
        #expect(merged[0].hosts[0].numbers == ["rq_total": 4])
        let text = ClusterStatus.text(merged)
        #expect(text.contains("web::10.0.0.1:80::rq_total::4\n"))
        #expect(text.contains("web::10.0.0.1:80::health_flags::/failed_outlier_check\n"))
        #expect(ClusterStatus.json(merged).contains("\"failed_outlier_check\":true"))
    }

    @Test func aTargetIsReadWithItsQuery() throws {
        func read(_ path: String) throws -> AdminRequest {
            try #require(AdminRequest(HeaderList([(":method", "GET"), (":path", path)]), door: .admin))
        }
        let request = try read("/stats?filter=^http%2Ein&usedonly&format=a+b")
        #expect(request.path == "/stats")
        #expect(request["filter"] == "^http.in" && request["usedonly"] == "" && request["format"] == "a b")
        #expect(request["other"] == nil)
        #expect(try read("/ready").query.isEmpty)
        #expect(try read("/x?a=%zz%4").query.first?.value == "%zz%4")
        #expect(AdminRequest(HeaderList([(":method", "GET")]), door: .admin) == nil)
    }

    @Test func nobodySeesKeysInADump() throws {
        let node = try DocumentNode.parseJSON(
            #"{"a":[{"private_key":{"inline_bytes":"c2VjcmV0"},"x":1}],"generic_secret":{"secret":"s"},"password":"p"}"#
        )
        let text = ConfigDump.redacted(node).json(isPretty: false)
        #expect(!text.contains("c2VjcmV0") && !text.contains("\"s\"") && !text.contains("\"p\""), "\(text)")
        #expect(text.contains("\"x\":1"))
    }

    @Test func whatEveryWorkerSeesIsNotAddedUp() {
        let one = Statistic.shared(.cluster("web"), "membership_total", 3)
        #expect(Statistic.summed([one, one]).map(\.value) == [3])
    }

    @Test func aClusterThatNoRequestHasGoneToIsShownWithItsHosts() throws {
        let yaml = """
            name: web
            type: STATIC
            load_assignment:
              cluster_name: web
              endpoints:
              - locality: {zone: z}
                lb_endpoints:
                - endpoint: {address: {socket_address: {address: 10.0.0.1, port_value: 80}}}
                - endpoint: {address: {socket_address: {address: "fd00::1", port_value: 81}}}
                  health_status: UNHEALTHY
            """
        let served = ServedCluster(
            name: "web",
            configuration: try ClusterConfiguration(Resources.bytes("envoy.config.cluster.v3.Cluster", yaml)),
            endpoints: nil)
        var status = ClusterStatus(unused: served)
        status.isFixed = true
        let text = ClusterStatus.text([status])
        #expect(text.contains("web::added_via_api::false\n"))
        #expect(text.contains("web::10.0.0.1:80::health_flags::healthy\n"))
        #expect(text.contains("web::10.0.0.1:80::zone::z\n"))
        #expect(text.contains("::health_flags::/failed_eds_health\n"))
        let json = ClusterStatus.json([status])
        #expect(json.contains("\"added_via_api\":false") && json.contains("\"eds_health_status\":\"UNHEALTHY\""))
        #expect(json.contains("{\"socket_address\":{\"address\":\"fd00::1\",\"port_value\":81}}"), "\(json)")
    }

    @Test func aResourceWhoseFirstVersionWasRefusedIsShownWithWhy() {
        var entry = ConfigDump.Entry(
            type: .listener, resource: HeldResource(name: "in", version: "", body: []),
            updatedAt: Timestamp(nanoseconds: 0))
        (entry.isHeld, entry.failure, entry.refusedVersion) = (false, "enable_mptcp: not supported", "7")
        let text = ConfigDump(entries: [entry], node: Node(id: "a")).json(ConfigDump.Selection())
        #expect(text.contains("enable_mptcp: not supported") && text.contains("\"version_info\": \"7\""), "\(text)")
        #expect(!text.contains("active_state"))
    }
}
