import HTTP
import Time

/// What the library reports of the peer's frames.
extension HTTP2Connection {
    func headerBlockBegan(on stream: HTTP2StreamID, opens: Bool) {
        headers.list = HeaderList()
        headers.size = 0
        guard opens else { return }
        streams.insert(HTTP2Stream(), at: stream)
        timing.idleSince = nil
    }

    func headerReceived(_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) {
        headers.size += name.count + value.count + 32
        if headers.size <= limits.headerListSize {
            headers.list.append(name: name, value: value)
        } else if headers.size > 4 * limits.headerListSize, scheduledFailure == nil {
            scheduledFailure = .limit(.headerListSize, count: headers.size, allowed: limits.headerListSize)
        }
    }

    func headersReceived(on stream: HTTP2StreamID, endStream: Bool) {
        let list = headers.list
        headers.list = HeaderList()
        guard headers.size <= limits.headerListSize else {
            collectedEvents.append(
                .streamLimited(stream, .headerListSize, count: headers.size, allowed: limits.headerListSize))
            return reset(stream, .enhanceYourCalm)
        }
        let first = streams.update(stream) { state in
            defer {
                state.flags.insert(.announced)
                if endStream { state.flags.insert(.peerEnded) }
            }
            return role == .server && !state.flags.contains(.announced)
        }
        guard let first else { return }
        if first {
            collectedEvents.append(.headers(stream, list, endStream: endStream))
        } else if role == .client, let status = list[":status"] {
            collectedEvents.append(
                status.hasPrefix("1")
                    ? .informational(stream, list) : .headers(stream, list, endStream: endStream))
        } else {
            collectedEvents.append(.trailers(stream, list))
        }
    }

    func dataReceived(_ bytes: UnsafeRawBufferPointer, on stream: HTTP2StreamID) {
        bodyBytesOfFrame += bytes.count
        let wanted = streams.update(stream) { state in
            guard !state.flags.contains(.resetHere) else { return false }
            state.unconsumed += bytes.count
            state.unconsumedOfConnection += bytes.count
            return true
        }
        if wanted == true {
            collectedEvents.append(.data(stream, bytes))
        } else {
            library.consumeStream(bytes.count, on: stream)
            library.consumeConnection(bytes.count)
        }
    }

    func dataEnded(on stream: HTTP2StreamID) {
        let wanted = streams.update(stream) { state in
            state.flags.insert(.peerEnded)
            return !state.flags.contains(.resetHere)
        }
        if wanted == true { collectedEvents.append(.endOfStream(stream)) }
    }

    func resetReceived(on stream: HTTP2StreamID) {
        _ = streams.update(stream) { $0.flags.insert(.resetByPeer) }
    }

    func settingsReceived(acknowledgement: Bool) {
        if acknowledgement { timing.settingsAcknowledged = true } else { timing.settingsReceived = true }
    }

    func goAwayReceived(last: HTTP2StreamID, _ code: HTTP2ErrorCode, _ text: UnsafeRawBufferPointer) {
        let text = String(decoding: text.prefix(1024), as: UTF8.self)
        collectedEvents.append(.goAway(last: last, code, text: text))
    }

    /// The library forgets a stream.
    func streamEnded(_ stream: HTTP2StreamID, _ code: HTTP2ErrorCode) {
        guard let state = streams.remove(stream) else { return }
        let flags = state.flags
        unsentBytes -= state.queue.unsent
        if state.unconsumedOfConnection > 0 { library.consumeConnection(state.unconsumedOfConnection) }
        if flags.contains(.resetByPeer) {
            closedStreams.closed(stream, .resetByPeer)
        } else if flags.isSuperset(of: [.peerEnded, .ended]), !flags.contains(.resetHere) {
            closedStreams.closed(stream, .ended)
        } else if !flags.contains(.resetHere), code != .noError, scheduledFailure == nil {
            // The peer made the library reset it. Source: CVE-2025-8671.
            scheduledFailure = counters.countStreamReset(limits)
        }
        if flags.contains(.announced) || role == .client {
            collectedEvents.append(.streamClosed(stream, code, byPeer: flags.contains(.resetByPeer)))
        }
        if streams.isEmpty { timing.idleSince = timing.now }
    }

    /// The peer may send so many bytes more on the stream; without it the peer's window stays shut.
    /// - Parameter count: at most what `data` events gave; what a closed stream left is consumed by itself.
    public func consume(_ count: Int, on stream: HTTP2StreamID) {
        guard !isOver else { return }
        let consumed = streams.update(stream) { state in
            let (ofStream, ofConnection) = (min(count, state.unconsumed), min(count, state.unconsumedOfConnection))
            state.unconsumed -= ofStream
            state.unconsumedOfConnection -= ofConnection
            return (ofStream, ofConnection)
        }
        guard let (ofStream, ofConnection) = consumed else { return }
        if ofStream > 0 { library.consumeStream(ofStream, on: stream) }
        if ofConnection > 0 { library.consumeConnection(ofConnection) }
    }

    /// Lets other streams use so many bytes that this one received and has not consumed.
    public func consumeConnection(_ count: Int, on stream: HTTP2StreamID) {
        guard !isOver, count > 0 else { return }
        let consumed = streams.update(stream) { state in
            let consumed = min(count, state.unconsumedOfConnection)
            state.unconsumedOfConnection -= consumed
            return consumed
        }
        if let consumed, consumed > 0 { library.consumeConnection(consumed) }
    }
}
