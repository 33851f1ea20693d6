import CEnvoyAPI
import EnvoyAPI
import Protobuf

/// How connections with HTTP are served. Source: Envoy, `HttpConnectionManager`.
public final class HTTPConnectionSettings: Sendable {
    public enum Codec: Sendable { case detected, http1, http2 }

    public enum Routes: Sendable {
        case table(RouteTable)
        /// A route configuration of that name, which the control plane gives.
        case named(String)
    }

    public enum ServerHeader: Sendable { case overwrite, addIfAbsent, pass }

    /// What its statistics are counted under.
    public let statPrefix: String
    public let codec: Codec
    public let routes: Routes
    /// In order; the router, which is the last, is not among them.
    public let filters: HTTPFilterChain
    public let router: RouterSettings
    public let limits: ConnectionLimits
    public let http1: HTTP1Settings
    public let http2: HTTP2Settings
    public let serverName: String
    public let serverHeader: ServerHeader
    public let client: ClientSettings
    public let certificates: ForwardedCertificate
    public let paths: PathNormalisation
    public let host: HostNormalisation
    public let requestID: RequestIDSettings
    public let upgrades: UpgradeRules
    public let tracing: TracingSettings?
    /// Added to `via` both ways; empty: nothing.
    public let via: String
    /// The scheme that requests are given; nil: their own.
    public let scheme: String?
    public let accessLogs: [AccessLogRule]

    init(
        _ any: ProtobufAny, isOutbound: Bool = false, files: (GivenBytes) throws(ConfigurationError) -> [UInt8]
    ) throws(ConfigurationError) {
        let arena = Arena()
        let message = try FieldAudit.decode(HttpConnectionManager.self, any, in: arena, .managers).pointee
        statPrefix = message.stat_prefix.string
        switch message.codec_type {
        case .HTTP1: codec = .http1
        case .HTTP2: codec = .http2
        default: codec = .detected
        }
        switch message.route_specifier {
        case .rds(let rds):
            let name = rds.pointee.route_config_name.string
            guard !name.isEmpty else { throw .invalid(path: "rds.route_config_name", message: "missing") }
            routes = .named(name)
        case .route_config(let table):
            routes = .table(
                try at("route_config") { () throws(ConfigurationError) in try RouteTable(table, files: files) })
        case .scoped_routes: throw .unsupported(path: "scoped_routes", message: "scoped routes are not supported")
        case nil: throw .invalid(path: "route_specifier", message: "no routes are given")
        }
        let chain: [ExtensionSetting]
        (chain, router) = try Self.filters(message, in: arena)
        filters = try HTTPFilterChain(chain)
        limits = try ConnectionLimits(message)
        http1 = try HTTP1Settings(message.http_protocol_options?.pointee)
        http2 = try HTTP2Settings(message.http2_protocol_options?.pointee)
        serverName = message.server_name.string.isEmpty ? "envoy" : message.server_name.string
        try FieldText.value(serverName, "server_name")
        switch message.server_header_transformation {
        case .OVERWRITE: serverHeader = .overwrite
        case .APPEND_IF_ABSENT: serverHeader = .addIfAbsent
        case .PASS_THROUGH: serverHeader = .pass
        default: throw .invalid(path: "server_header_transformation", message: "unknown value")
        }
        client = try ClientSettings(message, in: arena)
        certificates = try ForwardedCertificate(message)
        let slashes: PathNormalisation.EscapedSlashes
        switch message.path_with_escaped_slashes_action {
        case .IMPLEMENTATION_SPECIFIC_DEFAULT, .KEEP_UNCHANGED: slashes = .keep
        case .REJECT_REQUEST: slashes = .reject
        case .UNESCAPE_AND_REDIRECT: slashes = .redirect
        case .UNESCAPE_AND_FORWARD: slashes = .forward
        default: throw .invalid(path: "path_with_escaped_slashes_action", message: "unknown value")
        }
        paths = PathNormalisation(
            normalises: message.normalize_path.flag ?? false, mergesSlashes: message.merge_slashes != 0,
            escapedSlashes: slashes)
        host = HostNormalisation(message)
        requestID = try RequestIDSettings(message, in: arena)
        var upgrades = UpgradeRules()
        for upgrade in message.upgrade_configs_list {
            upgrades.isEnabled[upgrade.pointee.upgrade_type.string.lowercased()] = upgrade.pointee.enabled.flag ?? true
        }
        self.upgrades = upgrades
        tracing = try message.tracing.read("tracing") { (tracing) throws(ConfigurationError) in
            try TracingSettings(tracing, isOutbound: isOutbound, in: arena, files: files)
        }
        via = message.via.string
        try FieldText.value(via, "via")
        if case .scheme_to_overwrite(let text)? = message.scheme_header_transformation?.pointee.transformation {
            try FieldText.value(text, "scheme_header_transformation.scheme_to_overwrite")
            self.scheme = text
        } else {
            self.scheme = nil
        }
        accessLogs = try AccessLogRule.rules(message.access_log_list, in: arena)
    }

    private static func filters(
        _ message: HttpConnectionManager, in arena: Arena
    ) throws(ConfigurationError) -> ([ExtensionSetting], RouterSettings) {
        var filters: [ExtensionSetting] = []
        var router: RouterSettings?
        for (index, filter) in message.http_filters_list.enumerated() {
            let place = "http_filters[\(index)]"
            guard router == nil else { throw .invalid(path: place, message: "a filter after the router") }
            guard case .typed_config(let any) = filter.pointee.config_type else {
                throw .unsupported(path: place, message: "a filter without typed_config")
            }
            if FieldAudit.typeName(any.pointee) == Router.descriptor.fullName {
                router = try at(place + ".typed_config") { () throws(ConfigurationError) in
                    try RouterSettings(any.pointee, in: arena)
                }
                continue
            }
            filters.append(
                ExtensionSetting(
                    filter.pointee.name.string, any.pointee, isOptional: filter.pointee.is_optional != 0,
                    isDisabled: filter.pointee.disabled != 0))
        }
        guard let router else {
            throw .invalid(path: "http_filters", message: "the last filter has to be envoy.filters.http.router")
        }
        return (filters, router)
    }
}

/// The filter that passes requests on. Source: Envoy, `filters.http.router.v3.Router`.
public struct RouterSettings: Sendable, Equatable {
    /// No `x-envoy-…` headers are made, but those that are asked for.
    public let suppressesHeaders: Bool
    /// Requests to upstreams are spans of their own.
    public let spansUpstream: Bool

    init(_ any: ProtobufAny, in arena: Arena) throws(ConfigurationError) {
        let message = try FieldAudit.decode(Router.self, any, in: arena, Self.fields).pointee
        suppressesHeaders = message.suppress_envoy_headers != 0
        spansUpstream = message.start_child_span != 0
    }

    // Statistics of their own change nothing that a request sees.
    private static let fields = SupportedFields([
        "envoy.extensions.filters.http.router.v3.Router": """
        dynamic_stats~ start_child_span suppress_envoy_headers suppress_grpc_request_failure_code_stats~
        """
    ])
}
