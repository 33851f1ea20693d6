import CLinux
import Glibc
import TLS

// Output: collected in a scratch buffer, sent once per connection and turn; what the kernel does not take is kept.
extension Loop {
    /// Whether output goes through now. False while output is blocked, before `established`, after `halfClose`,
    /// and when the connection has used up its write budget of this turn; `readyToWrite` comes when it is true
    /// again. Stop writing while it is false.
    public func isWritable(_ id: ConnectionID) -> Bool {
        guard let connection = slab.find(id) else { return false }
        return canWrite(connection) && connection.pointee.blocked.count == 0
            && !connection.pointee.state.contains(.queuedForWriting)
    }

    /// Bytes that the kernel has not taken yet, ciphertext for TLS; those collected in this turn not included.
    public func bytesHeld(for id: ConnectionID) -> Int {
        slab.find(id)?.pointee.blocked.count ?? 0
    }

    /// Bytes that are sent at once where nothing waits to be sent with them: a copy costs more than a call.
    private static let longWrite = 32 << 10

    private func canWrite(_ connection: UnsafeMutablePointer<Connection>) -> Bool {
        let state = connection.pointee.state
        return state.contains(.established)
            && state.isDisjoint(with: [.halfCloseWanted, .closeWanted, .writingFailed])
    }

    /// Sends bytes, at the latest at the end of the turn. They are copied. Before `established` they are kept until
    /// then; after `halfClose`, `close` or a failure they are dropped.
    ///
    /// More than `blockedOutputLimit` bytes held for one connection close it with `.outputLimit`.
    public func write(_ bytes: UnsafeRawBufferPointer, to id: ConnectionID) {
        guard bytes.count > 0, let connection = slab.find(id) else { return }
        guard connection.pointee.state.contains(.established) else {
            if connection.pointee.state.isDisjoint(with: [.halfCloseWanted, .closeWanted]) { holdEarly(bytes, id) }
            return
        }
        guard canWrite(connection) else { return }
        if bytes.count >= Self.longWrite, connection.pointee.scratch == Connection.noScratch {
            return encryptAndTransmit(bytes, id, connection)
        }
        let scratch = claimScratch(id, connection)
        if bytes.count > outputs[scratch].bytes.count - outputs[scratch].count {
            flush(scratch)
            guard canWrite(connection), connection.pointee.state.contains(.open) else { return }
            if bytes.count >= outputs[scratch].bytes.count {
                encryptAndTransmit(bytes, id, connection)
                return
            }
            return write(bytes, to: id)
        }
        let end = outputs[scratch].bytes.baseAddress! + outputs[scratch].count
        end.copyMemory(from: bytes.baseAddress!, byteCount: bytes.count)
        outputs[scratch].count += bytes.count
    }

    /// ``write(_:to:)`` for an array.
    public func write(_ bytes: [UInt8], to id: ConnectionID) {
        bytes.withUnsafeBytes { write($0, to: id) }
    }

    /// Sends what was written to this connection so far, without waiting for the end of the turn.
    public func flush(_ id: ConnectionID) {
        guard let connection = slab.find(id), connection.pointee.scratch != Connection.noScratch else { return }
        flush(Int(connection.pointee.scratch))
    }

    private func claimScratch(_ id: ConnectionID, _ connection: UnsafeMutablePointer<Connection>) -> Int {
        if connection.pointee.scratch != Connection.noScratch { return Int(connection.pointee.scratch) }
        // The scratch after the one claimed last is the oldest, or free.
        outputCursor = outputCursor + 1 == outputs.count ? 0 : outputCursor + 1
        flush(outputCursor)
        outputs[outputCursor].owner = id
        outputsInUse += 1
        connection.pointee.scratch = UInt8(outputCursor)
        return outputCursor
    }

    func flushOutputs() {
        // From the oldest to the newest, so that connections are served in the order of their first write.
        // Where the one after the last is free, they have not gone round.
        let after = outputCursor + 1 == outputs.count ? 0 : outputCursor + 1
        var next = outputs[after].owner == nil ? -1 : outputCursor
        while outputsInUse > 0 {
            next = next + 1 == outputs.count ? 0 : next + 1
            flush(next)
        }
        // The first ones again, which are in the processor's cache.
        outputCursor = -1
    }

    private func flush(_ scratch: Int) {
        guard let owner = outputs[scratch].owner else { return }
        let bytes = UnsafeRawBufferPointer(rebasing: outputs[scratch].bytes[..<outputs[scratch].count])
        // Given up before it is sent: sending may end the connection. No handler runs meanwhile.
        outputs[scratch].owner = nil
        outputs[scratch].count = 0
        outputsInUse -= 1
        guard let connection = slab.find(owner) else { return }
        connection.pointee.scratch = Connection.noScratch
        encryptAndTransmit(bytes, owner, connection)
    }

    func releaseScratch(of connection: UnsafeMutablePointer<Connection>) {
        guard connection.pointee.scratch != Connection.noScratch else { return }
        outputs[Int(connection.pointee.scratch)].owner = nil
        outputs[Int(connection.pointee.scratch)].count = 0
        outputsInUse -= 1
        connection.pointee.scratch = Connection.noScratch
    }

    func encryptAndTransmit(
        _ bytes: UnsafeRawBufferPointer, _ id: ConnectionID, _ connection: UnsafeMutablePointer<Connection>
    ) {
        guard let engine = connection.pointee.tls else { return transmit(bytes, id, connection) }
        var rest = bytes
        while rest.count > 0, connection.pointee.state.contains(.open) {
            let part = UnsafeRawBufferPointer(rebasing: rest.prefix(configuration.outputScratch))
            rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(part.count))
            ciphertext.clear()
            do throws(TLSError) {
                try engine.send(part) { ciphertext.append($0) }
            } catch {
                close(id, reason: .tls(error))
                return
            }
            transmit(ciphertext.bytes, id, connection)
            ciphertext.clear()
        }
    }

    /// Sends bytes as they are, and keeps what the kernel does not take.
    func transmit(
        _ bytes: UnsafeRawBufferPointer, _ id: ConnectionID, _ connection: UnsafeMutablePointer<Connection>
    ) {
        let state = connection.pointee.state
        guard bytes.count > 0, state.contains(.open), state.isDisjoint(with: [.writingFailed, .writingShut]) else {
            return
        }
        guard connection.pointee.blocked.count == 0 else { return hold(bytes, id, connection) }
        let sent = send(bytes, id, connection)
        guard let sent, sent < bytes.count else { return }
        hold(UnsafeRawBufferPointer(rebasing: bytes[sent...]), id, connection)
    }

    /// - Returns: how many bytes the kernel took; nil when sending failed and the output is lost.
    private func send(
        _ bytes: UnsafeRawBufferPointer, _ id: ConnectionID, _ connection: UnsafeMutablePointer<Connection>
    ) -> Int? {
        var sent = 0
        while sent < bytes.count {
            let count = linux_send(connection.pointee.descriptor, bytes.baseAddress! + sent, bytes.count - sent)
            statistics.sends += 1
            if count == -Int(EAGAIN) { break }
            if count < 0 {
                failWriting(id, connection, number: Int32(-count))
                return nil
            }
            sent += count
        }
        statistics.bytesOut += UInt64(sent)
        if connection.pointee.turn != turnNumber {
            connection.pointee.turn = turnNumber
            connection.pointee.sentInTurn = 0
        }
        connection.pointee.sentInTurn &+= UInt32(sent)
        if connection.pointee.sentInTurn >= configuration.writeBudget
            && !connection.pointee.state.contains(.queuedForWriting)
        {
            connection.pointee.state.insert(.queuedForWriting)
            toWrite.append(id)
        }
        return sent
    }

    /// What the peer said before it went may still be in the kernel (a GOAWAY with its reason): it is read first.
    private func failWriting(_ id: ConnectionID, _ connection: UnsafeMutablePointer<Connection>, number: Int32) {
        connection.pointee.state.insert(.writingFailed)
        connection.pointee.failure = number
        dropBlocked(connection)
        releaseScratch(of: connection)
        queueForReading(id, connection)
    }

    func hold(
        _ bytes: UnsafeRawBufferPointer, _ id: ConnectionID, _ connection: UnsafeMutablePointer<Connection>
    ) {
        guard connection.pointee.blocked.count + bytes.count <= configuration.blockedOutputLimit else {
            close(id, reason: .outputLimit(bytes: configuration.blockedOutputLimit))
            return
        }
        connection.pointee.blocked.append(bytes)
        statistics.bytesHeld += bytes.count
        statistics.mostBytesHeld = max(statistics.mostBytesHeld, statistics.bytesHeld)
    }

    /// Output that was written before the connection is established waits apart: it is plaintext even where what
    /// is blocked is the handshake's ciphertext.
    private func holdEarly(_ bytes: UnsafeRawBufferPointer, _ id: ConnectionID) {
        let held = earlyOutput[id.index]?.count ?? 0
        guard held + bytes.count <= configuration.blockedOutputLimit else {
            close(id, reason: .outputLimit(bytes: configuration.blockedOutputLimit))
            return
        }
        earlyOutput[id.index, default: []].append(contentsOf: bytes)
    }

    func dropBlocked(_ connection: UnsafeMutablePointer<Connection>) {
        statistics.bytesHeld -= connection.pointee.blocked.count
        connection.pointee.blocked.release()
    }

    /// The kernel takes output again.
    func becameWritable(_ id: ConnectionID, _ connection: UnsafeMutablePointer<Connection>) {
        guard connection.pointee.blocked.count > 0 else { return }
        sendBlocked(id, connection)
        guard connection.pointee.state.contains(.open), connection.pointee.blocked.count == 0 else { return }
        outputFlushed(id, connection)
        if isWritable(id) { deliverReadyToWrite(id) }
    }

    func sendBlocked(_ id: ConnectionID, _ connection: UnsafeMutablePointer<Connection>) {
        guard let sent = send(connection.pointee.blocked.bytes, id, connection), sent > 0 else { return }
        statistics.bytesHeld -= sent
        connection.pointee.blocked.removeFirst(sent)
    }
}
