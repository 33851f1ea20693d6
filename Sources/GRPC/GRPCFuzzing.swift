import HTTP2
import Time

/// What a fuzzer needs of this module: a run over any bytes. Inputs to start from: `HTTP2Fuzzing.seeds()`,
/// and any bytes for `runMessages`.
public enum GRPCFuzzing {
    /// Feeds a gRPC server or client with bytes as a peer might send them.
    /// - Parameter bytes: the first chooses the end, the second how the rest is cut.
    public static func run(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count > 2 else { return }
        let rest = UnsafeRawBufferPointer(rebasing: bytes[2...])
        let step = bytes[1] == 0 ? rest.count : Int(bytes[1])
        if bytes[0] & 1 == 0 { runServer(rest, step: step) } else { runClient(rest, step: step) }
    }

    /// Puts the bytes into the DATA of a proper call: the way past HTTP/2 to the messages.
    public static func runMessages(_ bytes: UnsafeRawBufferPointer) {
        var limits = GRPCLimits()
        limits.messageSize = 1000
        limits.consumesByHand = bytes.count % 2 == 0
        let now = Instant(nanoseconds: 0)
        let server = GRPCServerConnection(methods: methods, limits: limits, now: now)
        let client = GRPCClientConnection(authority: "a", now: now)
        guard let call = client.start("/a.B/C", now: now) else { return }
        _ = client.send(Array(bytes), on: call, last: true)
        var serverEvents = GRPCEvents<GRPCServerEvent>()
        var clientEvents = GRPCEvents<GRPCClientEvent>()
        withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 1) { buffer in
            var moved = true
            while moved {
                let sent = client.produceOutput(into: buffer, now: now, events: &clientEvents)
                server.receive(UnsafeRawBufferPointer(rebasing: buffer[..<sent]), now: now, events: &serverEvents)
                answer(&serverEvents, server)
                let count = server.produceOutput(into: buffer, now: now, events: &serverEvents)
                client.receive(UnsafeRawBufferPointer(rebasing: buffer[..<count]), now: now, events: &clientEvents)
                clientEvents.removeAll()
                moved = sent > 0 || count > 0
            }
        }
        precondition(server.openCallCount == 0 && client.openCallCount == 0, "a call did not end")
    }

    private static let methods = GRPCMethods([GRPCMethod("/a.B/C", clientStreams: true, serverStreams: true)])

    private static func runServer(_ bytes: UnsafeRawBufferPointer, step: Int) {
        let now = Instant(nanoseconds: 0)
        let server = GRPCServerConnection(methods: methods, now: now)
        var events = GRPCEvents<GRPCServerEvent>()
        forEachPart(of: bytes, step: step) { part, buffer in
            server.receive(part, now: now, events: &events)
            answer(&events, server)
            while server.produceOutput(into: buffer, now: now, events: &events) > 0 {}
        }
        server.transportClosed(events: &events)
        precondition(server.openCallCount == 0, "a call outlives its connection")
    }

    private static func runClient(_ bytes: UnsafeRawBufferPointer, step: Int) {
        let now = Instant(nanoseconds: 0)
        let client = GRPCClientConnection(authority: "a", now: now)
        for _ in 0..<4 {
            if let call = client.start("/a.B/C", now: now) { _ = client.send(GRPC.frame([1]), on: call) }
        }
        var events = GRPCEvents<GRPCClientEvent>()
        forEachPart(of: bytes, step: step) { part, buffer in
            client.receive(part, now: now, events: &events)
            while client.produceOutput(into: buffer, now: now, events: &events) > 0 {}
            events.removeAll()
        }
        client.transportClosed("the end", events: &events)
        precondition(client.openCallCount == 0, "a call outlives its connection")
    }

    private static func answer(_ events: inout GRPCEvents<GRPCServerEvent>, _ server: GRPCServerConnection) {
        for event in events.list {
            switch event {
            case .message(let call, let message):
                _ = server.send(GRPC.frame(message.bytes), on: call)
                server.consume(message.windowBytes, on: call)
            case .halfClosed(let call): server.finish(call, .ok)
            case .started, .writable, .ended, .refused, .peerDrains, .connectionFailed: break
            }
        }
        events.removeAll()
    }

    private static func forEachPart(
        of bytes: UnsafeRawBufferPointer, step: Int,
        _ body: (UnsafeRawBufferPointer, UnsafeMutableRawBufferPointer) -> Void
    ) {
        withUnsafeTemporaryAllocation(byteCount: 1024, alignment: 1) { buffer in
            var rest = bytes
            while !rest.isEmpty {
                let part = UnsafeRawBufferPointer(rebasing: rest.prefix(step))
                rest = UnsafeRawBufferPointer(rebasing: rest[part.count...])
                body(part, buffer)
            }
        }
    }
}
