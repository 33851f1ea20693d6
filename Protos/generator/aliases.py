"""Swift names of types whose own names are taken, too general, or Swift's own.

A type is called as in its .proto file, nested ones with the names around them in front (CircuitBreakersThresholds).
"""

# Package → what stands in front of all its names.
PREFIXES = {
    # The Workload API has no package, so that its C names have nothing in front either.
    "": "Spiffe",
    "google.api.expr.v1alpha1": "Cel",
    "google.protobuf": "Protobuf",
    "google.rpc": "Rpc",
    "grpc.health.v1": "Grpc",
    "grpc.reflection.v1": "Reflection",
    "grpc.reflection.v1alpha": "ReflectionAlpha",
    "martinet.control.v1": "Control",
    "martinet.identity.v1": "Workload",
    "opentelemetry.proto.common.v1": "Otel",
    "xds.core.v3": "Xds",
    "xds.type.matcher.v3": "Xds",
    "xds.type.v3": "Xds",
}

_HTTP = "envoy.extensions.filters.http."
_NETWORK = "envoy.extensions.filters.network."

# Message, enum or service → its name; what is nested in a top-level message follows it.
ALIASES = {
    "SpiffeWorkloadAPI": "SpiffeWorkloadAPI",
    "envoy.config.bootstrap.v3.Runtime": "BootstrapRuntime",
    "envoy.config.cluster.v3.Filter": "UpstreamFilter",
    "envoy.config.core.v3.HttpProtocolOptions": "CoreHttpProtocolOptions",
    "envoy.config.core.v3.Pipe": "PipeAddress",
    "envoy.config.core.v3.RetryPolicy": "CoreRetryPolicy",
    "envoy.config.listener.v3.Filter": "NetworkFilter",
    "envoy.config.listener.v3.QuicProtocolOptions": "ListenerQuicProtocolOptions",
    "envoy.config.rbac.v3.Action": "RBACMatchAction",
    "envoy.config.route.v3.CorsPolicy": "RouteCorsPolicy",
    "envoy.config.route.v3.FilterConfig": "RouteFilterConfig",
    "envoy.config.route.v3.Tracing": "RouteTracing",
    "envoy.data.cluster.v3.Action": "OutlierAction",
    "envoy.extensions.clusters.aggregate.v3.ClusterConfig": "AggregateClusterConfig",
    "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig": "DynamicForwardProxyClusterConfig",
    "envoy.extensions.compression.brotli.compressor.v3.Brotli": "BrotliCompressor",
    "envoy.extensions.compression.gzip.compressor.v3.Gzip": "GzipCompressor",
    "envoy.extensions.compression.gzip.decompressor.v3.Gzip": "GzipDecompressor",
    "envoy.extensions.compression.zstd.compressor.v3.Zstd": "ZstdCompressor",
    "envoy.extensions.compression.zstd.decompressor.v3.Zstd": "ZstdDecompressor",
    _HTTP + "dynamic_forward_proxy.v3.FilterConfig": "DynamicForwardProxyFilterConfig",
    _HTTP + "dynamic_forward_proxy.v3.PerRouteConfig": "DynamicForwardProxyPerRouteConfig",
    _HTTP + "ext_authz.v3.ExtAuthz": "HttpExtAuthz",
    _HTTP + "ext_authz.v3.HttpService": "ExtAuthzHttpService",
    _HTTP + "grpc_stats.v3.FilterConfig": "GrpcStatsFilterConfig",
    _HTTP + "grpc_stats.v3.FilterObject": "GrpcStatsFilterObject",
    _HTTP + "header_mutation.v3.HeaderMutation": "HttpHeaderMutation",
    _HTTP + "header_to_metadata.v3.Config": "HeaderToMetadataConfig",
    _HTTP + "health_check.v3.HealthCheck": "HealthCheckFilter",
    _HTTP + "jwt_authn.v3.PerRouteConfig": "JwtPerRouteConfig",
    _HTTP + "local_ratelimit.v3.LocalRateLimit": "HttpLocalRateLimit",
    _HTTP + "on_demand.v3.PerRouteConfig": "OnDemandPerRouteConfig",
    _HTTP + "ratelimit.v3.RateLimit": "HttpRateLimit",
    _HTTP + "rbac.v3.RBAC": "HttpRBAC",
    _HTTP + "rbac.v3.RBACPerRoute": "HttpRBACPerRoute",
    _HTTP + "set_metadata.v3.Config": "SetMetadataConfig",
    _HTTP + "set_metadata.v3.Metadata": "SetMetadataEntry",
    _NETWORK + "direct_response.v3.Config": "DirectResponseConfig",
    _NETWORK + "ext_authz.v3.ExtAuthz": "NetworkExtAuthz",
    _NETWORK + "local_ratelimit.v3.LocalRateLimit": "NetworkLocalRateLimit",
    _NETWORK + "rbac.v3.RBAC": "NetworkRBAC",
    _NETWORK + "set_filter_state.v3.Config": "SetFilterStateConfig",
    "envoy.extensions.formatter.metadata.v3.Metadata": "MetadataFormatter",
    "envoy.extensions.load_balancing_policies.common.v3.SlowStartConfig": "LbPolicySlowStartConfig",
    "envoy.extensions.matching.common_inputs.environment_variable.v3.Config": "EnvironmentVariableConfig",
    "envoy.extensions.matching.input_matchers.ip.v3.Ip": "IpInputMatcher",
    "envoy.extensions.transport_sockets.tcp_stats.v3.Config": "TcpStatsConfig",
    "envoy.extensions.upstreams.http.generic.v3.GenericConnectionPoolProto": "HttpGenericConnectionPoolProto",
    "envoy.extensions.upstreams.tcp.generic.v3.GenericConnectionPoolProto": "TcpGenericConnectionPoolProto",
    "envoy.extensions.upstreams.tcp.v3.TcpProtocolOptions": "UpstreamTcpProtocolOptions",
    "grpc.reflection.v1.ServerReflection": "ServerReflection",
    "grpc.reflection.v1.ServerReflectionRequest": "ServerReflectionRequest",
    "grpc.reflection.v1.ServerReflectionResponse": "ServerReflectionResponse",
    "grpc.reflection.v1alpha.ServerReflection": "ServerReflectionAlpha",
}

# Names that would hide Swift's or Foundation's own.
RESERVED = frozenset("""
    Any AnyObject Array Bool Character Clock Collection Data Date Decimal Decoder Dictionary Double Duration Encoder
    Error Float Formatter Host Int Iterator KeyPath Locale Mirror Never Notification Operation Optional Pipe Process
    Progress Range Regex Result Self Sequence Set Slice Stream String Substring Task Thread Timer Type URL UUID Unit Void
""".split())
