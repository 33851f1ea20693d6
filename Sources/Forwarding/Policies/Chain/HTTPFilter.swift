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

    /// The full names of the messages that ``read(_:_:_:)`` takes.
    static let knownTypes: Set<String> = [
        HttpRBAC.descriptor.fullName, JwtAuthentication.descriptor.fullName, HttpLocalRateLimit.descriptor.fullName,
        HTTPFault.descriptor.fullName, Cors.descriptor.fullName, HttpExtAuthz.descriptor.fullName,
        EnvoyAPI.StatefulSession.descriptor.fullName, HttpHeaderMutation.descriptor.fullName,
        Buffer.descriptor.fullName, SetMetadataConfig.descriptor.fullName, GrpcWeb.descriptor.fullName,
        GrpcStatsFilterConfig.descriptor.fullName,
    ]

    /// Decodes and compiles a filter's message.
    /// - Parameters:
    ///   - name: only for the message about a type that nobody knows.
    ///   - type: the full name of the message.
    public static func read(
        _ name: String, _ type: String, _ bytes: [UInt8]
    ) throws(ConfigurationError) -> HTTPFilter {
        let arena = Arena()
        func message<M: ProtobufMessage>(
            _ type: M.Type, _ fields: SupportedFields
        ) throws(ConfigurationError) -> M { try FieldAudit.decode(type, bytes, in: arena, fields).pointee }
        switch type {
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
        default:
            throw .unsupported(
                path: "", message: "the HTTP filter `\(name)` (\(type.isEmpty ? "no type" : type)) is not supported")
        }
    }
}
