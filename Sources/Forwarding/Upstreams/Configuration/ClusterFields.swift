extension SupportedFields {
    /// What is read of clusters and of endpoints.
    public static let clusters =
        common + balancingPolicies
        + SupportedFields([
            // Statistics that nobody asks for here: `alt_stat_name`, `track_*`. Resources without a wait for warmth
            // warm like others.
            "envoy.config.cluster.v3.Cluster": """
            transport_socket_matches name alt_stat_name~ type cluster_type eds_cluster_config connect_timeout \
            per_connection_buffer_limit_bytes \
            lb_policy=ROUND_ROBIN|LEAST_REQUEST|RING_HASH|RANDOM|MAGLEV|CLUSTER_PROVIDED|LOAD_BALANCING_POLICY_CONFIG \
            load_assignment health_checks max_requests_per_connection circuit_breakers \
            upstream_http_protocol_options common_http_protocol_options http_protocol_options http2_protocol_options \
            typed_extension_protocol_options dns_refresh_rate dns_jitter dns_failure_refresh_rate respect_dns_ttl \
            dns_lookup_family wait_for_warm_on_init~ outlier_detection cleanup_interval upstream_bind_config \
            lb_subset_config ring_hash_lb_config maglev_lb_config original_dst_lb_config least_request_lb_config \
            round_robin_lb_config common_lb_config transport_socket metadata protocol_selection \
            upstream_connection_options close_connections_on_host_health_failure ignore_health_on_host_removal \
            load_balancing_policy lrs_server track_timeout_budgets~ track_cluster_stats*~
            """,
            "envoy.config.cluster.v3.Cluster.TransportSocketMatch": "name match transport_socket",
            // TLS settings are looked through where they are read.
            "envoy.config.core.v3.TransportSocket": "name typed_config*",
            "envoy.config.cluster.v3.Cluster.CustomClusterType": "name typed_config",
            // What is insecure is not checked for.
            "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig":
                "dns_cache_config allow_insecure_cluster_options~",
            "envoy.extensions.common.dynamic_forward_proxy.v3.DnsCacheConfig": """
            name dns_lookup_family dns_refresh_rate host_ttl max_hosts dns_query_timeout
            """,
            // Endpoints come from where the cluster came from.
            "envoy.config.cluster.v3.Cluster.EdsClusterConfig": "eds_config~ service_name",
            "envoy.config.cluster.v3.Cluster.RefreshRate": "base_interval max_interval",
            "envoy.config.cluster.v3.Cluster.OriginalDstLbConfig":
                "use_http_header http_header_name upstream_port_override",
            "envoy.config.core.v3.BindConfig": "source_address",
            "envoy.config.cluster.v3.UpstreamConnectionOptions": "tcp_keepalive",
            "envoy.config.core.v3.TcpKeepalive": "keepalive_probes keepalive_time keepalive_interval",
        ]) + endpoints + protection + upstreamProtocols

    /// Merging of updates is a matter of time alone: each is taken as it comes.
    private static let balancingPolicies = SupportedFields([
        "envoy.config.cluster.v3.Cluster.CommonLbConfig": """
        healthy_panic_threshold zone_aware_lb_config locality_weighted_lb_config update_merge_window~ \
        ignore_new_hosts_until_first_hc close_connections_on_host_set_change consistent_hashing_lb_config \
        override_host_status
        """,
        "envoy.config.core.v3.HealthStatusSet": "statuses",
        "envoy.config.cluster.v3.Cluster.CommonLbConfig.ZoneAwareLbConfig":
            "routing_enabled min_cluster_size fail_traffic_on_panic",
        "envoy.config.cluster.v3.Cluster.CommonLbConfig.LocalityWeightedLbConfig": "",
        "envoy.config.cluster.v3.Cluster.CommonLbConfig.ConsistentHashingLbConfig":
            "use_hostname_for_hashing hash_balance_factor",
        "envoy.config.cluster.v3.Cluster.RoundRobinLbConfig": "slow_start_config",
        "envoy.config.cluster.v3.Cluster.LeastRequestLbConfig": "choice_count active_request_bias slow_start_config",
        "envoy.config.cluster.v3.Cluster.SlowStartConfig": "slow_start_window aggression min_weight_percent",
        "envoy.config.cluster.v3.Cluster.RingHashLbConfig": "minimum_ring_size hash_function maximum_ring_size",
        "envoy.config.cluster.v3.Cluster.MaglevLbConfig": "table_size",
        "envoy.config.cluster.v3.Cluster.LbSubsetConfig": """
        fallback_policy default_subset subset_selectors locality_weight_aware scale_locality_weight panic_mode_any \
        list_as_any metadata_fallback_policy
        """,
        "envoy.config.cluster.v3.Cluster.LbSubsetConfig.LbSubsetSelector":
            "keys single_host_per_subset fallback_policy fallback_keys_subset",
        // A list of which the first that is known counts: looked through one by one.
        "envoy.config.cluster.v3.LoadBalancingPolicy": "policies*",
    ])

    /// The policies that may stand in `load_balancing_policy`.
    static let balancingExtensions =
        common
        + SupportedFields([
            "envoy.config.cluster.v3.LoadBalancingPolicy": "policies*",
            "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin":
                "slow_start_config locality_lb_config",
            "envoy.extensions.load_balancing_policies.random.v3.Random": "locality_lb_config",
            "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest": """
            choice_count active_request_bias slow_start_config locality_lb_config enable_full_scan selection_method
            """,
            "envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash": """
            hash_function minimum_ring_size maximum_ring_size use_hostname_for_hashing hash_balance_factor \
            consistent_hashing_lb_config locality_weighted_lb_config
            """,
            "envoy.extensions.load_balancing_policies.maglev.v3.Maglev":
                "table_size consistent_hashing_lb_config locality_weighted_lb_config",
            "envoy.extensions.load_balancing_policies.cluster_provided.v3.ClusterProvided": "",
            "envoy.extensions.load_balancing_policies.wrr_locality.v3.WrrLocality": "endpoint_picking_policy",
            "envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost":
                "override_host_sources fallback_policy",
            "envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost.OverrideHostSource": "header",
            "envoy.extensions.load_balancing_policies.subset.v3.Subset": """
            fallback_policy default_subset subset_selectors allow_redundant_keys locality_weight_aware \
            scale_locality_weight panic_mode_any list_as_any metadata_fallback_policy subset_lb_policy
            """,
            "envoy.extensions.load_balancing_policies.subset.v3.Subset.LbSubsetSelector":
                "keys single_host_per_subset fallback_policy fallback_keys_subset",
            "envoy.extensions.load_balancing_policies.common.v3.SlowStartConfig":
                "slow_start_window aggression min_weight_percent",
            "envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig":
                "zone_aware_lb_config locality_weighted_lb_config",
            "envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig.LocalityWeightedLbConfig": "",
            "envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig.ZoneAwareLbConfig": """
            routing_enabled min_cluster_size fail_traffic_on_panic force_locality_direct_routing \
            locality_basis=HEALTHY_HOSTS_NUM
            """,
            "envoy.extensions.load_balancing_policies.common.v3.ConsistentHashingLbConfig":
                "use_hostname_for_hashing hash_balance_factor",
        ])

    /// Of `envoy.config.endpoint.v3.ClusterLoadAssignment`.
    public static let endpoints =
        common
        + SupportedFields([
            "envoy.config.endpoint.v3.ClusterLoadAssignment": "cluster_name endpoints policy",
            "envoy.config.endpoint.v3.ClusterLoadAssignment.Policy":
                "drop_overloads overprovisioning_factor weighted_priority_health",
            "envoy.config.endpoint.v3.ClusterLoadAssignment.Policy.DropOverload": "category drop_percentage",
            // `proximity` is for nobody yet.
            "envoy.config.endpoint.v3.LocalityLbEndpoints": """
            locality metadata lb_endpoints load_balancer_endpoints load_balancing_weight priority
            """,
            "envoy.config.endpoint.v3.LocalityLbEndpoints.LbEndpointList": "lb_endpoints",
            "envoy.config.endpoint.v3.LbEndpoint": "endpoint health_status metadata load_balancing_weight",
            "envoy.config.endpoint.v3.Endpoint": "address health_check_config hostname additional_addresses",
            "envoy.config.endpoint.v3.Endpoint.AdditionalAddress": "address",
            "envoy.config.endpoint.v3.Endpoint.HealthCheckConfig":
                "port_value hostname address disable_active_health_check",
            "envoy.config.core.v3.Locality": "region zone sub_zone",
        ])

    private static let protection = SupportedFields([
        "envoy.config.cluster.v3.CircuitBreakers": "thresholds per_host_thresholds",
        // Pools are not counted: there is one for each host and TLS settings. What is left is told in no statistics.
        "envoy.config.cluster.v3.CircuitBreakers.Thresholds": """
        priority max_connections max_pending_requests max_requests max_retries retry_budget track_remaining~
        """,
        "envoy.config.cluster.v3.CircuitBreakers.Thresholds.RetryBudget": "budget_percent min_retry_concurrency",
        "envoy.config.cluster.v3.OutlierDetection": """
        consecutive_5xx interval base_ejection_time max_ejection_percent enforcing_consecutive_5xx \
        enforcing_success_rate success_rate_minimum_hosts success_rate_request_volume success_rate_stdev_factor \
        consecutive_gateway_failure enforcing_consecutive_gateway_failure split_external_local_origin_errors \
        consecutive_local_origin_failure enforcing_consecutive_local_origin_failure \
        enforcing_local_origin_success_rate failure_percentage_threshold enforcing_failure_percentage \
        enforcing_failure_percentage_local_origin failure_percentage_minimum_hosts \
        failure_percentage_request_volume max_ejection_time max_ejection_time_jitter \
        successful_active_health_check_uneject_host always_eject_one_host
        """,
        // Each check makes its own connection, also with `reuse_connection`. What is always logged goes to a log of events,
        // which cannot be set here.
        "envoy.config.core.v3.HealthCheck": """
        timeout interval initial_jitter interval_jitter interval_jitter_percent unhealthy_threshold \
        healthy_threshold alt_port reuse_connection http_health_check tcp_health_check grpc_health_check \
        no_traffic_interval no_traffic_healthy_interval unhealthy_interval unhealthy_edge_interval \
        healthy_edge_interval transport_socket_match_criteria always_log_health_check_failures~ \
        always_log_health_check_success~
        """,
        "envoy.config.core.v3.HealthCheck.Payload": "text binary",
        "envoy.config.core.v3.HealthCheck.HttpHealthCheck": """
        host path send receive response_buffer_size request_headers_to_add request_headers_to_remove \
        expected_statuses retriable_statuses codec_client_type=HTTP1|HTTP2 service_name_matcher method
        """,
        "envoy.config.core.v3.HealthCheck.TcpHealthCheck": "send receive",
        "envoy.config.core.v3.HealthCheck.GrpcHealthCheck": "service_name authority initial_metadata",
    ])

    private static let upstreamProtocols = SupportedFields([
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": """
        common_http_protocol_options upstream_http_protocol_options explicit_http_config \
        use_downstream_protocol_config auto_config outlier_detection http_filters*
        """,
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions.ExplicitHttpConfig":
            "http_protocol_options http2_protocol_options",
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions.UseDownstreamHttpConfig":
            "http_protocol_options http2_protocol_options",
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions.AutoHttpConfig":
            "http_protocol_options http2_protocol_options",
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions.OutlierDetection": "error_matcher",
        "envoy.config.common.matcher.v3.MatchPredicate":
            "or_match and_match not_match any_match http_response_headers_match",
        "envoy.config.common.matcher.v3.MatchPredicate.MatchSet": "rules",
        "envoy.config.common.matcher.v3.HttpHeadersMatch": "headers",
        // Of connections that are kept without a client, of which there are none.
        "envoy.extensions.upstreams.tcp.v3.TcpProtocolOptions": "idle_timeout",
        "envoy.config.core.v3.UpstreamHttpProtocolOptions": "auto_sni auto_san_validation override_auto_sni_header",
        "envoy.config.core.v3.HttpProtocolOptions": """
        idle_timeout max_connection_duration max_headers_count max_response_headers_kb \
        headers_with_underscores_action=ALLOW max_requests_per_connection
        """,
        // What is said of requests' form is said to servers; a client has no use for it. A response that is no HTTP ends
        // its connection, or of HTTP/2 its stream. There is one parser of each.
        "envoy.config.core.v3.Http1ProtocolOptions": """
        allow_absolute_url~ accept_http_10~ default_host_for_http_10~ header_key_format enable_trailers \
        override_stream_error_on_invalid_http_message~ use_balsa_parser~
        """,
        "envoy.config.core.v3.Http1ProtocolOptions.HeaderKeyFormat": "proper_case_words",
        "envoy.config.core.v3.Http1ProtocolOptions.HeaderKeyFormat.ProperCaseWords": "",
        // Limits against floods are fixed here, and cannot be asked for. Whether upgrades go over HTTP/2, servers say.
        "envoy.config.core.v3.Http2ProtocolOptions": """
        hpack_table_size max_concurrent_streams initial_stream_window_size initial_connection_window_size \
        allow_connect~ stream_error_on_invalid_http_messaging~ override_stream_error_on_invalid_http_message~ \
        connection_keepalive use_oghttp2_codec~
        """,
        "envoy.config.core.v3.KeepaliveSettings": "interval timeout",
    ])
}
