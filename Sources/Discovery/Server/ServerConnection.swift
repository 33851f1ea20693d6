import GRPC
import HTTP2
import Logging
import Protobuf
import Reactor
import Time
import XDS

/// One connection of a proxy or of a tool, with its gRPC calls.
final class ServerConnection: ConnectionHandler {
    typealias Loop = EventLoop<ServerConnection>

    let home: DiscoveryLoop
    private(set) var origin: CallOrigin
    var id: ConnectionID
    let grpc: GRPCServerConnection
    var discoveryCalls: [DiscoveryCall] = []
    private var serviceCalls: [GRPCCallID: any ServiceCallHandler] = [:]
    /// Those of ``serviceCalls`` that go on until someone ends them.
    private var streamingCalls: Set<GRPCCallID> = []
    private var timer: (id: TimerID, deadline: Instant)?
    private var hasFailed = false
    private var isDraining = false

    init(
        _ home: DiscoveryLoop, id: ConnectionID, isSecure: Bool, peer: Peer, limits: GRPCLimits, now: Instant
    ) {
        self.home = home
        self.id = id
        origin = CallOrigin(peer, isSecure: isSecure)
        origin.acceptedAt = now
        grpc = GRPCServerConnection(methods: home.methods, limits: limits, now: now)
    }

    // MARK: What the loop tells

    func established(_ peer: Peer, loop: Loop, id: ConnectionID) {
        origin.note(peer)
        flush(loop)
    }

    func received(_ bytes: UnsafeRawBufferPointer, loop: Loop, id: ConnectionID) {
        grpc.receive(bytes, now: loop.now, events: &home.events)
        takeEvents(loop)
        flush(loop)
    }

    func readyToWrite(loop: Loop, id: ConnectionID) {
        flush(loop)
    }

    func peerClosedWriting(loop: Loop, id: ConnectionID) {
        loop.closeAfterFlush(id, reason: .finished)
    }

    func timerFired(_ token: UInt64, loop: Loop, id: ConnectionID) {
        timer = nil
        grpc.tick(now: loop.now, events: &home.events)
        takeEvents(loop)
        for call in discoveryCalls where (call.nextDeadline ?? .distantFuture) <= loop.now {
            perform(call.tick(now: loop.now), of: call, loop)
        }
        for call in discoveryCalls where (call.gate.deadline ?? .distantFuture) <= loop.now { stopWaiting(call) }
        for call in discoveryCalls where (call.provedUntil ?? .distantFuture) <= loop.now { endProof(of: call) }
        flush(loop)
    }

    func closed(_ reason: CloseReason, loop: Loop, id: ConnectionID) {
        for call in discoveryCalls { forget(call) }
        for handler in serviceCalls.values { handler.ended() }
        discoveryCalls = []
        serviceCalls = [:]
        streamingCalls = []
        switch reason {
        case .finished, .requested, .loopStopped: break
        default:
            home.logger.info("connection ended", metadata: ["peer": "\(origin.peer)", "reason": "\(reason)"])
        }
    }

    // MARK: What others ask

    /// Shows one of the streams a snapshot.
    func publish(_ snapshot: Snapshot, to call: DiscoveryCall, loop: Loop) {
        perform(call.publish(snapshot, now: loop.now), of: call, loop)
        flush(loop)
    }

    /// Sends a message of a service, or the end of its call.
    func answer(_ call: GRPCCallID, _ message: [UInt8]?, _ status: GRPCStatus?, loop: Loop) {
        guard serviceCalls[call] != nil else { return }
        if let message, case .full = grpc.send(message, on: call) {
            grpc.finish(call, GRPCStatus(.resourceExhausted, "the client does not read its answers"))
        } else if let status {
            grpc.finish(call, status)
        }
        flush(loop)
    }

    /// Says goodbye. Streams end at once, so that their clients go elsewhere; unary calls under way finish.
    func drain(loop: Loop, id: ConnectionID) {
        isDraining = true
        grpc.drain(now: loop.now)
        for call in discoveryCalls { grpc.finish(call.id, Self.goodbye) }
        for call in streamingCalls.sorted() { grpc.finish(call, Self.goodbye) }
        flush(loop)
    }

    private static let goodbye = GRPCStatus(.unavailable, "the server is going away; connect again")

    // MARK: Calls

    private func takeEvents(_ loop: Loop) {
        // The array is the loop's: taken while it is worked on, given back empty with its storage.
        guard !home.events.isEmpty else { return }
        var events = GRPCEvents<GRPCServerEvent>()
        swap(&events, &home.events)
        for event in events.list { take(event, loop) }
        events.removeAll()
        swap(&events, &home.events)
    }

    private func take(_ event: GRPCServerEvent, _ loop: Loop) {
        switch event {
        case .started(let call, let request): open(call, request, loop)
        case .message(let call, let message): message.withUnsafeBytes { receive($0, on: call, loop) }
        case .halfClosed(let call):
            if let handler = serviceCalls[call] {
                handler.halfClosed()
            } else if discoveryCalls.contains(where: { $0.id == call && !$0.gate.isRefusing }) {
                grpc.finish(call, GRPCStatus(.ok))
            }
        case .writable(let call): discoveryCalls.first { $0.id == call }.map { sendWaiting($0) }
        case .refused(_, let words):
            home.metrics.streamsRefused.increment()
            logRefusal(.info, "call refused", ["reason": "\(words)"], loop)
        case .peerDrains: break
        case .ended(let call, _):
            serviceCalls.removeValue(forKey: call)?.ended()
            streamingCalls.remove(call)
            end(call)
        case .connectionFailed(let failure):
            hasFailed = true
            home.metrics.connectionFailed(failure)
            home.logger.warning("connection failed", metadata: ["peer": "\(origin.peer)", "reason": "\(failure)"])
        }
    }

    private func open(_ call: GRPCCallID, _ request: GRPCRequest, _ loop: Loop) {
        if let method = DiscoveryMethod(path: request.method.path) {
            let stream = DiscoveryCall.make(
                method, id: call, on: self, limits: home.configuration.streams, now: loop.now)
            if home.configuration.admission != nil { stream.metadata = request.metadata }
            discoveryCalls.append(stream)
            home.metrics.streamOpened(stream.kind)
            // It was on its way when the server said goodbye: it would hold the server up to the last.
            if isDraining { grpc.finish(call, Self.goodbye) }
        } else if let service = home.services[request.method.path] {
            let handle = ServiceCall(home.answers, connection: id, call: call, request: request, origin: origin)
            serviceCalls[call] = service.open(handle)
            if request.method.serverStreams {
                streamingCalls.insert(call)
                if isDraining { grpc.finish(call, Self.goodbye) }
            }
        }
    }

    private func receive(_ message: UnsafeRawBufferPointer, on id: GRPCCallID, _ loop: Loop) {
        guard let call = discoveryCalls.first(where: { $0.id == id }) else {
            serviceCalls[id]?.received(message)
            return
        }
        guard call.gate.isOpen else {
            if !call.gate.hold(message) { fail(call, Self.tooMuchWaits, loop) }
            return
        }
        receive(message, on: call, loop)
    }

    func receive(_ message: UnsafeRawBufferPointer, on call: DiscoveryCall, _ loop: Loop) {
        do throws(ProtobufError) {
            let request = try call.decode(message, home.decoded)
            if let admission = home.configuration.admission, call.isKnownToAdmission,
                let names = call.namesToPrepare(request)
            {
                return prepare(names, for: call, then: request, admission, loop)
            }
            receive(request, on: call, loop)
        } catch {
            fail(call, GRPCStatus(error), loop)
        }
    }

    func receive(_ request: DecodedRequest, on call: DiscoveryCall, _ loop: Loop) {
        perform(call.receive(request, now: loop.now), of: call, loop, upon: request)
        countTypes(of: call, call.typeMask)
    }

    private func end(_ id: GRPCCallID) {
        guard let index = discoveryCalls.firstIndex(where: { $0.id == id }) else { return }
        forget(discoveryCalls.remove(at: index))
    }

    private func forget(_ call: DiscoveryCall) {
        home.leave(call)
        countTypes(of: call, TypeMask())
        home.metrics.streamEnded(call.kind)
        if call.gate.isRefusing { home.delayedRefusals -= 1 }
        call.gate.close(.closed, until: nil)
        if call.isKnownToAdmission {
            call.isKnownToAdmission = false
            home.configuration.admission?.ended(call.token)
        }
    }

    private func countTypes(of call: DiscoveryCall, _ types: TypeMask) {
        // A stream that has ended meanwhile was counted out.
        guard types == TypeMask() || discoveryCalls.contains(where: { $0 === call }) else { return }
        home.metrics.subscriptionsChanged(from: call.countedTypes, to: types)
        call.countedTypes = types
    }

    func fail(_ call: DiscoveryCall, _ status: GRPCStatus, _ loop: Loop) {
        home.metrics.streamsRefused.increment()
        logRefusal(
            .warning, "xDS stream ended with an error",
            ["node": "\(call.node.id)", "reason": "\(status.message)"], loop)
        finish(call, status)
    }

    func finish(_ call: DiscoveryCall, _ status: GRPCStatus) {
        grpc.finish(call.id, status)
        end(call.id)
    }

    /// A line about something that a peer can bring about as often as it likes.
    func logRefusal(_ level: Logger.Level, _ text: String, _ metadata: Logger.Metadata, _ loop: Loop) {
        guard let withheld = home.logLimit.line(of: origin.host, now: loop.now) else { return }
        var metadata = metadata
        metadata["peer"] = "\(origin.peer)"
        if withheld > 0 { metadata["lines withheld"] = "\(withheld)" }
        home.logger.log(level: level, "\(text)", metadata: metadata)
    }

    // MARK: Output and time

    /// Moves what is to be sent to the loop, as far as the socket takes it, and sets the timer anew.
    func flush(_ loop: Loop) {
        while loop.isWritable(id) {
            let count = grpc.produceOutput(into: home.output, now: loop.now, events: &home.events)
            if count > 0 { loop.write(UnsafeRawBufferPointer(rebasing: home.output[..<count]), to: id) }
            // An output buffer with that much room left was given all there is. What has been sent may have made room
            // for responses that waited: they come next.
            if home.events.isEmpty && count < home.output.count / 2 { break }
            takeEvents(loop)
        }
        takeEvents(loop)
        // A failed connection's GOAWAY waits for no one: its peer may never read, and no deadline is left.
        if grpc.isFinished || hasFailed { loop.closeAfterFlush(id) }
        setTimer(loop)
    }

    private func setTimer(_ loop: Loop) {
        var next = grpc.nextDeadline ?? .distantFuture
        for call in discoveryCalls {
            next = min(
                next, call.nextDeadline ?? .distantFuture, call.gate.deadline ?? .distantFuture,
                call.provedUntil ?? .distantFuture)
        }
        if let timer {
            // An early timer finds nothing due and sets itself anew: cheaper than moving it at every message.
            if timer.deadline <= next { return }
            loop.cancelTimer(timer.id)
            self.timer = nil
        }
        guard next < .distantFuture else { return }
        timer = (loop.setTimer(at: next, for: id, token: 0), next)
    }
}

extension GRPCStatus {
    fileprivate init(_ error: ProtobufError) {
        switch error.problem {
        case .tooManyElements, .tooMuchMemory:
            self.init(.resourceExhausted, "request too large: \(error); \(error.hint)")
        case .truncated, .lengthPastEnd, .varintTooLong, .fieldNumberInvalid, .wireTypeMismatch, .wireTypeUnsupported,
            .packedLengthUneven, .notUTF8, .embeddedNUL, .givenTwice, .tooDeep, .undecodable:
            self.init(.invalidArgument, "malformed request: \(error); \(error.hint)")
        }
    }
}

extension Instant {
    fileprivate static let distantFuture = Instant(nanoseconds: .max)
}
