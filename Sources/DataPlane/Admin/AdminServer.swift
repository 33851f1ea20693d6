import HTTP
import HTTP1
import Logging
import Reactor

/// The proxy's own ports, on a loop and thread of their own: a stalled worker does not silence them.
final class AdminServer: Sendable {
    /// Answers a request; `reply` is called once, from any thread.
    typealias Answering = @Sendable (AdminRequest, _ reply: @escaping @Sendable (AdminResponse) -> Void) -> Void

    /// Connections at a time to each port.
    static let mostConnections = 64

    private let group: EventLoopGroup<AdminConnection>
    /// Those that accept.
    let sockets: [ListeningSocket]

    /// - Parameter inherited: sockets of the proxy before this one: for ports that have their addresses.
    /// - Throws: ``Reactor/ReactorError`` for a port that is in use.
    init(
        _ ports: [(address: SocketAddress, door: AdminDoor)], inherited: [ListeningSocket] = [],
        times: AdminConnection.Times = AdminConnection.Times(), answer: @escaping Answering
    ) throws {
        let sockets = try ports.map { port in
            try (inherited.first { $0.address == port.address } ?? ListeningSocket(port.address), port.door)
        }
        self.sockets = sockets.map(\.0)
        group = try EventLoopGroup(count: 1, name: "admin") { loop, _ in
            var options = ListenOptions()
            options.mostConnections = Self.mostConnections
            for (socket, door) in sockets {
                try loop.listen(on: socket, options: options) { loop, id, _ in
                    AdminConnection(door, id, loop, times, answer)
                }
            }
        }
    }

    /// Ends it; answers under way get a moment.
    func stop() {
        group.drain(grace: .milliseconds(500)) { loop in loop.forEachHandler { connection, _ in connection.drain() } }
        group.join()
    }
}

/// One connection to such a port.
final class AdminConnection: ConnectionHandler {
    typealias Loop = EventLoop<AdminConnection>

    private let door: AdminDoor
    private let id: ConnectionID
    private unowned let loop: Loop
    private let answer: AdminServer.Answering
    private var receiver = HTTP1Receiver(role: .server, limits: AdminConnection.limits)
    /// What came after the request under way.
    private var waiting: [UInt8] = []
    private var request: (head: HTTP1Head, message: AdminRequest?)?
    /// What the peer has not taken yet.
    private var output: [UInt8] = []
    private var sent = 0
    private var isLast = false
    private var isDraining = false
    private var timer: TimerID?
    /// A part of a request has come.
    private var isReceiving = false
    private let times: Times

    /// How long a connection may take for what it does. A peer that sends or reads a byte now and then gains nothing by
    /// it: a connection holds one of few places.
    struct Times: Sendable {
        /// Until the first byte of a request.
        var idle = Duration.seconds(60)
        /// For the whole of a request.
        var request = Duration.seconds(10)
        /// Until the peer has the whole of the answer.
        var answer = Duration.seconds(60)
    }

    private static let limits = {
        var limits = HTTP1Limits()
        (limits.headBytes, limits.lineBytes) = (16 << 10, 8 << 10)
        limits.acceptsHTTP10 = true
        limits.hostForHTTP10 = "localhost"
        return limits
    }()
    /// Bytes that may come while an answer is under way.
    private static let mostWaiting = 64 << 10

    init(
        _ door: AdminDoor, _ id: ConnectionID, _ loop: Loop, _ times: Times, _ answer: @escaping AdminServer.Answering
    ) {
        self.door = door
        self.times = times
        self.id = id
        self.loop = loop
        self.answer = answer
    }

    func established(_ peer: Peer, loop: Loop, id: ConnectionID) { limit(times.idle) }

    /// From now on, whatever comes meanwhile.
    private func limit(_ time: Duration) {
        if let timer { loop.cancelTimer(timer) }
        timer = loop.setTimer(at: loop.now.advanced(by: time), for: id, token: 0)
    }

    func received(_ bytes: UnsafeRawBufferPointer, loop: Loop, id: ConnectionID) {
        if request != nil {
            waiting += bytes
            if waiting.count > Self.mostWaiting { loop.close(id) }
            return
        }
        take(bytes)
    }

    private func take(_ bytes: UnsafeRawBufferPointer) {
        if !isReceiving {
            isReceiving = true
            limit(times.request)
        }
        var events: [HTTP1Event] = []
        let count = receiver.receive(bytes, events: &events)
        if count < bytes.count { waiting += UnsafeRawBufferPointer(rebasing: bytes[count...]) }
        note(events)
    }

    private func note(_ events: [HTTP1Event]) {
        for event in events {
            switch event {
            case .head(let head, let facts): request = (facts, AdminRequest(head, door: door))
            case .end: ask()
            case .failed(let failure): send(AdminResponse("\(failure)\n", status: failure.status), closes: true)
            case .informational, .data: break
            }
        }
    }

    private func ask() {
        guard let request else { return }
        guard let message = request.message else {
            return send(AdminResponse("a method and a path are needed\n", status: 400), closes: true)
        }
        limit(times.answer)
        let (mailbox, id) = (loop.mailbox, id)
        answer(message) { response in
            _ = mailbox.submit { loop in _ = loop.withHandler(id) { $0.answered(response) } }
        }
    }

    private func answered(_ response: AdminResponse) {
        guard let request else { return }
        send(response, closes: !request.head.keepsAlive || isDraining, isHead: request.head.method == .head)
        self.request = nil
        isReceiving = false
        guard !isLast else { return }
        receiver.startNext()
        guard !waiting.isEmpty else {
            if output.isEmpty { limit(times.idle) }
            return
        }
        let next = waiting
        waiting = []
        next.withUnsafeBytes { take($0) }
    }

    private func send(_ response: AdminResponse, closes: Bool, isHead: Bool = false) {
        let head = HeaderList([
            (":status", "\(response.status)"), ("content-type", response.contentType),
            ("cache-control", "no-cache, max-age=0"), ("x-content-type-options", "nosniff"), ("server", "martinet"),
        ])
        do throws(HTTP1WriteError) {
            let isHTTP10 = request?.head.isHTTP10 ?? false
            try HTTP1Writer.appendResponse(
                head, framing: .length(UInt64(response.body.count)),
                persistence: closes ? .close : isHTTP10 ? .keepAlive : .implied, to: &output)
        } catch {
            return loop.close(id)
        }
        if !isHead { output += response.body }
        if closes { isLast = true }
        flush()
    }

    private func flush() {
        // In parts: the whole of a large configuration is more than a connection may have waiting.
        while sent < output.count, loop.isWritable(id) {
            let end = min(sent + (64 << 10), output.count)
            output[sent..<end].withUnsafeBytes { loop.write($0, to: id) }
            loop.flush(id)
            sent = end
        }
        guard sent == output.count else { return }
        (output, sent) = ([], 0)
        if request == nil, !isReceiving { limit(times.idle) }
        if isLast { loop.closeAfterFlush(id) }
    }

    func drain() {
        isDraining = true
        if request == nil, output.isEmpty { loop.closeAfterFlush(id) }
    }

    func readyToWrite(loop: Loop, id: ConnectionID) { flush() }

    func peerClosedWriting(loop: Loop, id: ConnectionID) {
        if request == nil, output.isEmpty { loop.closeAfterFlush(id) } else { isDraining = true }
    }

    func timerFired(_ token: UInt64, loop: Loop, id: ConnectionID) {
        timer = nil
        loop.close(id)
    }

    func closed(_ reason: CloseReason, loop: Loop, id: ConnectionID) {
        if let timer { loop.cancelTimer(timer) }
    }
}
