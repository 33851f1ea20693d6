import CLinux
import Logging
import TLS
import Time

/// What a program does with its connections. A loop holds one value of this type per connection, in place: make it
/// a struct or enum that mutates, or a final class.
///
/// Callbacks run on the loop's thread, one at a time per loop, and never from within a call to the loop. Inside
/// them every method of the loop may be called, for this or another connection. Only the handler whose callback is
/// running cannot be reached through `withHandler`, which is a programming error.
public protocol ConnectionHandler: SendableMetatype {
    /// The connection is there; for TLS, the handshake is finished and the peer verified. Once, and first; once more
    /// after `startTLS`.
    mutating func established(_ peer: Peer, loop: EventLoop<Self>, id: ConnectionID)
    /// Plaintext bytes, at least one. They are valid during the call only.
    mutating func received(_ bytes: UnsafeRawBufferPointer, loop: EventLoop<Self>, id: ConnectionID)
    /// `isWritable` was false and is true now: produce more.
    mutating func readyToWrite(loop: EventLoop<Self>, id: ConnectionID)
    /// The peer will send no more; it may still read. Answer with `halfClose` or `closeAfterFlush`.
    mutating func peerClosedWriting(loop: EventLoop<Self>, id: ConnectionID)
    /// A timer that was set for this connection.
    mutating func timerFired(_ token: UInt64, loop: EventLoop<Self>, id: ConnectionID)
    /// The end: exactly once, and last. The ID names nothing any more.
    mutating func closed(_ reason: CloseReason, loop: EventLoop<Self>, id: ConnectionID)
}

/// One event loop with its connections, whose handlers are values of one type.
public final class EventLoop<Handler: ConnectionHandler>: Loop {
    /// Makes the handler of a new connection; nil refuses it. The connection is not open yet: act in `established`.
    public typealias HandlerFactory = (EventLoop<Handler>, ConnectionID, Peer) -> Handler?

    /// For other threads.
    public let mailbox: Mailbox<Handler>

    /// Of handlers. Raw, for a generic array would ask for its type at each event.
    private var chunks: ContiguousArray<UnsafeMutableRawPointer> = []
    private var factories: [UInt32: HandlerFactory] = [:]

    /// - Throws: `.cannotStart` when the process has no descriptors left.
    public override init(_ configuration: LoopConfiguration = LoopConfiguration()) throws(ReactorError) {
        mailbox = try Mailbox(limit: configuration.mailboxLimit)
        try super.init(configuration)
        do {
            try addSource(WakeSource(mailbox.descriptor), descriptor: mailbox.descriptor)
        } catch { throw .cannotStart(error) }
    }

    deinit {
        for index in 0..<slab.count where slab[index].pointee.state.contains(.open) {
            handler(index).deinitialize(count: 1)
        }
        for (index, _) in closes { handler(index).deinitialize(count: 1) }
        for chunk in chunks { chunk.deallocate() }
        _ = mailbox.close()
    }

    /// Runs on the calling thread until `stop`, then closes everything, tells the handlers, and returns.
    public func run() {
        while !isStopping { turn() }
        for job in mailbox.close() { job(self) }
        closeEverything()
    }

    /// Listens; accepted connections get their handler from `accept`.
    /// - Parameter tls: its current settings are taken for each connection; nil for plaintext.
    /// - Throws: `.addressInUse`, `.notASocket`, `.cannotListen`.
    @discardableResult
    public func listen(
        _ address: SocketAddress, options: ListenOptions = ListenOptions(), tls: TLSSource? = nil,
        accept: @escaping HandlerFactory
    ) throws(ReactorError) -> ListenerID {
        try listen(on: ListeningSocket(address, options: options), options: options, tls: tls, accept: accept)
    }

    /// Accepts from a socket that listens already; it may be held elsewhere as well, to be handed on.
    /// - Throws: `.cannotListen`.
    @discardableResult
    public func listen(
        on socket: ListeningSocket, options: ListenOptions = ListenOptions(), tls: TLSSource? = nil,
        accept: @escaping HandlerFactory
    ) throws(ReactorError) -> ListenerID {
        let listener = try openListener(socket, options: options, tls: tls)
        factories[listener.number] = accept
        return listener
    }

    /// Opens a connection. The outcome comes to the handler: `established`, or `closed` with the reason.
    /// - Parameter names: of the server of TLS, where `tls` serves connections to several.
    @discardableResult
    public func connect(
        to address: SocketAddress, tls: TLSSettings? = nil, names: TLSServerNames = TLSServerNames(),
        options: ConnectOptions = ConnectOptions(), handler: Handler
    ) -> ConnectionID {
        let id = openConnection(to: address, tls: tls, names: names, options: options)
        place(handler, at: id.index)
        return id
    }

    /// Reaches the handler of a connection of this loop, for fan-out and proxying.
    /// - Returns: nil if the connection has ended.
    /// - Precondition: no callback of that very handler is running.
    public func withHandler<Result>(_ id: ConnectionID, _ body: (inout Handler) -> Result) -> Result? {
        guard let connection = slab.find(id) else { return nil }
        return enter(connection, id.index, body)
    }

    /// Calls `body` with every handler whose connection is open, in the order of slots. `body` may close and open
    /// connections; new ones are visited or not.
    /// - Precondition: called outside callbacks, for example from a job.
    public func forEachHandler(_ body: (inout Handler, ConnectionID) -> Void) {
        for index in 0..<slab.count {
            let connection = slab[index]
            guard connection.pointee.state.contains(.open) else { continue }
            let id = ConnectionID(index: index, generation: connection.pointee.generation)
            enter(connection, index) { body(&$0, id) }
        }
    }

    /// Runs `work` on this loop at `deadline` or up to a millisecond later. Cancel it with `cancelTimer`.
    @discardableResult
    public func schedule(at deadline: Instant, _ work: @escaping (EventLoop<Handler>) -> Void) -> TimerID {
        setWork(at: deadline, .closure { work(unsafeDowncast($0, to: EventLoop<Handler>.self)) })
    }

    /// ``schedule(at:_:)`` counted from this turn's `now`.
    @discardableResult
    public func schedule(after delay: Duration, _ work: @escaping (EventLoop<Handler>) -> Void) -> TimerID {
        schedule(at: now.advanced(by: delay), work)
    }

    /// Runs `job` in the next turn, outside every callback: for what a callback must not do itself, such as
    /// reaching its own handler.
    public func later(_ job: @escaping (EventLoop<Handler>) -> Void) {
        postpone { job(unsafeDowncast($0, to: EventLoop<Handler>.self)) }
    }

    // MARK: Handlers in place

    private func handler(_ index: UInt32) -> UnsafeMutablePointer<Handler> {
        chunks[Int(index >> ConnectionSlab.chunkShift)].assumingMemoryBound(to: Handler.self)
            + Int(index & UInt32(ConnectionSlab.chunkSize - 1))
    }

    private func place(_ new: Handler, at index: UInt32) {
        while chunks.count <= Int(index >> ConnectionSlab.chunkShift) {
            chunks.append(
                UnsafeMutableRawPointer(UnsafeMutablePointer<Handler>.allocate(capacity: ConnectionSlab.chunkSize)))
        }
        handler(index).initialize(to: new)
    }

    @discardableResult
    private func enter<Result>(
        _ connection: UnsafeMutablePointer<Connection>, _ index: UInt32, _ body: (inout Handler) -> Result
    ) -> Result {
        precondition(
            !connection.pointee.state.contains(.inCallback), "a handler was reached from within its own callback")
        connection.pointee.state.insert(.inCallback)
        defer { connection.pointee.state.remove(.inCallback) }
        return body(&handler(index).pointee)
    }

    override func deliverAccepted(_ id: ConnectionID, listener: UInt32, peer: Peer) -> Bool {
        guard let new = factories[listener]?(self, id, peer) else { return false }
        place(new, at: id.index)
        return true
    }

    override func deliverEstablished(_ id: ConnectionID, peer: Peer) {
        enter(slab[id.index], id.index) { $0.established(peer, loop: self, id: id) }
    }

    override func deliverReceived(_ id: ConnectionID, _ bytes: UnsafeRawBufferPointer) {
        enter(slab[id.index], id.index) { $0.received(bytes, loop: self, id: id) }
    }

    override func deliverReadyToWrite(_ id: ConnectionID) {
        enter(slab[id.index], id.index) { $0.readyToWrite(loop: self, id: id) }
    }

    override func deliverPeerClosedWriting(_ id: ConnectionID) {
        enter(slab[id.index], id.index) { $0.peerClosedWriting(loop: self, id: id) }
    }

    override func deliverTimer(_ id: ConnectionID, token: UInt64) {
        enter(slab[id.index], id.index) { $0.timerFired(token, loop: self, id: id) }
    }

    override func deliverClosed(_ id: ConnectionID, reason: CloseReason) {
        // Out of the slot first: the handler may open connections meanwhile.
        var last = handler(id.index).move()
        last.closed(reason, loop: self, id: id)
    }

    override func listenerStopped(_ number: UInt32) {
        factories[number] = nil
    }

    override func runMailbox() {
        for job in mailbox.takeJobs() {
            statistics.jobs += 1
            job(self)
        }
    }
}
