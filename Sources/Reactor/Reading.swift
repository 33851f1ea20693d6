import CLinux
import Glibc
import TLS

// Input: from the socket through the receive scratch, and TLS where there is any, to the handler.
extension Loop {
    /// No more `received` for this connection until `resumeReading`; the peer feels it once the kernel's buffers
    /// are full. Bytes of the callback under way are the last.
    public func pauseReading(_ id: ConnectionID) {
        slab.find(id)?.pointee.state.insert(.readingPaused)
    }

    /// Input goes on with the next turn.
    public func resumeReading(_ id: ConnectionID) {
        guard let connection = slab.find(id), connection.pointee.state.contains(.readingPaused) else { return }
        connection.pointee.state.remove(.readingPaused)
        if connection.pointee.state.contains(.mayHaveMore) { queueForReading(id, connection) }
    }

    func queueForReading(_ id: ConnectionID, _ connection: UnsafeMutablePointer<Connection>) {
        guard !connection.pointee.state.contains(.queuedForReading) else { return }
        connection.pointee.state.insert(.queuedForReading)
        toRead.append(id)
    }

    /// Reads until the kernel has no more, the budget is spent, or the handler paused or closed.
    func read(_ id: ConnectionID, _ connection: UnsafeMutablePointer<Connection>) {
        var budget = configuration.readBudget
        if connection.pointee.state.contains(.inputHeld), !connection.pointee.state.contains(.unheard) {
            takeHeldInput(id, connection)
        }
        while true {
            let state = connection.pointee.state
            guard !state.contains(.unheard) else { return }  // TLS was started: its turn comes.
            guard state.contains(.open), !state.contains(.peerClosed) || state.contains(.writingFailed) else { return }
            guard !state.contains(.readingPaused) || state.contains(.writingFailed) else {
                connection.pointee.state.insert(.mayHaveMore)
                return
            }
            let count = linux_receive(connection.pointee.descriptor, receiveScratch.baseAddress, receiveScratch.count)
            statistics.reads += 1
            if count == 0 {
                endOfInput(id, connection)
                return
            }
            if count < 0 {
                connection.pointee.state.remove(.mayHaveMore)
                if count != -Int(EAGAIN) {
                    close(id, reason: brokenOff(connection, SystemError(call: "recv", number: Int32(-count))))
                } else if connection.pointee.state.contains(.writingFailed) {
                    close(
                        id, reason: brokenOff(connection, SystemError(call: "send", number: connection.pointee.failure))
                    )
                }
                return
            }
            statistics.bytesIn += UInt64(count)
            budget -= count
            take(id, connection, UnsafeRawBufferPointer(rebasing: receiveScratch[..<count]))
            // A short read emptied the socket: more input makes a new edge. The end of input, if it came with
            // this edge, makes none.
            if count < receiveScratch.count && connection.pointee.state.isDisjoint(with: [.endInSight, .writingFailed])
            {
                connection.pointee.state.remove(.mayHaveMore)
                return
            }
            if budget <= 0 {
                guard connection.pointee.state.contains(.open) else { return }
                connection.pointee.state.insert(.mayHaveMore)
                queueForReading(id, connection)
                return
            }
        }
    }

    private func brokenOff(_ connection: UnsafeMutablePointer<Connection>, _ error: SystemError) -> CloseReason {
        let isHandshaking = !connection.pointee.state.contains(.established) && connection.pointee.tls != nil
        return isHandshaking ? .handshakeBrokenOff(error) : .failed(error)
    }

    /// Closes a connection that epoll reports as failed.
    func closeBroken(_ id: ConnectionID, _ connection: UnsafeMutablePointer<Connection>) {
        var number: Int32 = 0
        _ = linux_get_option(connection.pointee.descriptor, SOL_SOCKET, SO_ERROR, &number)
        close(id, reason: brokenOff(connection, SystemError(call: "recv", number: number == 0 ? ECONNRESET : number)))
    }

    func take(
        _ id: ConnectionID, _ connection: UnsafeMutablePointer<Connection>, _ bytes: UnsafeRawBufferPointer
    ) {
        if connection.pointee.state.contains(.closeWanted) { return }  // Read only to see the end.
        if let engine = connection.pointee.tls {
            takeCiphertext(id, connection, engine, bytes)
        } else {
            deliverReceived(id, bytes)
        }
    }

    /// One read through TLS. The engine is never entered from within itself: its plaintext is collected, and the
    /// handler called after it has returned.
    private func takeCiphertext(
        _ id: ConnectionID, _ connection: UnsafeMutablePointer<Connection>, _ engine: TLSEngine,
        _ bytes: UnsafeRawBufferPointer
    ) {
        plaintext.clear()
        ciphertext.clear()
        var failure: TLSError?
        do throws(TLSError) {
            try engine.receive(bytes, plaintext: { plaintext.append($0) }, output: { ciphertext.append($0) })
        } catch { failure = error }
        transmit(ciphertext.bytes, id, connection)
        ciphertext.clear()
        guard connection.pointee.state.contains(.open) else { return }
        if engine.isEstablished && !connection.pointee.state.contains(.established) {
            becomeEstablished(id, connection)
        }
        if plaintext.count > 0 && accepts(connection) { deliverReceived(id, plaintext.bytes) }
        if let failure {
            close(id, reason: .tls(failure))
        } else if engine.peerClosed {
            deliverEndOfInput(id, connection)
        }
    }

    /// Whether the handler still wants to hear of input.
    private func accepts(_ connection: UnsafeMutablePointer<Connection>) -> Bool {
        let state = connection.pointee.state
        return state.contains(.open) && !state.contains(.closeWanted)
    }

    private func endOfInput(_ id: ConnectionID, _ connection: UnsafeMutablePointer<Connection>) {
        connection.pointee.state.insert(.peerClosed)
        connection.pointee.state.remove(.mayHaveMore)
        let state = connection.pointee.state
        if state.contains(.writingFailed) {
            close(id, reason: .failed(SystemError(call: "send", number: connection.pointee.failure)))
        } else if state.contains(.closeWanted) {
            // Without output left, both directions are done. Otherwise the flush closes.
            if state.contains(.writingShut) { close(id) }
        } else if let engine = connection.pointee.tls, !engine.peerClosed {
            close(id, reason: .tls(.truncated(duringHandshake: !state.contains(.established))))
        } else {
            deliverEndOfInput(id, connection)
        }
    }

    private func deliverEndOfInput(_ id: ConnectionID, _ connection: UnsafeMutablePointer<Connection>) {
        connection.pointee.state.insert(.peerClosed)
        if accepts(connection), !connection.pointee.state.contains(.endDelivered) {
            connection.pointee.state.insert(.endDelivered)
            deliverPeerClosedWriting(id)
        }
        let state = connection.pointee.state
        if state.contains(.open), state.contains(.writingShut), !state.contains(.closeWanted) {
            close(id, reason: .finished)
        }
    }
}
