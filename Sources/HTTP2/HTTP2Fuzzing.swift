import HTTP
import Time

/// What a fuzzer needs of this module: a run over any bytes, and inputs to start from.
public enum HTTP2Fuzzing {
    /// Feeds a connection with bytes as a peer might send them, answers what it makes of them, and checks what
    /// must always hold.
    /// - Parameter bytes: the first chooses the role, the second how the rest is cut.
    public static func run(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count > 2 else { return }
        var limits = HTTP2Limits()
        limits.unsentBytesPerStream = 4096
        limits.streamResets = 200
        let isServer = bytes[0] & 1 == 0
        var now = Instant(nanoseconds: 0)
        let connection = HTTP2Connection(role: isServer ? .server : .client, limits: limits, now: now)
        if !isServer {
            let request = HeaderList([(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")])
            for _ in 0..<3 { _ = connection.open(request, endStream: false, now: now) }
        }
        var rest = UnsafeRawBufferPointer(rebasing: bytes[2...])
        let step = bytes[1] == 0 ? rest.count : Int(bytes[1])
        var events: [HTTP2Event] = []
        while !rest.isEmpty {
            let part = UnsafeRawBufferPointer(rebasing: rest.prefix(step))
            rest = UnsafeRawBufferPointer(rebasing: rest[part.count...])
            connection.receive(part, now: now, events: &events)
            answer(&events, connection, now)
            drain(connection, now, &events)
            now = now.advanced(by: .milliseconds(100))
            connection.tick(now: now, events: &events)
            check(connection)
        }
    }

    /// Valid conversations, for a fuzzer to change.
    public static func seeds() -> [[UInt8]] {
        let now = Instant(nanoseconds: 0)
        let client = HTTP2Connection(role: .client, now: now)
        let server = HTTP2Connection(role: .server, now: now)
        let request = HeaderList([
            (":method", "POST"), (":scheme", "http"), (":path", "/a.B/C"), (":authority", "a"), ("te", "trailers"),
        ])
        var fromClient: [UInt8] = []
        var fromServer: [UInt8] = []
        for round in 0..<4 {
            var events: [HTTP2Event] = []
            if let stream = client.open(request, endStream: false, now: now) {
                _ = client.send([UInt8](repeating: UInt8(round), count: 20), on: stream, endStream: true, now: now)
            }
            let sent = output(client, now, &events)
            sent.withUnsafeBytes { server.receive($0, now: now, events: &events) }
            answer(&events, server, now)
            let answered = output(server, now, &events)
            answered.withUnsafeBytes { client.receive($0, now: now, events: &events) }
            fromClient += sent
            fromServer += answered
        }
        return [[0, 0] + fromClient, [0, 7] + fromClient, [1, 0] + fromServer, [1, 7] + fromServer]
    }

    private static func output(_ connection: HTTP2Connection, _ now: Instant, _ events: inout [HTTP2Event]) -> [UInt8] {
        var result: [UInt8] = []
        withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 1) { buffer in
            while true {
                let count = connection.produceOutput(into: buffer, now: now, events: &events)
                if count == 0 { break }
                result += buffer[..<count]
            }
        }
        return result
    }

    private static func answer(_ events: inout [HTTP2Event], _ connection: HTTP2Connection, _ now: Instant) {
        for event in events {
            switch event {
            case .headers(let stream, _, let endStream):
                connection.respond(HeaderList([(":status", "200")]), on: stream)
                _ = connection.send([UInt8](repeating: 0, count: 500), on: stream, endStream: endStream, now: now)
            case .data(let stream, let bytes): connection.consume(bytes.count, on: stream)
            case .trailers(let stream, _), .endOfStream(let stream):
                connection.sendTrailers(HeaderList([("a", "b")]), on: stream)
            case .streamLimited(let stream, _, _, _), .writable(let stream): connection.reset(stream, .cancel)
            case .informational, .streamClosed, .goAway, .pingAcknowledged, .connectionFailed: break
            }
        }
        events.removeAll()
    }

    private static func drain(_ connection: HTTP2Connection, _ now: Instant, _ events: inout [HTTP2Event]) {
        withUnsafeTemporaryAllocation(byteCount: 1024, alignment: 1) { buffer in
            while connection.produceOutput(into: buffer, now: now, events: &events) > 0 {}
        }
    }

    private static func check(_ connection: HTTP2Connection) {
        let streams = connection.openStreams
        let unsent = streams.reduce(0) { $0 + connection.unsentBytes(on: $1) }
        precondition(unsent == connection.unsentBytes, "unsent bytes are counted wrongly")
        precondition(streams.count == connection.openStreamCount, "open streams are counted wrongly")
        precondition(connection.failure == nil || streams.isEmpty, "a failed connection keeps streams")
    }
}
