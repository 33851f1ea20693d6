import Mesh
import Testing
import XDS

@testable import Translation

struct ClusterTests {
    private let http = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

    private func reviews(_ policy: String) throws -> Tree {
        try ClusterRig(ClusterRig.reviews + ClusterRig.rule(policy)).cluster(ClusterRig.reviewsCluster)
    }

    @Test func aServiceIsToldItsEndpointsAndBoundedByNothing() throws {
        let rig = try ClusterRig(ClusterRig.reviews)
        let cluster = try rig.cluster(ClusterRig.reviewsCluster)
        #expect(cluster["type"].text == "EDS")
        #expect(cluster["eds_cluster_config"]["service_name"].text == ClusterRig.reviewsCluster)
        #expect(cluster["eds_cluster_config"]["eds_config"]["ads"].isThere)
        #expect(cluster["lb_policy"].text == "LEAST_REQUEST")
        #expect(cluster["connect_timeout"].text == "10s")
        let bounds = cluster["circuit_breakers"]["thresholds"][0]
        #expect(bounds["max_connections"].number == 4_294_967_295)
        #expect(bounds["max_retries"].number == 4_294_967_295)
        let protocols = cluster["typed_extension_protocol_options"][http]
        #expect(protocols["explicit_http_config"]["http_protocol_options"].isThere)
        let resource = try rig.clusters("reviews")[0]
        #expect(resource.dependencies == [ResourceReference(.endpoints, ClusterRig.reviewsCluster)])
    }

    @Test func aSubsetIsAClusterOfItsOwnWhosePolicyTakesTheRulesPlacePartByPart() throws {
        let rig = try ClusterRig(
            ClusterRig.reviews
                + ClusterRig.rule(
                    """
                    trafficPolicy:
                      connectionPool: {tcp: {maxConnections: 7}}
                      loadBalancer: {simple: ROUND_ROBIN}
                    subsets:
                    - name: v1
                      labels: {version: v1}
                    - name: v2
                      labels: {version: v2}
                      trafficPolicy: {loadBalancer: {simple: RANDOM}}
                    """))
        #expect(
            try rig.clusters("reviews").map(\.name) == [
                ClusterRig.reviewsCluster, "outbound|9080|v1|reviews.default.svc.cluster.local",
                "outbound|9080|v2|reviews.default.svc.cluster.local",
            ])
        let first = try rig.cluster("outbound|9080|v1|reviews.default.svc.cluster.local")
        #expect(first["lb_policy"].text ?? "ROUND_ROBIN" == "ROUND_ROBIN")
        #expect(first["metadata"]["filter_metadata"]["istio"]["subset"].text == "v1")
        let second = try rig.cluster("outbound|9080|v2|reviews.default.svc.cluster.local")
        #expect(second["lb_policy"].text == "RANDOM")
        #expect(second["circuit_breakers"]["thresholds"][0]["max_connections"].number == 7)
    }

    @Test func theSettingsOfAPortInheritNothing() throws {
        let cluster = try reviews(
            """
            trafficPolicy:
              connectionPool: {tcp: {maxConnections: 7}}
              outlierDetection: {consecutive5xxErrors: 3}
              portLevelSettings:
              - port: {number: 9080}
                loadBalancer: {simple: ROUND_ROBIN}
            """)
        #expect(cluster["circuit_breakers"]["thresholds"][0]["max_connections"].number == 4_294_967_295)
        #expect(!cluster["outlier_detection"].isThere)
    }

    @Test func everyPartOfAConnectionPoolActs() throws {
        let cluster = try reviews(
            """
            trafficPolicy:
              retryBudget: {percent: 30, minRetryConcurrency: 5}
              connectionPool:
                tcp:
                  maxConnections: 1
                  connectTimeout: 30ms
                  maxConnectionDuration: 60s
                  idleTimeout: 40s
                  tcpKeepalive: {probes: 3, time: 7200s, interval: 75s}
                http:
                  http1MaxPendingRequests: 2
                  http2MaxRequests: 3
                  maxRequestsPerConnection: 4
                  maxRetries: 5
                  idleTimeout: 6s
                  h2UpgradePolicy: UPGRADE
                  maxConcurrentStreams: 8
                  http2KeepAlive: {interval: 9s, timeout: 3s}
            """)
        let bounds = cluster["circuit_breakers"]["thresholds"][0]
        #expect(bounds["max_connections"].number == 1)
        #expect(bounds["max_pending_requests"].number == 2)
        #expect(bounds["max_requests"].number == 3)
        #expect(bounds["max_retries"].number == 5)
        #expect(bounds["retry_budget"]["budget_percent"]["value"].number == 30)
        #expect(cluster["connect_timeout"].text == "0.030s")
        let keepalive = cluster["upstream_connection_options"]["tcp_keepalive"]
        #expect(keepalive["keepalive_probes"].number == 3)
        #expect(keepalive["keepalive_time"].number == 7200)
        #expect(keepalive["keepalive_interval"].number == 75)
        let options = cluster["typed_extension_protocol_options"][http]
        let common = options["common_http_protocol_options"]
        #expect(common["idle_timeout"].text == "6s")
        #expect(common["max_connection_duration"].text == "60s")
        #expect(common["max_requests_per_connection"].number == 4)
        let second = options["explicit_http_config"]["http2_protocol_options"]
        #expect(second["allow_connect"].bool == true)
        #expect(second["max_concurrent_streams"].number == 8)
        #expect(second["connection_keepalive"]["interval"].text == "9s")
    }

    @Test func everyPartOfOutlierDetectionActs() throws {
        let cluster = try reviews(
            """
            trafficPolicy:
              outlierDetection:
                consecutive5xxErrors: 1
                consecutiveGatewayErrors: 0
                splitExternalLocalOriginErrors: true
                consecutiveLocalOriginFailures: 4
                interval: 1s
                baseEjectionTime: 10m
                maxEjectionPercent: 100
                minHealthPercent: 30
                outlierDetectionHttpErrorCodes: [500, 429]
            """)
        let detection = cluster["outlier_detection"]
        #expect(detection["consecutive_5xx"].number == 1)
        #expect(detection["enforcing_consecutive_5xx"].number == 100)
        #expect(detection["enforcing_consecutive_gateway_failure"].number == 0)
        #expect(detection["enforcing_consecutive_local_origin_failure"].number == 100)
        #expect(detection["base_ejection_time"].text == "600s")
        #expect(detection["max_ejection_time"].text == "600s")
        #expect(detection["max_ejection_percent"].number == 100)
        #expect(detection["enforcing_success_rate"].number == 0)
        #expect(cluster["common_lb_config"]["healthy_panic_threshold"]["value"].number == 30)
        let matcher = cluster["typed_extension_protocol_options"][http]["outlier_detection"]["error_matcher"]
        #expect(matcher["or_match"]["rules"].count == 2)
    }

    @Test(arguments: [
        ("simple: UNSPECIFIED", "LEAST_REQUEST"), ("simple: LEAST_CONN", "LEAST_REQUEST"),
        ("simple: RANDOM", "RANDOM"), ("simple: ROUND_ROBIN", "ROUND_ROBIN"),
        ("simple: PASSTHROUGH", "CLUSTER_PROVIDED"),
        ("consistentHash: {useSourceIp: true}", "RING_HASH"),
        ("consistentHash: {httpHeaderName: x, ringHash: {minimumRingSize: 10}}", "RING_HASH"),
        ("consistentHash: {httpHeaderName: x, maglev: {tableSize: 100}}", "MAGLEV"),
        ("consistentHash: {httpHeaderName: x, maglev: {}}", "MAGLEV"),
        ("{simple: ROUND_ROBIN, warmup: {duration: 30s, minimumPercent: 5, aggression: 2}}", "ROUND_ROBIN"),
        ("{simple: LEAST_REQUEST, warmupDurationSecs: 30s}", "LEAST_REQUEST"),
    ])
    func everyLoadBalancerIsOneThatEnvoyTakes(_ text: String, _ expected: String) throws {
        let balancer = text.hasPrefix("{") ? text : "{\(text)}"
        let cluster = try reviews("trafficPolicy: {loadBalancer: \(balancer)}")
        #expect(cluster["lb_policy"].text ?? "ROUND_ROBIN" == expected)
        switch expected {
        case "RING_HASH": #expect(cluster["ring_hash_lb_config"].isThere)
        case "CLUSTER_PROVIDED": #expect(cluster["type"].text == "ORIGINAL_DST")
        default: break
        }
        if text.contains("100") { #expect(cluster["maglev_lb_config"]["table_size"].text == "101") }
        if text.contains("warmup") {
            let settings =
                cluster["round_robin_lb_config"].isThere ? "round_robin_lb_config" : "least_request_lb_config"
            #expect(cluster[settings]["slow_start_config"]["slow_start_window"].text == "30s")
        }
    }

    @Test(arguments: [
        ("grpc", "explicit_http_config", "http2_protocol_options"),
        ("http", "explicit_http_config", "http_protocol_options"),
        ("web", "use_downstream_protocol_config", "http2_protocol_options"),
    ])
    func theNameOfAPortSaysWhatIsSpoken(_ name: String, _ choice: String, _ options: String) throws {
        let rig = try ClusterRig(
            """
            apiVersion: v1
            kind: Service
            metadata: {name: a, namespace: default}
            spec: {selector: {app: a}, ports: [{port: 80, name: \(name)}]}
            """)
        let cluster = try rig.cluster("outbound|80||a.default.svc.cluster.local")
        #expect(cluster["typed_extension_protocol_options"][http][choice][options].isThere)
    }

    @Test func servicesWithoutOneAddressFollowTheClientWhereItCanSayIt() throws {
        let rig = try ClusterRig(
            """
            apiVersion: v1
            kind: Service
            metadata: {name: db, namespace: default}
            spec: {clusterIP: None, selector: {app: db}, ports: [{port: 3306, name: tcp}]}
            """)
        let name = "outbound|3306||db.default.svc.cluster.local"
        #expect(try rig.cluster(name)["type"].text == "ORIGINAL_DST")
        let explicit = OutboundScope(namespace: "default", followsDestination: false)
        #expect(try rig.cluster(name, explicit)["type"].text == "EDS")
        #expect(try rig.cluster(name, OutboundScope(namespace: "default", kind: .gateway))["type"].text == "EDS")
    }

    @Test(arguments: [
        ("DNS", "STRICT_DNS"), ("DNS_ROUND_ROBIN", "LOGICAL_DNS"), ("NONE", "ORIGINAL_DST"), ("STATIC", "EDS"),
    ])
    func theResolutionOfAServiceEntryDecidesHowItsEndpointsAreFound(_ resolution: String, _ type: String) throws {
        let rig = try ClusterRig(entry(resolution))
        let cluster = try rig.cluster("outbound|443||api.example.com")
        #expect(cluster["type"].text == type)
        #expect(!cluster["transport_socket_matches"].isThere)
        if type.hasSuffix("DNS") {
            let endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
            #expect(endpoint["address"]["socket_address"]["address"].text == "api.example.com")
        }
    }

    @Test func hostsThatAreLookedUpByRequestHaveAClusterThatEnvoyTakes() throws {
        let text = entry("DYNAMIC_DNS").replacing("api.example.com", with: "'*.example.com'").replacing(
            "{number: 443, name: tls, protocol: TLS}", with: "{number: 80, name: http, protocol: HTTP}")
        let cluster = try ClusterRig(text).cluster("outbound|80||*.example.com")
        #expect(cluster["cluster_type"]["name"].text == "envoy.clusters.dynamic_forward_proxy")
    }

    @Test func anExternalNameStandsForTheServiceItNamesElseForTheName() throws {
        func alias(_ target: String) -> String {
            """
            ---
            apiVersion: v1
            kind: Service
            metadata: {name: alias, namespace: default}
            spec: {type: ExternalName, externalName: \(target), ports: [{port: 9080, name: http}]}
            """
        }
        let name = "outbound|9080||alias.default.svc.cluster.local"
        let inside = try ClusterRig(
            ClusterRig.reviews + alias("reviews.default.svc.cluster.local"),
            connected: [ClusterRig.workload("r", "10.0.0.1", labels: ["app": "reviews"])])
        #expect(try inside.cluster(name)["type"].text == "EDS")
        #expect(try inside.endpoints(name) == ["0  1: 10.0.0.1:8080+istio"])
        let outside = try ClusterRig(alias("example.com"))
        #expect(try outside.cluster(name)["type"].text == "STRICT_DNS")
        let circle = try ClusterRig(alias("alias.default.svc.cluster.local"))
        #expect(try circle.cluster(name)["type"].text == "STRICT_DNS")
    }

    @Test func aRuleThatChoosesClientsIsForThese() throws {
        let rig = try ClusterRig(
            ClusterRig.reviews + ClusterRig.rule("trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}", name: "wide")
                + ClusterRig.rule(
                    "workloadSelector: {matchLabels: {app: web}}\ntrafficPolicy: {loadBalancer: {simple: RANDOM}}",
                    name: "chosen"))
        let chooser = ObjectKey(.destinationRule, "default", "chosen")
        let other = try rig.cluster(ClusterRig.reviewsCluster)
        #expect(other["lb_policy"].text ?? "ROUND_ROBIN" == "ROUND_ROBIN")
        let scope = OutboundScope(namespace: "default", choosers: [chooser])
        #expect(try rig.cluster(ClusterRig.reviewsCluster, scope)["lb_policy"].text == "RANDOM")
    }

    @Test func whatNoServiceIsGoesWhereItWasMeantOrNowhere() throws {
        let made = try ClusterRig(ClusterRig.reviews).translator.commonClusters()
        #expect(made.map(\.name) == ["BlackHoleCluster", "PassthroughCluster"])
        try EnvoyValidation.expectValid(made)
    }

    private func entry(_ resolution: String) -> String {
        """
        apiVersion: networking.istio.io/v1
        kind: ServiceEntry
        metadata: {name: api, namespace: default}
        spec:
          hosts: [api.example.com]
          ports: [{number: 443, name: tls, protocol: TLS}]
          resolution: \(resolution)
        """
    }
}
