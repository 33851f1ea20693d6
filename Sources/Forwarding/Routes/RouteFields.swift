extension SupportedFields {
    /// What ``RouteTable`` reads.
    static let routes =
        common
        + SupportedFields([
            // `vhds` and `vhost_header` are other ways to find a virtual host; plugins choose clusters by code. Of
            // `validate_clusters` only false is taken.
            "envoy.config.route.v3.RouteConfiguration": """
            name virtual_hosts internal_only_headers response_headers_to_add response_headers_to_remove \
            request_headers_to_add request_headers_to_remove most_specific_header_mutations_wins validate_clusters \
            max_direct_response_body_size_bytes request_mirror_policies ignore_port_in_host_matching \
            ignore_path_parameters_in_path_matching typed_per_filter_config* metadata
            """,
            // Virtual clusters only name statistics that this proxy does not keep apart.
            "envoy.config.route.v3.VirtualHost": """
            name domains routes require_tls virtual_clusters*~ request_headers_to_add request_headers_to_remove \
            response_headers_to_add response_headers_to_remove typed_per_filter_config* \
            include_request_attempt_count include_attempt_count_in_response include_is_timeout_retry_header \
            retry_policy hedge_policy per_request_buffer_limit_bytes request_mirror_policies metadata
            """,
            // The statistics' prefix is not kept apart either.
            "envoy.config.route.v3.Route": """
            name match route redirect direct_response non_forwarding_action metadata decorator \
            typed_per_filter_config* request_headers_to_add request_headers_to_remove response_headers_to_add \
            response_headers_to_remove tracing per_request_buffer_limit_bytes stat_prefix~
            """,
            "envoy.config.route.v3.Decorator": "operation propagate",
            "envoy.config.route.v3.Tracing": """
            client_sampling random_sampling overall_sampling custom_tags operation upstream_operation
            """,
            "envoy.type.tracing.v3.CustomTag": "tag literal environment request_header metadata value",
            "envoy.type.tracing.v3.CustomTag.Literal": "value",
            "envoy.type.tracing.v3.CustomTag.Environment": "name default_value",
            "envoy.type.tracing.v3.CustomTag.Header": "name default_value",
            "envoy.type.tracing.v3.CustomTag.Metadata": "kind metadata_key default_value",
            "envoy.type.metadata.v3.MetadataKind": "request route cluster host",
            "envoy.type.metadata.v3.MetadataKind.Request": "",
            "envoy.type.metadata.v3.MetadataKind.Route": "",
            "envoy.type.metadata.v3.MetadataKind.Cluster": "",
            "envoy.type.metadata.v3.MetadataKind.Host": "",
            "envoy.type.metadata.v3.MetadataKey": "key path",
            "envoy.type.metadata.v3.MetadataKey.PathSegment": "key",
            "envoy.config.route.v3.NonForwardingAction": "",
            "envoy.config.route.v3.DirectResponseAction": "status body",
            "envoy.config.route.v3.RedirectAction": """
            https_redirect scheme_redirect host_redirect port_redirect path_redirect prefix_rewrite regex_rewrite \
            response_code strip_query
            """,
            "envoy.config.route.v3.RouteMatch": """
            prefix path safe_regex connect_matcher path_separated_prefix path_match_policy case_sensitive \
            runtime_fraction headers query_parameters grpc tls_context dynamic_metadata
            """,
            "envoy.config.route.v3.RouteMatch.GrpcRouteMatchOptions": "",
            "envoy.config.route.v3.RouteMatch.ConnectMatcher": "",
            "envoy.config.route.v3.RouteMatch.TlsContextMatchOptions": "presented validated",
            "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig": "path_template",
            "envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig": "path_template_rewrite",
            // Sums of weights are made, not believed.
            "envoy.config.route.v3.WeightedCluster":
                "clusters total_weight~ runtime_key_prefix~ header_name use_hash_policy",
            "envoy.config.route.v3.WeightedCluster.ClusterWeight": """
            name cluster_header weight metadata_match request_headers_to_add request_headers_to_remove \
            response_headers_to_add response_headers_to_remove typed_per_filter_config* host_rewrite_literal
            """,
            // Early data is never taken from clients, so a policy for it has nothing to decide.
            "envoy.config.route.v3.RouteAction": """
            cluster cluster_header weighted_clusters cluster_not_found_response_code metadata_match prefix_rewrite \
            regex_rewrite path_rewrite_policy host_rewrite_literal auto_host_rewrite host_rewrite_header \
            host_rewrite_path_regex append_x_forwarded_host timeout idle_timeout early_data_policy*~ retry_policy \
            request_mirror_policies priority hash_policy max_grpc_timeout grpc_timeout_offset upgrade_configs \
            max_stream_duration hedge_policy internal_redirect_policy
            """,
            "envoy.config.route.v3.InternalRedirectPolicy": """
            max_internal_redirects redirect_response_codes predicates* allow_cross_scheme_redirect \
            response_headers_to_copy
            """,
            // Envoy knows fields for more than one request at the start, and does nothing with them.
            "envoy.config.route.v3.HedgePolicy": "hedge_on_per_try_timeout",
            "envoy.config.route.v3.RouteAction.MaxStreamDuration":
                "max_stream_duration grpc_timeout_header_max grpc_timeout_header_offset",
            "envoy.config.route.v3.RouteAction.RequestMirrorPolicy": """
            cluster cluster_header runtime_fraction trace_sampled disable_shadow_host_suffix_append \
            host_rewrite_literal
            """,
            "envoy.config.route.v3.RouteAction.HashPolicy":
                "header cookie connection_properties query_parameter terminal",
            "envoy.config.route.v3.RouteAction.HashPolicy.Header": "header_name regex_rewrite",
            "envoy.config.route.v3.RouteAction.HashPolicy.Cookie": "name ttl path attributes",
            "envoy.config.route.v3.RouteAction.HashPolicy.CookieAttribute": "name value",
            "envoy.config.route.v3.RouteAction.HashPolicy.ConnectionProperties": "source_ip",
            "envoy.config.route.v3.RouteAction.HashPolicy.QueryParameter": "name",
            "envoy.config.route.v3.RouteAction.UpgradeConfig": "upgrade_type enabled connect_config",
            // Hosts are not told of the client in front of the bytes.
            "envoy.config.route.v3.RouteAction.UpgradeConfig.ConnectConfig": "allow_post",
            // Predicates and priorities are read by their names.
            "envoy.config.route.v3.RetryPolicy": """
            retry_on num_retries per_try_timeout per_try_idle_timeout retry_priority* retry_host_predicate* \
            host_selection_retry_max_attempts retriable_status_codes retry_back_off rate_limited_retry_back_off \
            retriable_headers retriable_request_headers
            """,
            "envoy.config.route.v3.RetryPolicy.RetryBackOff": "base_interval max_interval",
            "envoy.config.route.v3.RetryPolicy.RateLimitedRetryBackOff": "reset_headers max_interval",
            "envoy.config.route.v3.RetryPolicy.ResetHeader": "name format",
        ])
}
