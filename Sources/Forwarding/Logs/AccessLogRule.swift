import CEnvoyAPI
import EnvoyAPI
import Protobuf
import Time

/// One log of a listener, connection manager or TCP proxy, compiled: which records it takes, what it writes of them, and
/// where to. Source: Envoy, `config.accesslog.v3.AccessLog`.
public final class AccessLogRule: Sendable {
    public enum Target: Sendable {
        /// Lines, appended. `/dev/stdout` and `/dev/stderr` are paths too.
        case file(path: String, LogFormat)
        case service(LogService)
    }

    public let name: String
    /// Nil: all records.
    public let filter: LogFilter?
    public let target: Target

    /// - Parameter bytes: an `AccessLog`.
    public convenience init(_ bytes: [UInt8]) throws(ConfigurationError) {
        let arena = Arena()
        let message = try FieldAudit.decode(AccessLog.self, bytes, in: arena, .logs)
        try self.init(message.pointee, in: arena)
    }

    init(_ message: AccessLog, in arena: Arena) throws(ConfigurationError) {
        name = message.name.string
        filter = try message.filter.read("filter") { (filter) throws(ConfigurationError) in
            try LogFilter(filter, in: arena)
        }
        guard case .typed_config(let any) = message.config_type else {
            throw .invalid(path: "typed_config", message: "missing")
        }
        target = try at("typed_config") { () throws(ConfigurationError) in try Self.target(any.pointee, in: arena) }
    }

    /// All logs of one place.
    static func rules(
        _ messages: Repeated<AccessLog>, in arena: Arena, _ field: String = "access_log"
    ) throws(ConfigurationError) -> [AccessLogRule] {
        try messages.read(field) { (message) throws(ConfigurationError) in
            try FieldAudit.check(DynamicMessage(message), .logs)
            return try AccessLogRule(message.pointee, in: arena)
        }
    }

    private static func target(_ any: ProtobufAny, in arena: Arena) throws(ConfigurationError) -> Target {
        let name = FieldAudit.typeName(any)
        switch name {
        case FileAccessLog.descriptor.fullName:
            let log = try FieldAudit.decode(FileAccessLog.self, any, in: arena, .logs).pointee
            let path = log.path.string
            guard !path.isEmpty else { throw .invalid(path: "path", message: "missing") }
            return .file(path: path, try format(log))
        case StdoutAccessLog.descriptor.fullName:
            let log = try FieldAudit.decode(StdoutAccessLog.self, any, in: arena, .logs).pointee
            guard case .log_format(let given) = log.access_log_format else {
                return .file(path: "/dev/stdout", try LogFormat(text: LogFormat.standard))
            }
            return .file(path: "/dev/stdout", try format(given.pointee))
        case StderrAccessLog.descriptor.fullName:
            let log = try FieldAudit.decode(StderrAccessLog.self, any, in: arena, .logs).pointee
            guard case .log_format(let given) = log.access_log_format else {
                return .file(path: "/dev/stderr", try LogFormat(text: LogFormat.standard))
            }
            return .file(path: "/dev/stderr", try format(given.pointee))
        case HttpGrpcAccessLogConfig.descriptor.fullName:
            let log = try FieldAudit.decode(HttpGrpcAccessLogConfig.self, any, in: arena, .logs).pointee
            return .service(
                try LogService(
                    log.common_config, requestHeaders: Array(log.additional_request_headers_to_log_list),
                    responseHeaders: Array(log.additional_response_headers_to_log_list),
                    trailers: Array(log.additional_response_trailers_to_log_list)))
        case TcpGrpcAccessLogConfig.descriptor.fullName:
            let log = try FieldAudit.decode(TcpGrpcAccessLogConfig.self, any, in: arena, .logs).pointee
            return .service(try LogService(log.common_config))
        default:
            throw .unsupported(path: "", message: "the logger `\(name.isEmpty ? "no type" : name)` is not supported")
        }
    }

    private static func format(_ log: FileAccessLog) throws(ConfigurationError) -> LogFormat {
        switch log.access_log_format {
        case .format(let text):
            try at("format") { () throws(ConfigurationError) in
                try LogFormat(text: text.isEmpty ? LogFormat.standard : text)
            }
        case .json_format(let fields), .typed_json_format(let fields):
            try LogFormat(json: StructureValue.fields(fields.pointee))
        case .log_format(let given):
            try at("log_format") { () throws(ConfigurationError) in try format(given.pointee) }
        case nil: try LogFormat(text: LogFormat.standard)
        }
    }

    private static func format(_ message: SubstitutionFormatString) throws(ConfigurationError) -> LogFormat {
        let omitsEmpty = message.omit_empty_values != 0
        switch message.format {
        case .text_format(let text):
            return try at("text_format") { () throws(ConfigurationError) in
                try LogFormat(text: text, omitsEmpty: omitsEmpty)
            }
        case .json_format(let fields):
            return try LogFormat(
                json: StructureValue.fields(fields.pointee), omitsEmpty: omitsEmpty,
                sortsNames: message.json_format_options.map { $0.pointee.sort_properties != 0 } ?? false)
        case .text_format_source(let source):
            return try at("text_format_source") { () throws(ConfigurationError) in
                guard case .inline(let bytes) = try GivenBytes(source.pointee) else {
                    throw .unsupported(path: "", message: "only inline formats are supported")
                }
                return try LogFormat(text: String(decoding: bytes, as: UTF8.self), omitsEmpty: omitsEmpty)
            }
        case nil: throw .invalid(path: "", message: "no format is given")
        }
    }
}

/// An access log service, and how entries go there.
public struct LogService: Sendable, Equatable {
    public var logName: String
    public var cluster: String
    /// Of the calls; empty: the cluster's name.
    public var authority: String
    /// How long entries may wait.
    public var interval: Duration
    /// Bytes of entries that go at once, whatever the interval.
    public var batch: Int
    /// Lower-case names of fields that entries tell of beside the usual ones.
    public var requestHeaders: [String]
    public var responseHeaders: [String]
    public var trailers: [String]

    /// Where the entries go and how, whatever they tell: those of one log go together.
    public var destination: LogService {
        var destination = self
        (destination.requestHeaders, destination.responseHeaders, destination.trailers) = ([], [], [])
        return destination
    }

    /// Intervals outside are taken for the nearer of these.
    static let shortestInterval = Duration.milliseconds(10)
    static let longestInterval = Duration.seconds(3600)

    init(
        _ message: UnsafeMutablePointer<CommonGrpcAccessLogConfig>?, requestHeaders: [String] = [],
        responseHeaders: [String] = [], trailers: [String] = []
    ) throws(ConfigurationError) {
        let common = try message.required("common_config")
        logName = common.log_name.string
        guard !logName.isEmpty else { throw .invalid(path: "common_config.log_name", message: "missing") }
        let service = try common.grpc_service.required("common_config.grpc_service")
        guard case .envoy_grpc(let target) = service.target_specifier else {
            throw .unsupported(path: "common_config.grpc_service", message: "only envoy_grpc is supported")
        }
        cluster = target.pointee.cluster_name.string
        guard !cluster.isEmpty else {
            throw .invalid(path: "common_config.grpc_service.envoy_grpc.cluster_name", message: "missing")
        }
        authority = target.pointee.authority.string
        let given = try common.buffer_flush_interval.duration("common_config.buffer_flush_interval") ?? .seconds(1)
        interval = min(max(given, Self.shortestInterval), Self.longestInterval)
        batch = Int(common.buffer_size_bytes.number ?? 16_384)
        self.requestHeaders = requestHeaders.map { $0.lowercased() }
        self.responseHeaders = responseHeaders.map { $0.lowercased() }
        self.trailers = trailers.map { $0.lowercased() }
    }
}

extension SupportedFields {
    /// What ``AccessLogRule`` reads.
    static let logs =
        common
        + SupportedFields([
            "envoy.config.accesslog.v3.AccessLog": "name filter typed_config*",
            "envoy.config.accesslog.v3.AccessLogFilter": """
            status_code_filter duration_filter not_health_check_filter runtime_filter and_filter \
            or_filter header_filter response_flag_filter grpc_status_filter extension_filter metadata_filter \
            log_type_filter traceable_filter
            """,
            "envoy.config.accesslog.v3.TraceableFilter": "",
            "envoy.config.accesslog.v3.StatusCodeFilter": "comparison",
            "envoy.config.accesslog.v3.DurationFilter": "comparison",
            "envoy.config.accesslog.v3.ComparisonFilter": "op value",
            "envoy.config.accesslog.v3.NotHealthCheckFilter": "",
            // There is no runtime: the default holds, so the key changes nothing.
            "envoy.config.accesslog.v3.RuntimeFilter": "runtime_key~ percent_sampled use_independent_randomness",
            "envoy.config.accesslog.v3.AndFilter": "filters",
            "envoy.config.accesslog.v3.OrFilter": "filters",
            "envoy.config.accesslog.v3.HeaderFilter": "header",
            "envoy.config.accesslog.v3.ResponseFlagFilter": "flags",
            "envoy.config.accesslog.v3.GrpcStatusFilter": "statuses exclude",
            "envoy.config.accesslog.v3.ExtensionFilter": "name typed_config*",
            "envoy.config.accesslog.v3.MetadataFilter": "matcher match_if_key_not_found",
            "envoy.config.accesslog.v3.LogTypeFilter": "types exclude",
            "envoy.extensions.access_loggers.file.v3.FileAccessLog":
                "path format json_format typed_json_format log_format",
            "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog": "log_format",
            "envoy.extensions.access_loggers.stream.v3.StderrAccessLog": "log_format",
            "envoy.config.core.v3.SubstitutionFormatString":
                "text_format json_format text_format_source omit_empty_values json_format_options",
            "envoy.config.core.v3.JsonFormatOptions": "sort_properties",
            "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig": """
            common_config additional_request_headers_to_log additional_response_headers_to_log \
            additional_response_trailers_to_log
            """,
            "envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig": "common_config",
            "envoy.extensions.access_loggers.grpc.v3.CommonGrpcAccessLogConfig": """
            log_name grpc_service transport_api_version=V3|AUTO buffer_flush_interval buffer_size_bytes
            """,
            // Retries and timeouts of the stream are this proxy's own.
            "envoy.config.core.v3.GrpcService": "envoy_grpc timeout*",
            "envoy.config.core.v3.GrpcService.EnvoyGrpc": "cluster_name authority",
        ])
}
