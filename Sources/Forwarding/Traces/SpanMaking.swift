import EnvoyAPI
import HTTP
import Time

/// Spans are made once their work is over, of what logs tell of it. Source: Envoy, `HttpTracerUtility`.
extension TracingSettings {
    /// The span of a request.
    /// - Parameter operation: what the other side calls it; nil: nothing.
    public func span(
        of record: AccessRecord, _ context: TraceContext, route: Route?, operation: [UInt8]?, node: SpanNode
    ) -> Span {
        var span = Span(
            name(of: record, route, operation), kind, context, start: record.start,
            end: record.start + record.began.duration(to: record.ended ?? record.began))
        let request = record.request
        span.isParentRemote = context.parent != 0
        span.state = Self.state(request)
        span.tag("node_id", node.id)
        span.tag("zone", node.zone)
        if let id = request["x-request-id"] { span.tag("guid:x-request-id", id) }
        span.tag("http.url", url(request))
        span.tag("http.method", request[":method"] ?? "")
        span.tag("downstream_cluster", request["x-envoy-downstream-service-cluster"] ?? "-")
        span.tag("user_agent", request["user-agent"] ?? "-")
        span.tag("http.protocol", record.protocolName)
        span.tag("peer.address", Self.host(record.connection.directSource))
        if let id = request["x-client-trace-id"] { span.tag("guid:x-client-trace-id", id) }
        let isGRPC = request.isGRPC
        if isGRPC {
            span.tag("grpc.path", request[":path"] ?? "")
            span.tag("grpc.authority", request[":authority"] ?? "")
            span.tag("grpc.content_type", request["content-type"] ?? "")
            if let timeout = request["grpc-timeout"] { span.tag("grpc.timeout", timeout) }
        }
        span.tag("request_size", "\(record.bytesReceived)")
        span.tag("response_size", "\(record.bytesSent)")
        finish(&span, record, route, route?.tracing?.operation ?? self.operation)
        if isGRPC, let status = record.grpcStatus {
            span.tag("grpc.status_code", "\(status)")
            if let message = record.trailers?["grpc-message"] ?? record.response["grpc-message"] {
                span.tag("grpc.message", message)
            }
            // Unknown, too late, unimplemented, internal, unavailable, lost: faults of the server.
            if [2, 4, 12, 13, 14, 15].contains(status) { span.tag("error", "true") }
        }
        return span
    }

    /// The span of one try to have a host answer a request.
    /// - Parameters:
    ///   - record: with status and flags of the try.
    ///   - number: of the try, from 1.
    ///   - isCancelled: this side has ended it.
    public func span(
        ofTry number: Int, _ record: AccessRecord, _ context: TraceContext, start: Timestamp, route: Route?,
        isCancelled: Bool = false
    ) -> Span {
        var span = Span(
            "router \(record.cluster) egress", .client, context, start: start,
            end: record.start + record.began.duration(to: record.ended ?? record.began))
        span.state = Self.state(record.request)
        if number > 1 { span.tag("retry.count", "\(number - 1)") }
        if isCancelled { span.tag("canceled", "true") }
        span.tag("http.protocol", record.upstreamProtocolName)
        if let host = record.upstream {
            span.tag("upstream_address", "\(host)")
            span.tag("peer.address", "\(host)")
        }
        finish(&span, record, route, route?.tracing?.upstreamOperation ?? upstreamOperation, isOfTry: true)
        return span
    }

    /// What spans of both kinds tell.
    private func finish(
        _ span: inout Span, _ record: AccessRecord, _ route: Route?, _ operation: LogFormat?, isOfTry: Bool = false
    ) {
        span.tag("component", "proxy")
        if !record.cluster.isEmpty {
            span.tag("upstream_cluster", record.cluster)
            span.tag("upstream_cluster.name", record.cluster)
        }
        span.tag("http.status_code", "\(record.status)")
        span.tag("response_flags", record.flags.isEmpty ? "-" : record.flags.text)
        if isVerbose { span.events = Self.events(of: record, isOfTry: isOfTry) }
        if record.status == 0 || record.status / 100 == 5 { span.tag("error", "true") }
        var scratch = FormatScratch(now: span.end)
        func text(_ format: LogFormat) -> String {
            var bytes: [UInt8] = []
            format.append(record, &scratch, to: &bytes)
            return String(decoding: bytes, as: UTF8.self)
        }
        let own = route?.tracing?.tags ?? []
        for tag in own + tags.filter({ tag in !own.contains { $0.name == tag.name } }) {
            let value: String?
            switch tag.source {
            case .text(let given): value = given
            case .header(let name, let standard):
                value = name.withUnsafeBytes { name in
                    record.request.withValue(ofBytes: name) { String(decoding: $0, as: UTF8.self) } ?? standard
                }
            case .format(let format): value = text(format)
            case .metadata(let isOfRoute, let filter, let path, let standard):
                let metadata = isOfRoute ? route?.metadata : record.metadata
                value = metadata?.value(filter, at: path).flatMap(Self.text) ?? standard
            }
            if let value, !value.isEmpty { span.tag(tag.name, value) }
        }
        if let operation {
            let name = text(operation)
            if !name.isEmpty { span.name = name }
        }
    }

    // MARK: Parts

    private func name(of record: AccessRecord, _ route: Route?, _ operation: [UInt8]?) -> String {
        if let operation { return String(decoding: operation, as: UTF8.self) }
        if let route, !route.operation.isEmpty { return String(decoding: route.operation, as: UTF8.self) }
        let host = record.request[":authority"] ?? ""
        if provider?.form == .zipkin { return host }
        return isOutbound ? "egress " + host : "ingress"
    }

    private static func state(_ request: HeaderList) -> String {
        request.joinedValue(ofBytes: ("tracestate" as StaticString).bytes).map { String(decoding: $0, as: UTF8.self) }
            ?? ""
    }

    /// As the client asked for it.
    private func url(_ request: HeaderList) -> String {
        let path = request["x-envoy-original-path"] ?? request[":path"] ?? ""
        let scheme = request[":scheme"] ?? request["x-forwarded-proto"] ?? ""
        return
            "\(scheme)://\(request[":authority"] ?? "")\(String(decoding: path.utf8.prefix(longestPath), as: UTF8.self))"
    }

    private static func host(_ address: NetworkAddress) -> String {
        switch address {
        case .ip(let ip, _): "\(ip)"
        case .pipe(let path): path
        }
    }

    private static func text(_ value: StructureValue) -> String? {
        switch value {
        case .null: nil
        case .string(let text): text
        case .bool, .number, .list, .object: value.json
        }
    }

    private static func events(of record: AccessRecord, isOfTry: Bool) -> [Span.Event] {
        // What this proxy answers itself comes from no host.
        let hasAsked = record.sendingBegan != nil
        let upstream: [(String, Instant?)] = [
            ("first_upstream_tx_byte_sent", record.sendingBegan), ("last_upstream_tx_byte_sent", record.sendingEnded),
            ("first_upstream_rx_byte_received", hasAsked ? record.responseBegan : nil),
            ("last_upstream_rx_byte_received", hasAsked ? record.responseEnded : nil),
        ]
        let moments =
            isOfTry
            ? upstream
            : [("last_downstream_rx_byte_received", record.requestEnded)] + upstream + [
                ("first_downstream_tx_byte_sent", record.replyBegan), ("last_downstream_tx_byte_sent", record.ended),
            ]
        return moments.compactMap { name, moment in
            moment.map { Span.Event(name: name, time: record.start + record.began.duration(to: $0)) }
        }
    }
}
