import GRPC
import HTTP2
import Reactor
import TLS
import Time

/// Where a gRPC server is.
public struct ServerAddress: Sendable {
    public var address: SocketAddress
    /// nil for plaintext.
    public var tls: TLSSettings?
    /// Sent with every call, for example `authorization`.
    public var metadata: GRPCMetadata

    public init(_ address: SocketAddress, tls: TLSSettings? = nil, metadata: GRPCMetadata = GRPCMetadata()) {
        self.address = address
        self.tls = tls
        self.metadata = metadata
    }
}

/// What a connection tells whoever opened it.
protocol ClientConnectionOwner: AnyObject {
    func connected(_ connection: ClientConnection)
    func received(_ event: GRPCClientEvent, on connection: ClientConnection)
    /// The end, and last.
    func disconnected(_ connection: ClientConnection, reason: String)
}

/// One gRPC connection to a server, and what goes over it.
final class ClientConnection: ConnectionHandler {
    typealias Loop = EventLoop<ClientConnection>

    let grpc: GRPCClientConnection
    private weak var owner: (any ClientConnectionOwner)?
    private unowned let loop: Loop
    private var id: ConnectionID?
    private var events = GRPCEvents<GRPCClientEvent>()
    private let output = UnsafeMutableRawBufferPointer.allocate(byteCount: 32 << 10, alignment: 16)
    private var timer: TimerID?
    private var failure: String?
    private var isTelling = false

    /// Opens the connection; the owner hears how it went.
    /// - Parameter limits: what the server may send.
    static func open(
        _ server: ServerAddress, owner: any ClientConnectionOwner, loop: Loop, limits: GRPCLimits = GRPCLimits()
    ) -> ClientConnection {
        let connection = ClientConnection(server, owner, loop, limits)
        connection.id = loop.connect(to: server.address, tls: server.tls, handler: connection)
        return connection
    }

    private init(_ server: ServerAddress, _ owner: any ClientConnectionOwner, _ loop: Loop, _ limits: GRPCLimits) {
        self.owner = owner
        self.loop = loop
        let authority = server.address.isUnix ? "localhost" : "\(server.address)"
        grpc = GRPCClientConnection(authority: authority, secure: server.tls != nil, limits: limits, now: loop.now)
    }

    deinit { output.deallocate() }

    /// Sends what was ordered. To be called after orders to ``grpc``.
    func flush() {
        guard let id else { return }
        while loop.isWritable(id) {
            let count = grpc.produceOutput(into: output, now: loop.now, events: &events)
            if count == 0 { break }
            loop.write(UnsafeRawBufferPointer(rebasing: output[..<count]), to: id)
        }
        takeEvents()
        if grpc.isFinished { loop.closeAfterFlush(id) }
        setTimer()
    }

    /// Ends the connection; the owner hears nothing more.
    func close() {
        owner = nil
        guard let id else { return }
        grpc.transport.terminate(.noError, "done")
        flush()
        loop.closeAfterFlush(id)
    }

    func established(_ peer: Peer, loop: Loop, id: ConnectionID) {
        self.id = id
        owner?.connected(self)
        flush()
    }

    func received(_ bytes: UnsafeRawBufferPointer, loop: Loop, id: ConnectionID) {
        grpc.receive(bytes, now: loop.now, events: &events)
        takeEvents()
        flush()
    }

    func readyToWrite(loop: Loop, id: ConnectionID) { flush() }

    func peerClosedWriting(loop: Loop, id: ConnectionID) { loop.close(id, reason: .finished) }

    func timerFired(_ token: UInt64, loop: Loop, id: ConnectionID) {
        timer = nil
        grpc.tick(now: loop.now, events: &events)
        takeEvents()
        flush()
    }

    func closed(_ reason: CloseReason, loop: Loop, id: ConnectionID) {
        self.id = nil
        let text = failure ?? "\(reason)"
        grpc.transportClosed(text, events: &events)
        takeEvents()
        owner?.disconnected(self, reason: text)
    }

    private func takeEvents() {
        // An owner's orders may bring new ones: these come after those that are told already.
        guard !isTelling else { return }
        isTelling = true
        defer { isTelling = false }
        while !events.isEmpty {
            // Taken out, not copied.
            var taken = GRPCEvents<GRPCClientEvent>()
            swap(&taken, &events)
            for event in taken.list {
                if case .connectionFailed(let reason) = event { failure = "\(reason)" }
                owner?.received(event, on: self)
            }
        }
    }

    private func setTimer() {
        guard let id else { return }
        if let timer { loop.cancelTimer(timer) }
        timer = grpc.nextDeadline.map { loop.setTimer(at: $0, for: id, token: 0) }
    }
}
