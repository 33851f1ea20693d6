import HTTP2
import Time

/// What a gRPC connection grants its peer.
public struct GRPCLimits: Sendable {
    public var http2: HTTP2Limits
    /// Bytes of one received message, without its prefix. Source: gRPC's default, 4 MiB.
    public var messageSize = 4 * 1024 * 1024
    /// Whether the peer's window opens by `consume` alone; otherwise as soon as a message was handed over.
    public var consumesByHand = false

    /// PINGs more often than every five seconds without DATA between them end the connection
    /// (`too_many_pings`): xDS streams are quiet for long, and their clients ask every 10 to 30 seconds.
    public init(http2: HTTP2Limits = HTTP2Limits()) {
        self.http2 = http2
        if self.http2.minimumPingInterval == nil { self.http2.minimumPingInterval = .seconds(5) }
    }
}

/// A call of a connection: the number of its stream.
public typealias GRPCCallID = HTTP2StreamID

/// The events of one call into a connection. Owned by the caller and reused, so that connections hold none.
public struct GRPCEvents<Event> {
    /// In the order in which things happened.
    public var list: [Event] = []
    var transport: [HTTP2Event] = []

    public init() {}

    public var isEmpty: Bool { list.isEmpty }

    /// Forgets the events and keeps their memory.
    public mutating func removeAll() {
        list.removeAll(keepingCapacity: true)
    }
}
