import Discovery
import GRPC
import Reactor
import Synchronization

/// The way to what belongs to the control thread.
struct ControlThread: Sendable {
    let mailbox: Mailbox<NoConnections>
    let source: OnControlThread<ResourceSource>

    /// - Returns: false, and `work` will not run, if the thread has ended or too much waits for it.
    func submit(_ work: @escaping @Sendable (ResourceSource) -> Void) -> Bool {
        let source = source
        return mailbox.submit { _ in work(source.value) }
    }

    /// Asks all loops how their streams stand, and has the answer to a call made here: encoding it takes long, and
    /// loops have proxies to serve.
    func report(
        of server: DiscoveryServer, to call: ServiceCall,
        _ answer: @escaping @Sendable (DiscoveryServer.Report) -> Void
    ) {
        server.report { report in
            let isTaken = mailbox.submit { _ in answer(report) }
            if !isTaken { call.finish(Self.busy) }
        }
    }

    static let busy = GRPCStatus(
        .unavailable, "the control plane is stopping, or too many calls wait; try again")
}

/// Carries what belongs to the control thread through closures that run there.
///
/// Unchecked, because the compiler cannot see the rule that makes it sound: a mailbox runs its jobs on its own loop's
/// thread only, and nothing else opens the box.
struct OnControlThread<Value>: @unchecked Sendable {
    let value: Value

    init(_ value: Value) { self.value = value }
}

/// The control thread's loop has timers, watches, signals and jobs, and no connections.
enum NoConnections: ConnectionHandler {
    mutating func established(_ peer: Peer, loop: EventLoop<Self>, id: ConnectionID) {}
    mutating func received(_ bytes: UnsafeRawBufferPointer, loop: EventLoop<Self>, id: ConnectionID) {}
    mutating func readyToWrite(loop: EventLoop<Self>, id: ConnectionID) {}
    mutating func peerClosedWriting(loop: EventLoop<Self>, id: ConnectionID) {}
    mutating func timerFired(_ token: UInt64, loop: EventLoop<Self>, id: ConnectionID) {}
    mutating func closed(_ reason: CloseReason, loop: EventLoop<Self>, id: ConnectionID) {}
}

/// The server, for services that are made before it.
final class ServerReference: Sendable {
    private let server = Mutex<DiscoveryServer?>(nil)

    /// nil before the server listens, and after it was told to end.
    var current: DiscoveryServer? { server.withLock { $0 } }

    func set(_ new: DiscoveryServer?) {
        // The old one may go with this call: not under the lock.
        let old = server.withLock { current in
            let old = current
            current = new
            return old
        }
        _ = old
    }
}
