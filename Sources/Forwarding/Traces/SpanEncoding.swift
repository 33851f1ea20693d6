import EnvoyAPI

/// What collectors take. A span is written once, when it is made; a message is put together of such parts.
extension TraceProvider {
    /// One span, as messages of this provider hold it.
    public func encode(_ span: Span, node: SpanNode) -> [UInt8] {
        form == .zipkin ? Self.zipkin(span, serviceName: node.cluster) : Self.openTelemetry(span)
    }

    /// The body of a request.
    /// - Parameter spans: encoded.
    public func message(_ spans: [[UInt8]]) -> [UInt8] {
        guard form == .zipkin else { return openTelemetry(spans) }
        var list: [UInt8] = [UInt8(ascii: "[")]
        for (index, span) in spans.enumerated() {
            if index > 0 { list.append(UInt8(ascii: ",")) }
            list += span
        }
        list.append(UInt8(ascii: "]"))
        return list
    }

    // MARK: OpenTelemetry

    /// Source: OpenTelemetry, `trace.v1.Span`.
    private static func openTelemetry(_ span: Span) -> [UInt8] {
        func bytes(_ number: UInt64) -> [UInt8] { withUnsafeBytes(of: number.bigEndian) { Array($0) } }
        var message: [UInt8] = []
        message.appendField(1, bytes(span.context.high) + bytes(span.context.low))
        message.appendField(2, bytes(span.context.span))
        if !span.state.isEmpty { message.appendField(3, Array(span.state.utf8)) }
        if span.context.parent != 0 { message.appendField(4, bytes(span.context.parent)) }
        message.appendField(5, Array(span.name.utf8))
        message += [6 << 3, span.kind.rawValue]
        message.appendTime(7, span.start.nanoseconds)
        message.appendTime(8, span.end.nanoseconds)
        for tag in span.tags { message.appendField(9, attribute(tag.name, tag.value)) }
        for event in span.events {
            var inner: [UInt8] = []
            inner.appendTime(1, event.time.nanoseconds)
            inner.appendField(2, Array(event.name.utf8))
            message.appendField(11, inner)
        }
        if span.hasFailed { message.appendField(15, [3 << 3, 2]) }
        // Of 32 bits: that of W3C's flags, and that it is known whether the parent is another's, and whether it is.
        message += [0x85, 1, span.context.isSampled ? 1 : 0, span.isParentRemote ? 3 : 1, 0, 0]
        return message
    }

    /// A key and a text.
    private static func attribute(_ name: String, _ value: String) -> [UInt8] {
        var text: [UInt8] = []
        text.appendField(1, Array(value.utf8))
        var pair: [UInt8] = []
        pair.appendField(1, Array(name.utf8))
        pair.appendField(2, text)
        return pair
    }

    /// Source: OpenTelemetry, `collector.trace.v1.ExportTraceServiceRequest`.
    private func openTelemetry(_ spans: [[UInt8]]) -> [UInt8] {
        var resource: [UInt8] = []
        for (name, value) in [
            ("service.name", serviceName.isEmpty ? "unknown_service:martinet" : serviceName),
            ("telemetry.sdk.language", "swift"), ("telemetry.sdk.name", "martinet"),
        ] {
            resource.appendField(1, Self.attribute(name, value))
        }
        var scope: [UInt8] = []
        scope.appendField(1, Array("martinet".utf8))
        var scoped: [UInt8] = []
        scoped.appendField(1, scope)
        for span in spans { scoped.appendField(2, span) }
        var group: [UInt8] = []
        group.appendField(1, resource)
        group.appendField(2, scoped)
        var message: [UInt8] = []
        message.appendField(1, group)
        return message
    }

    // MARK: Zipkin

    /// Source: Zipkin, API version 2, `Span`.
    private static func zipkin(_ span: Span, serviceName: String) -> [UInt8] {
        var json = "{"
        func quoted(_ text: String) -> String { StructureValue.string(text).json }
        func digits(_ digits: [UInt8]) -> String { "\"\(String(decoding: digits, as: UTF8.self))\"" }
        json += "\"traceId\":\(digits(span.context.traceID)),\"id\":\(digits(span.context.span.hexadecimalDigits))"
        if span.context.parent != 0 { json += ",\"parentId\":\(digits(span.context.parent.hexadecimalDigits))" }
        json += ",\"name\":\(quoted(span.name)),\"kind\":\"\(span.kind == .server ? "SERVER" : "CLIENT")\""
        json += ",\"timestamp\":\(span.start.nanoseconds / 1_000)"
        json += ",\"duration\":\(max(1, (span.end.nanoseconds - span.start.nanoseconds) / 1_000))"
        json += ",\"localEndpoint\":{\"serviceName\":\(quoted(serviceName))}"
        if span.context.isShared { json += ",\"shared\":true" }
        if !span.events.isEmpty {
            let list = span.events.map {
                "{\"timestamp\":\($0.time.nanoseconds / 1_000),\"value\":\(quoted($0.name))}"
            }
            json += ",\"annotations\":[\(list.joined(separator: ","))]"
        }
        let tags = span.tags.map { "\(quoted($0.name)):\(quoted($0.value))" }
        json += ",\"tags\":{\(tags.joined(separator: ","))}}"
        return Array(json.utf8)
    }
}

extension [UInt8] {
    /// Appends a field of eight bytes, which numbers under 16 have room for.
    fileprivate mutating func appendTime(_ number: UInt8, _ nanoseconds: Int64) {
        append(number << 3 | 1)
        Swift.withUnsafeBytes(of: nanoseconds.littleEndian) { append(contentsOf: $0) }
    }
}
