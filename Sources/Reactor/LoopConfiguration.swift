import Logging

/// The bounds of one event loop. The defaults suit a control plane with tens of thousands of connections.
public struct LoopConfiguration: Sendable {
    /// The most bytes that one read takes, and the size of the loop's one receive buffer.
    public var receiveScratch = 64 << 10
    /// Bytes that are collected for one connection before they are sent. Well below `blockedOutputLimit`.
    public var outputScratch = 64 << 10
    /// Connections for which output is collected at the same time (1 to 254); one more makes the oldest be sent.
    public var outputScratches = 8
    /// Bytes that one connection may read before the others have their turn.
    public var readBudget = 256 << 10
    /// Bytes that one connection may write before the others have their turn.
    public var writeBudget = 1 << 20
    /// The most bytes kept for a peer that does not read; more close the connection. Of a handler that heeds
    /// `isWritable` at most `outputScratch` bytes and one write are kept, and TLS's part.
    public var blockedOutputLimit = 1 << 20
    /// The most jobs from other threads that wait for the loop.
    public var mailboxLimit = 65_536
    /// Connections that one listener accepts before the others have their turn.
    public var acceptsPerTurn = 256
    /// TLS handshakes that begin before the others have their turn: a handshake costs what hundreds of messages do. Those
    /// that have begun come first, the others begin in the order in which their first bytes came.
    public var greetingsPerTurn = 16
    /// How long a closed connection may take to flush its output and to see the peer's end.
    public var closingTimeout = Duration.seconds(5)
    /// For what an operator must know: refused connections, descriptors that ran out.
    public var logger = Logger(label: "reactor")

    public init() {}
}

/// What one loop has done since it was built. Counts and bytes.
public struct LoopStatistics: Sendable, Equatable {
    /// Open now, those that are still connecting or shaking hands included.
    public var connections = 0
    public var accepted: UInt64 = 0
    public var connected: UInt64 = 0
    /// TLS clients whose handshake was begun.
    public var greeted: UInt64 = 0
    public var closed: UInt64 = 0
    /// Refused because the listener had its most connections, or the handler factory said no.
    public var refused: UInt64 = 0
    /// Refused because the process had no descriptor left.
    public var refusedForDescriptors: UInt64 = 0
    public var bytesIn: UInt64 = 0
    public var bytesOut: UInt64 = 0
    /// Bytes of blocked output held now.
    public var bytesHeld = 0
    /// The most bytes of blocked output ever held.
    public var mostBytesHeld = 0
    /// Calls of epoll_wait.
    public var waits: UInt64 = 0
    /// Calls of recv.
    public var reads: UInt64 = 0
    /// Calls of send.
    public var sends: UInt64 = 0
    /// Events for a connection that had ended: ignored.
    public var staleEvents: UInt64 = 0
    public var timersFired: UInt64 = 0
    /// Jobs from other threads that were run.
    public var jobs: UInt64 = 0

    public init() {}
}
