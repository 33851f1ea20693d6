import Time

extension HTTP2Connection {
    /// Takes what came from the peer.
    /// - Parameters:
    ///   - bytes: any part of the stream of bytes. Slices of it are handed out in events.
    ///   - events: what it meant is appended; the array is the caller's, to be reused.
    public func receive(_ bytes: UnsafeRawBufferPointer, now: Instant, events: inout [HTTP2Event]) {
        guard !isOver, !bytes.isEmpty else { return }
        timing.received(now: now)
        counters.advance(to: now, limits: limits)
        collecting(&events) {
            scan(bytes)
            if !isOver, library.queuedFrames > limits.queuedControlFrames {
                fail(.limit(.queuedControlFrames, count: library.queuedFrames, allowed: limits.queuedControlFrames))
            }
        }
        timing.isInsideFrame(scanner.isInsideFrame || headers.stream != 0, now: now)
    }

    private func scan(_ bytes: UnsafeRawBufferPointer) {
        var rest = bytes
        while !rest.isEmpty, !isOver {
            switch scanner.position {
            case .preface:
                guard let count = scanner.matchPreface(rest) else {
                    return fail(.violation(.protocolError, Self.describePreface(rest)))
                }
                rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            case .header:
                let (count, complete) = scanner.readHeader(rest)
                if complete { beginFrame(headerIn: count == FrameHeader.size ? rest : nil) }
                rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            case .payload(let fate, let left):
                let count = min(left, rest.count)
                let part = UnsafeRawBufferPointer(rebasing: rest[..<count])
                rest = UnsafeRawBufferPointer(rebasing: rest[count...])
                scanner.advance(count)
                switch fate {
                case .pass: feed(part)
                case .collect: scanner.keep(part)
                case .skip: break
                }
                if count == left { endFrame(fate) }
            }
        }
    }

    private func beginFrame(headerIn bytes: UnsafeRawBufferPointer?) {
        let fate = judge(scanner.header)
        guard !isOver else { return }
        scanner.begin(fate)
        bodyBytesOfFrame = 0
        if case .pass = fate {
            if let bytes {
                feed(UnsafeRawBufferPointer(rebasing: bytes[..<FrameHeader.size]))
            } else {
                var split = scanner.splitHeader
                withUnsafeBytes(of: &split) { feed(UnsafeRawBufferPointer(rebasing: $0[..<FrameHeader.size])) }
            }
        }
        if scanner.header.length == 0 { endFrame(fate) }
    }

    private func endFrame(_ fate: FrameFate) {
        guard !isOver else { return }
        timing.frameStarted = headers.stream == 0 ? nil : timing.frameStarted
        switch fate {
        case .collect: collected()
        case .pass:
            if scanner.header.kind == .data, bodyBytesOfFrame == 0, !scanner.header.hasEndStream {
                strike(counters.countEmptyFrame(limits))
            }
        case .skip: break
        }
    }

    /// Hands bytes to the library, and looks whether it found a fault: it says so by queuing a GOAWAY only.
    private func feed(_ bytes: UnsafeRawBufferPointer) {
        guard !isOver else { return }
        let queued = library.queuedFrames
        if let fault = library.feed(bytes) { return fail(.violation(.internalError, fault)) }
        raiseScheduledFailure()
        if !isOver, library.queuedFrames > queued { collectControlFrames() }
        raiseScheduledFailure()
    }

    private func strike(_ failure: HTTP2Failure?) {
        if let failure { fail(failure) }
    }

    private func violate(_ code: HTTP2ErrorCode, _ text: String) -> FrameFate {
        fail(.violation(code, text))
        return .skip
    }

    // MARK: Judging a frame by its header

    private func judge(_ header: FrameHeader) -> FrameFate {
        if header.length > limits.frameSize {
            return violate(
                .frameSizeError, "a frame of \(header.length) bytes; at most \(limits.frameSize) are accepted")
        }
        if !timing.settingsReceived, header.kind != .settings || header.isAcknowledgement {
            return violate(.protocolError, "the first frame must be SETTINGS")
        }
        if headers.stream != 0 { return judgeContinuation(header) }
        switch header.kind {
        case .data: return judgeData(header)
        case .headers: return judgeHeaders(header)
        case .priority: return judgePriority(header)
        case .resetStream:
            // On a stream that has ended it is late, not rapid.
            let isOpen = streams.contains(header.stream)
            strike(isOpen ? counters.countStreamReset(limits) : counters.countClosedStreamFrame(limits))
            return .pass
        case .settings:
            if !header.isAcknowledgement { strike(counters.countSettings(limits)) }
            return .pass
        case .ping:
            if header.stream != 0 { return violate(.protocolError, "PING on stream \(header.stream)") }
            if header.length != 8 { return violate(.frameSizeError, "PING of \(header.length) bytes") }
            return .collect
        case .windowUpdate:
            strike(counters.countWindowUpdate(limits))
            return .pass
        case .goAway:
            strike(counters.countExtension(limits))
            return .pass
        case .pushPromise, .continuation: return .pass
        case nil:
            strike(counters.countExtension(limits))
            return .skip
        }
    }

    private func judgeContinuation(_ header: FrameHeader) -> FrameFate {
        guard header.kind == .continuation, header.stream == headers.stream else {
            return violate(.protocolError, "a header block on stream \(headers.stream) is not complete")
        }
        headers.continuations += 1
        if headers.continuations > limits.continuations {
            fail(.limit(.continuations, count: headers.continuations, allowed: limits.continuations))
        }
        if header.hasEndHeaders {
            headers.stream = 0
        } else if header.length == 0 {
            strike(counters.countEmptyFrame(limits))
        }
        return .pass
    }

    private func judgeData(_ header: FrameHeader) -> FrameFate {
        guard header.stream != 0, !isIdle(header.stream), !streams.contains(header.stream) else { return .pass }
        return judgeLate(header)
    }

    private func judgeHeaders(_ header: FrameHeader) -> FrameFate {
        if !header.hasEndHeaders {
            headers.stream = header.stream
            headers.continuations = 0
            if header.length == 0 { strike(counters.countEmptyFrame(limits)) }
        }
        guard header.stream != 0, !streams.contains(header.stream) else { return .pass }
        if isIdle(header.stream) {
            if role == .server, header.stream % 2 == 1 { closedStreams.opened(header.stream) }
            return .pass
        }
        return judgeLate(header)
    }

    /// DATA or HEADERS on a stream that is closed. Source: RFC 9113, sections 5.1 and 5.1.1.
    private func judgeLate(_ header: FrameHeader) -> FrameFate {
        strike(counters.countClosedStreamFrame(limits))
        switch closedStreams.closure(of: header.stream) {
        case .skipped:
            return violate(.protocolError, "stream \(header.stream) comes after stream \(closedStreams.highest)")
        case .ended:
            return violate(.streamClosed, "a frame on stream \(header.stream), which is closed")
        case .resetByPeer:
            library.submitReset(header.stream, .streamClosed)
            return .pass
        case .resetByUs:
            return .pass
        }
    }

    private func judgePriority(_ header: FrameHeader) -> FrameFate {
        strike(counters.countPriority(limits))
        if header.stream == 0 { return violate(.protocolError, "PRIORITY on stream 0") }
        if header.length == 5 { return .collect }
        guard streams.contains(header.stream) else {
            return violate(.frameSizeError, "PRIORITY of \(header.length) bytes")
        }
        reset(header.stream, .frameSizeError)
        return .skip
    }

    /// Whether a stream was never used, as far as the numbers tell. Source: RFC 9113, section 5.1.
    private func isIdle(_ stream: HTTP2StreamID) -> Bool {
        switch role {
        case .server: stream % 2 == 0 || stream > closedStreams.highest
        case .client: stream % 2 == 0 || stream > highestOpened
        }
    }

    // MARK: Frames that the library does not see

    private func collected() {
        let payload = scanner.takeCollected()
        switch scanner.header.kind {
        case .ping: pingReceived(payload.0, acknowledgement: scanner.header.isAcknowledgement)
        case .priority: priorityReceived(dependency: UInt32(truncatingIfNeeded: payload.0).byteSwapped & 0x7fff_ffff)
        case .data, .headers, .resetStream, .settings, .pushPromise, .goAway, .windowUpdate, .continuation, nil:
            preconditionFailure("only PING and PRIORITY are collected")
        }
    }

    private func pingReceived(_ payload: UInt64, acknowledgement: Bool) {
        if acknowledgement {
            switch payload {
            case HTTP2Timing.keepalivePayload: break
            case HTTP2Timing.drainPayload: finishDrain()
            default: collectedEvents.append(.pingAcknowledged(payload))
            }
            return
        }
        strike(counters.countPing(limits, now: timing.now))
        let waiting = (pending.count - pendingStart) / (FrameHeader.size + 8)
        if waiting >= limits.queuedControlFrames {
            fail(.limit(.queuedControlFrames, count: waiting + 1, allowed: limits.queuedControlFrames))
        }
        if !isOver { appendPing(payload, acknowledgement: true) }
    }

    /// Priorities are ignored, but for what is wrong with them. Source: RFC 9113, section 5.3.2.
    private func priorityReceived(dependency: UInt32) {
        let stream = scanner.header.stream
        guard dependency == UInt32(bitPattern: stream) else { return }
        if streams.contains(stream) {
            reset(stream, .protocolError)
        } else {
            fail(.violation(.protocolError, "stream \(stream) depends on itself"))
        }
    }

    private static func describePreface(_ bytes: UnsafeRawBufferPointer) -> String {
        if bytes[0] == 0x16 { return "the peer starts TLS, but here is plaintext HTTP/2" }
        let start = String(decoding: bytes.prefix(8), as: UTF8.self)
        for method in ["GET ", "POST ", "HEAD ", "PUT ", "OPTIONS", "CONNECT"] where start.hasPrefix(method) {
            return "the peer speaks HTTP/1, but here is HTTP/2 with prior knowledge"
        }
        return "no HTTP/2 connection preface"
    }
}
