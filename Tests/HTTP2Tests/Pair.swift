import HTTP
import HTTP2
import Time

/// A client and a server in memory, their bytes cut where a seed says, on a clock that tests move.
final class Pair {
    let client: HTTP2Connection
    let server: HTTP2Connection
    var now = Instant(nanoseconds: 0)
    private var generator: SeededGenerator
    private let splits: Bool

    /// What each side was told, data copied and joined.
    var clientLog: [String] = []
    var serverLog: [String] = []
    var clientBodies: [HTTP2StreamID: [UInt8]] = [:]
    var serverBodies: [HTTP2StreamID: [UInt8]] = [:]
    /// Whether data is consumed as soon as it comes.
    var clientConsumes = true
    var serverConsumes = true
    /// Called for each event of the server, to answer it.
    var onServerEvent: (HTTP2Event) -> Void = { _ in }
    var onClientEvent: (HTTP2Event) -> Void = { _ in }
    private(set) var bytesToClient = 0
    private(set) var bytesToServer = 0

    init(
        server serverLimits: HTTP2Limits = HTTP2Limits(), client clientLimits: HTTP2Limits = HTTP2Limits(),
        seed: UInt64 = 1, splits: Bool = false
    ) {
        server = HTTP2Connection(role: .server, limits: serverLimits, now: now)
        client = HTTP2Connection(role: .client, limits: clientLimits, now: now)
        generator = SeededGenerator(seed: seed)
        self.splits = splits
    }

    /// Moves bytes both ways until nobody has any.
    func run(rounds: Int = .max) {
        var round = 0
        while round < rounds, step() { round += 1 }
    }

    /// One exchange of output, as much as fits in one buffer.
    func step() -> Bool {
        let there = transfer(from: client, to: server, isToServer: true)
        let back = transfer(from: server, to: client, isToServer: false)
        return there || back
    }

    private func transfer(from source: HTTP2Connection, to target: HTTP2Connection, isToServer: Bool) -> Bool {
        let size = splits ? Int.random(in: 64...2000, using: &generator) : 64 * 1024
        return withUnsafeTemporaryAllocation(byteCount: size, alignment: 1) { buffer in
            var events: [HTTP2Event] = []
            let count = source.produceOutput(into: buffer, now: now, events: &events)
            note(events, onServer: !isToServer)
            var rest = UnsafeRawBufferPointer(rebasing: buffer[..<count])
            while !rest.isEmpty {
                let part = splits ? Int.random(in: 1...min(rest.count, 300), using: &generator) : rest.count
                var received: [HTTP2Event] = []
                target.receive(UnsafeRawBufferPointer(rebasing: rest[..<part]), now: now, events: &received)
                note(received, onServer: isToServer)
                rest = UnsafeRawBufferPointer(rebasing: rest[part...])
            }
            if isToServer { bytesToServer += count } else { bytesToClient += count }
            return count > 0
        }
    }

    func tick() {
        var events: [HTTP2Event] = []
        server.tick(now: now, events: &events)
        note(events, onServer: true)
        events = []
        client.tick(now: now, events: &events)
        note(events, onServer: false)
    }

    private func note(_ events: [HTTP2Event], onServer: Bool) {
        for event in events {
            if let line = describe(event, onServer: onServer) {
                if onServer { serverLog.append(line) } else { clientLog.append(line) }
            }
            if onServer { onServerEvent(event) } else { onClientEvent(event) }
        }
    }

    private func describe(_ event: HTTP2Event, onServer: Bool) -> String? {
        switch event {
        case .headers(let stream, let headers, let end):
            return "headers \(stream) \(headers[":path"] ?? headers[":status"] ?? "")\(end ? " end" : "")"
        case .data(let stream, let bytes):
            if onServer {
                serverBodies[stream, default: []] += bytes
            } else {
                clientBodies[stream, default: []] += bytes
            }
            if onServer ? serverConsumes : clientConsumes {
                (onServer ? server : client).consume(bytes.count, on: stream)
            }
            return nil
        case .trailers(let stream, let trailers):
            return "trailers \(stream) \(trailers.fields.map { "\($0.name)=\($0.value)" }.joined(separator: " "))"
        case .endOfStream(let stream): return "end \(stream)"
        case .writable(let stream): return "writable \(stream)"
        case .streamClosed(let stream, let code, let byPeer):
            return "closed \(stream) \(code)\(byPeer ? " by peer" : "")"
        case .streamLimited(let stream, let limit, let count, let allowed):
            return "limited \(stream) \(limit.rawValue) \(count) of \(allowed)"
        case .goAway(let last, let code, let text): return "goaway \(last) \(code) \(text)"
        case .informational(let stream, let list): return "informational \(stream) \(list[":status"] ?? "")"
        case .pingAcknowledged(let payload): return "pong \(payload)"
        case .connectionFailed(let failure): return "failed \(failure)"
        }
    }

    func open(path: String = "/", endStream: Bool = false) -> HTTP2StreamID? {
        let headers = HeaderList([
            (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "test"),
        ])
        return client.open(headers, endStream: endStream, now: now)
    }
}
