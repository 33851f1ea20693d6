extension SupportedFields {
    /// What ``ListenerConfiguration`` reads. What is behind a star is read with the table of the part that it is for.
    static let listeners =
        routes
        + SupportedFields([
            // Statistics are not kept apart by prefix; metadata are for people. Each worker has a socket of its own and
            // the kernel spreads connections; there is one accept per readiness, and no manager of overloads that could
            // be passed by. When health checks fail by hand no connection is drained, whatever `drain_type` says.
            "envoy.config.listener.v3.Listener": """
            name address additional_addresses stat_prefix~ filter_chains use_original_dst default_filter_chain \
            per_connection_buffer_limit_bytes metadata* drain_type~ listener_filters listener_filters_timeout \
            continue_on_listener_filters_timeout transparent traffic_direction enable_reuse_port~ \
            access_log* tcp_backlog_size bind_to_port deprecated_v1 connection_balance_config~ \
            max_connections_to_accept_per_socket_event~ ignore_global_conn_limit~ bypass_overload_manager~
            """,
            "envoy.config.listener.v3.Listener.DeprecatedV1": "bind_to_port",
            "envoy.config.listener.v3.Listener.ConnectionBalanceConfig": "exact_balance~",
            "envoy.config.listener.v3.Listener.ConnectionBalanceConfig.ExactBalance": "",
            "envoy.config.listener.v3.AdditionalAddress": "address",
            "envoy.config.listener.v3.ListenerFilter": "name typed_config filter_disabled",
            "envoy.config.listener.v3.ListenerFilterChainMatchPredicate":
                "or_match and_match not_match any_match destination_port_range",
            "envoy.config.listener.v3.ListenerFilterChainMatchPredicate.MatchSet": "rules",
            // Fingerprints are read by nobody here; sizes bound what is buffered, and ours is bounded too.
            "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector": """
            initial_read_buffer_size~ close_connection_on_client_hello_parsing_errors max_client_hello_size~
            """,
            "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector": "",
            "envoy.extensions.filters.listener.original_dst.v3.OriginalDst": "",
            "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol":
                "allow_requests_without_proxy_protocol disallowed_versions stat_prefix",
            "envoy.config.listener.v3.FilterChain": """
            filter_chain_match filters metadata* transport_socket* transport_socket_connect_timeout name
            """,
            "envoy.config.listener.v3.FilterChainMatch": """
            destination_port prefix_ranges direct_source_prefix_ranges source_type source_prefix_ranges \
            source_ports server_names transport_protocol application_protocols
            """,
            "envoy.config.listener.v3.Filter": "name typed_config*",
        ])

    /// What ``TCPProxySettings`` reads.
    static let streams =
        common
        + SupportedFields([
            "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy": """
            stat_prefix cluster weighted_clusters metadata_match idle_timeout access_log* max_connect_attempts \
            hash_policy max_downstream_connection_duration upstream_connect_mode=IMMEDIATE
            """,
            "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster": "clusters",
            "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster.ClusterWeight":
                "name weight metadata_match",
            "envoy.type.v3.HashPolicy": "source_ip",
            "envoy.type.v3.HashPolicy.SourceIp": "",
            "envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit":
                "stat_prefix max_connections delay runtime_enabled",
            "envoy.extensions.filters.network.sni_cluster.v3.SniCluster": "",
            "envoy.extensions.filters.network.direct_response.v3.Config": "response",
            "envoy.extensions.filters.network.echo.v3.Echo": "",
        ])

    /// What ``HTTPConnectionSettings`` reads.
    static let managers =
        routes
        + SupportedFields([
            "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager": """
            codec_type=AUTO|HTTP1|HTTP2 stat_prefix rds route_config http_filters tracing \
            common_http_protocol_options http_protocol_options \
            http2_protocol_options server_name server_header_transformation scheme_header_transformation \
            max_request_headers_kb stream_idle_timeout request_timeout \
            request_headers_timeout drain_timeout delayed_close_timeout access_log* use_remote_address \
            xff_num_trusted_hops \
            original_ip_detection_extensions* internal_address_config skip_xff_append via generate_request_id \
            preserve_external_request_id always_set_request_id_in_response forward_client_cert_details \
            set_current_client_cert_details upgrade_configs normalize_path merge_slashes \
            path_with_escaped_slashes_action request_id_extension* strip_matching_host_port strip_any_host_port \
            strip_trailing_host_dot append_x_forwarded_port
            """,
            "envoy.extensions.filters.network.http_connection_manager.v3.Rds": "config_source~ route_config_name",
            "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter":
                "name typed_config* is_optional disabled",
            "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.UpgradeConfig":
                "upgrade_type enabled",
            "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.Tracing": """
            client_sampling random_sampling overall_sampling verbose max_path_tag_length custom_tags provider \
            spawn_upstream_span operation upstream_operation
            """,
            "envoy.config.trace.v3.Tracing.Http": "name typed_config*",
            "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.InternalAddressConfig":
                "unix_sockets cidr_ranges",
            "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
                + ".SetCurrentClientCertDetails": "subject cert dns uri",
            "envoy.config.core.v3.HttpProtocolOptions": """
            idle_timeout max_connection_duration max_headers_count max_stream_duration \
            headers_with_underscores_action max_requests_per_connection
            """,
            // Absolute targets are always taken, other parsers do not exist, trailers pass.
            "envoy.config.core.v3.Http1ProtocolOptions": """
            allow_absolute_url accept_http_10 default_host_for_http_10 enable_trailers use_balsa_parser~
            """,
            "envoy.config.core.v3.Http2ProtocolOptions": """
            hpack_table_size max_concurrent_streams initial_stream_window_size initial_connection_window_size \
            allow_connect connection_keepalive use_oghttp2_codec~
            """,
            "envoy.config.core.v3.KeepaliveSettings": "interval timeout",
            "envoy.config.core.v3.SchemeHeaderTransformation": "scheme_to_overwrite",
            "envoy.extensions.http.original_ip_detection.xff.v3.XffConfig": "xff_num_trusted_hops skip_xff_append",
            "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig":
                "pack_trace_reason use_request_id_for_trace_sampling",
        ])

    /// What ``DownstreamTLS`` and ``UpstreamTLS`` read.
    static let tls =
        common
        + SupportedFields([
            "envoy.config.core.v3.TransportSocket": "name typed_config*",
            "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer": "",
            // Stapling: there is nothing to staple, and the policy that insists on it is not taken. Sessions are kept in
            // tickets alone, and a chain has one certificate: nothing else to look for.
            "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext": """
            common_tls_context require_client_certificate require_sni session_ticket_keys \
            session_ticket_keys_sds_secret_config disable_stateless_session_resumption \
            disable_stateful_session_resumption~ session_timeout ocsp_staple_policy=LENIENT_STAPLING \
            full_scan_certs_on_sni_mismatch~ prefer_client_ciphers
            """,
            // Renegotiation is never done; whether a key may sign is checked by the library.
            "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext": """
            common_tls_context sni auto_host_sni auto_sni_san_validation max_session_keys enforce_rsa_key_usage~
            """,
            "envoy.extensions.transport_sockets.tls.v3.CommonTlsContext": """
            tls_params tls_certificates tls_certificate_sds_secret_configs validation_context \
            validation_context_sds_secret_config combined_validation_context alpn_protocols
            """,
            "envoy.extensions.transport_sockets.tls.v3.CommonTlsContext.CombinedCertificateValidationContext":
                "default_validation_context validation_context_sds_secret_config",
            "envoy.extensions.transport_sockets.tls.v3.TlsParameters": """
            tls_minimum_protocol_version=TLS_AUTO|TLSv1_2|TLSv1_3 \
            tls_maximum_protocol_version=TLS_AUTO|TLSv1_2|TLSv1_3 cipher_suites ecdh_curves signature_algorithms
            """,
            "envoy.extensions.transport_sockets.tls.v3.TlsCertificate": "certificate_chain private_key",
            "envoy.extensions.transport_sockets.tls.v3.TlsSessionTicketKeys": "keys",
            "envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig": "name sds_config~",
            "envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext": """
            trusted_ca system_root_certs verify_certificate_spki verify_certificate_hash \
            match_typed_subject_alt_names match_subject_alt_names crl allow_expired_certificate \
            trust_chain_verification custom_validator_config only_verify_leaf_cert_crl max_verify_depth
            """,
            "envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext.SystemRootCerts": "",
            "envoy.extensions.transport_sockets.tls.v3.SubjectAltNameMatcher":
                "san_type=EMAIL|DNS|URI|IP_ADDRESS matcher",
            "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig": "trust_domains",
            "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig.TrustDomain": "name trust_bundle",
        ])
}
