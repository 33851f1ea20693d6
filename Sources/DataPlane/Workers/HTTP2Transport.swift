import HTTP
import HTTP2
import Reactor
import Time

/// A socket with an HTTP/2 connection on it, either end. What was queued goes out once per turn of the loop.
protocol HTTP2Transport: SocketUser {
    var connection: HTTP2Connection { get }
    /// Whether it waits for the end of the turn.
    var isDirty: Bool { get set }
    /// When and by which timer the connection is to be asked what is due.
    var deadline: (at: Instant, timer: TimerID)? { get set }
    /// For the last bytes and the peer's end; nil: as the loop has it.
    var closingTimeout: Duration? { get }
    func take(_ event: HTTP2Event)
}

enum HTTP2Timer { static let deadline: UInt64 = 1 }

extension HTTP2Transport {
    var closingTimeout: Duration? { nil }

    /// Something was queued: it goes out at the end of the turn.
    func becameDirty() {
        guard !isDirty else { return }
        isDirty = true
        worker.dirty.append(self)
    }

    func receive(_ bytes: UnsafeRawBufferPointer) {
        worker.withHTTP2Events { events in
            connection.receive(bytes, now: loop.now, events: &events)
            for event in events { take(event) }
        }
        becameDirty()
    }

    /// Sends what there is to send, as far as the socket takes it, and sets the timer for what comes next.
    func pump() {
        isDirty = false
        guard loop.isOpen(id) else { return }
        while connection.wantsWrite, loop.isWritable(id) {
            var count = 0
            worker.withHTTP2Events { events in
                count = connection.produceOutput(into: worker.frames, now: loop.now, events: &events)
                if count > 0 {
                    loop.write(
                        UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(worker.frames)[..<count]), to: id)
                }
                for event in events { take(event) }
            }
            if count == 0 { break }
        }
        if connection.isFinished { return loop.closeAfterFlush(id, within: closingTimeout) }
        setDeadline()
    }

    /// Sends a part of a body.
    func sendBody(_ bytes: UnsafeRawBufferPointer, on stream: HTTP2StreamID, orReset code: HTTP2ErrorCode) {
        guard !bytes.isEmpty else { return }
        // A body with a hole in it must not look whole.
        if connection.send(Array(bytes), on: stream, now: loop.now) != .queued { connection.reset(stream, code) }
        becameDirty()
    }

    /// Ends the stream's own half.
    func sendLast(_ trailers: HeaderList?, on stream: HTTP2StreamID) {
        if let trailers, !trailers.isEmpty {
            connection.sendTrailers(trailers, on: stream)
        } else {
            _ = connection.send([], on: stream, endStream: true, now: loop.now)
        }
        becameDirty()
    }

    private func setDeadline() {
        guard let next = connection.nextDeadline else { return }
        if let deadline {
            // An earlier timer stands: when it fires too soon, it only sets the next.
            guard next < deadline.at else { return }
            loop.cancelTimer(deadline.timer)
        }
        deadline = (next, loop.setTimer(at: next, for: id, token: HTTP2Timer.deadline))
    }

    func tick() {
        deadline = nil
        worker.withHTTP2Events { events in
            connection.tick(now: loop.now, events: &events)
            for event in events { take(event) }
        }
        becameDirty()
    }
}
