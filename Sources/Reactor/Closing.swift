import CLinux
import Glibc
import TLS

// The ends of a connection: half, graceful, at once.
extension Loop {
    /// Whether the ID names a connection that has not been closed.
    public func isOpen(_ id: ConnectionID) -> Bool { slab.find(id) != nil }

    /// Whether the ID names an open connection whose handler has heard `established`.
    public func isEstablished(_ id: ConnectionID) -> Bool {
        slab.find(id)?.pointee.state.contains(.established) ?? false
    }

    /// Says that this side has no more to send, after what was written (TLS: with close_notify). Input goes on. When
    /// the peer has ended too, the connection is closed with `.finished`.
    public func halfClose(_ id: ConnectionID) {
        guard let connection = slab.find(id),
            connection.pointee.state.isDisjoint(with: [.halfCloseWanted, .closeWanted])
        else { return }
        if connection.pointee.state.contains(.established) {
            flush(id)
            guard connection.pointee.state.contains(.open) else { return }
            connection.pointee.state.insert(.halfCloseWanted)
            finishWriting(id, connection)
        } else {
            connection.pointee.state.insert(.halfCloseWanted)
        }
    }

    /// Closes once what was written is sent and the peer has ended too, so that the last bytes (an error, a GOAWAY)
    /// arrive: closing at once with unread input would make the kernel destroy them. Takes at most
    /// `limit`, or else `closingTimeout`; where the limit is zero the peer's end is not waited for. The handler hears no
    /// more but `closed`, with `reason`.
    public func closeAfterFlush(
        _ id: ConnectionID, reason: CloseReason = .requested, within limit: Duration? = nil
    ) {
        guard let connection = slab.find(id), !connection.pointee.state.contains(.closeWanted) else { return }
        guard connection.pointee.state.contains(.established),
            !connection.pointee.state.contains(.writingFailed)
        else { return close(id, reason: reason) }
        flush(id)
        guard connection.pointee.state.contains(.open) else { return }
        wheel.cancelAll(of: id.index)
        connection.pointee.state.insert(.closeWanted)
        connection.pointee.state.remove(.readingPaused)
        closingReasons[id.index] = reason
        if limit == .zero { connection.pointee.state.insert(.closesOnceFlushed) }
        let allowed = limit.flatMap { $0 > .zero ? $0 : nil } ?? configuration.closingTimeout
        setDeadline(allowed, for: id)
        if connection.pointee.state.contains(.halfCloseWanted) {
            if connection.pointee.state.contains(.writingShut) { afterShutting(id, connection) }
        } else {
            connection.pointee.state.insert(.halfCloseWanted)
            finishWriting(id, connection)
        }
    }

    /// Closes at once; output that was not sent is dropped. `closed` follows at the end of the turn, never within
    /// this call. After `closeAfterFlush` the reason given there stands.
    public func close(_ id: ConnectionID, reason: CloseReason = .requested) {
        guard let connection = slab.find(id) else { return }
        let reason = closingReasons.removeValue(forKey: id.index) ?? reason
        releaseScratch(of: connection)
        dropBlocked(connection)
        wheel.cancelAll(of: id.index)
        deadlines[id.index] = nil
        earlyOutput[id.index] = nil
        heldInput[id.index] = nil
        handshakeLimits[id.index] = nil
        connection.pointee.state.remove(.open)
        connection.pointee.tls = nil
        // This also takes the descriptor out of epoll; events of it that were already fetched are stale by the ID.
        if connection.pointee.descriptor >= 0 { _ = linux_close(connection.pointee.descriptor) }
        connection.pointee.descriptor = -1
        if connection.pointee.listener != 0 { listeners[connection.pointee.listener]?.connectionEnded() }
        statistics.connections -= 1
        statistics.closed += 1
        closes.append((id.index, reason))
    }

    /// Sends TLS's farewell, and shuts the socket's sending side if nothing is blocked before it.
    func finishWriting(_ id: ConnectionID, _ connection: UnsafeMutablePointer<Connection>) {
        if let engine = connection.pointee.tls {
            ciphertext.clear()
            engine.close { ciphertext.append($0) }
            transmit(ciphertext.bytes, id, connection)
            ciphertext.clear()
        }
        guard connection.pointee.state.contains(.open), connection.pointee.blocked.count == 0 else { return }
        outputFlushed(id, connection)
    }

    /// Nothing is blocked any more: what waited for that.
    func outputFlushed(_ id: ConnectionID, _ connection: UnsafeMutablePointer<Connection>) {
        let state = connection.pointee.state
        guard state.contains(.established), state.contains(.halfCloseWanted),
            state.isDisjoint(with: [.writingShut, .writingFailed])
        else { return }
        connection.pointee.state.insert(.writingShut)
        let result = linux_stop_sending(connection.pointee.descriptor)
        if result < 0 {
            // ENOTCONN: the peer has reset the connection meanwhile.
            return close(id, reason: .failed(SystemError(call: "shutdown", number: -result)))
        }
        afterShutting(id, connection)
    }

    private func afterShutting(_ id: ConnectionID, _ connection: UnsafeMutablePointer<Connection>) {
        if connection.pointee.state.contains(.peerClosed) {
            close(id, reason: .finished)
        } else if connection.pointee.state.contains(.closesOnceFlushed) {
            close(id)
        } else if connection.pointee.state.contains(.closeWanted) {
            queueForReading(id, connection)
        }
    }
}
