import CEnvoyAPI
import EnvoyAPI
import HTTP
import Protobuf

/// How a connection manager takes part in traces: which headers tell of them, and where its spans go.
/// Source: Envoy, `config.trace.v3.OpenTelemetryConfig`, `config.trace.v3.ZipkinConfig`.
public struct TraceProvider: Sendable, Equatable {
    /// What spans are sent as.
    public enum Form: Sendable, Equatable {
        /// A gRPC call of OpenTelemetry's protocol.
        case openTelemetryCall
        /// The same message as the body of a POST.
        case openTelemetryPost
        /// A list in JSON, as version 2 of Zipkin's interface takes it.
        case zipkin
    }

    /// A field of the requests that take spans away.
    struct Field: Sendable, Equatable {
        var name: [UInt8]
        var value: [UInt8]
        var isAdded: Bool
    }

    public let form: Form
    public let cluster: String
    public let authority: String
    public let path: String
    /// How long a request that takes spans away may last.
    public let timeout: Duration
    /// Spans that wait here at most.
    public let mostWaiting: Int
    let fields: [Field]
    /// Whose spans they are; empty: as the node says.
    public let serviceName: String
    public let propagation: TracePropagation
    /// Traces that begin here have identifiers of 128 bits.
    let makesWideIDs: Bool
    /// A server's span is its caller's too.
    let sharesSpans: Bool
    /// A proxy is a hop of its own, whose requests to upstreams are spans of their own.
    let isOwnHop: Bool

    static let standardCount = 1024

    init(_ message: TracingHttp, in arena: Arena) throws(ConfigurationError) {
        guard case .typed_config(let any)? = message.config_type else {
            throw .invalid(path: "typed_config", message: "missing")
        }
        self = try at("typed_config") { () throws(ConfigurationError) in
            switch FieldAudit.typeName(any.pointee) {
            case OpenTelemetryConfig.descriptor.fullName:
                return try TraceProvider(
                    FieldAudit.decode(OpenTelemetryConfig.self, any.pointee, in: arena, .tracers).pointee)
            case ZipkinConfig.descriptor.fullName:
                return try TraceProvider(
                    FieldAudit.decode(ZipkinConfig.self, any.pointee, in: arena, .tracers).pointee)
            case let other:
                throw .unsupported(
                    path: "",
                    message: "the tracer `\(other)` is not supported, only OpenTelemetry's and Zipkin's are")
            }
        }
    }

    private init(_ message: OpenTelemetryConfig) throws(ConfigurationError) {
        var fields: [Field] = []
        switch (message.grpc_service, message.http_service) {
        case (let service?, nil):
            guard case .envoy_grpc(let target) = service.pointee.target_specifier else {
                throw .unsupported(path: "grpc_service", message: "only envoy_grpc is supported")
            }
            form = .openTelemetryCall
            cluster = target.pointee.cluster_name.string
            guard !cluster.isEmpty else {
                throw .invalid(path: "grpc_service.envoy_grpc.cluster_name", message: "missing")
            }
            let given = target.pointee.authority.string
            authority = given.isEmpty ? cluster : given
            try FieldText.value(authority, "grpc_service.envoy_grpc.authority")
            path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
            timeout = try service.pointee.timeout.duration("grpc_service.timeout") ?? .seconds(10)
        case (nil, let service?):
            form = .openTelemetryPost
            let place = try at("http_service") { () throws(ConfigurationError) in
                let uri = try service.pointee.http_uri.required("http_uri")
                return try at("http_uri") { () throws(ConfigurationError) in try CollectorAddress(uri) }
            }
            (cluster, authority, path, timeout) = (place.cluster, place.authority, place.path, place.timeout)
            fields = try service.pointee.request_headers_to_add_list.read("http_service.request_headers_to_add") {
                (option) throws(ConfigurationError) in try Field(option.pointee)
            }
        case (nil, nil): throw .invalid(path: "", message: "neither grpc_service nor http_service is given")
        case (_?, _?): throw .invalid(path: "http_service", message: "grpc_service says already where spans go")
        }
        self.fields = fields
        mostWaiting = max(1, Int(message.max_cache_size.number ?? UInt32(Self.standardCount)))
        serviceName = message.service_name.string
        (propagation, makesWideIDs, sharesSpans, isOwnHop) = (.w3c, true, false, false)
    }

    private init(_ message: ZipkinConfig) throws(ConfigurationError) {
        form = .zipkin
        cluster = message.collector_cluster.string
        guard !cluster.isEmpty else { throw .invalid(path: "collector_cluster", message: "missing") }
        guard message.collector_endpoint_version == .HTTP_JSON else {
            throw .unsupported(path: "collector_endpoint_version", message: "only HTTP_JSON is supported")
        }
        path = message.collector_endpoint.string
        guard path.hasPrefix("/") else { throw .invalid(path: "collector_endpoint", message: "it is no path") }
        try FieldText.value(path, "collector_endpoint")
        let host = message.collector_hostname.string
        authority = host.isEmpty ? cluster : host
        try FieldText.value(authority, "collector_hostname")
        (timeout, mostWaiting, fields, serviceName) = (.seconds(5), Self.standardCount, [], "")
        switch message.trace_context_option {
        case .USE_B3: propagation = .b3
        case .USE_B3_WITH_W3C_PROPAGATION: propagation = .b3AndW3C
        default: throw .invalid(path: "trace_context_option", message: "unknown value")
        }
        makesWideIDs = message.trace_id_128bit != 0
        sharesSpans = message.shared_span_context.flag ?? true
        isOwnHop = message.split_spans_for_request != 0
    }

    /// The head of a request that takes spans away, but for the length.
    public var head: HeaderList {
        var head = HeaderList([
            (":method", "POST"), (":scheme", "http"), (":authority", authority), (":path", path),
        ])
        switch form {
        case .openTelemetryCall:
            head.append("te", "trailers")
            head.append("content-type", "application/grpc")
        case .openTelemetryPost: head.append("content-type", "application/x-protobuf")
        case .zipkin: head.append("content-type", "application/json")
        }
        for field in fields {
            field.name.withUnsafeBytes { name in
                field.value.withUnsafeBytes { value in
                    if field.isAdded {
                        head.append(name: name, value: value)
                    } else {
                        head.set(name: name, value: value)
                    }
                }
            }
        }
        return head
    }

    // MARK: Contexts

    /// Where a request that came stands in its trace, or in one that begins with it.
    /// - Parameters:
    ///   - isTraced: what is decided here; what came with the request counts more.
    ///   - kind: of the span.
    /// - Returns: nil where what came cannot be read: there is no span then, and it goes on as it is.
    public func begin(
        _ head: HeaderList, isTraced: Bool, _ kind: Span.Kind, random: inout some RandomNumberGenerator
    ) -> TraceContext? {
        switch ToldTrace(head, propagation) {
        case .unreadable: return nil
        case .nothing(let isSampled):
            let span = random.identifier()
            // Zipkin's first span is named like its trace.
            let low = form == .zipkin ? span : random.identifier()
            return TraceContext(
                high: makesWideIDs ? random.identifier() : 0, low: low, span: span, isSampled: isSampled ?? isTraced)
        case .context(var told, let isSampled):
            told.isSampled = isSampled ?? isTraced
            guard kind == .server, sharesSpans else { return told.child(&random) }
            told.isShared = true
            return told
        }
    }
}

/// An address of the web, and the cluster that serves it. Source: Envoy, `config.core.v3.HttpUri`.
private struct CollectorAddress {
    let cluster: String
    let authority: String
    let path: String
    let timeout: Duration

    init(_ message: HttpUri) throws(ConfigurationError) {
        guard case .cluster(let cluster)? = message.http_upstream_type, !cluster.isEmpty else {
            throw .invalid(path: "cluster", message: "missing")
        }
        self.cluster = cluster
        let uri = message.uri.string
        let rest = uri.firstRange(of: "://").map { uri[$0.upperBound...] } ?? uri[...]
        authority = String(rest.prefix { $0 != "/" && $0 != "?" })
        let path = rest.dropFirst(authority.count)
        self.path = path.hasPrefix("/") ? String(path) : "/" + path
        guard !authority.isEmpty, uri.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            throw .invalid(path: "uri", message: "`\(uri)` is no address of the web")
        }
        timeout = try message.timeout.duration("timeout") ?? .seconds(5)
    }
}

extension TraceProvider.Field {
    init(_ message: HeaderValueOption) throws(ConfigurationError) {
        let addition = try HeaderOperations.Addition(message)
        guard let constant = addition.constant else {
            throw .unsupported(path: "header.value", message: "only a value that is the same in every request")
        }
        guard addition.action != .overwriteIfPresent else {
            throw .unsupported(path: "append_action", message: "these requests have no such field to overwrite")
        }
        (name, value, isAdded) = (addition.name, constant, !addition.isOverwriting)
    }
}

extension SupportedFields {
    /// What ``TraceProvider`` reads.
    static let tracers =
        common
        + SupportedFields([
            // What machines and clouds tell of themselves, and samplers of their own, are not asked.
            "envoy.config.trace.v3.OpenTelemetryConfig": "grpc_service http_service service_name max_cache_size",
            "envoy.config.core.v3.GrpcService": "envoy_grpc timeout",
            "envoy.config.core.v3.GrpcService.EnvoyGrpc": "cluster_name authority",
            "envoy.config.core.v3.HttpService": "http_uri request_headers_to_add",
            "envoy.config.core.v3.HttpUri": "uri cluster timeout",
            "envoy.config.trace.v3.ZipkinConfig": """
            collector_cluster collector_endpoint trace_id_128bit shared_span_context collector_endpoint_version \
            collector_hostname split_spans_for_request trace_context_option
            """,
        ])
}
