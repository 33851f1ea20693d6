import Time

/// A piece of work within a trace, as collectors keep it.
public struct Span: Sendable, Equatable {
    /// Which side of a call it is. Source: OpenTelemetry, `SpanKind`.
    public enum Kind: UInt8, Sendable {
        case server = 2
        case client = 3
    }

    public struct Tag: Sendable, Equatable {
        public var name: String
        public var value: String
    }

    public struct Event: Sendable, Equatable {
        public var name: String
        public var time: Timestamp
    }

    public var name: String
    public var kind: Kind
    public var context: TraceContext
    /// The span that it is a part of is another's.
    public var isParentRemote = false
    /// What others wrote into `tracestate`, which is theirs.
    public var state = ""
    public var start: Timestamp
    public var end: Timestamp
    /// Each name once, in the order in which they came.
    public private(set) var tags: [Tag] = []
    public var events: [Event] = []

    public init(_ name: String, _ kind: Kind, _ context: TraceContext, start: Timestamp, end: Timestamp) {
        (self.name, self.kind, self.context, self.start, self.end) = (name, kind, context, start, max(start, end))
    }

    /// Gives a tag its value, in place of an earlier one.
    public mutating func tag(_ name: String, _ value: String) {
        if let index = tags.firstIndex(where: { $0.name == name }) {
            tags[index].value = value
        } else {
            tags.append(Tag(name: name, value: value))
        }
    }

    public subscript(tag: String) -> String? { tags.first { $0.name == tag }?.value }

    /// Whether it went wrong. A client's mistake is none of a server's.
    /// Source: OpenTelemetry, semantic conventions for HTTP spans, "Status".
    var hasFailed: Bool {
        let status = self["http.status_code"].flatMap { Int($0) } ?? 0
        return status >= 500 || kind == .client && status >= 400
    }
}

/// Who makes spans: what of the proxy's node they tell.
public struct SpanNode: Sendable, Equatable {
    public var id: String
    public var cluster: String
    public var zone: String

    public init(id: String = "", cluster: String = "", zone: String = "") {
        (self.id, self.cluster, self.zone) = (id, cluster, zone)
    }
}
