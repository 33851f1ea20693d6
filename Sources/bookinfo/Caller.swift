import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

/// GET over HTTP/1.1 on kept connections.
final class Caller: Sendable {
    struct Answer: Sendable {
        var status: Int
        var headers: [(name: String, value: String)] = []
        var body: [UInt8] = []
    }

    enum Problem: Error, CustomStringConvertible {
        case timedOut
        case closed
        case bodyTooLong

        var description: String {
            switch self {
            case .timedOut: "no answer in time"
            case .closed: "the connection was closed"
            case .bodyTooLong: "the answer is longer than \(Exchange.longestBody) bytes"
            }
        }
    }

    static let shared = Caller()
    /// Kept connections per place; more are closed after use.
    private static let mostIdle = 64
    private let idle = Mutex<[SocketPlace: [any Channel]]>([:])

    /// - Parameters:
    ///   - place: where to connect to.
    ///   - host: what the `Host` header says.
    func get(
        _ path: String, at place: SocketPlace, host: String, headers: [(name: String, value: String)],
        timeout: Duration
    ) async throws -> Answer {
        let head = HTTPRequestHead(
            version: .http1_1, method: .GET, uri: path,
            headers: HTTPHeaders([("host", host), ("accept", "application/json, text/html")] + headers))
        let wait = TimeAmount.nanoseconds(Int64(timeout / .nanoseconds(1)))
        if let kept = take(place) {
            do {
                return try await ask(head, on: kept, of: place, wait)
            } catch Problem.closed {
                // It went away while nobody used it: that says nothing about the service.
            }
        }
        let fresh = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connectTimeout(wait)
            .channelOption(.socketOption(.tcp_nodelay), value: 1)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHTTPClientHandlers()
                    try channel.pipeline.syncOperations.addHandler(Exchange())
                }
            }
            .connect(host: place.host, port: place.port).get()
        return try await ask(head, on: fresh, of: place, wait)
    }

    private func ask(
        _ head: HTTPRequestHead, on channel: any Channel, of place: SocketPlace, _ wait: TimeAmount
    ) async throws -> Answer {
        let promise = channel.eventLoop.makePromise(of: (Answer, isKept: Bool).self)
        let deadline = channel.eventLoop.scheduleTask(in: wait) {
            promise.fail(Problem.timedOut)
            channel.close(promise: nil)
        }
        channel.writeAndFlush(Exchange.Order(head: head, promise: promise)).cascadeFailure(to: promise)
        defer { deadline.cancel() }
        let (answer, isKept) = try await promise.futureResult.get()
        if isKept { keep(channel, place) } else { channel.close(promise: nil) }
        return answer
    }

    private func take(_ place: SocketPlace) -> (any Channel)? {
        idle.withLock { idle in
            while let channel = idle[place]?.popLast() {
                if channel.isActive { return channel }
            }
            return nil
        }
    }

    private func keep(_ channel: any Channel, _ place: SocketPlace) {
        let isKept = idle.withLock { idle in
            guard idle[place, default: []].count < Self.mostIdle else { return false }
            idle[place, default: []].append(channel)
            return true
        }
        if !isKept { channel.close(promise: nil) }
    }
}

/// One exchange at a time on one connection.
private final class Exchange: ChannelDuplexHandler {
    struct Order: Sendable {
        var head: HTTPRequestHead
        var promise: EventLoopPromise<(Caller.Answer, isKept: Bool)>
    }

    typealias InboundIn = HTTPClientResponsePart
    typealias OutboundIn = Order
    typealias OutboundOut = HTTPClientRequestPart

    /// Bytes.
    static let longestBody = 1 << 20
    private var promise: EventLoopPromise<(Caller.Answer, isKept: Bool)>?
    private var answer: Caller.Answer?
    private var isKept = false

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        let order = unwrapOutboundIn(data)
        self.promise = order.promise
        context.write(wrapOutboundOut(.head(order.head)), promise: nil)
        context.write(wrapOutboundOut(.end(nil)), promise: promise)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head):
            isKept = head.isKeepAlive
            answer = Caller.Answer(
                status: Int(head.status.code), headers: head.headers.map { ($0.name.lowercased(), $0.value) })
        case .body(let buffer):
            answer?.body.append(contentsOf: buffer.readableBytesView)
            if let length = answer?.body.count, length > Self.longestBody {
                fail(with: Caller.Problem.bodyTooLong)
                context.close(promise: nil)
            }
        case .end:
            guard let answer else { return }
            promise?.succeed((answer, isKept: isKept))
            (promise, self.answer) = (nil, nil)
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        fail(with: Caller.Problem.closed)
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        fail(with: error)
        context.close(promise: nil)
    }

    private func fail(with error: any Error) {
        promise?.fail(error)
        (promise, answer) = (nil, nil)
    }
}
