import CEnvoyAPI
import EnvoyAPI
import HTTP
import Protobuf

/// Source: Envoy, `HttpConnectionManager.Tracing`.
public struct TracingSettings: Sendable {
    public let sampling: TraceSampling
    /// Spans tell when each part of the work began and ended.
    let isVerbose: Bool
    /// Bytes of the path in `http.url`.
    let longestPath: Int
    let tags: [SpanTag]
    /// What spans are called, if that is not empty.
    let operation: LogFormat?
    let upstreamOperation: LogFormat?
    /// Nil: the decision of what is traced is told to those that follow, and no span is made.
    public let provider: TraceProvider?
    /// Requests to upstreams are spans of their own.
    public let spansUpstream: Bool
    /// The listener takes what goes out of a workload.
    public let isOutbound: Bool

    init(
        _ message: HttpConnectionManagerTracing, isOutbound: Bool, in arena: Arena,
        files: (GivenBytes) throws(ConfigurationError) -> [UInt8]
    ) throws(ConfigurationError) {
        func share(
            _ percent: UnsafeMutablePointer<Percent>?, of denominator: UInt32, _ field: String
        ) throws(ConfigurationError) -> Fraction {
            guard let value = percent?.pointee.value else { return .all }
            guard (0...100).contains(value) else {
                throw .invalid(path: field + ".value", message: "\(value) is no share of a hundred")
            }
            return Fraction(
                numerator: UInt32((value * Double(denominator) / 100).rounded()), denominator: denominator)
        }
        sampling = TraceSampling(
            client: try share(message.client_sampling, of: 100, "client_sampling"),
            random: try share(message.random_sampling, of: 10_000, "random_sampling"),
            overall: try share(message.overall_sampling, of: 10_000, "overall_sampling"))
        isVerbose = message.verbose != 0
        longestPath = Int(message.max_path_tag_length.number ?? 256)
        tags = try SpanTag.tags(message.custom_tags_list, files)
        operation = try LogFormat(operation: message.operation.string, "operation")
        upstreamOperation = try LogFormat(operation: message.upstream_operation.string, "upstream_operation")
        provider = try message.provider.read("provider") { (provider) throws(ConfigurationError) in
            try TraceProvider(provider, in: arena)
        }
        spansUpstream = message.spawn_upstream_span.flag ?? false
        self.isOutbound = isOutbound
    }

    /// Of the span of a request: one that shows what this proxy does is a server's, one that stands for the workload
    /// is a client's where that calls. Source: Envoy, `Tracer::startSpan`.
    public var kind: Span.Kind { spansUpstream || provider?.isOwnHop == true || !isOutbound ? .server : .client }
}

/// What a route says of traces. Source: Envoy, `config.route.v3.Tracing`.
public struct RouteTracingRules: Sendable {
    public let sampling: TraceSampling
    /// They count more than those of the connection manager.
    let tags: [SpanTag]
    let operation: LogFormat?
    let upstreamOperation: LogFormat?

    init(
        _ message: RouteTracing, _ files: (GivenBytes) throws(ConfigurationError) -> [UInt8]
    ) throws(ConfigurationError) {
        sampling = TraceSampling(
            client: try message.client_sampling.fraction("client_sampling"),
            random: try message.random_sampling.fraction("random_sampling"),
            overall: try message.overall_sampling.fraction("overall_sampling"))
        tags = try SpanTag.tags(message.custom_tags_list, files)
        operation = try LogFormat(operation: message.operation.string, "operation")
        upstreamOperation = try LogFormat(operation: message.upstream_operation.string, "upstream_operation")
    }
}

/// A tag that spans have beside the usual ones. Source: Envoy, `type.tracing.v3.CustomTag`.
struct SpanTag: Sendable {
    enum Source: Sendable {
        case text(String)
        case header([UInt8], standard: String)
        /// With command operators.
        case format(LogFormat)
        case metadata(isOfRoute: Bool, filter: String, path: [String], standard: String)
    }

    let name: String
    let source: Source

    static func tags(
        _ messages: Repeated<CustomTag>, _ files: (GivenBytes) throws(ConfigurationError) -> [UInt8]
    ) throws(ConfigurationError) -> [SpanTag] {
        try messages.read("custom_tags") { (tag) throws(ConfigurationError) in try SpanTag(tag.pointee, files) }
    }

    private init(
        _ message: CustomTag, _ files: (GivenBytes) throws(ConfigurationError) -> [UInt8]
    ) throws(ConfigurationError) {
        name = message.tag.string
        guard !name.isEmpty else { throw .invalid(path: "tag", message: "missing") }
        switch message.type {
        case .literal(let text): source = .text(text.pointee.value.string)
        case .environment(let from):
            // What is not set has the value that is given for this.
            let found = try? files(.environment(from.pointee.name.string))
            source = .text(found.map { String(decoding: $0, as: UTF8.self) } ?? from.pointee.default_value.string)
        case .request_header(let from):
            source = .header(
                try at("request_header.name") { () throws(ConfigurationError) in
                    let name = from.pointee.name.string
                    return name.hasPrefix(":") ? Array(name.utf8) : try FieldText.name(name)
                }, standard: from.pointee.default_value.string)
        case .value(let text):
            source = .format(
                try at("value") { () throws(ConfigurationError) in try LogFormat(text: text, omitsEmpty: true) })
        case .metadata(let from):
            source = try at("metadata") { () throws(ConfigurationError) in try Self.source(from.pointee) }
        case nil: throw .invalid(path: "", message: "a tag without a value")
        }
    }

    private static func source(_ message: CustomTagMetadata) throws(ConfigurationError) -> Source {
        let isOfRoute: Bool
        switch message.kind?.pointee.kind {
        case .request, nil: isOfRoute = false
        case .route: isOfRoute = true
        case .cluster: throw .unsupported(path: "kind", message: "only metadata of requests and routes are told")
        case .host: throw .unsupported(path: "kind", message: "only metadata of requests and routes are told")
        }
        let key = try message.metadata_key.required("metadata_key")
        let path = try key.path_list.read("metadata_key.path") { (segment) throws(ConfigurationError) in
            guard case .key(let name)? = segment.pointee.segment else {
                throw .invalid(path: "key", message: "missing")
            }
            return name
        }
        return .metadata(
            isOfRoute: isOfRoute, filter: key.key.string, path: path, standard: message.default_value.string)
    }
}

extension LogFormat {
    /// - Returns: nil for the empty text.
    fileprivate init?(operation text: String, _ field: String) throws(ConfigurationError) {
        if text.isEmpty { return nil }
        self = try at(field) { () throws(ConfigurationError) in try LogFormat(text: text, omitsEmpty: true) }
    }
}
