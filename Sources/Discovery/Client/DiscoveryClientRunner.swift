import EnvoyAPI
import GRPC
import Protobuf
import Reactor
import Time
import XDS

/// Runs an xDS client on an event loop of its own: connections, streams and timers for the decisions of
/// ``XDS/DiscoveryClient``.
///
/// To be used on one thread: `run` serves it until `stop`. Other threads wake it through ``doorbell(_:)``.
public final class DiscoveryClientRunner {
    /// Hears what the client decides, in order, on the loop's thread.
    public typealias Listener = (DiscoveryClient.Action) -> Void

    private let loop: EventLoop<ClientConnection>
    private var servers: [ServerAddress]
    private let listener: Listener
    private var client: DiscoveryClient
    private var streams: [StreamID: Stream] = [:]
    private var timer: (id: TimerID, deadline: Instant)?
    /// Beside xDS, by number.
    private var calls: [Int: UnaryClientCall] = [:]
    private var lastCall = 0
    private var hasLeft = false

    /// A large mesh's state of the world comes in one message.
    private static let limits = {
        var limits = GRPCLimits()
        limits.messageSize = 256 << 20
        return limits
    }()

    /// A stream that is open or being opened.
    private final class Stream: ClientConnectionOwner {
        let id: StreamID
        unowned let runner: DiscoveryClientRunner
        var connection: ClientConnection?
        var call: GRPCCallID?

        init(_ id: StreamID, _ runner: DiscoveryClientRunner) {
            self.id = id
            self.runner = runner
        }

        func connected(_ connection: ClientConnection) { runner.connected(self) }
        func received(_ event: GRPCClientEvent, on connection: ClientConnection) { runner.received(event, self) }
        func disconnected(_ connection: ClientConnection, reason: String) { runner.ended(self, reason) }
    }

    /// - Parameters:
    ///   - servers: as in `configuration.servers`, in the same order.
    ///   - listener: told of every action, those that the runner carries out included.
    /// - Throws: ``XDS/DiscoveryClientError``, or ``Reactor/ReactorError`` when no descriptor is left.
    public init(
        _ configuration: DiscoveryClient.Configuration, servers: [ServerAddress], seed: UInt64,
        validate: @escaping ResourceValidator, listener: @escaping Listener
    ) throws {
        precondition(servers.count == configuration.servers.count, "one address for each server")
        client = try DiscoveryClient(configuration: configuration, seed: seed, validate: validate)
        loop = try EventLoop(LoopConfiguration())
        self.servers = servers
        self.listener = listener
    }

    /// What the client knows now.
    public var state: DiscoveryClient { client }

    /// Subscribes to names of a type; `*` is the wildcard.
    public func subscribe(_ type: ResourceType, to names: [String]) throws(DiscoveryClientError) {
        perform(try client.subscribe(type, to: names, now: loop.now))
    }

    public func unsubscribe(_ type: ResourceType, from names: [String]) {
        perform(client.unsubscribe(type, from: names, now: loop.now))
    }

    /// Serves until ``stop()``.
    public func run() { loop.run() }

    /// Ends ``run()``; from the loop's thread.
    public func stop() { loop.stop() }

    /// Runs `work` on the loop's thread after a time.
    public func schedule(after delay: Duration, _ work: @escaping () -> Void) {
        loop.schedule(after: delay) { _ in work() }
    }

    /// The clock of the loop's turns.
    public var now: Instant { loop.now }

    /// From now on each of these signals calls `received` on the loop's thread, instead of ending the process.
    public func onSignals(_ signals: [Int32], received: @escaping (Int32) -> Void) throws(ReactorError) {
        try loop.onSignals(signals, received: received)
    }

    /// What another thread rings when it has left something for `action`, which runs on the loop's thread.
    /// - Returns: to be called from any thread; however often, `action` runs once, and after the last ring.
    public func doorbell(_ action: @escaping @Sendable () -> Void) -> @Sendable () -> Void {
        let bell = loop.mailbox.doorbell { _ in action() }
        return { bell.ring() }
    }

    /// Ends the streams for good: servers see that this client goes. Nothing is told to the listener any more; calls
    /// and timers go on. From the loop's thread.
    public func leave() {
        guard !hasLeft else { return }
        hasLeft = true
        if let timer { loop.cancelTimer(timer.id) }
        timer = nil
        let open = streams.values
        streams = [:]
        for stream in open { stream.connection?.close() }
    }

    // MARK: Servers

    /// Reaches a server otherwise from now on: with another certificate, other anchors, or other metadata. A stream
    /// that is open stays.
    public func replaceServer(at position: Int, with server: ServerAddress) { servers[position] = server }

    /// Calls a unary method of a server, on a connection of its own.
    /// - Parameters:
    ///   - path: `/package.Service/Method`.
    ///   - request: the packed message.
    ///   - timeout: for all of it, connecting included.
    ///   - stamp: adds what is known only when the call goes out to its metadata.
    ///   - completion: called once, on the loop's thread, unless the runner stops before.
    public func call(
        _ path: String, _ request: [UInt8], at server: ServerAddress, timeout: Duration = .seconds(10),
        stamp: @escaping (inout GRPCMetadata) -> Void = { _ in },
        completion: @escaping (Result<[UInt8], GRPCStatus>) -> Void
    ) {
        lastCall += 1
        let number = lastCall
        calls[number] = UnaryClientCall(
            path, request, at: server, timeout: timeout, answerSize: 1 << 20, stamp: stamp, on: loop
        ) { [weak self] result in
            self?.calls[number] = nil
            completion(result)
        }
    }

    /// Opens a call with streams both ways to a server, on a connection of its own.
    /// - Parameters:
    ///   - path: `/package.Service/Method`.
    ///   - position: of the server; as it is reached now.
    ///   - received: gets each packed message, on the loop's thread.
    ///   - ended: called once, on the loop's thread, unless the call is closed here.
    public func stream(
        _ path: String, toServer position: Int = 0, received: @escaping ([UInt8]) -> Void,
        ended: @escaping (GRPCStatus) -> Void
    ) -> StreamingClientCall {
        StreamingClientCall(
            path, at: servers[position], answerSize: 1 << 20, on: loop, received: received, ended: ended)
    }

    /// Stops it from another thread.
    public var stopper: @Sendable () -> Void {
        let mailbox = loop.mailbox
        return { mailbox.stop() }
    }

    // MARK: What connections tell

    private func connected(_ stream: Stream) {
        let path =
            client.configuration.variant == .delta
            ? AggregatedDiscoveryService.deltaAggregatedResources : AggregatedDiscoveryService.streamAggregatedResources
        guard let connection = stream.connection,
            let call = connection.grpc.start(path, metadata: servers[stream.id.server].metadata, now: loop.now)
        else {
            return ended(stream, "the server takes no calls")
        }
        stream.call = call
        perform(client.streamOpened(stream.id, now: loop.now))
    }

    private func received(_ event: GRPCClientEvent, _ stream: Stream) {
        switch event {
        case .message(_, let message): message.withUnsafeBytes { receive($0, stream) }
        case .writable: perform(client.sendingResumed(stream.id, now: loop.now))
        case .ended(_, let status, _): ended(stream, "\(status)")
        case .metadata, .serverDrains, .connectionFailed: break
        }
    }

    private func receive(_ message: UnsafeRawBufferPointer, _ stream: Stream) {
        do throws(ProtobufError) {
            switch client.configuration.variant {
            case .delta:
                let response = try XDS.DeltaDiscoveryResponse(decoding: message)
                perform(client.receive(response, on: stream.id, now: loop.now))
            case .stateOfTheWorld:
                let response = try XDS.DiscoveryResponse(decoding: message)
                perform(client.receive(response, on: stream.id, now: loop.now))
            }
        } catch {
            ended(stream, "malformed response: \(error)")
        }
    }

    private func ended(_ stream: Stream, _ reason: String) {
        guard streams.removeValue(forKey: stream.id) != nil else { return }
        stream.connection?.close()
        perform(client.streamClosed(stream.id, reason: reason, now: loop.now))
    }

    // MARK: What the client decides

    private func perform(_ actions: [DiscoveryClient.Action]) {
        guard !hasLeft else { return }
        for action in actions {
            switch action {
            case .openStream(let id):
                let stream = Stream(id, self)
                streams[id] = stream
                stream.connection = ClientConnection.open(
                    servers[id.server], owner: stream, loop: loop, limits: Self.limits)
            case .closeStream(let id): streams.removeValue(forKey: id)?.connection?.close()
            case .send(let request, let id): send(frame(request), on: id)
            case .sendDelta(let request, let id): send(frame(request), on: id)
            case .update, .removed, .doesNotExist, .rejected, .receivedError, .ackSent, .nackSent, .ignoredResponse,
                .streamEnded, .connectionFailed, .serverInUse, .unreachable:
                break
            }
            listener(action)
        }
        setTimer()
    }

    private func send(_ bytes: [UInt8], on id: StreamID) {
        guard let stream = streams[id], let connection = stream.connection, let call = stream.call else { return }
        switch connection.grpc.send(bytes, on: call) {
        case .queued: if !connection.grpc.isWritable(call) { client.sendingPaused(id) }
        case .full: ended(stream, "the server does not read its requests")
        case .closed: break  // The end, with the server's reason, is among the events that come next.
        }
        connection.flush()
    }

    private func setTimer() {
        let next = client.nextDeadline
        if let timer {
            if timer.deadline == next { return }
            loop.cancelTimer(timer.id)
        }
        timer = next.map { deadline in
            (
                loop.schedule(at: deadline) { [unowned self] loop in
                    timer = nil
                    perform(client.tick(now: loop.now))
                }, deadline
            )
        }
    }
}
