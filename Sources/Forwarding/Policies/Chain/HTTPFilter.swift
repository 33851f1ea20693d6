import CEnvoyAPI
import EnvoyAPI
import Protobuf

/// A filter of a connection manager, compiled. What a route says of it is already in: see
/// ``HTTPFilterChain/applying(_:)``.
public enum HTTPFilter: Sendable {
    /// Nil: nothing is asked on this route.
    case accessControl(AccessControl?)
    case tokens(TokenAuthentication, TokenSetting?)
    case localRateLimit(LocalRateLimit)
    case fault(Fault)
    /// Nil: no page of another origin is answered.
    case crossOrigin(CrossOriginPolicy?)
    case externalAuthorization(ExternalAuthorization, AuthorizationSetting?)
    case statefulSession(StatefulSession?)
    /// In this order.
    case headerMutation([HeaderMutations])
    case bodyLimit(BodyLimit)
    case fixedMetadata(FixedMetadata)
    /// See ``GRPCWebTranslation``.
    case grpcWeb
    /// Only counts.
    case grpcStatistics
    case router(RouterSettings)

    /// Decodes and compiles what a filter's `typed_config` holds.
    /// - Parameter name: only for the message about a type that nobody knows.
    public static func read(
        _ name: String, _ any: ProtobufAny, in arena: Arena
    ) throws(ConfigurationError) -> HTTPFilter {
        func message<M: ProtobufMessage>(
            _ type: M.Type, _ fields: SupportedFields
        ) throws(ConfigurationError) -> M { try FieldAudit.decode(type, any, in: arena, fields).pointee }
        switch FieldAudit.typeName(any) {
        case HttpRBAC.descriptor.fullName:
            return .accessControl(try AccessControl(message(HttpRBAC.self, AccessControl.fields), in: arena))
        case JwtAuthentication.descriptor.fullName:
            return .tokens(
                try TokenAuthentication(message(JwtAuthentication.self, TokenAuthentication.fields), in: arena), nil)
        case HttpLocalRateLimit.descriptor.fullName:
            return .localRateLimit(try LocalRateLimit(message(HttpLocalRateLimit.self, LocalRateLimit.fields)))
        case HTTPFault.descriptor.fullName:
            return .fault(try Fault(message(HTTPFault.self, Fault.fields)))
        case Cors.descriptor.fullName:
            _ = try message(Cors.self, CrossOriginPolicy.fields)
            return .crossOrigin(nil)
        case HttpExtAuthz.descriptor.fullName:
            return .externalAuthorization(
                try ExternalAuthorization(message(HttpExtAuthz.self, ExternalAuthorization.fields)), nil)
        case EnvoyAPI.StatefulSession.descriptor.fullName:
            let settings = try message(EnvoyAPI.StatefulSession.self, StatefulSession.fields)
            return .statefulSession(
                settings.session_state == nil ? nil : try StatefulSession(settings, in: arena))
        case HttpHeaderMutation.descriptor.fullName:
            return .headerMutation([try HeaderMutations(message(HttpHeaderMutation.self, HeaderMutations.fields))])
        case Buffer.descriptor.fullName:
            return .bodyLimit(try BodyLimit(message(Buffer.self, BodyLimit.fields)))
        case SetMetadataConfig.descriptor.fullName:
            return .fixedMetadata(try FixedMetadata(message(SetMetadataConfig.self, FixedMetadata.fields)))
        case GrpcWeb.descriptor.fullName:
            _ = try message(GrpcWeb.self, SupportedFields([GrpcWeb.descriptor.fullName: ""]))
            return .grpcWeb
        case GrpcStatsFilterConfig.descriptor.fullName:
            // Messages are counted per cluster, whatever is asked for per method.
            _ = try message(
                GrpcStatsFilterConfig.self,
                SupportedFields([
                    GrpcStatsFilterConfig.descriptor.fullName: """
                    emit_filter_state stats_for_all_methods individual_method_stats_allowlist* enable_upstream_stats \
                    replace_dots_in_grpc_service_name
                    """
                ]))
            return .grpcStatistics
        case Router.descriptor.fullName:
            return .router(try RouterSettings(message(Router.self, RouterSettings.fields)))
        case let type:
            throw .unsupported(
                path: "", message: "the HTTP filter `\(name)` (\(type.isEmpty ? "no type" : type)) is not supported")
        }
    }
}

/// How the last filter passes requests on. Source: Envoy, `extensions.filters.http.router.v3.Router`.
public struct RouterSettings: Hashable, Sendable {
    /// No `x-envoy-…` fields are added.
    public let suppressesFields: Bool
    /// `x-envoy-expected-rq-timeout-ms` of a request is believed.
    public let believesTimeout: Bool

    init(_ message: Router) {
        suppressesFields = message.suppress_envoy_headers != 0
        believesTimeout = message.respect_expected_rq_timeout != 0
    }

    // Statistics are always kept, and a span of its own per try is none of what is traced.
    static let fields =
        SupportedFields([
            "envoy.extensions.filters.http.router.v3.Router": """
            dynamic_stats start_child_span suppress_envoy_headers respect_expected_rq_timeout \
            suppress_grpc_request_failure_code_stats
            """
        ])
}
