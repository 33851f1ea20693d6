import HTTP
import Time

extension HTTP2Connection {
    /// Opens a stream (client).
    /// - Returns: nil if the connection takes none any more: it drains, has failed, or used up its numbers.
    ///   More streams than the peer allows wait here for their turn.
    public func open(_ headers: HeaderList, endStream: Bool, now: Instant) -> HTTP2StreamID? {
        guard mayOpenStreams, let stream = library.submitHeaders(headers, on: nil, endStream: endStream) else {
            return nil
        }
        var state = HTTP2Stream()
        if endStream { state.flags.insert(.ending) }
        streams.insert(state, at: stream)
        highestOpened = stream
        timing.idleSince = nil
        return stream
    }

    /// Whether ``open(_:endStream:now:)`` opens streams (client): it fails, then, for a head that cannot be sent alone.
    public var mayOpenStreams: Bool { role == .client && !isOver && timing.drain == .none && library.mayOpenStreams }

    /// Streams that the peer takes at a time: as its SETTINGS say, or by default any number.
    public var peerConcurrentStreams: Int { isOver ? 0 : library.peerConcurrentStreams }

    /// Whether the peer takes extended CONNECT (client); nil before its SETTINGS, without which it must not be sent.
    /// Source: RFC 8441, section 3.
    public var peerTakesExtendedConnect: Bool? {
        timing.settingsReceived && !isOver ? library.peerTakesExtendedConnect : nil
    }

    /// Sends an informational response (server), before the final one. Source: RFC 9110, section 15.2.
    /// - Returns: false if the stream is over or has its final response.
    @discardableResult
    public func respondInformational(_ headers: HeaderList, on stream: HTTP2StreamID) -> Bool {
        guard role == .server, !isOver,
            let state = streams[stream], state.flags.isDisjoint(with: [.opened, .ending, .resetHere])
        else { return false }
        return library.submitInformational(headers, on: stream)
    }

    /// Sends the response's HEADERS (server), once for each stream.
    /// - Returns: false if the stream is over.
    @discardableResult
    public func respond(_ headers: HeaderList, on stream: HTTP2StreamID, endStream: Bool = false) -> Bool {
        guard role == .server, !isOver else { return false }
        let wanted = streams.update(stream) { state in
            guard state.flags.isDisjoint(with: [.opened, .ending, .resetHere]) else { return false }
            state.flags.insert(.opened)
            if endStream { state.flags.insert(.ending) }
            return true
        }
        guard wanted == true else { return false }
        return library.submitHeaders(headers, on: stream, endStream: endStream) != nil
    }

    /// Queues DATA. The bytes are shared, not copied: the same array may go to thousands of streams.
    /// - Parameter bytes: may be empty where `endStream` is set.
    public func send(_ bytes: [UInt8], on stream: HTTP2StreamID, endStream: Bool = false, now: Instant)
        -> HTTP2SendResult
    {
        guard !isOver else { return .closed }
        let limit = limits.unsentBytesPerStream
        let answer = streams.update(stream) { state -> (HTTP2SendResult, submit: Bool) in
            guard state.flags.isDisjoint(with: [.ending, .resetHere]) else { return (.closed, false) }
            guard state.queue.unsent == 0 || state.queue.unsent + bytes.count <= limit else {
                state.flags.insert(.awaited)
                return (.full, false)
            }
            state.queue.append(bytes)
            if endStream { state.flags.insert(.ending) }
            guard !bytes.isEmpty || endStream else { return (.queued, false) }
            return (.queued, state.takesData())
        }
        guard let (result, submit) = answer else { return .closed }
        guard case .queued = result else { return result }
        if unsentBytes == 0 { timing.progressed(now: now) }
        unsentBytes += bytes.count
        if submit { _ = library.submitData(on: stream) }
        return .queued
    }

    /// Ends our side of a stream with trailers, after the DATA that is queued.
    @discardableResult
    public func sendTrailers(_ trailers: HeaderList, on stream: HTTP2StreamID) -> Bool {
        guard !isOver else { return false }
        let answer = streams.update(stream) { state -> (taken: Bool, atOnce: Bool) in
            guard state.flags.isDisjoint(with: [.ending, .resetHere]) else { return (false, false) }
            state.flags.insert(.ending)
            let atOnce = state.queue.unsent == 0 && state.flags.contains(.opened)
            if !atOnce { state.trailers = trailers }
            return (true, atOnce)
        }
        guard let (taken, atOnce) = answer, taken else { return false }
        if atOnce { _ = library.submitHeaders(trailers, on: stream, endStream: true) }
        return true
    }

    /// Ends a stream at once, in both directions; what was queued is dropped.
    public func reset(_ stream: HTTP2StreamID, _ code: HTTP2ErrorCode) {
        guard !isOver else { return }
        let dropped = streams.update(stream) { state -> Int in
            defer { state.queue.removeAll() }
            state.flags.insert([.resetHere, .ending])
            state.trailers = nil
            return state.queue.unsent
        }
        guard let dropped else { return }
        unsentBytes -= dropped
        library.submitReset(stream, code)
    }

    /// Bytes queued on the stream that the peer's windows or the transport have not let out.
    public func unsentBytes(on stream: HTTP2StreamID) -> Int {
        streams[stream]?.queue.unsent ?? 0
    }

    /// Whether nothing waits on the stream. If something does, a `writable` event will tell when it is gone.
    public func isWritable(_ stream: HTTP2StreamID) -> Bool {
        let writable = streams.update(stream) { state in
            guard state.flags.isDisjoint(with: [.ending, .resetHere]) else { return false }
            if state.queue.unsent > 0 { state.flags.insert(.awaited) }
            return state.queue.unsent == 0
        }
        return writable ?? false
    }

    /// Asks the peer for a sign of life: `pingAcknowledged` with the same payload.
    public func ping(_ payload: UInt64) {
        if !isOver { appendPing(payload, acknowledgement: false) }
    }

    // MARK: Output

    /// Writes what is to be sent now.
    /// - Parameter buffer: at least 64 bytes; a good one holds a few frames of 16 KiB.
    /// - Returns: the bytes written; 0 when there is nothing left, or nothing that the peer's windows allow.
    public func produceOutput(
        into buffer: UnsafeMutableRawBufferPointer, now: Instant, events: inout [HTTP2Event]
    ) -> Int {
        precondition(buffer.count >= 64, "an output buffer takes at least 64 bytes")
        timing.now = now
        output = buffer
        outputCount = 0
        collecting(&events) {
            movePending()
            while !isOver, pendingStart == pending.count, outputCount < buffer.count {
                guard let frame = library.nextFrame() else {
                    fail(.violation(.internalError, "the frame library failed"))
                    break
                }
                raiseScheduledFailure()
                if frame.isEmpty { break }
                write(frame)
            }
            movePending()
        }
        output = UnsafeMutableRawBufferPointer(start: nil, count: 0)
        return outputCount
    }

    private func write(_ frame: UnsafeRawBufferPointer) {
        let count = min(frame.count, output.count - outputCount)
        UnsafeMutableRawBufferPointer(rebasing: output[outputCount...])
            .copyMemory(from: UnsafeRawBufferPointer(rebasing: frame[..<count]))
        outputCount += count
        if count < frame.count { pending.append(contentsOf: frame[count...]) }
    }

    private func movePending() {
        guard pendingStart < pending.count else { return }
        let count = min(pending.count - pendingStart, output.count - outputCount)
        pending.withUnsafeBytes { bytes in
            UnsafeMutableRawBufferPointer(rebasing: output[outputCount...])
                .copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[pendingStart..<pendingStart + count]))
        }
        outputCount += count
        pendingStart += count
        guard pendingStart == pending.count else { return }
        pending = []
        pendingStart = 0
    }

    /// Moves all frames but DATA from the library to ``pending``: faults show up in them.
    func collectControlFrames() {
        holdsData = true
        defer { holdsData = false }
        while let frame = library.nextFrame(), !frame.isEmpty { pending.append(contentsOf: frame) }
    }

    func appendPing(_ payload: UInt64, acknowledgement: Bool) {
        pending.append(contentsOf: [0, 0, 8, FrameHeader.Kind.ping.rawValue, acknowledgement ? 1 : 0, 0, 0, 0, 0])
        withUnsafeBytes(of: payload) { pending.append(contentsOf: $0) }
    }

    func appendGoAway(_ code: HTTP2ErrorCode, _ text: String) {
        let text = Array(text.utf8.prefix(512))
        let length = text.count + 8
        let last = UInt32(bitPattern: library.lastProcessedStream)
        pending.append(contentsOf: [0, UInt8(length >> 8), UInt8(length & 0xff), FrameHeader.Kind.goAway.rawValue])
        pending.append(contentsOf: [0, 0, 0, 0, 0])
        withUnsafeBytes(of: last.bigEndian) { pending.append(contentsOf: $0) }
        withUnsafeBytes(of: code.rawValue.bigEndian) { pending.append(contentsOf: $0) }
        pending.append(contentsOf: text)
    }
}

/// What the library asks for while it sends.
extension HTTP2Connection {
    func nextData(on stream: HTTP2StreamID, atMost allowed: Int) -> NextData {
        guard !holdsData else { return .pause }
        let room = output.count - outputCount - FrameHeader.size
        var trailers: HeaderList?
        let answer = streams.update(stream) { state -> (NextData, tiny: Bool) in
            let unsent = state.queue.unsent
            // A frame cut short by our buffer would cost a header for little: better to wait for room.
            guard room >= min(allowed, unsent, 1024) || (outputCount == 0 && room > 0) else { return (.pause, false) }
            let count = min(allowed, unsent, room)
            let drained = count == unsent
            if drained {
                state.flags.remove(.dataSubmitted)
                trailers = state.trailers
                state.trailers = nil
            }
            let last = drained && state.flags.contains(.ending) && trailers == nil
            return (.bytes(count, drained: drained, endStream: last), allowed < 64 && allowed < unsent)
        }
        guard let (next, tiny) = answer else { return .bytes(0, drained: true, endStream: false) }
        if let trailers { _ = library.submitHeaders(trailers, on: stream, endStream: true) }
        if tiny, let failure = counters.countTinyFrame(limits) {
            scheduledFailure = failure
            return .pause
        }
        return next
    }

    func writeData(header: UnsafeRawBufferPointer, _ length: Int, on stream: HTTP2StreamID) {
        write(header)
        let target = UnsafeMutableRawBufferPointer(rebasing: output[outputCount..<outputCount + length])
        let written = streams.update(stream) { state -> Bool in
            state.queue.move(into: target)
            guard state.queue.unsent == 0, state.flags.contains(.awaited) else { return false }
            state.flags.remove(.awaited)
            return !state.flags.contains(.ending)
        }
        outputCount += length
        unsentBytes -= length
        dataFramesSent += 1
        timing.progressed(now: timing.now)
        counters.dataSent()
        if written == true { collectedEvents.append(.writable(stream)) }
    }

    func headersSent(on stream: HTTP2StreamID, opens: Bool, endStream: Bool) {
        counters.messageSent()
        var trailers: HeaderList?
        let submit = streams.update(stream) { state -> Bool in
            guard opens, !endStream else { return false }
            state.flags.insert(.opened)
            if state.queue.unsent == 0 { (trailers, state.trailers) = (state.trailers, nil) }
            guard trailers == nil, state.queue.unsent > 0 || state.flags.contains(.ending) else { return false }
            return state.takesData()
        }
        if let trailers { _ = library.submitHeaders(trailers, on: stream, endStream: true) }
        if submit == true { _ = library.submitData(on: stream) }
        if endStream { endStreamSent(on: stream) }
    }

    /// A server that has said all it has to say does not want the rest of the request.
    /// Source: RFC 9113, section 8.1.
    func endStreamSent(on stream: HTTP2StreamID) {
        let unwanted = streams.update(stream) { state in
            state.flags.insert(.ended)
            guard role == .server, state.flags.isDisjoint(with: [.peerEnded, .resetHere]) else { return false }
            state.flags.insert(.resetHere)
            return true
        }
        if unwanted == true { library.submitReset(stream, .noError) }
    }
}

extension HTTP2Stream {
    /// Whether the library is to be told that there is DATA; true once until it has taken it all.
    mutating func takesData() -> Bool {
        guard flags.contains(.opened), !flags.contains(.dataSubmitted) else { return false }
        flags.insert(.dataSubmitted)
        return true
    }
}
