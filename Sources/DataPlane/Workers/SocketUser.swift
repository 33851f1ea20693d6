import HTTP1
import Reactor

/// Why a connection is asked to end.
enum DrainReason {
    /// Its time is over, or the proxy's, or its host's.
    case ending
    /// What it serves is in force no more: what comes on it from now on would be judged by the rules of before.
    case superseded
}

typealias WorkerLoop = EventLoop<SocketHandler>

/// What is at our end of a connection: it hears what the loop tells, and may hand the socket over to another.
class SocketUser {
    /// It outlives its connections: they end with its loop.
    unowned(unsafe) let worker: Worker
    final var id: ConnectionID
    /// Whoever takes the socket over when the call under way returns; bytes that are left are its business.
    final var successor: SocketUser?

    final var loop: WorkerLoop { worker.loop }

    /// Of the connection, for logs: no other one of this process has it for a long time.
    final var connectionNumber: UInt64 {
        UInt64(worker.number & 0xFF) << 56 | UInt64(id.generation & 0xFF_FFFF) << 32 | UInt64(id.index)
    }

    init(_ worker: Worker, _ id: ConnectionID) {
        (self.worker, self.id) = (worker, id)
    }

    /// It takes over a socket that is established.
    /// - Parameter seen: bytes that were received before.
    func begin(_ seen: [UInt8]) {
        if !seen.isEmpty { seen.withUnsafeBytes { received($0) } }
    }

    func established(_ peer: Peer) {}
    func received(_ bytes: UnsafeRawBufferPointer) {}
    /// Output goes through again.
    func writable() {}
    func peerEnded() {}
    func timerFired(_ token: UInt64) {}
    func closed(_ reason: CloseReason) {}
    /// Ends what is idle, and the rest when it comes to an end of its own.
    func drain(_ reason: DrainReason) {}
}

extension SocketUser {
    /// Sends a part of an HTTP/1 body.
    func writeBody(_ bytes: UnsafeRawBufferPointer, isChunked: Bool) {
        guard isChunked else { return loop.write(bytes, to: id) }
        worker.withScratch { scratch in
            HTTP1Writer.appendChunkStart(bytes.count, to: &scratch)
            loop.write(scratch, to: id)
        }
        loop.write(bytes, to: id)
        loop.write(worker.lineEnd, to: id)
    }
}

/// The loop's view of a connection.
struct SocketHandler: ConnectionHandler {
    var user: SocketUser

    private mutating func follow() {
        while let next = user.successor {
            user.successor = nil
            user = next
        }
    }

    mutating func established(_ peer: Peer, loop: WorkerLoop, id: ConnectionID) {
        user.id = id
        user.established(peer)
        follow()
    }

    mutating func received(_ bytes: UnsafeRawBufferPointer, loop: WorkerLoop, id: ConnectionID) {
        user.received(bytes)
        follow()
    }

    mutating func readyToWrite(loop: WorkerLoop, id: ConnectionID) {
        user.writable()
        follow()
    }

    mutating func peerClosedWriting(loop: WorkerLoop, id: ConnectionID) {
        user.peerEnded()
        follow()
    }

    mutating func timerFired(_ token: UInt64, loop: WorkerLoop, id: ConnectionID) {
        switch token {
        case CertificateTimer.drain: user.drain(.ending)
        case CertificateTimer.close: return loop.close(id)
        default: user.timerFired(token)
        }
        follow()
    }

    mutating func closed(_ reason: CloseReason, loop: WorkerLoop, id: ConnectionID) {
        user.closed(reason)
    }
}
