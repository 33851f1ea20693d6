import HTTP
import HTTP2
import Time

/// What happened on a server's connection.
public enum GRPCServerEvent {
    case started(GRPCCallID, GRPCRequest)
    case message(GRPCCallID, GRPCMessage)
    /// The client has no more messages.
    case halfClosed(GRPCCallID)
    /// What waited on the call is gone: it takes more. After `isWritable` or `send` said no.
    case writable(GRPCCallID)
    /// The last event of a call that was started.
    case ended(GRPCCallID, GRPCEnd)
    /// Something was refused because of a limit, in words for the log; the call, if any, was not reported.
    case refused(GRPCCallID, String)
    /// The client opens no more calls on this connection.
    case peerDrains
    /// The last event: all calls have ended.
    case connectionFailed(HTTP2Failure)
}

/// How a call ended, seen from the server.
public enum GRPCEnd: Equatable, Sendable {
    /// The status given to `finish` is on its way.
    case finished
    /// The client wants no answer any more.
    case cancelled
    /// The connection answered with this status by itself: a deadline, a message too large, a broken rule.
    case answered(GRPCStatus)
    /// The stream was reset.
    case reset(HTTP2ErrorCode)
    case connectionLost
}

/// A gRPC connection of a server: bytes in, events out; orders in, bytes out. No socket, clock or thread.
/// Source: gRPC, "gRPC over HTTP2".
public final class GRPCServerConnection {
    /// The connection below, for its counters.
    public let transport: HTTP2Connection
    let limits: GRPCLimits
    let methods: GRPCMethods
    var calls = StreamTable<ServerCall>()
    var now: Instant
    private var earliestDeadline = Instant(nanoseconds: .max)

    public init(methods: GRPCMethods, limits: GRPCLimits = GRPCLimits(), now: Instant) {
        transport = HTTP2Connection(role: .server, limits: limits.http2, now: now)
        self.limits = limits
        self.methods = methods
        self.now = now
    }

    /// The calls that have not ended, rising.
    public var openCalls: [GRPCCallID] { calls.streams }
    public var openCallCount: Int { calls.count }

    // MARK: Orders

    /// Sends the initial metadata, which otherwise goes with the first message.
    public func sendMetadata(_ metadata: GRPCMetadata, on call: GRPCCallID) {
        let first = calls.update(call) { state in
            defer { state.flags.insert(.answered) }
            return state.flags.isDisjoint(with: [.answered, .finished])
        }
        guard first == true else { return }
        var headers = Self.responseHeaders
        metadata.append(to: &headers)
        transport.respond(headers, on: call)
    }

    /// Sends a message.
    /// - Parameter frame: from `GRPC.frame`, shared and not copied.
    public func send(_ frame: [UInt8], on call: GRPCCallID) -> HTTP2SendResult {
        guard let state = calls[call], !state.flags.contains(.finished) else { return .closed }
        if !state.flags.contains(.answered) { sendMetadata(GRPCMetadata(), on: call) }
        return transport.send(frame, on: call, now: now)
    }

    /// Ends a call, after the messages that wait.
    public func finish(_ call: GRPCCallID, _ status: GRPCStatus, trailers: GRPCMetadata = GRPCMetadata()) {
        let answered = calls.update(call) { state -> Bool? in
            guard !state.flags.contains(.finished) else { return nil }
            state.flags.insert(.finished)
            return state.flags.contains(.answered)
        }
        guard let answered, let answered else { return }
        sendStatus(status, trailers, on: call, answered: answered)
    }

    /// Whether nothing waits on the call; if something does, `writable` will tell when it is gone.
    public func isWritable(_ call: GRPCCallID) -> Bool {
        guard let state = calls[call], !state.flags.contains(.finished) else { return false }
        return transport.isWritable(call)
    }

    /// Bytes that wait on the call.
    public func unsentBytes(on call: GRPCCallID) -> Int { transport.unsentBytes(on: call) }

    /// Opens the client's window again, where the limits say that this is done by hand.
    public func consume(_ windowBytes: Int, on call: GRPCCallID) {
        let consumed = calls.update(call) { $0.input.consume(windowBytes, limits: limits) }
        if let consumed { transport.consume(consumed, on: call) }
    }

    private static let responseHeaders = HeaderList([
        (":status", "200"), ("content-type", "application/grpc"), ("grpc-accept-encoding", "identity"),
    ])

    private func sendStatus(_ status: GRPCStatus, _ trailers: GRPCMetadata, on call: GRPCCallID, answered: Bool) {
        var fields = answered ? HeaderList() : Self.responseHeaders
        status.append(to: &fields)
        trailers.append(to: &fields)
        if answered {
            transport.sendTrailers(fields, on: call)
        } else {
            transport.respond(fields, on: call, endStream: true)
        }
    }

    // MARK: Bytes and time

    /// Takes what came from the client. Messages in the events point into `bytes`.
    public func receive(_ bytes: UnsafeRawBufferPointer, now: Instant, events: inout GRPCEvents<GRPCServerEvent>) {
        self.now = now
        transport.receive(bytes, now: now, events: &events.transport)
        translate(&events)
    }

    /// Writes what is to be sent: see `HTTP2Connection.produceOutput`.
    public func produceOutput(
        into buffer: UnsafeMutableRawBufferPointer, now: Instant, events: inout GRPCEvents<GRPCServerEvent>
    ) -> Int {
        self.now = now
        let count = transport.produceOutput(into: buffer, now: now, events: &events.transport)
        translate(&events)
        return count
    }

    public var nextDeadline: Instant? {
        guard earliestDeadline.nanoseconds < .max, !calls.isEmpty else { return transport.nextDeadline }
        return transport.nextDeadline.map { min($0, earliestDeadline) } ?? earliestDeadline
    }

    /// Does what is due: ends calls whose deadline has passed, and what HTTP/2 has to do.
    public func tick(now: Instant, events: inout GRPCEvents<GRPCServerEvent>) {
        self.now = now
        if earliestDeadline <= now { expireCalls(&events) }
        transport.tick(now: now, events: &events.transport)
        translate(&events)
    }

    private func expireCalls(_ events: inout GRPCEvents<GRPCServerEvent>) {
        earliestDeadline = Instant(nanoseconds: .max)
        for call in calls.streams {
            guard let state = calls[call], let deadline = state.deadline else { continue }
            if deadline <= now {
                let status = GRPCStatus(.deadlineExceeded, "the call's deadline has passed")
                // Behind messages that nobody takes, a status would wait for ever.
                if transport.unsentBytes(on: call) > 0 { transport.reset(call, .cancel) }
                answer(call, status, &events)
            } else {
                earliestDeadline = min(earliestDeadline, deadline)
            }
        }
    }

    public var wantsWrite: Bool { transport.wantsWrite }
    public var isFinished: Bool { transport.isFinished }

    /// Takes no new calls, lets the open ones end, and closes: see `HTTP2Connection.drain`.
    public func drain(now: Instant) { transport.drain(now: now) }

    /// The transport is gone: all calls have ended.
    public func transportClosed(events: inout GRPCEvents<GRPCServerEvent>) {
        endAll(&events)
    }

    // MARK: Calls

    private func translate(_ events: inout GRPCEvents<GRPCServerEvent>) {
        guard !events.transport.isEmpty else { return }
        // Taken out, not copied: what is done below may append to it.
        var transportEvents: [HTTP2Event] = []
        swap(&transportEvents, &events.transport)
        for event in transportEvents { translate(event, &events) }
        transportEvents.removeAll(keepingCapacity: true)
        swap(&transportEvents, &events.transport)
    }

    private func translate(_ event: HTTP2Event, _ events: inout GRPCEvents<GRPCServerEvent>) {
        switch event {
        case .headers(let call, let headers, let endStream): start(call, headers, endStream: endStream, &events)
        case .data(let call, let bytes): receive(bytes, on: call, &events)
        case .trailers(let call, _), .endOfStream(let call): halfClose(call, &events)
        case .writable(let call): if calls.contains(call) { events.list.append(.writable(call)) }
        case .streamClosed(let call, let code, let byPeer):
            guard let state = calls.remove(call) else { return }
            let end: GRPCEnd =
                if byPeer, !state.flags.contains(.finished) || code != .noError {
                    code == .cancel || code == .noError ? .cancelled : .reset(code)
                } else if state.flags.contains(.finished) {
                    .finished
                } else {
                    .reset(code)
                }
            events.list.append(.ended(call, end))
        case .streamLimited(let call, let limit, let count, let allowed):
            events.list.append(.refused(call, "limit \(limit.rawValue): \(count), allowed \(allowed)"))
        case .goAway: events.list.append(.peerDrains)
        case .pingAcknowledged, .informational: break
        case .connectionFailed(let failure):
            endAll(&events)
            events.list.append(.connectionFailed(failure))
        }
    }

    private func start(
        _ call: GRPCCallID, _ headers: HeaderList, endStream: Bool, _ events: inout GRPCEvents<GRPCServerEvent>
    ) {
        do {
            let request = try RequestCheck.check(headers, methods)
            var state = ServerCall(clientStreams: request.method.clientStreams)
            if let timeout = request.timeout {
                let deadline = now.advanced(by: timeout)
                state.deadline = deadline
                earliestDeadline = min(earliestDeadline, deadline)
            }
            calls.insert(state, at: call)
            events.list.append(.started(call, request))
            if endStream { halfClose(call, &events) }
        } catch {
            switch error {
            case .http(let status, let words):
                transport.respond(HeaderList([(":status", status)]), on: call, endStream: true)
                events.list.append(.refused(call, words))
            case .grpc(let status):
                sendStatus(status, GRPCMetadata(), on: call, answered: false)
                events.list.append(.refused(call, "\(status)"))
            }
        }
    }

    private func receive(
        _ bytes: UnsafeRawBufferPointer, on call: GRPCCallID, _ events: inout GRPCEvents<GRPCServerEvent>
    ) {
        var fault: GRPCStatus?
        let consumption = calls.update(call) { state -> CallInput.Consumption? in
            guard !state.flags.contains(.finished) else { return nil }
            do throws(MessageAssembler.Fault) {
                let clientStreams = state.clientStreams
                var hasMessage = state.flags.contains(.hasMessage)
                defer { if hasMessage { state.flags.insert(.hasMessage) } }
                return try state.input.receive(bytes, limits: limits) { message in
                    guard clientStreams || !hasMessage else {
                        fault = GRPCStatus(.internalError, "the method takes one message, and a second one came")
                        return false
                    }
                    hasMessage = true
                    events.list.append(.message(call, message))
                    return true
                }
            } catch {
                fault = error.status(limit: limits.messageSize)
                return nil
            }
        }
        if let consumption = consumption ?? nil, fault == nil {
            transport.consumeConnection(consumption.connection, on: call)
            transport.consume(consumption.stream, on: call)
        } else {
            transport.consume(bytes.count, on: call)
        }
        if let fault { answer(call, fault, &events) }
    }

    private func halfClose(_ call: GRPCCallID, _ events: inout GRPCEvents<GRPCServerEvent>) {
        guard let state = calls[call], !state.flags.contains(.finished) else { return }
        if !state.input.isAtBoundary {
            return answer(call, GRPCStatus(.internalError, "the request ends inside a message"), &events)
        }
        if !state.clientStreams, !state.flags.contains(.hasMessage) {
            return answer(call, GRPCStatus(.internalError, "the method takes one message, and none came"), &events)
        }
        events.list.append(.halfClosed(call))
    }

    /// Ends a call without the application.
    private func answer(_ call: GRPCCallID, _ status: GRPCStatus, _ events: inout GRPCEvents<GRPCServerEvent>) {
        guard let state = calls.remove(call) else { return }
        if !state.flags.contains(.finished) {
            sendStatus(status, GRPCMetadata(), on: call, answered: state.flags.contains(.answered))
        }
        events.list.append(.ended(call, state.flags.contains(.finished) ? .finished : .answered(status)))
    }

    private func endAll(_ events: inout GRPCEvents<GRPCServerEvent>) {
        for call in calls.streams { events.list.append(.ended(call, .connectionLost)) }
        calls = StreamTable()
    }
}

/// One call, seen from the server.
struct ServerCall {
    var input = CallInput()
    let clientStreams: Bool
    var deadline: Instant?
    var flags: Flags = []

    struct Flags: OptionSet {
        var rawValue: UInt8
        /// The response's HEADERS are sent.
        static let answered = Flags(rawValue: 1)
        /// The status is given.
        static let finished = Flags(rawValue: 2)
        /// A message came.
        static let hasMessage = Flags(rawValue: 4)
    }
}
