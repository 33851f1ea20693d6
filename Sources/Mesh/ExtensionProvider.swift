/// A service outside of the proxies that these ask, or that they tell of their work, under a name that policies and
/// Telemetry objects use.
///
/// ```yaml
/// extensionProviders:
/// - name: opa
///   envoyExtAuthzGrpc: { service: opa.policy.svc.cluster.local, port: 9191 }
/// - name: spans
///   opentelemetry: { service: collector.observe.svc.cluster.local, port: 4317 }
/// ```
/// Source: Istio, MeshConfig.ExtensionProvider.
public struct ExtensionProvider: Hashable, Sendable {
    public enum Work: Hashable, Sendable {
        case authorization(ExternalAuthorization)
        case fileLog(FileLog)
        /// Logs of HTTP requests, over gRPC.
        case httpLog(LogService)
        /// Logs of connections that are no HTTP.
        case streamLog(LogService)
        case zipkin(Zipkin)
        case openTelemetry(OpenTelemetry)
        /// Proxies offer their statistics in this form anyway.
        case prometheus
    }

    /// A port of a service of the mesh, as the configuration names it.
    public struct Place: Hashable, Sendable {
        /// Nil: whichever namespace's service it is.
        public var namespace: String?
        /// In full, or `NAME.NAMESPACE`.
        public var host: String
        public var port: Int
    }

    public struct FileLog: Hashable, Sendable {
        public enum Format: Hashable, Sendable {
            case text(String)
            /// JSON with these fields.
            case labels([String: String])
        }

        public var path: String
        /// Nil is Envoy's own.
        public var format: Format?
    }

    public struct LogService: Hashable, Sendable {
        public var place: Place
        /// Nil: the kind of log.
        public var logName: String?
        public var requestHeaders: [String]
        public var responseHeaders: [String]
        public var responseTrailers: [String]
    }

    public struct Zipkin: Hashable, Sendable {
        public var place: Place
        /// Bytes of the path in a span's name; nil is Envoy's own.
        public var maxTagLength: Int?
        /// Of the collector.
        public var path: String
    }

    public struct OpenTelemetry: Hashable, Sendable {
        public struct HTTP: Hashable, Sendable {
            public var path: String
            public var timeout: Duration?
            /// In order.
            public var headers: [Header]
        }

        public struct Header: Hashable, Sendable {
            public var name: String
            public var value: String
        }

        public var place: Place
        public var maxTagLength: Int?
        /// Nil: gRPC.
        public var http: HTTP?
    }

    public var name: String
    public var work: Work
}

/// A service that decides whether a request may pass. Source: Istio, EnvoyExternalAuthorizationHttpProvider and
/// EnvoyExternalAuthorizationGrpcProvider.
public struct ExternalAuthorization: Hashable, Sendable {
    public struct Body: Hashable, Sendable {
        /// Bytes.
        public var limit: Int
        /// Whether a body that is longer is sent in part; otherwise the request is refused with 413.
        public var allowsPart: Bool
        /// As bytes instead of text; over gRPC.
        public var isPacked: Bool
    }

    /// What is special to HTTP. Header names may have a star at one end.
    public struct HTTP: Hashable, Sendable {
        public var pathPrefix: String?
        /// Of the request, to the service.
        public var requestHeaders: [String]
        /// Sent to the service besides.
        public var additionalHeaders: [String: String]
        /// Of the service's answer, to the workload.
        public var upstreamHeaders: [String]
        /// Of the service's answer, to the client that is refused.
        public var headersOnDeny: [String]
        /// Of the service's answer, to the client that is let in.
        public var headersOnAllow: [String]
    }

    public var place: ExtensionProvider.Place
    public var timeout: Duration
    /// Whether requests pass while the service cannot be asked.
    public var failsOpen: Bool
    /// What clients get while it cannot be asked; nil is 403.
    public var statusOnError: Int?
    public var clearsRouteCache: Bool
    public var body: Body?
    /// Nil: gRPC.
    public var http: HTTP?
}

extension ExtensionProvider: ObjectPart {
    private static let kinds = [
        "envoyExtAuthzHttp", "envoyExtAuthzGrpc", "envoyFileAccessLog", "envoyHttpAls", "envoyTcpAls", "zipkin",
        "opentelemetry", "prometheus",
    ]

    private struct Nothing: ObjectPart {
        init(_ fields: inout ObjectFields) {}
    }

    init(_ fields: inout ObjectFields) {
        name = fields.requiredText("name")
        let http: AuthorizationOverHTTP? = fields.optional("envoyExtAuthzHttp")
        let grpc: AuthorizationOverGRPC? = fields.optional("envoyExtAuthzGrpc")
        let file: FileLog? = fields.optional("envoyFileAccessLog")
        let httpLog: LogService? = fields.optional("envoyHttpAls")
        let streamLog: StreamLog? = fields.optional("envoyTcpAls")
        let zipkin: Zipkin? = fields.optional("zipkin")
        let openTelemetry: OpenTelemetry? = fields.optional("opentelemetry")
        let _: Nothing? = fields.optional("prometheus")
        fields.exactlyOne(Self.kinds)
        work =
            http.map { .authorization($0.made) } ?? grpc.map { .authorization($0.made) } ?? file.map { .fileLog($0) }
            ?? httpLog.map { .httpLog($0) } ?? streamLog.map { .streamLog($0.made) } ?? zipkin.map { .zipkin($0) }
            ?? openTelemetry.map { .openTelemetry($0) } ?? .prometheus
    }
}

extension ObjectFields {
    /// `service` and `port`.
    fileprivate mutating func servicePlace() -> ExtensionProvider.Place {
        let text = requiredText("service", .providerService)
        let parts = text.split(separator: "/", maxSplits: 1).map(String.init)
        return ExtensionProvider.Place(
            namespace: parts.count == 2 ? parts[0] : nil, host: parts.last ?? "", port: requiredPort("port"))
    }

    fileprivate mutating func status(_ name: String) -> Int? {
        guard let text: String = optional(name) else { return nil }
        guard let status = Int(text), (200...599).contains(status) else {
            fail(.invalidValue, name, "`\(text)` is no status", mend: "write a number from 200 to 599, in quotes")
            return nil
        }
        return status
    }
}

extension ExternalAuthorization.Body: ObjectPart {
    init(_ fields: inout ObjectFields) {
        limit = fields.int("maxRequestBytes", 1...Int(Int32.max)) ?? 1
        if !fields.has("maxRequestBytes") { fields.failMissing("maxRequestBytes") }
        allowsPart = fields.value("allowPartialMessage", default: false)
        isPacked = fields.value("packAsBytes", default: false)
    }
}

/// Istio's own.
private let longestCheck = Duration.seconds(600)

private struct AuthorizationOverGRPC: ObjectPart {
    var made: ExternalAuthorization

    init(_ fields: inout ObjectFields) {
        made = ExternalAuthorization(
            place: fields.servicePlace(), timeout: fields.duration("timeout", least: .milliseconds(1)) ?? longestCheck,
            failsOpen: fields.value("failOpen", default: false), statusOnError: fields.status("statusOnError"),
            clearsRouteCache: fields.value("clearRouteCache", default: false),
            body: fields.optional("includeRequestBodyInCheck"))
    }
}

private struct AuthorizationOverHTTP: ObjectPart {
    var made: ExternalAuthorization

    init(_ fields: inout ObjectFields) {
        made = ExternalAuthorization(
            place: fields.servicePlace(), timeout: fields.duration("timeout", least: .milliseconds(1)) ?? longestCheck,
            failsOpen: fields.value("failOpen", default: false), statusOnError: fields.status("statusOnError"),
            clearsRouteCache: fields.value("clearRouteCache", default: false),
            body: fields.optional("includeRequestBodyInCheck"))
        // The older name of the same.
        let old = fields.texts("includeHeadersInCheck", .notEmpty)
        made.http = ExternalAuthorization.HTTP(
            pathPrefix: fields.text("pathPrefix", .path),
            requestHeaders: fields.texts("includeRequestHeadersInCheck", .notEmpty) + old,
            additionalHeaders: fields.map("includeAdditionalHeadersInCheck", keys: .headerName),
            upstreamHeaders: fields.texts("headersToUpstreamOnAllow", .notEmpty),
            headersOnDeny: fields.texts("headersToDownstreamOnDeny", .notEmpty),
            headersOnAllow: fields.texts("headersToDownstreamOnAllow", .notEmpty))
        fields.atMostOne("includeRequestHeadersInCheck", "includeHeadersInCheck")
    }
}

extension ExtensionProvider.FileLog: ObjectPart {
    private struct WrittenFormat: ObjectPart {
        var text: String?
        var labels: [String: String]
        init(_ fields: inout ObjectFields) {
            text = fields.text("text", .notEmpty)
            labels = fields.map("labels")
            fields.exactlyOne("text", "labels")
        }
    }

    init(_ fields: inout ObjectFields) {
        path = fields.text("path", .path) ?? "/dev/stdout"
        let format: WrittenFormat? = fields.optional("logFormat")
        self.format = format.map { format in format.text.map { .text($0) } ?? .labels(format.labels) }
    }
}

extension ExtensionProvider.LogService: ObjectPart {
    init(_ fields: inout ObjectFields) {
        place = fields.servicePlace()
        logName = fields.text("logName", .notEmpty)
        requestHeaders = fields.texts("additionalRequestHeadersToLog", .headerName)
        responseHeaders = fields.texts("additionalResponseHeadersToLog", .headerName)
        responseTrailers = fields.texts("additionalResponseTrailersToLog", .headerName)
    }
}

private struct StreamLog: ObjectPart {
    var made: ExtensionProvider.LogService
    init(_ fields: inout ObjectFields) {
        made = ExtensionProvider.LogService(
            place: fields.servicePlace(), logName: fields.text("logName", .notEmpty), requestHeaders: [],
            responseHeaders: [], responseTrailers: [])
    }
}

extension ExtensionProvider.Zipkin: ObjectPart {
    init(_ fields: inout ObjectFields) {
        place = fields.servicePlace()
        maxTagLength = fields.int("maxTagLength", 1...65_535)
        path = fields.text("path", .path) ?? "/api/v2/spans"
    }
}

extension ExtensionProvider.OpenTelemetry: ObjectPart {
    init(_ fields: inout ObjectFields) {
        place = fields.servicePlace()
        maxTagLength = fields.int("maxTagLength", 1...65_535)
        http = fields.optional("http")
    }
}

extension ExtensionProvider.OpenTelemetry.HTTP: ObjectPart {
    init(_ fields: inout ObjectFields) {
        path = fields.text("path", .path) ?? "/"
        timeout = fields.duration("timeout", least: .milliseconds(1))
        headers = fields.list("headers")
    }
}

extension ExtensionProvider.OpenTelemetry.Header: ObjectPart {
    init(_ fields: inout ObjectFields) {
        name = fields.requiredText("name", .headerName)
        value = fields.requiredText("value")
    }
}
