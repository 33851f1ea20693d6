import HTTP
import HTTP2
import Time

/// A frame as bytes, for tests that say things no proper peer says.
struct RawFrame: Equatable, CustomStringConvertible {
    var type: UInt8
    var flags: UInt8 = 0
    var stream: UInt32
    var payload: [UInt8] = []

    static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)

    static func data(_ stream: UInt32, _ payload: [UInt8] = [], end: Bool = false) -> RawFrame {
        RawFrame(type: 0, flags: end ? 1 : 0, stream: stream, payload: payload)
    }
    static func headers(_ stream: UInt32, _ block: [UInt8], end: Bool = false, endHeaders: Bool = true) -> RawFrame {
        RawFrame(type: 1, flags: (end ? 1 : 0) | (endHeaders ? 4 : 0), stream: stream, payload: block)
    }
    static func priority(_ stream: UInt32, dependency: UInt32 = 0) -> RawFrame {
        RawFrame(type: 2, stream: stream, payload: bytes(dependency) + [15])
    }
    static func reset(_ stream: UInt32, _ code: UInt32 = 8) -> RawFrame {
        RawFrame(type: 3, stream: stream, payload: bytes(code))
    }
    static func settings(_ entries: [(UInt16, UInt32)] = []) -> RawFrame {
        let payload = entries.flatMap { [UInt8($0.0 >> 8), UInt8($0.0 & 0xff)] + bytes($0.1) }
        return RawFrame(type: 4, stream: 0, payload: payload)
    }
    static let settingsAcknowledgement = RawFrame(type: 4, flags: 1, stream: 0)
    static func ping(_ payload: [UInt8] = [1, 2, 3, 4, 5, 6, 7, 8], acknowledgement: Bool = false) -> RawFrame {
        RawFrame(type: 6, flags: acknowledgement ? 1 : 0, stream: 0, payload: payload)
    }
    static func goAway(last: UInt32 = 0, _ code: UInt32 = 0) -> RawFrame {
        RawFrame(type: 7, stream: 0, payload: bytes(last) + bytes(code))
    }
    static func windowUpdate(_ stream: UInt32, _ increment: UInt32) -> RawFrame {
        RawFrame(type: 8, stream: stream, payload: bytes(increment))
    }
    static func continuation(_ stream: UInt32, _ block: [UInt8], endHeaders: Bool = true) -> RawFrame {
        RawFrame(type: 9, flags: endHeaders ? 4 : 0, stream: stream, payload: block)
    }

    /// The frame with its payload padded, the PADDED flag set.
    func padded(_ length: UInt8) -> RawFrame {
        var frame = self
        frame.flags |= 8
        frame.payload = [length] + payload + [UInt8](repeating: 0, count: Int(length))
        return frame
    }

    /// - Parameter length: what the header says, where it is to differ from the truth.
    func encoded(length: Int? = nil) -> [UInt8] {
        let length = length ?? payload.count
        return [UInt8(length >> 16), UInt8(length >> 8 & 0xff), UInt8(length & 0xff), type, flags]
            + Self.bytes(stream) + payload
    }

    static func bytes(_ value: UInt32) -> [UInt8] {
        [UInt8(value >> 24), UInt8(value >> 16 & 0xff), UInt8(value >> 8 & 0xff), UInt8(value & 0xff)]
    }

    static func number(_ bytes: some Collection<UInt8>) -> UInt32 {
        bytes.prefix(4).reduce(0) { $0 << 8 | UInt32($1) }
    }

    /// The code of a RST_STREAM or GOAWAY.
    var code: HTTP2ErrorCode? {
        switch type {
        case 3: HTTP2ErrorCode(rawValue: Self.number(payload))
        case 7: HTTP2ErrorCode(rawValue: Self.number(payload.dropFirst(4)))
        default: nil
        }
    }

    /// The words of a GOAWAY.
    var text: String { String(decoding: payload.dropFirst(8), as: UTF8.self) }

    var description: String {
        let names = [
            "DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING", "GOAWAY", "WINDOW_UPDATE",
            "CONTINUATION",
        ]
        let name = Int(type) < names.count ? names[Int(type)] : "type \(type)"
        let text = code.map { " \($0)" } ?? ""
        return "\(name)(\(stream)) flags \(flags) length \(payload.count)\(text)"
    }

    /// Cuts whole frames off the front of `bytes`.
    static func parse(_ bytes: inout [UInt8]) -> [RawFrame] {
        var frames: [RawFrame] = []
        var start = 0
        while bytes.count - start >= 9 {
            let length = Int(bytes[start]) << 16 | Int(bytes[start + 1]) << 8 | Int(bytes[start + 2])
            guard bytes.count - start >= 9 + length else { break }
            frames.append(
                RawFrame(
                    type: bytes[start + 3], flags: bytes[start + 4],
                    stream: number(bytes[start + 5..<start + 9]) & 0x7fff_ffff,
                    payload: Array(bytes[start + 9..<start + 9 + length])))
            start += 9 + length
        }
        bytes.removeFirst(start)
        return frames
    }
}

/// HPACK by hand: literals without indexing and without Huffman coding. Source: RFC 7541, section 6.2.2.
enum RawHeaders {
    static func literal(_ name: String, _ value: String) -> [UInt8] {
        [0] + string(Array(name.utf8)) + string(Array(value.utf8))
    }

    static func literal(_ name: [UInt8], _ value: [UInt8]) -> [UInt8] {
        [0] + string(name) + string(value)
    }

    /// A literal that goes into the dynamic table. Source: RFC 7541, section 6.2.1.
    static func indexed(_ name: String, _ value: String) -> [UInt8] {
        [0x40] + string(Array(name.utf8)) + string(Array(value.utf8))
    }

    static func string(_ bytes: [UInt8]) -> [UInt8] {
        integer(bytes.count, prefix: 7, flags: 0) + bytes
    }

    /// Source: RFC 7541, section 5.1.
    static func integer(_ value: Int, prefix: Int, flags: UInt8) -> [UInt8] {
        let limit = (1 << prefix) - 1
        if value < limit { return [flags | UInt8(value)] }
        var rest = value - limit
        var result = [flags | UInt8(limit)]
        while rest >= 128 {
            result.append(UInt8(rest & 0x7f) | 0x80)
            rest >>= 7
        }
        result.append(UInt8(rest))
        return result
    }

    static func block(_ fields: [(String, String)]) -> [UInt8] {
        fields.flatMap { literal($0.0, $0.1) }
    }

    static let request: [(String, String)] = [
        (":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "test"),
    ]

    static let requestBlock = block(request)
}

/// A server under test, and the raw client that talks to it. The server answers each request with 200 and,
/// when the request is complete, with its body again (or "hello").
final class RawClient {
    let server: HTTP2Connection
    var now = Instant(nanoseconds: 0)
    private(set) var received: [RawFrame] = []
    private(set) var events: [HTTP2Event] = []
    /// The server's events in words, without the bytes of data.
    private(set) var log: [String] = []
    var answers = true
    /// Whether the server gives the window back as soon as data comes.
    var consumesData = true
    /// Answers wait on the stream where they do not fit in the window.
    var body = Array("hello".utf8)
    /// The server's socket is full: nothing of what it says is taken.
    var takesOutput = true
    private var unparsed: [UInt8] = []

    /// - Parameter greets: sends the preface and SETTINGS, and acknowledges the server's.
    init(limits: HTTP2Limits = HTTP2Limits(), greets: Bool = true, settings: [(UInt16, UInt32)] = []) {
        server = HTTP2Connection(role: .server, limits: limits, now: now)
        guard greets else { return }
        send(RawFrame.preface)
        send(.settings(settings), .settingsAcknowledgement)
        received = []
    }

    func send(_ frames: RawFrame...) {
        send(frames.flatMap { $0.encoded() })
    }

    func send(_ bytes: [UInt8]) {
        var collected: [HTTP2Event] = []
        bytes.withUnsafeBytes { server.receive($0, now: now, events: &collected) }
        settle(collected)
    }

    func tick() {
        var collected: [HTTP2Event] = []
        server.tick(now: now, events: &collected)
        settle(collected)
    }

    /// Lets the server answer what happened, and takes its output.
    func settle(_ collected: [HTTP2Event] = []) {
        var waiting = collected
        repeat {
            for event in waiting { apply(event) }
            waiting = []
            if takesOutput { take(&waiting) }
        } while !waiting.isEmpty
        received += RawFrame.parse(&unparsed)
    }

    private func take(_ events: inout [HTTP2Event]) {
        withUnsafeTemporaryAllocation(byteCount: 32 * 1024, alignment: 1) { buffer in
            while true {
                let count = server.produceOutput(into: buffer, now: now, events: &events)
                if count == 0 { break }
                unparsed += buffer[..<count]
            }
        }
    }

    private func apply(_ event: HTTP2Event) {
        events.append(event)
        switch event {
        case .headers(let stream, let headers, let end):
            log.append("headers \(stream) \(headers[":path"] ?? "")\(end ? " end" : "")")
            guard answers else { return }
            server.respond(HeaderList([(":status", "200")]), on: stream)
            if end { _ = server.send(body, on: stream, endStream: true, now: now) }
        case .data(let stream, let bytes):
            log.append("data \(stream) \(bytes.count)")
            if consumesData { server.consume(bytes.count, on: stream) }
        case .trailers(let stream, _):
            log.append("trailers \(stream)")
            if answers { _ = server.send(body, on: stream, endStream: true, now: now) }
        case .endOfStream(let stream):
            log.append("end \(stream)")
            if answers { _ = server.send(body, on: stream, endStream: true, now: now) }
        case .writable(let stream): log.append("writable \(stream)")
        case .streamClosed(let stream, let code, let byPeer):
            log.append("closed \(stream) \(code)\(byPeer ? " by peer" : "")")
        case .streamLimited(let stream, let limit, let count, let allowed):
            log.append("limited \(stream) \(limit.rawValue) \(count) of \(allowed)")
        case .goAway(let last, let code, _): log.append("goaway \(last) \(code)")
        case .informational(let stream, _): log.append("informational \(stream)")
        case .pingAcknowledged(let payload): log.append("pong \(payload)")
        case .connectionFailed(let failure): log.append("failed \(failure)")
        }
    }

    // MARK: What came back

    /// Opens a stream with a proper request.
    func request(_ stream: UInt32, end: Bool = true) {
        send(.headers(stream, RawHeaders.requestBlock, end: end))
    }

    func takeReceived() -> [RawFrame] {
        defer { received = [] }
        return received
    }

    var goAway: RawFrame? { received.first { $0.type == 7 } }
    var resets: [RawFrame] { received.filter { $0.type == 3 } }
    func frames(type: UInt8) -> [RawFrame] { received.filter { $0.type == type } }

    /// The code of the connection error, if there is one and the connection is over.
    var connectionError: HTTP2ErrorCode? { server.isFinished ? goAway?.code : nil }
    /// The code of the reset of a stream.
    func streamError(_ stream: UInt32) -> HTTP2ErrorCode? { resets.first { $0.stream == stream }?.code }

    /// Whether the server still answers.
    var isAlive: Bool {
        guard !server.isFinished else { return false }
        let before = frames(type: 6).count
        send(.ping([9, 9, 9, 9, 9, 9, 9, 9]))
        return frames(type: 6).count == before + 1
    }
}
