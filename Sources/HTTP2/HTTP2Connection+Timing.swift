import Time

/// What a connection waits for, and since when.
struct HTTP2Timing {
    /// The payloads of our own PINGs; a caller's must differ.
    static let keepalivePayload: UInt64 = 0x6576_696c_6170_656b
    static let drainPayload: UInt64 = 0x6e69_6172_6465_6e6f

    enum Drain: Equatable {
        case none
        /// The first GOAWAY is out: streams under way on the wire are still taken.
        case noticed(since: Instant)
        /// The last stream is named.
        case final(since: Instant)
    }

    /// The time of the call that is under way.
    var now: Instant
    let opened: Instant
    var settingsReceived = false
    var settingsAcknowledged = false
    private(set) var lastReceived: Instant
    var keepaliveSent: Instant?
    var frameStarted: Instant?
    var idleSince: Instant?
    private(set) var lastProgress: Instant
    var drain = Drain.none
    var drainStarted: Instant?

    init(now: Instant) {
        self.now = now
        opened = now
        lastReceived = now
        lastProgress = now
        idleSince = now
    }

    mutating func received(now: Instant) {
        self.now = now
        lastReceived = now
        keepaliveSent = nil
    }

    mutating func isInsideFrame(_ inside: Bool, now: Instant) {
        frameStarted = inside ? frameStarted ?? now : nil
    }

    mutating func progressed(now: Instant) {
        lastProgress = now
    }
}

extension HTTP2Connection {
    /// Begins to end the connection without breaking a stream: no new ones, the open ones may finish within
    /// `drainTimeout`. A server says so in two steps, so that no stream that is on its way is lost.
    /// Source: RFC 9113, section 6.8.
    public func drain(now: Instant) {
        guard !isOver, timing.drain == .none else { return }
        timing.now = now
        timing.drainStarted = now
        switch role {
        case .server:
            timing.drain = .noticed(since: now)
            library.submitShutdownNotice()
            collectControlFrames()
            appendPing(HTTP2Timing.drainPayload, acknowledgement: false)
        case .client:
            timing.drain = .final(since: now)
            library.submitGoAway(last: 0)
        }
    }

    /// Whether `drain` was called, or the connection began to by itself.
    public var isDraining: Bool { timing.drain != .none }

    /// The peer has seen the notice: what it opened before is known by now.
    func finishDrain() {
        guard case .noticed = timing.drain, !isOver else { return }
        timing.drain = .final(since: timing.now)
        library.submitGoAway(last: library.lastProcessedStream)
    }

    /// When `tick` is to be called next, if nothing happens before; nil for never.
    public var nextDeadline: Instant? {
        guard !isOver else { return nil }
        var next: Instant?
        forEachDeadline { at, _ in next = next.map { min($0, at) } ?? at }
        return next
    }

    /// Does what is due: keepalive, idle, drain; ends what takes too long.
    public func tick(now: Instant, events: inout [HTTP2Event]) {
        timing.now = now
        collecting(&events) {
            while !isOver, let deadline = firstDue(now: now) { apply(deadline, now: now) }
        }
    }

    private func firstDue(now: Instant) -> Deadline? {
        var first: (at: Instant, deadline: Deadline)?
        forEachDeadline { at, deadline in
            if at <= now, first.map({ at < $0.at }) ?? true { first = (at, deadline) }
        }
        return first?.deadline
    }

    private enum Deadline {
        case fail(HTTP2Timeout, Duration)
        case keepalive
        case idle
        case finishDrain
    }

    private func forEachDeadline(_ body: (Instant, Deadline) -> Void) {
        func add(_ start: Instant, _ duration: Duration, _ deadline: Deadline) {
            body(start.advanced(by: duration), deadline)
        }
        if !timing.settingsReceived || !timing.settingsAcknowledged {
            add(timing.opened, limits.handshakeTimeout, .fail(.handshakeTimeout, limits.handshakeTimeout))
        }
        if let started = timing.frameStarted {
            add(started, limits.frameTimeout, .fail(.frameTimeout, limits.frameTimeout))
        }
        if let sent = timing.keepaliveSent {
            add(sent, limits.keepaliveTimeout, .fail(.keepaliveTimeout, limits.keepaliveTimeout))
        } else if let interval = limits.keepaliveInterval {
            add(timing.lastReceived, interval, .keepalive)
        }
        if unsentBytes > 0, let stall = limits.stallTimeout {
            add(timing.lastProgress, stall, .fail(.stallTimeout, stall))
        }
        switch timing.drain {
        case .none:
            if let idleSince = timing.idleSince, let idle = limits.idleTimeout { add(idleSince, idle, .idle) }
        case .noticed(let since): add(since, limits.drainNotice, .finishDrain)
        case .final: break
        }
        if let started = timing.drainStarted {
            add(started, limits.drainTimeout, .fail(.drainTimeout, limits.drainTimeout))
        }
    }

    private func apply(_ deadline: Deadline, now: Instant) {
        switch deadline {
        case .fail(let timeout, let after): fail(.timeout(timeout, after: after))
        case .keepalive:
            timing.keepaliveSent = now
            appendPing(HTTP2Timing.keepalivePayload, acknowledgement: false)
        case .idle: drain(now: now)
        case .finishDrain: finishDrain()
        }
    }
}
