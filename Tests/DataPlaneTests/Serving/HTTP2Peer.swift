import HTTP
import HTTP2
import Time

/// One end of an HTTP/2 connection on a blocking socket of a test.
final class HTTP2Peer {
    /// What came on one stream.
    struct Message {
        var informational: [String] = []
        var head = HeaderList()
        /// Nothing but the head came.
        var endsWithHead = false
        var body: [UInt8] = []
        var isWhole = false
        var isReset = false

        var status: String? { head[":status"] }
        var text: String { String(decoding: body, as: UTF8.self) }
    }

    let connection: HTTP2Connection
    private(set) var messages: [HTTP2StreamID: Message] = [:]
    /// Streams whose heads came, in that order.
    private(set) var heads: [HTTP2StreamID] = []
    private(set) var isAskedToLeave = false
    private let wire: Wire
    private let now = Instant(nanoseconds: 0)

    init(_ wire: Wire, _ role: HTTP2Role, _ limits: HTTP2Limits = HTTP2Limits()) {
        self.wire = wire
        connection = HTTP2Connection(role: role, limits: limits, now: now)
        flush()
    }

    // MARK: A client's

    @discardableResult
    func open(_ path: String = "/", _ fields: [(String, String)] = [], method: String = "GET", ends: Bool = true)
        -> HTTP2StreamID
    {
        var head = HeaderList([(":method", method), (":scheme", "http"), (":path", path)])
        if !fields.contains(where: { $0.0 == "host" || $0.0 == ":authority" }) { head.append(":authority", "shop") }
        for (name, value) in fields where name.hasPrefix(":") { head.append(name, value) }
        for (name, value) in fields where !name.hasPrefix(":") { head.append(name, value) }
        let stream = connection.open(head, endStream: ends, now: now) ?? 0
        flush()
        return stream
    }

    /// Asks for a tunnel with these fields alone.
    func openTunnel(_ fields: [(String, String)]) -> HTTP2StreamID {
        let stream = connection.open(HeaderList(fields), endStream: false, now: now) ?? 0
        flush()
        return stream
    }

    /// What came of a body, once it is so long.
    func body(of stream: HTTP2StreamID, _ count: Int) -> String {
        run { self.messages[stream].map { $0.body.count >= count || $0.isWhole || $0.isReset } ?? false }
        return messages[stream]?.text ?? ""
    }

    /// The head of the answer.
    func head(of stream: HTTP2StreamID) -> HeaderList {
        run { self.heads.contains(stream) || self.messages[stream]?.isReset == true }
        return messages[stream]?.head ?? HeaderList()
    }

    func send(_ text: String, on stream: HTTP2StreamID, ends: Bool = true) {
        _ = connection.send(Array(text.utf8), on: stream, endStream: ends, now: now)
        flush()
    }

    /// The whole answer, or what came of it before the end.
    func answer(to stream: HTTP2StreamID) -> Message {
        run { self.messages[stream].map { $0.isWhole || $0.isReset } ?? false }
        return messages[stream] ?? Message()
    }

    func get(_ path: String = "/", _ fields: [(String, String)] = []) -> Message { answer(to: open(path, fields)) }

    // MARK: A server's

    /// Answers each request, once its head is there, until the connection ends.
    func serve(_ answer: (HTTP2StreamID, Message) -> Void) {
        var served = 0
        while true {
            run { self.heads.count > served }
            guard heads.count > served else { return }
            let stream = heads[served]
            served += 1
            answer(stream, messages[stream] ?? Message())
            flush()
        }
    }

    /// The head of an answer that goes on.
    func begin(_ fields: [(String, String)], on stream: HTTP2StreamID) {
        connection.respond(HeaderList(fields), on: stream)
        flush()
    }

    func respond(_ fields: [(String, String)], _ text: String? = nil, on stream: HTTP2StreamID) {
        connection.respond(HeaderList(fields), on: stream, endStream: text == nil)
        if let text { _ = connection.send(Array(text.utf8), on: stream, endStream: true, now: now) }
        flush()
    }

    // MARK: Bytes

    /// Takes what comes until something is so, or the connection ends.
    func run(until isSo: () -> Bool) {
        while !isSo() {
            guard let bytes = wire.some() else { return }
            var events: [HTTP2Event] = []
            bytes.withUnsafeBytes {
                connection.receive($0, now: now, events: &events)
                for event in events { take(event) }
            }
            flush()
        }
    }

    private func take(_ event: HTTP2Event) {
        switch event {
        case .headers(let stream, let head, let ends):
            messages[stream, default: Message()].head = head
            messages[stream, default: Message()].endsWithHead = ends
            if ends { messages[stream, default: Message()].isWhole = true }
            heads.append(stream)
        case .informational(let stream, let head):
            messages[stream, default: Message()].informational.append(head[":status"] ?? "")
        case .data(let stream, let bytes):
            messages[stream, default: Message()].body += bytes
            connection.consume(bytes.count, on: stream)
        case .trailers(let stream, _), .endOfStream(let stream): messages[stream, default: Message()].isWhole = true
        case .streamClosed(let stream, _, _), .streamLimited(let stream, _, _, _):
            messages[stream, default: Message()].isReset = true
        case .goAway: isAskedToLeave = true
        case .writable, .pingAcknowledged, .connectionFailed: break
        }
    }

    private func flush() {
        withUnsafeTemporaryAllocation(byteCount: 64 << 10, alignment: 1) { buffer in
            var events: [HTTP2Event] = []
            while true {
                let count = connection.produceOutput(into: buffer, now: now, events: &events)
                if count == 0 { break }
                wire.send(Array(buffer[..<count]))
            }
            for event in events { take(event) }
        }
    }
}

extension TestServer {
    /// Answers requests over HTTP/2 with prior knowledge.
    static func http2(
        _ limits: HTTP2Limits = HTTP2Limits(),
        _ answer: @escaping @Sendable (HTTP2Peer, HTTP2StreamID, HTTP2Peer.Message) -> Void
    ) -> TestServer {
        TestServer { wire, server in
            let peer = HTTP2Peer(wire, .server, limits)
            peer.serve { stream, request in
                server.requests.add(1, ordering: .relaxed)
                answer(peer, stream, request)
            }
        }
    }
}
