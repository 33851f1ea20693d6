import HTTP
import HTTP2
import Time

/// What happened on a client's connection.
public enum GRPCClientEvent {
    /// The server's initial metadata.
    case metadata(GRPCCallID, GRPCMetadata)
    case message(GRPCCallID, GRPCMessage)
    /// What waited on the call is gone: it takes more. After `isWritable` or `send` said no.
    case writable(GRPCCallID)
    /// The last event of a call: the server's status, or what stands in for it.
    case ended(GRPCCallID, GRPCStatus, trailers: GRPCMetadata)
    /// The server takes no more calls on this connection; those under way go on.
    case serverDrains(String)
    /// The last event: all calls have ended.
    case connectionFailed(HTTP2Failure)
}

/// A gRPC connection of a client: bytes in, events out; orders in, bytes out. No socket, clock or thread.
/// Source: gRPC, "gRPC over HTTP2".
public final class GRPCClientConnection {
    /// The connection below, for its counters.
    public let transport: HTTP2Connection
    let limits: GRPCLimits
    private let authority: String
    private let scheme: String
    private let userAgent: String
    private var calls = StreamTable<ClientCall>()
    private var now: Instant
    private var earliestDeadline = Instant(nanoseconds: .max)

    /// - Parameters:
    ///   - authority: what the server is called, for example `martinet:15010`.
    ///   - secure: whether the transport is TLS (`https`).
    public init(
        authority: String, secure: Bool = false, userAgent: String = "martinet", limits: GRPCLimits = GRPCLimits(),
        now: Instant
    ) {
        var http2 = limits.http2
        // Enforced by servers only: a server's PINGs measure what the client sends.
        http2.minimumPingInterval = nil
        transport = HTTP2Connection(role: .client, limits: http2, now: now)
        self.limits = limits
        self.authority = authority
        self.scheme = secure ? "https" : "http"
        self.userAgent = userAgent
        self.now = now
    }

    public var openCalls: [GRPCCallID] { calls.streams }
    public var openCallCount: Int { calls.count }

    // MARK: Orders

    /// Begins a call.
    /// - Parameters:
    ///   - path: `/package.Service/Method`.
    ///   - timeout: after which the call ends with DEADLINE_EXCEEDED, at both ends.
    /// - Returns: nil if the connection takes no more calls: another one is needed.
    public func start(
        _ path: String, metadata: GRPCMetadata = GRPCMetadata(), timeout: Duration? = nil, now: Instant
    ) -> GRPCCallID? {
        self.now = now
        var headers = HeaderList([
            (":method", "POST"), (":scheme", scheme), (":path", path), (":authority", authority), ("te", "trailers"),
            ("content-type", "application/grpc"), ("user-agent", userAgent), ("grpc-accept-encoding", "identity"),
        ])
        if let timeout { headers.append("grpc-timeout", GRPCTimeout.format(timeout)) }
        metadata.append(to: &headers)
        guard let call = transport.open(headers, endStream: false, now: now) else { return nil }
        var state = ClientCall()
        if let timeout {
            let deadline = now.advanced(by: timeout)
            state.deadline = deadline
            earliestDeadline = min(earliestDeadline, deadline)
        }
        calls.insert(state, at: call)
        return call
    }

    /// Sends a message.
    /// - Parameters:
    ///   - frame: from `GRPC.frame`, shared and not copied.
    ///   - last: says at once that no more follow.
    public func send(_ frame: [UInt8], on call: GRPCCallID, last: Bool = false) -> HTTP2SendResult {
        guard calls.contains(call) else { return .closed }
        return transport.send(frame, on: call, endStream: last, now: now)
    }

    /// Says that no more messages follow.
    public func halfClose(_ call: GRPCCallID) {
        guard calls.contains(call) else { return }
        _ = transport.send([], on: call, endStream: true, now: now)
    }

    /// Ends a call at once. No event follows for it.
    public func cancel(_ call: GRPCCallID) {
        guard calls.remove(call) != nil else { return }
        transport.reset(call, .cancel)
    }

    /// Whether nothing waits on the call; if something does, `writable` will tell when it is gone.
    public func isWritable(_ call: GRPCCallID) -> Bool {
        calls.contains(call) && transport.isWritable(call)
    }

    /// Bytes that wait on the call.
    public func unsentBytes(on call: GRPCCallID) -> Int { transport.unsentBytes(on: call) }

    /// Opens the server's window again, where the limits say that this is done by hand.
    public func consume(_ windowBytes: Int, on call: GRPCCallID) {
        let consumed = calls.update(call) { $0.input.consume(windowBytes, limits: limits) }
        if let consumed { transport.consume(consumed, on: call) }
    }

    // MARK: Bytes and time

    /// Takes what came from the server. Messages in the events point into `bytes`.
    public func receive(_ bytes: UnsafeRawBufferPointer, now: Instant, events: inout GRPCEvents<GRPCClientEvent>) {
        self.now = now
        transport.receive(bytes, now: now, events: &events.transport)
        translate(&events)
    }

    /// Writes what is to be sent: see `HTTP2Connection.produceOutput`.
    public func produceOutput(
        into buffer: UnsafeMutableRawBufferPointer, now: Instant, events: inout GRPCEvents<GRPCClientEvent>
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
    public func tick(now: Instant, events: inout GRPCEvents<GRPCClientEvent>) {
        self.now = now
        if earliestDeadline <= now { expireCalls(&events) }
        transport.tick(now: now, events: &events.transport)
        translate(&events)
    }

    private func expireCalls(_ events: inout GRPCEvents<GRPCClientEvent>) {
        earliestDeadline = Instant(nanoseconds: .max)
        for call in calls.streams {
            guard let deadline = calls[call]?.deadline else { continue }
            if deadline <= now {
                abort(call, GRPCStatus(.deadlineExceeded, "the call's deadline has passed"), &events)
            } else {
                earliestDeadline = min(earliestDeadline, deadline)
            }
        }
    }

    public var wantsWrite: Bool { transport.wantsWrite }
    public var isFinished: Bool { transport.isFinished }

    /// Begins no more calls and closes when the open ones have ended.
    public func drain(now: Instant) { transport.drain(now: now) }

    /// The transport is gone: all calls end with UNAVAILABLE.
    public func transportClosed(_ reason: String, events: inout GRPCEvents<GRPCClientEvent>) {
        endAll(GRPCStatus(.unavailable, "the connection is lost: \(reason)"), &events)
    }

    // MARK: Calls

    private func translate(_ events: inout GRPCEvents<GRPCClientEvent>) {
        guard !events.transport.isEmpty else { return }
        // Taken out, not copied: what is done below may append to it.
        var transportEvents: [HTTP2Event] = []
        swap(&transportEvents, &events.transport)
        for event in transportEvents { translate(event, &events) }
        transportEvents.removeAll(keepingCapacity: true)
        swap(&transportEvents, &events.transport)
    }

    private func translate(_ event: HTTP2Event, _ events: inout GRPCEvents<GRPCClientEvent>) {
        switch event {
        case .headers(let call, let headers, let endStream): answered(call, headers, endStream: endStream, &events)
        case .data(let call, let bytes): receive(bytes, on: call, &events)
        case .trailers(let call, let trailers): end(call, trailers, &events)
        case .endOfStream(let call): end(call, HeaderList(), &events)
        case .writable(let call): if calls.contains(call) { events.list.append(.writable(call)) }
        case .streamClosed(let call, let code, _):
            if calls.remove(call) != nil {
                events.list.append(.ended(call, .forReset(code), trailers: GRPCMetadata()))
            }
        case .streamLimited(let call, let limit, let count, let allowed):
            let words = "limit \(limit.rawValue): \(count), allowed \(allowed)"
            abort(call, GRPCStatus(.resourceExhausted, words), &events)
        case .goAway(_, let code, let text):
            events.list.append(.serverDrains(text.isEmpty ? "\(code)" : "\(code): \(text)"))
        case .pingAcknowledged, .informational: break
        case .connectionFailed(let failure):
            endAll(GRPCStatus(.unavailable, "the connection failed: \(failure)"), &events)
            events.list.append(.connectionFailed(failure))
        }
    }

    private func answered(
        _ call: GRPCCallID, _ headers: HeaderList, endStream: Bool, _ events: inout GRPCEvents<GRPCClientEvent>
    ) {
        guard calls.contains(call) else { return }
        // Trailers-only: one block that begins and ends the response.
        if endStream {
            let status = GRPCStatus(headers) ?? .forHTTPStatus(headers[":status"] ?? "")
            return finish(call, status, headers, &events)
        }
        guard headers[":status"] == "200", RequestCheck.isGRPC(headers["content-type"] ?? "") else {
            return abort(call, GRPCStatus(headers) ?? .notGRPC(headers), &events)
        }
        if let encoding = headers["grpc-encoding"], encoding != "identity" {
            let words = "the server compresses with \(encoding), which was not offered"
            return abort(call, GRPCStatus(.unimplemented, words), &events)
        }
        events.list.append(.metadata(call, GRPCMetadata(headers)))
    }

    private func receive(
        _ bytes: UnsafeRawBufferPointer, on call: GRPCCallID, _ events: inout GRPCEvents<GRPCClientEvent>
    ) {
        var fault: GRPCStatus?
        let consumption = calls.update(call) { state -> CallInput.Consumption? in
            do throws(MessageAssembler.Fault) {
                return try state.input.receive(bytes, limits: limits) { message in
                    events.list.append(.message(call, message))
                    return true
                }
            } catch {
                fault = error.status(limit: limits.messageSize)
                return nil
            }
        }
        if let consumption = consumption ?? nil {
            transport.consumeConnection(consumption.connection, on: call)
            transport.consume(consumption.stream, on: call)
        } else {
            transport.consume(bytes.count, on: call)
        }
        if let fault { abort(call, fault, &events) }
    }

    private func end(_ call: GRPCCallID, _ trailers: HeaderList, _ events: inout GRPCEvents<GRPCClientEvent>) {
        guard let state = calls[call] else { return }
        var status = GRPCStatus(trailers) ?? GRPCStatus(.unknown, "the response ended without grpc-status")
        if status.code == .ok, !state.input.isAtBoundary {
            status = GRPCStatus(.internalError, "the response ends inside a message")
        }
        finish(call, status, trailers, &events)
    }

    private func finish(
        _ call: GRPCCallID, _ status: GRPCStatus, _ trailers: HeaderList, _ events: inout GRPCEvents<GRPCClientEvent>
    ) {
        guard calls.remove(call) != nil else { return }
        // The server is done; what we would still send is for nobody.
        transport.reset(call, .cancel)
        events.list.append(.ended(call, status, trailers: GRPCMetadata(trailers)))
    }

    /// Ends a call without the server.
    private func abort(_ call: GRPCCallID, _ status: GRPCStatus, _ events: inout GRPCEvents<GRPCClientEvent>) {
        guard calls.remove(call) != nil else { return }
        transport.reset(call, .cancel)
        events.list.append(.ended(call, status, trailers: GRPCMetadata()))
    }

    private func endAll(_ status: GRPCStatus, _ events: inout GRPCEvents<GRPCClientEvent>) {
        for call in calls.streams { events.list.append(.ended(call, status, trailers: GRPCMetadata())) }
        calls = StreamTable()
    }
}

extension GRPCStatus {
    fileprivate static func notGRPC(_ headers: HeaderList) -> GRPCStatus {
        guard let status = headers[":status"], status == "200" else {
            return .forHTTPStatus(headers[":status"] ?? "missing")
        }
        let type = headers["content-type"] ?? ""
        return GRPCStatus(.unknown, "the server answered with content type \"\(type)\", not application/grpc")
    }
}

/// One call, seen from the client.
private struct ClientCall {
    var input = CallInput()
    var deadline: Instant?
}
