import Foundation
import HTTP
import HTTP2
import Synchronization
import Time

@testable import DataPlane

/// A gRPC service over HTTP/2 without TLS: keeps each message when it comes, and ends streams with status 0.
final class Collector: Sendable {
    struct Message: Sendable {
        let bytes: [UInt8]
        let connection: Int
        let stream: Int32
    }

    private struct State {
        var messages: [Message] = []
        var connections = 0
        var ended = 0
    }

    private final class Shared: Sendable { let state = Mutex(State()) }

    private let shared = Shared()
    let server: TestServer
    var port: UInt16 { server.port }
    var messages: [Message] { shared.state.withLock { $0.messages } }

    /// - Parameter limit: the first connection ends after so many messages.
    init(endingAfter limit: Int = .max) {
        server = TestServer { [shared] wire, _ in
            let number = shared.state.withLock { state in
                state.connections += 1
                return state.connections
            }
            Self.serve(wire, number, number == 1 ? limit : .max, shared)
            shared.state.withLock { $0.ended += 1 }
        }
    }

    /// - Returns: false if that did not come within five seconds.
    func wait(_ condition: ([Message]) -> Bool) -> Bool {
        for _ in 0..<1_000 {
            if condition(messages) { return true }
            usleep(5_000)
        }
        return false
    }

    func waitForEnd() -> Bool { wait { _ in shared.state.withLock { $0.ended > 0 } } }

    private static func serve(_ wire: Wire, _ number: Int, _ limit: Int, _ shared: Shared) {
        let connection = HTTP2Connection(role: .server, now: Instant(nanoseconds: 1))
        var bodies: [HTTP2StreamID: [UInt8]] = [:]
        var output = [UInt8](repeating: 0, count: 16384)
        var count = 0
        while count < limit {
            var events: [HTTP2Event] = []
            while true {
                let count = output.withUnsafeMutableBytes {
                    connection.produceOutput(into: $0, now: Instant(nanoseconds: 1), events: &events)
                }
                if count == 0 { break }
                guard wire.send(Array(output[..<count])) else { return }
            }
            guard let bytes = wire.read(1) else { return }
            bytes.withUnsafeBytes { connection.receive($0, now: Instant(nanoseconds: 1), events: &events) }
            for event in events {
                switch event {
                case .data(let stream, let data):
                    connection.consume(data.count, on: stream)
                    var body = (bodies[stream] ?? []) + data
                    while let message = GRPCFrame.message(body) {
                        body.removeFirst(5 + message.count)
                        count += 1
                        let kept = Message(bytes: message, connection: number, stream: stream)
                        shared.state.withLock { $0.messages.append(kept) }
                    }
                    bodies[stream] = body
                case .endOfStream(let stream):
                    bodies[stream] = nil
                    let head = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "0")]
                    connection.respond(HeaderList(head), on: stream, endStream: true)
                default: break
                }
            }
        }
    }
}
