import Testing

@testable import EnvoyAPI

@Suite struct DefinitionTests {
    @Test func theDefinitionsEqualTheUpstreamDescriptors() throws {
        let result = try Tools.python("Tests/EnvoyAPITests/compare_descriptors.py")
        #expect(result.status == 0, "\(result.text)\(result.errors)")
        // So that nobody empties Protos/ and calls that equal.
        let counted = result.text.split(separator: ",").first { $0.hasSuffix(" messages") }
        let messages = try #require(counted?.split(separator: " ").first.flatMap { Int($0) })
        #expect(messages >= 800)
    }

    @Test func aChangedDefinitionIsFoundOut() throws {
        let result = try Tools.python("Tests/EnvoyAPITests/compare_descriptors.py", ["--self-test"])
        #expect(result.status == 0, "\(result.text)\(result.errors)")
        #expect(result.text.contains("each found out"))
    }

    @Test func theCommittedCodeIsWhatTheGeneratorMakes() throws {
        let result = try Tools.python("Protos/generate", ["--check"])
        #expect(result.status == 0, "\(result.text)\(result.errors)")
        #expect(result.text.contains("generated files are current"))
    }

    @Test func theGeneratorRefusesWhatItCannotName() throws {
        let result = try Tools.python("Tests/EnvoyAPITests/refused_definitions.py")
        #expect(result.status == 0, "\(result.text)\(result.errors)")
        #expect(result.text.contains("each refused"))
    }

    @Test func theRegistryHoldsEveryMessageOnce() throws {
        let names = envoyTypes.descriptors.map(\.fullName)
        #expect(names.count == Set(names).count)
        #expect(names == names.sorted())
        for name in names { #expect(envoyTypes[name]?.fullName == name) }
        #expect(envoyTypes["envoy.config.cluster.v3.Nonsense"] == nil)
        #expect(envoyTypes["google.protobuf.Struct.FieldsEntry"] == nil, "map entries are no types of their own")
        for name in names { #expect(DefinedFile(defining: name) != nil, "\(name)") }
    }

    /// The messages that the product promises, one or more for each word of the promise.
    @Test(arguments: Self.promised)
    func theRegistryHoldsWhatIsPromised(area: String, names: String) {
        for name in names.split(whereSeparator: \.isWhitespace) {
            #expect(envoyTypes["\(area).\(name)"] != nil, "\(area).\(name)")
        }
    }

    private static let promised: [(String, String)] = [
        (
            "envoy.service.discovery.v3",
            "DiscoveryRequest DiscoveryResponse DeltaDiscoveryRequest DeltaDiscoveryResponse Resource ResourceError"
        ),
        ("envoy.service.runtime.v3", "Runtime"),
        ("envoy.service.load_stats.v3", "LoadStatsRequest LoadStatsResponse"),
        ("envoy.service.accesslog.v3", "StreamAccessLogsMessage StreamAccessLogsResponse"),
        ("envoy.service.status.v3", "ClientStatusRequest ClientStatusResponse ClientConfig"),
        ("envoy.service.health.v3", "HealthCheckRequest HealthCheckSpecifier EndpointHealthResponse"),
        ("envoy.service.auth.v3", "CheckRequest CheckResponse AttributeContext"),
        (
            "envoy.config.core.v3",
            "Node Locality Address ConfigSource ApiConfigSource GrpcService HealthCheck Metadata TypedExtensionConfig "
                + "Http1ProtocolOptions Http2ProtocolOptions Http3ProtocolOptions DataSource ExtensionConfigSource"
        ),
        ("envoy.config.listener.v3", "Listener FilterChain FilterChainMatch Filter ListenerFilter ApiListener"),
        (
            "envoy.config.route.v3",
            "RouteConfiguration VirtualHost Route RouteMatch RouteAction RedirectAction DirectResponseAction RetryPolicy "
                + "WeightedCluster HeaderMatcher QueryParameterMatcher RateLimit HedgePolicy ScopedRouteConfiguration Vhds"
        ),
        (
            "envoy.config.cluster.v3",
            "Cluster CircuitBreakers OutlierDetection LoadBalancingPolicy UpstreamConnectionOptions"
        ),
        ("envoy.config.endpoint.v3", "ClusterLoadAssignment LocalityLbEndpoints LbEndpoint Endpoint ClusterStats"),
        ("envoy.config.rbac.v3", "RBAC Policy Permission Principal"),
        ("envoy.config.accesslog.v3", "AccessLog AccessLogFilter"),
        ("envoy.config.trace.v3", "Tracing OpenTelemetryConfig ZipkinConfig"),
        ("envoy.config.metrics.v3", "StatsConfig StatsSink StatsMatcher TagSpecifier"),
        ("envoy.config.overload.v3", "OverloadManager OverloadAction ResourceMonitor LoadShedPoint"),
        ("envoy.config.bootstrap.v3", "Bootstrap LayeredRuntime RuntimeLayer Runtime Admin ClusterManager"),
        ("envoy.data.accesslog.v3", "HTTPAccessLogEntry TCPAccessLogEntry AccessLogCommon"),
        ("envoy.extensions.access_loggers.file.v3", "FileAccessLog"),
        ("envoy.extensions.access_loggers.stream.v3", "StdoutAccessLog StderrAccessLog"),
        ("envoy.extensions.access_loggers.grpc.v3", "HttpGrpcAccessLogConfig TcpGrpcAccessLogConfig"),
        ("envoy.extensions.filters.listener.tls_inspector.v3", "TlsInspector"),
        ("envoy.extensions.filters.listener.original_dst.v3", "OriginalDst"),
        ("envoy.extensions.filters.listener.http_inspector.v3", "HttpInspector"),
        ("envoy.extensions.filters.listener.proxy_protocol.v3", "ProxyProtocol"),
        (
            "envoy.extensions.filters.network.http_connection_manager.v3",
            "HttpConnectionManager HttpFilter Rds ScopedRoutes LocalReplyConfig"
        ),
        ("envoy.extensions.filters.network.tcp_proxy.v3", "TcpProxy"),
        ("envoy.extensions.filters.network.rbac.v3", "RBAC"),
        ("envoy.extensions.filters.http.router.v3", "Router"),
        ("envoy.extensions.filters.http.rbac.v3", "RBAC RBACPerRoute"),
        ("envoy.extensions.filters.http.fault.v3", "HTTPFault FaultAbort"),
        ("envoy.extensions.filters.http.cors.v3", "Cors CorsPolicy"),
        ("envoy.extensions.filters.http.jwt_authn.v3", "JwtAuthentication JwtProvider JwtRequirement"),
        ("envoy.extensions.filters.http.local_ratelimit.v3", "LocalRateLimit"),
        ("envoy.extensions.filters.http.ext_authz.v3", "ExtAuthz ExtAuthzPerRoute"),
        ("envoy.extensions.filters.http.header_mutation.v3", "HeaderMutation HeaderMutationPerRoute"),
        ("envoy.extensions.filters.http.compressor.v3", "Compressor CompressorPerRoute"),
        ("envoy.extensions.filters.http.grpc_stats.v3", "FilterConfig"),
        ("envoy.extensions.filters.http.health_check.v3", "HealthCheck"),
        (
            "envoy.extensions.transport_sockets.tls.v3",
            "UpstreamTlsContext DownstreamTlsContext CommonTlsContext Secret TlsCertificate SdsSecretConfig "
                + "CertificateValidationContext GenericSecret TlsSessionTicketKeys"
        ),
        ("envoy.extensions.upstreams.http.v3", "HttpProtocolOptions"),
        ("envoy.extensions.load_balancing_policies.round_robin.v3", "RoundRobin"),
        ("envoy.extensions.load_balancing_policies.least_request.v3", "LeastRequest"),
        ("envoy.extensions.load_balancing_policies.ring_hash.v3", "RingHash"),
        ("envoy.extensions.load_balancing_policies.maglev.v3", "Maglev"),
        ("envoy.extensions.load_balancing_policies.random.v3", "Random"),
        ("envoy.extensions.load_balancing_policies.wrr_locality.v3", "WrrLocality"),
        ("google.protobuf", "Any Struct Value ListValue Duration Timestamp FieldMask Empty UInt64Value BytesValue"),
        ("google.rpc", "Status"),
        ("grpc.health.v1", "HealthCheckRequest HealthCheckResponse"),
        ("grpc.reflection.v1", "ServerReflectionRequest ServerReflectionResponse"),
        ("grpc.reflection.v1alpha", "ServerReflectionRequest ServerReflectionResponse"),
        ("xds.core.v3", "ResourceLocator CollectionEntry"),
        ("xds.type.matcher.v3", "Matcher"),
    ]

    @Test func everyServiceHasAFileThatDefinesIt() {
        #expect(definedServices.count == Set(definedServices).count)
        for service in definedServices { #expect(DefinedFile(defining: service) != nil, "\(service)") }
        for promised in [
            AggregatedDiscoveryService.name, ListenerDiscoveryService.name, RouteDiscoveryService.name,
            ClusterDiscoveryService.name, EndpointDiscoveryService.name, SecretDiscoveryService.name,
            RuntimeDiscoveryService.name, ExtensionConfigDiscoveryService.name, VirtualHostDiscoveryService.name,
            ScopedRoutesDiscoveryService.name, LoadReportingService.name, AccessLogService.name,
            ClientStatusDiscoveryService.name, HealthDiscoveryService.name, GrpcHealth.name, ServerReflection.name,
            ServerReflectionAlpha.name,
        ] {
            #expect(definedServices.contains(promised), "\(promised)")
        }
        #expect(
            AggregatedDiscoveryService.deltaAggregatedResources
                == "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources")
    }
}
