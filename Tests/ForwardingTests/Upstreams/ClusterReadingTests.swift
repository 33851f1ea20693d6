import Addresses
import EnvoyAPI
import HTTP
import Protobuf
import Testing
import Time

@testable import Forwarding

struct ClusterReadingTests {
    @Test func aClusterIsReadWhole() throws {
        let cluster = try clusterOf(
            """
            name: outbound|80||shop
            eds_cluster_config: { eds_config: { ads: {} }, service_name: shop }
            connect_timeout: 0.25s
            per_connection_buffer_limit_bytes: 32768
            lb_policy: LEAST_REQUEST
            least_request_lb_config: { choice_count: 4, active_request_bias: { default_value: 0.5, runtime_key: x } }
            common_lb_config:
              healthy_panic_threshold: { value: 12.6 }
              locality_weighted_lb_config: {}
            upstream_connection_options: { tcp_keepalive: { keepalive_time: 30 } }
            upstream_bind_config: { source_address: { address: 127.0.0.6, port_value: 0 } }
            typed_extension_protocol_options:
              envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
                "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
                common_http_protocol_options: { idle_timeout: 0s, max_requests_per_connection: 7 }
                upstream_http_protocol_options: { auto_sni: true }
                use_downstream_protocol_config:
                  http_protocol_options: {}
                  http2_protocol_options: { max_concurrent_streams: 9, connection_keepalive: { interval: 5s, timeout: 1s } }
              envoy.extensions.upstreams.tcp.v3.TcpProtocolOptions:
                "@type": type.googleapis.com/envoy.extensions.upstreams.tcp.v3.TcpProtocolOptions
                idle_timeout: 9s
            metadata: { filter_metadata: { istio: { default_original_port: 80 } } }
            """)
        #expect(cluster.name == "outbound|80||shop")
        guard case .told("shop") = cluster.discovery else {
            Issue.record("another discovery")
            return
        }
        #expect(cluster.connectTimeout == .milliseconds(250))
        #expect(cluster.bufferLimit == 32768)
        #expect(cluster.balancing.policy == .leastRequest(leastRequest(4, 0.5)))
        #expect(cluster.balancing.panicThreshold == 13)
        #expect(cluster.balancing.localities == .weighted)
        #expect(cluster.keepalive?.idleSeconds == 30)
        #expect(cluster.source == .ip(IPAddress("127.0.0.6")!, port: 0))
        #expect(cluster.http.choice == .downstream)
        #expect(cluster.http.idleTimeout == nil)
        #expect(cluster.http.requestsPerConnection == 7)
        #expect(cluster.http.takesServerName && !cluster.http.takesCertificateName)
        #expect(cluster.http.http2.concurrentStreams == 9)
        #expect(cluster.http.http2.keepaliveInterval == .seconds(5))
        #expect(cluster.idleTimeout == .seconds(9))
        #expect(cluster.metadata["istio"]?.value("default_original_port") == .number(80))
    }

    private func leastRequest(_ choices: Int, _ bias: Double) -> BalancingSettings.LeastRequest {
        var settings = BalancingSettings.LeastRequest()
        (settings.choices, settings.bias) = (choices, bias)
        return settings
    }

    @Test func theDefaultsAreThoseOfEnvoy() throws {
        let cluster = try clusterOf("")
        guard case .told("web") = cluster.discovery else {
            Issue.record("another discovery")
            return
        }
        #expect(cluster.connectTimeout == .seconds(5))
        #expect(cluster.bufferLimit == 1 << 20)
        #expect(cluster.balancing.policy == .roundRobin)
        #expect(cluster.balancing.panicThreshold == 50)
        #expect(cluster.http.choice == .http1)
        #expect(cluster.http.idleTimeout == .seconds(3600))
        #expect(cluster.outlierDetection == nil && cluster.check == nil && cluster.subsets == nil)
        #expect(cluster.transports == [.plain])
        let detection = try #require(try clusterOf("outlier_detection: {}").outlierDetection)
        #expect(detection == OutlierSettings())
        let ring = try clusterOf("lb_policy: RING_HASH").balancing.policy
        #expect(ring == .ring(BalancingSettings.Ring()))
        #expect(try clusterOf("lb_policy: MAGLEV").balancing.policy == .maglev(slots: 65_537))
    }

    @Test func policiesMayStandInsideOthers() throws {
        func policy(_ type: String, _ fields: String = "") -> String {
            """
            { policies: [{ typed_extension_config: { name: x, typed_config: {
              "@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.\(type)"\(fields) } } }] }
            """
        }
        let locality = try clusterOf(
            "load_balancing_policy: "
                + policy(
                    "wrr_locality.v3.WrrLocality",
                    ", endpoint_picking_policy: " + policy("ring_hash.v3.RingHash", ", minimum_ring_size: 2048")))
        #expect(locality.balancing.localities == .weighted)
        #expect(locality.balancing.policy == .ring(.init(minimumSize: 2048)))
        let override = try clusterOf(
            "load_balancing_policy: "
                + policy(
                    "override_host.v3.OverrideHost",
                    ", override_host_sources: [{ header: X-Host }], fallback_policy: "
                        + policy(
                            "round_robin.v3.RoundRobin",
                            ", slow_start_config: { slow_start_window: 60s, min_weight_percent: { value: 20 } }")))
        #expect(override.balancing.overrideHeaders == ["x-host"])
        #expect(override.balancing.slowStart?.minimumShare == 0.2)
        // The first that is known counts.
        let list = """
            load_balancing_policy:
              policies:
              - typed_extension_config: { name: a, typed_config: { "@type": type.googleapis.com/xds.type.v3.TypedStruct } }
              - typed_extension_config:
                  name: b
                  typed_config: { "@type": type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random }
            """
        #expect(try clusterOf(list).balancing.policy == .random)
    }

    @Test func transportsAreChosenByMetadata() throws {
        var rig = try UpstreamRig(
            """
            transport_socket_matches:
            - name: tls
              match: { tlsMode: istio }
              transport_socket:
                name: envoy.transport_sockets.tls
                typed_config:
                  "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
                  sni: web
            - name: plain
              match: {}
              transport_socket:
                name: envoy.transport_sockets.raw_buffer
                typed_config: { "@type": type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer }
            """)
        var meshed = endpoint(0)
        meshed.metadata = FilterMetadata(["envoy.transport_socket_match": [.init("tlsMode", "istio")]])
        rig.update(set([meshed, endpoint(1)]))
        let transports = rig.cluster.configuration.transports
        #expect(transports.count == 2)
        #expect(
            transports[rig.host(0).transport].type == "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext")
        #expect(transports[rig.host(1).transport] == .plain)
        // What an endpoint says may change.
        rig.update(set([endpoint(0), meshed]))
        #expect(transports[rig.host(0).transport] == .plain)
    }

    @Test func namesAreForTheWorldToLookUp() throws {
        let cluster = try clusterOf(
            """
            type: STRICT_DNS
            dns_lookup_family: V4_PREFERRED
            respect_dns_ttl: true
            load_assignment:
              cluster_name: web
              endpoints:
              - lb_endpoints:
                - endpoint: { address: { socket_address: { address: b.example, port_value: 80 } } }
                - endpoint: { address: { socket_address: { address: a.example, port_value: 81 } } }
                - endpoint: { address: { socket_address: { address: 10.0.0.9, port_value: 82 } } }
            """)
        guard case .names(let set, let resolution) = cluster.discovery else {
            Issue.record("another discovery")
            return
        }
        #expect(resolution.family == .preferIPv4 && resolution.respectsTimeToLive && !resolution.takesFirst)
        #expect(set.names == ["a.example", "b.example"])
        var random = SeededRandom(seed: 1)
        let upstream = UpstreamCluster(cluster, now: Instant(nanoseconds: 0), random: &random)
        #expect(upstream.hosts.isEmpty)
        let answers = ["b.example": ["10.0.0.1", "10.0.0.2"].compactMap { IPAddress($0) }]
        let found = set.resolved(answers, takesFirst: false)
        _ = upstream.update(found, now: Instant(nanoseconds: 0), random: &random)
        #expect(
            upstream.hosts.map { "\($0.address) \($0.endpoint.hostname)" } == [
                "10.0.0.1:80 b.example", "10.0.0.2:80 b.example", "10.0.0.9:82 ",
            ])
        #expect(set.resolved(answers, takesFirst: true).count == 2)
    }

    @Test func aForwardProxyKnowsNoHosts() throws {
        let cluster = try clusterOf(
            """
            name: anywhere
            lb_policy: CLUSTER_PROVIDED
            cluster_type:
              name: envoy.clusters.dynamic_forward_proxy
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig
                allow_insecure_cluster_options: true
                dns_cache_config: { name: x, dns_lookup_family: V4_PREFERRED, max_hosts: 2 }
            """)
        var random = SeededRandom(seed: 1)
        let upstream = UpstreamCluster(cluster, now: Instant(nanoseconds: 0), random: &random)
        for number in 0..<3 {
            let host = upstream.pick(
                PickQuestion(destination: hostAddress(number)), now: Instant(nanoseconds: 0), random: &random)
            #expect((host != nil) == (number < 2))
        }
    }

    @Test(arguments: [
        ("shop.test", "shop.test"), ("Shop.Test.:8080", "shop.test"), ("10.0.0.1:80", "10.0.0.1"), ("[::1]:80", "::1"),
        ("::1", "::1"), (".shop.test", ".shop.test"), ("", ""),
    ])
    func requestsNameTheServer(_ authority: String, _ server: String) {
        var http = UpstreamProtocol()
        let head = HeaderList([(":authority", authority), ("x-server", "other.test:1")])
        #expect(http.serverName(head, received: head) == nil)
        http.takesCertificateName = true
        #expect(http.serverName(head, received: head) == server)
        http.serverNameHeader = "x-server"
        #expect(http.serverName(head, received: head) == "other.test")
        #expect(http.serverName(head, received: HeaderList()) == server)
    }

    @Test func failuresMayBeNamedByTheirHeaders() throws {
        let http = try clusterOf(
            """
            typed_extension_protocol_options:
              envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
                "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
                explicit_http_config: { http_protocol_options: {} }
                outlier_detection:
                  error_matcher:
                    or_match:
                      rules:
                      - http_response_headers_match: { headers: [{ name: ":status", string_match: { exact: "429" } }] }
                      - http_response_headers_match: { headers: [{ name: x-failed, present_match: true }] }
            """
        ).http
        #expect(http.reportedStatus(429, .init([(":status", "429")])) == 500)
        #expect(http.reportedStatus(503, .init([(":status", "503")])) == 200)
        #expect(http.reportedStatus(200, .init([(":status", "200"), ("x-failed", "")])) == 500)
    }

    @Test(arguments: [
        ("type: LOGICAL_DNS", "load_assignment: LOGICAL_DNS needs one endpoint, this has 0"),
        ("name: \"\"", "name: a cluster needs a name"),
        ("lb_policy: LOAD_BALANCING_POLICY_CONFIG", "load_balancing_policy: missing"),
        ("lb_policy: CLUSTER_PROVIDED", "lb_policy: this type of cluster provides no balancing"),
        ("type: ORIGINAL_DST", "lb_policy: this type of cluster needs CLUSTER_PROVIDED"),
        ("type: ORIGINAL_DST\nload_assignment: { cluster_name: x }\nlb_policy: CLUSTER_PROVIDED", "load_assignment: "),
        ("connect_timeout: 0s", "connect_timeout: must be more than 0"),
        (
            "common_lb_config: { healthy_panic_threshold: { value: 101 } }",
            "common_lb_config.healthy_panic_threshold: 101.0 is no percentage"
        ),
        (
            "lb_policy: MAGLEV\nmaglev_lb_config: { table_size: 100 }",
            "maglev_lb_config.table_size: 100 is no prime number"
        ),
        (
            "lb_policy: RING_HASH\nring_hash_lb_config: { minimum_ring_size: 9, maximum_ring_size: 8 }",
            "ring_hash_lb_config.minimum_ring_size: 9, more than the maximum of 8"
        ),
        (
            "lb_policy: LEAST_REQUEST\nleast_request_lb_config: { choice_count: 1 }",
            "least_request_lb_config.choice_count: must be 2 or more"
        ),
        (
            "round_robin_lb_config: { slow_start_config: {} }",
            "round_robin_lb_config.slow_start_config.slow_start_window: must be more than 0"
        ),
        (
            "common_lb_config: { consistent_hashing_lb_config: { hash_balance_factor: 99 } }",
            "common_lb_config.consistent_hashing_lb_config.hash_balance_factor: must be 100 or more"
        ),
        (
            "lb_subset_config: { subset_selectors: [{ keys: [a] }, { fallback_policy: ANY_ENDPOINT }] }",
            "lb_subset_config.subset_selectors[1].keys: missing"
        ),
        (
            "lb_subset_config: { subset_selectors: [{ keys: [a], fallback_policy: KEYS_SUBSET, "
                + "fallback_keys_subset: [a] }] }",
            "lb_subset_config.subset_selectors[0].fallback_keys_subset: must be some"
        ),
        ("outlier_detection: { max_ejection_time: 1s }", "outlier_detection.max_ejection_time: less than"),
        (
            "outlier_detection: { enforcing_success_rate: 101 }",
            "outlier_detection.enforcing_success_rate: 101 is no percentage"
        ),
        ("outlier_detection: { interval: 0s }", "outlier_detection.interval: must be more than 0"),
        (
            "health_checks: [{ timeout: 1s, interval: 1s, tcp_health_check: {} }]",
            "health_checks[0].unhealthy_threshold: missing"
        ),
        (
            "health_checks: [{ timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, "
                + "http_health_check: { path: ready } }]", "health_checks[0].http_health_check.path: must begin with /"
        ),
        (
            "health_checks: [{ timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, "
                + "http_health_check: { path: /, expected_statuses: [{ start: 200, end: 200 }] } }]",
            "health_checks[0].http_health_check.expected_statuses[0]: 200 to 200"
        ),
        (
            "health_checks: [{ timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, "
                + "grpc_health_check: {} }]", "health_checks[0].grpc_health_check: the cluster's hosts must be"
        ),
        (
            "health_checks: [{ timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, "
                + "tcp_health_check: { send: { text: \"5g\" } } }]",
            "health_checks[0].tcp_health_check.send.text: `5g` is not hexadecimal"
        ),
        (
            "circuit_breakers: { per_host_thresholds: [{ priority: HIGH, max_connections: 1 }] }",
            "circuit_breakers.per_host_thresholds[0].priority: hosts have one bound"
        ),
        (
            "circuit_breakers: { per_host_thresholds: [{ max_requests: 1 }] }",
            "circuit_breakers.per_host_thresholds[0]: only `max_connections`"
        ),
        (
            "upstream_bind_config: { source_address: { address: here, port_value: 1 } }",
            "upstream_bind_config.source_address.address: `here` is no IP address"
        ),
        // What Envoy can and this proxy cannot.
        ("preconnect_policy: { per_upstream_preconnect_ratio: 2 }", "preconnect_policy: the field of"),
        ("dns_resolvers: [{ pipe: { path: x } }]", "dns_resolvers: the field of"),
        ("http2_protocol_options: { max_outbound_frames: 5 }", "http2_protocol_options.max_outbound_frames: the field"),
        ("upstream_bind_config: { freebind: true }", "upstream_bind_config.freebind: the field of"),
        ("outlier_detection: { monitors: [{ name: x }] }", "outlier_detection.monitors: the field of"),
        (
            "health_checks: [{ custom_health_check: { name: redis } }]",
            "health_checks[0].custom_health_check: the field"
        ),
        ("eds_cluster_config: { eds_config: { path: x } }", "eds_cluster_config.eds_config.path: the field of"),
        (
            "cluster_type: { name: aggregate, typed_config: { \"@type\": "
                + "type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig, clusters: [a] } }",
            "cluster_type.typed_config: envoy.extensions.clusters.aggregate.v3.ClusterConfig is not supported"
        ),
        (
            "load_balancing_policy: { policies: [{ typed_extension_config: { name: x, typed_config: { \"@type\": "
                + "type.googleapis.com/envoy.extensions.load_balancing_policies.pick_first.v3.PickFirst } } }] }",
            "load_balancing_policy.policies: no policy that is known; these are not: envoy.extensions"
        ),
        (
            "typed_extension_protocol_options: { x: { \"@type\": "
                + "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, "
                + "explicit_http_config: { http3_protocol_options: {} } } }",
            "typed_extension_protocol_options[\"x\"].explicit_http_config.http3_protocol_options: the field of"
        ),
    ])
    func whatIsWrongIsNamedWithItsPlace(_ fields: String, _ expected: String) {
        let text = refusalOf(fields)
        #expect(text.hasPrefix(expected), "\(text)")
    }

    /// Whatever bytes come, they are read or refused.
    @Test func spoiledResourcesAreRefused() throws {
        let fields = """
            name: web
            type: STRICT_DNS
            lb_policy: MAGLEV
            maglev_lb_config: { table_size: 11 }
            common_lb_config: { healthy_panic_threshold: { value: 10 }, locality_weighted_lb_config: {} }
            lb_subset_config: { fallback_policy: ANY_ENDPOINT, subset_selectors: [{ keys: [a, b] }] }
            outlier_detection: { consecutive_5xx: 3, interval: 5s, base_ejection_time: 1s }
            circuit_breakers: { thresholds: [{ max_requests: 5, retry_budget: { min_retry_concurrency: 3 } }] }
            health_checks: [{ timeout: 1s, interval: 2s, unhealthy_threshold: 1, healthy_threshold: 2,
              http_health_check: { path: /, expected_statuses: [{ start: 200, end: 300 }], send: { text: "00" },
              method: POST } }]
            load_assignment:
              cluster_name: web
              policy: { drop_overloads: [{ category: c, drop_percentage: { numerator: 9, denominator: MILLION } }] }
              endpoints:
              - locality: { zone: a }
                load_balancing_weight: 3
                lb_endpoints: [{ endpoint: { address: { socket_address: { address: a.b, port_value: 80 } } } }]
            """
        let arena = Arena()
        let whole = encode(try arena.decodeYAML(Cluster.self, fields, types: envoyTypes))
        _ = try ClusterConfiguration(whole)
        var random = SeededRandom(seed: 3)
        var refused = 0
        for _ in 0..<3000 {
            var bytes = whole
            for _ in 0...random.below(3) {
                let place = random.below(bytes.count)
                switch random.below(3) {
                case 0: bytes[place] = UInt8(random.below(256))
                case 1: bytes.remove(at: place)
                default: bytes.insert(UInt8(random.below(256)), at: place)
                }
            }
            do {
                let cluster = try ClusterConfiguration(bytes)
                _ = UpstreamCluster(cluster, now: Instant(nanoseconds: 0), random: &random)
            } catch {
                refused += 1
                #expect(!"\(error)".isEmpty)
            }
        }
        #expect(refused > 1000)
    }

    @Test func namesAreLookedUpAgainAfterAWhile() throws {
        var random = SeededRandom(seed: 1)
        var resolution = ClusterConfiguration.NameResolution()
        resolution.interval = .seconds(60)
        #expect(resolution.pause(afterFailures: 0, random: &random) == .seconds(60))
        #expect(resolution.pause(afterFailures: 3, random: &random) == .seconds(60))
        resolution.failureInterval = .seconds(1)...(.seconds(5))
        #expect(
            [1, 2, 3, 4, 90].map { resolution.pause(afterFailures: $0, random: &random) }
                == [1, 2, 4, 5, 5].map { .seconds($0) })
        resolution.respectsTimeToLive = true
        #expect(resolution.pause(afterFailures: 0, random: &random) == .seconds(5))
        resolution.jitter = .seconds(2)
        let pauses = (0..<50).map { _ in resolution.pause(afterFailures: 0, random: &random) }
        #expect(pauses.allSatisfy { $0 >= .seconds(5) && $0 < .seconds(7) } && Set(pauses).count > 10)
    }
}
