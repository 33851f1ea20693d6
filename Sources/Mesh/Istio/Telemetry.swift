extension Istio {
    /// What proxies tell of their work.
    public struct Telemetry: Hashable, Sendable {
        public var scope: PolicyScope
        public var tracing: [Tracing]
        public var metrics: [Metrics]
        public var accessLogging: [AccessLogging]
    }

    /// Of calls that go out, come in, or both.
    public enum TrafficSide: String, NamedValue {
        case clientAndServer = "CLIENT_AND_SERVER"
        case client = "CLIENT"
        case server = "SERVER"
        case undefined = "UNDEFINED"
    }

    public struct Tracing: Hashable, Sendable {
        public enum Tag: Hashable, Sendable {
            case literal(String)
            case environment(name: String, standard: String?)
            case header(name: String, standard: String?)
            case format(String)
        }

        public var side: TrafficSide
        public var providers: [String]
        /// Percent.
        public var sampling: Double?
        public var disablesReporting: Bool?
        public var disablesPropagation: Bool?
        public var tags: [String: Tag]
        public var usesRequestID: Bool?
        public var addsIstioTags: Bool?
    }

    public struct Metrics: Hashable, Sendable {
        public enum Metric: String, NamedValue {
            case all = "ALL_METRICS"
            case requestCount = "REQUEST_COUNT"
            case requestDuration = "REQUEST_DURATION"
            case requestSize = "REQUEST_SIZE"
            case responseSize = "RESPONSE_SIZE"
            case tcpOpened = "TCP_OPENED_CONNECTIONS"
            case tcpClosed = "TCP_CLOSED_CONNECTIONS"
            case tcpSent = "TCP_SENT_BYTES"
            case tcpReceived = "TCP_RECEIVED_BYTES"
            case grpcRequests = "GRPC_REQUEST_MESSAGES"
            case grpcResponses = "GRPC_RESPONSE_MESSAGES"
        }

        public struct Override: Hashable, Sendable {
            /// By its name or by one of our own words.
            public var metric: Metric?
            public var customMetric: String?
            public var side: TrafficSide
            public var isDisabled: Bool?
            /// Nil removes the tag.
            public var tags: [String: String?]
        }

        public var providers: [String]
        public var overrides: [Override]
        public var reportingInterval: Duration?
    }

    public struct AccessLogging: Hashable, Sendable {
        public var side: TrafficSide
        public var providers: [String]
        public var isDisabled: Bool?
        /// In the Common Expression Language.
        public var filter: String?
    }
}

extension Istio.Telemetry: ObjectPart {
    init(_ fields: inout ObjectFields) {
        scope = Istio.PolicyScope(&fields)
        tracing = fields.list("tracing")
        metrics = fields.list("metrics")
        accessLogging = fields.list("accessLogging")
    }
}

private struct Side: ObjectPart {
    var mode: Istio.TrafficSide
    init(_ fields: inout ObjectFields) { mode = fields.value("mode", default: .clientAndServer) }
}

private struct Provider: ObjectPart {
    var name: String
    init(_ fields: inout ObjectFields) { name = fields.requiredText("name") }
}

extension ObjectFields {
    fileprivate mutating func side() -> Istio.TrafficSide {
        let side: Side? = optional("match")
        return side?.mode ?? .clientAndServer
    }

    fileprivate mutating func providers() -> [String] {
        let providers: [Provider] = list("providers")
        return providers.map(\.name)
    }
}

extension Istio.Tracing: ObjectPart {
    init(_ fields: inout ObjectFields) {
        side = fields.side()
        providers = fields.providers()
        sampling = fields.number("randomSamplingPercentage", 0...100)
        disablesReporting = fields.optional("disableSpanReporting")
        disablesPropagation = fields.optional("disableContextPropagation")
        tags = fields.value("customTags", default: [:])
        usesRequestID = fields.optional("useRequestIdForTraceSampling")
        addsIstioTags = fields.optional("enableIstioTags")
    }
}

extension Istio.Tracing.Tag: ObjectPart {
    private struct Text: ObjectPart {
        var value: String
        init(_ fields: inout ObjectFields) { value = fields.requiredText("value") }
    }

    private struct Named: ObjectPart {
        var name: String
        var standard: String?
        init(_ fields: inout ObjectFields) {
            name = fields.requiredText("name")
            standard = fields.optional("defaultValue")
        }
    }

    init(_ fields: inout ObjectFields) {
        let literal: Text? = fields.optional("literal")
        let environment: Named? = fields.optional("environment")
        let header: Named? = fields.optional("header")
        let format: Text? = fields.optional("formatter")
        fields.exactlyOne("literal", "environment", "header", "formatter")
        self =
            literal.map { .literal($0.value) } ?? environment.map { .environment(name: $0.name, standard: $0.standard) }
            ?? header.map { .header(name: $0.name, standard: $0.standard) } ?? .format(format?.value ?? "")
    }
}

extension Istio.Metrics: ObjectPart {
    init(_ fields: inout ObjectFields) {
        providers = fields.providers()
        overrides = fields.list("overrides")
        reportingInterval = fields.duration("reportingInterval", least: .milliseconds(1))
    }
}

extension Istio.Metrics.Override: ObjectPart {
    private struct Selector: ObjectPart {
        var metric: Istio.Metrics.Metric?
        var custom: String?
        var mode: Istio.TrafficSide
        init(_ fields: inout ObjectFields) {
            metric = fields.optional("metric")
            custom = fields.text("customMetric", .notEmpty)
            mode = fields.value("mode", default: .clientAndServer)
            fields.atMostOne("metric", "customMetric")
        }
    }

    private struct Tag: ObjectPart {
        enum Operation: String, NamedValue {
            case upsert = "UPSERT"
            case remove = "REMOVE"
        }

        var value: String?
        init(_ fields: inout ObjectFields) {
            let operation: Operation = fields.value("operation", default: .upsert)
            value = fields.text("value", .notEmpty)
            switch operation {
            case .upsert: if value == nil, !fields.has("value") { fields.failMissing("value") }
            case .remove:
                if fields.has("value") { fields.contradict("value", "REMOVE takes no value", mend: "remove it") }
                value = nil
            }
        }
    }

    init(_ fields: inout ObjectFields) {
        let selector: Selector? = fields.optional("match")
        metric = selector?.metric
        customMetric = selector?.custom
        side = selector?.mode ?? .clientAndServer
        isDisabled = fields.optional("disabled")
        let tags: [String: Tag] = fields.value("tagOverrides", default: [:])
        self.tags = tags.mapValues(\.value)
    }
}

extension Istio.AccessLogging: ObjectPart {
    private struct Filter: ObjectPart {
        var expression: String
        init(_ fields: inout ObjectFields) { expression = fields.requiredText("expression") }
    }

    init(_ fields: inout ObjectFields) {
        side = fields.side()
        providers = fields.providers()
        isDisabled = fields.optional("disabled")
        let filter: Filter? = fields.optional("filter")
        self.filter = filter?.expression
    }
}
