import CEnvoyAPI
import EnvoyAPI
import Protobuf

/// What a route (or virtual host, table, cluster) says to one filter, compiled by the type of what it says.
public enum RoutePolicy: Sendable {
    /// The filter does nothing here.
    case disabled
    /// The filter works here, though the connection manager lists it as disabled.
    case enabled
    /// Nil: nothing is asked.
    case accessControl(AccessControl?)
    case tokens(TokenSetting)
    case localRateLimit(LocalRateLimit)
    case fault(Fault)
    case crossOrigin(CrossOriginPolicy)
    case externalAuthorization(AuthorizationSetting)
    case statefulSession(StatefulSession)
    case headerMutation(HeaderMutations)
    case bodyLimit(BodyLimit)

    /// - Parameter type: the full name of the message.
    /// - Returns: nil for a setting that is optional and not known.
    static func read(_ type: String, _ bytes: [UInt8], isOptional: Bool) throws(ConfigurationError) -> RoutePolicy? {
        if isOptional, !knownTypes.contains(type) { return nil }
        return try read(type, bytes)
    }

    /// The full names of the messages that say something to filters.
    static let knownTypes: Set<String> = [
        HttpRBACPerRoute.descriptor.fullName, JwtPerRouteConfig.descriptor.fullName,
        HttpLocalRateLimit.descriptor.fullName, HTTPFault.descriptor.fullName,
        EnvoyAPI.CorsPolicy.descriptor.fullName, ExtAuthzPerRoute.descriptor.fullName,
        StatefulSessionPerRoute.descriptor.fullName, HeaderMutationPerRoute.descriptor.fullName,
        BufferPerRoute.descriptor.fullName,
    ]

    private static func read(_ type: String, _ bytes: [UInt8]) throws(ConfigurationError) -> RoutePolicy {
        let arena = Arena()
        func message<M: ProtobufMessage>(
            _ type: M.Type, _ fields: SupportedFields
        ) throws(ConfigurationError) -> M { try FieldAudit.decode(type, bytes, in: arena, fields).pointee }
        switch type {
        case HttpRBACPerRoute.descriptor.fullName:
            let rbac = try message(HttpRBACPerRoute.self, AccessControl.fields).rbac
            return .accessControl(
                try rbac.read("rbac") { (rbac) throws(ConfigurationError) in try AccessControl(rbac, in: arena) })
        case JwtPerRouteConfig.descriptor.fullName:
            return .tokens(try TokenSetting(message(JwtPerRouteConfig.self, TokenAuthentication.fields)))
        case HttpLocalRateLimit.descriptor.fullName:
            return .localRateLimit(try LocalRateLimit(message(HttpLocalRateLimit.self, LocalRateLimit.fields)))
        case HTTPFault.descriptor.fullName:
            return .fault(try Fault(message(HTTPFault.self, Fault.fields)))
        case EnvoyAPI.CorsPolicy.descriptor.fullName:
            return .crossOrigin(
                try CrossOriginPolicy(message(EnvoyAPI.CorsPolicy.self, CrossOriginPolicy.fields)))
        case ExtAuthzPerRoute.descriptor.fullName:
            return .externalAuthorization(
                try AuthorizationSetting(message(ExtAuthzPerRoute.self, ExternalAuthorization.fields)))
        case StatefulSessionPerRoute.descriptor.fullName:
            switch try message(StatefulSessionPerRoute.self, StatefulSession.fields).override {
            case .disabled(true): return .disabled
            case .stateful_session(let session):
                return .statefulSession(
                    try at("stateful_session") { () throws(ConfigurationError) in
                        try StatefulSession(session.pointee, in: arena)
                    })
            case .disabled, nil: throw .invalid(path: "", message: "neither disabled nor stateful_session")
            }
        case HeaderMutationPerRoute.descriptor.fullName:
            let mutations = try message(HeaderMutationPerRoute.self, HeaderMutations.fields).mutations
            return .headerMutation(
                try at("mutations") { () throws(ConfigurationError) in try HeaderMutations(mutations?.pointee) })
        case BufferPerRoute.descriptor.fullName:
            switch try message(BufferPerRoute.self, BodyLimit.fields).override {
            case .disabled(true): return .disabled
            case .buffer(let limit):
                return .bodyLimit(try at("buffer") { () throws(ConfigurationError) in try BodyLimit(limit.pointee) })
            case .disabled, nil: throw .invalid(path: "", message: "neither disabled nor buffer")
            }
        default:
            throw .unsupported(path: "", message: "`\(type)` is no setting of a filter that is supported")
        }
    }
}
