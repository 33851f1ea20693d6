import GRPC
import HTTP
import HTTP2
import Time

/// A gRPC server under test, and an HTTP/2 client that says what a gRPC client would not.
final class RawRequests {
    let server: GRPCServerConnection
    let client: HTTP2Connection
    let now = Instant(nanoseconds: 0)
    private(set) var log: [String] = []
    private(set) var responses: [HTTP2StreamID: HeaderList] = [:]
    private(set) var trailers: [HTTP2StreamID: HeaderList] = [:]
    private(set) var resets: [HTTP2StreamID: HTTP2ErrorCode] = [:]

    init(limits: GRPCLimits = GRPCLimits()) {
        server = GRPCServerConnection(methods: GRPCPair.methods, limits: limits, now: now)
        client = HTTP2Connection(role: .client, now: now)
    }

    static let fields: [(name: String, value: String)] = [
        (":method", "POST"), (":scheme", "http"), (":path", "/test.Echo/Unary"), (":authority", "test"),
        ("content-type", "application/grpc"), ("te", "trailers"),
    ]

    /// Sends a request; `changes` replace fields, a nil value removes one.
    func request(_ changes: [String: String?] = [:], body: [UInt8] = [], end: Bool = true) -> HTTP2StreamID {
        var fields = Self.fields.filter { changes[$0.name] == nil }
        for (name, value) in changes.sorted(by: { $0.key < $1.key }) {
            guard let value else { continue }
            let at = name.hasPrefix(":") ? 0 : fields.count
            fields.insert((name, value), at: at)
        }
        let stream = client.open(HeaderList(fields), endStream: end && body.isEmpty, now: now) ?? -1
        if !body.isEmpty { _ = client.send(body, on: stream, endStream: end, now: now) }
        run()
        return stream
    }

    func run() {
        var moved = true
        while moved {
            moved = false
            var up: [HTTP2Event] = []
            let sent = produce { client.produceOutput(into: $0, now: now, events: &up) }
            var events = GRPCEvents<GRPCServerEvent>()
            if !sent.isEmpty { sent.withUnsafeBytes { server.receive($0, now: now, events: &events) } }
            let answer = produce { server.produceOutput(into: $0, now: now, events: &events) }
            for event in events.list { note(event) }
            if !answer.isEmpty { answer.withUnsafeBytes { client.receive($0, now: now, events: &up) } }
            for event in up { note(event) }
            moved = !sent.isEmpty || !answer.isEmpty
        }
    }

    private func produce(_ body: (UnsafeMutableRawBufferPointer) -> Int) -> [UInt8] {
        withUnsafeTemporaryAllocation(byteCount: 64 * 1024, alignment: 1) { Array($0[..<body($0)]) }
    }

    private func note(_ event: GRPCServerEvent) {
        switch event {
        case .started(let call, _): log.append("started \(call)")
        case .message(let call, let message): log.append("message \(call) \(message.count)")
        case .halfClosed(let call):
            log.append("half closed \(call)")
            server.finish(call, .ok)
        case .ended(let call, let end): log.append("ended \(call) \(end)")
        case .refused(let call, let words): log.append("refused \(call) \(words)")
        case .writable, .peerDrains: break
        case .connectionFailed(let failure): log.append("failed \(failure)")
        }
    }

    private func note(_ event: HTTP2Event) {
        switch event {
        case .headers(let stream, let headers, _): responses[stream] = headers
        case .trailers(let stream, let list): trailers[stream] = list
        case .streamClosed(let stream, let code, let byPeer): if byPeer { resets[stream] = code }
        case .data(let stream, let bytes): client.consume(bytes.count, on: stream)
        case .endOfStream, .informational, .writable, .streamLimited, .goAway, .pingAcknowledged, .connectionFailed:
            break
        }
    }

    func status(_ stream: HTTP2StreamID) -> String? {
        trailers[stream]?["grpc-status"] ?? responses[stream]?["grpc-status"]
    }

    func message(_ stream: HTTP2StreamID) -> String? {
        trailers[stream]?["grpc-message"] ?? responses[stream]?["grpc-message"]
    }
}
