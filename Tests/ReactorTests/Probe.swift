import Glibc
import TLS
import Testing
import Time

@testable import Reactor

/// A handler that records what it hears, and acts through closures.
final class Probe: ConnectionHandler {
    var id: ConnectionID?
    var peer: Peer?
    var received: [UInt8] = []
    /// Counted apart from `received`, which a test may leave empty for large transfers.
    var receivedCount = 0
    var receivedCalls = 0
    var isKeeping = true
    /// It starts TLS by itself, so that it is established twice.
    var isRestarting = false
    var readyCalls = 0
    var ends = 0
    var tokens: [UInt64] = []
    var reasons: [CloseReason] = []

    var onEstablished: (EventLoop<Probe>, ConnectionID) -> Void = { _, _ in }
    var onReceived: (EventLoop<Probe>, ConnectionID, UnsafeRawBufferPointer) -> Void = { _, _, _ in }
    var onReady: (EventLoop<Probe>, ConnectionID) -> Void = { _, _ in }
    var onEnd: (EventLoop<Probe>, ConnectionID) -> Void = { _, _ in }
    var onTimer: (EventLoop<Probe>, ConnectionID, UInt64) -> Void = { _, _, _ in }
    var onClosed: (EventLoop<Probe>, CloseReason) -> Void = { _, _ in }

    var isEstablished: Bool { peer != nil }
    var text: String { String(decoding: received, as: UTF8.self) }

    func established(_ peer: Peer, loop: EventLoop<Probe>, id: ConnectionID) {
        #expect((self.peer == nil || isRestarting) && reasons.isEmpty)
        self.id = id
        self.peer = peer
        onEstablished(loop, id)
    }

    func received(_ bytes: UnsafeRawBufferPointer, loop: EventLoop<Probe>, id: ConnectionID) {
        #expect(isEstablished && reasons.isEmpty && bytes.count > 0)
        if isKeeping { received += bytes }
        receivedCount += bytes.count
        receivedCalls += 1
        onReceived(loop, id, bytes)
    }

    func readyToWrite(loop: EventLoop<Probe>, id: ConnectionID) {
        #expect(isEstablished && reasons.isEmpty && loop.isWritable(id))
        readyCalls += 1
        onReady(loop, id)
    }

    func peerClosedWriting(loop: EventLoop<Probe>, id: ConnectionID) {
        #expect(isEstablished && reasons.isEmpty)
        ends += 1
        onEnd(loop, id)
    }

    func timerFired(_ token: UInt64, loop: EventLoop<Probe>, id: ConnectionID) {
        #expect(reasons.isEmpty)
        tokens.append(token)
        onTimer(loop, id, token)
    }

    func closed(_ reason: CloseReason, loop: EventLoop<Probe>, id: ConnectionID) {
        #expect(reasons.isEmpty, "closed comes once")
        #expect(!loop.isOpen(id))
        reasons.append(reason)
        onClosed(loop, reason)
    }
}

/// Two probes joined by a TCP connection over loopback, in one loop on the test's own thread.
final class Pair {
    let loop: EventLoop<Probe>
    let client = Probe()
    private(set) var server = Probe()
    let listener: ListenerID
    let clientID: ConnectionID

    var serverID: ConnectionID { server.id ?? ConnectionID(index: .max, generation: 0) }

    init(
        configuration: LoopConfiguration = LoopConfiguration(), listen: ListenOptions = ListenOptions(),
        connect: ConnectOptions = ConnectOptions(), address: SocketAddress = .loopback(port: 0),
        tls: (server: TLSSource, client: TLSSettings)? = nil, clientTLS: TLSSettings? = nil,
        prepare: (Probe, Probe) -> Void = { _, _ in }
    ) throws {
        loop = try EventLoop(configuration)
        let (client, server) = (client, server)
        prepare(client, server)
        listener = try loop.listen(address, options: listen, tls: tls?.server) { _, _, _ in server }
        clientID = loop.connect(
            to: try #require(loop.address(of: listener)), tls: clientTLS ?? tls?.client, options: connect,
            handler: client)
        client.id = clientID
        turn { (client.isEstablished && server.isEstablished) || !(client.reasons + server.reasons).isEmpty }
    }

    /// Turns the loop until something holds; fails the test instead of hanging.
    func turn(_ location: SourceLocation = #_sourceLocation, until done: () -> Bool) {
        loop.turn(location, until: done)
    }
}

extension Loop {
    func turn(_ location: SourceLocation = #_sourceLocation, until done: () -> Bool) {
        let hanging = Loop.readClock().advanced(by: .seconds(30))
        while !done() {
            turn(waiting: .milliseconds(20))
            if now > hanging {
                Issue.record("what the test waits for did not come within 30 s", sourceLocation: location)
                return
            }
        }
    }

    /// Turns until nothing happens any more.
    func settleDown() {
        var quiet = 0
        while quiet < 5 {
            let before = statistics
            turn(waiting: .milliseconds(2))
            var after = statistics
            after.waits = before.waits
            quiet = after == before ? quiet + 1 : 0
        }
    }
}

/// A blocking socket of the test, for peers that misbehave.
final class RawSocket {
    private(set) var descriptor: Int32

    init(connectingTo address: SocketAddress) throws {
        descriptor = socket(address.family, Int32(SOCK_STREAM.rawValue), 0)
        let socket = descriptor
        let result = address.withSystemForm { pointer, length in
            Glibc.connect(socket, pointer.assumingMemoryBound(to: sockaddr.self), length)
        }
        guard result == 0 else {
            let error = SystemError(call: "connect", number: errno)
            close()
            throw error
        }
    }

    deinit { close() }

    func send(_ text: String) { send(Array(text.utf8)) }

    func send(_ bytes: [UInt8]) {
        #expect(Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count)
    }

    /// - Returns: what arrives next, at most 64 kB; empty at the end or after a reset.
    func receive() -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 65536)
        let count = recv(descriptor, &bytes, bytes.count, 0)
        return Array(bytes.prefix(max(0, count)))
    }

    func close() {
        if descriptor >= 0 { _ = Glibc.close(descriptor) }
        descriptor = -1
    }

    /// Ends the connection with RST instead of FIN.
    func reset() {
        var option = linger(l_onoff: 1, l_linger: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
        close()
    }
}

/// A directory of its own for one test.
final class TemporaryDirectory {
    let path: String

    init() {
        var template = Array("/tmp/reactor-XXXXXX".utf8CString)
        path = template.withUnsafeMutableBufferPointer { String(cString: mkdtemp($0.baseAddress!)) }
    }

    deinit {
        // Depth first, without following links.
        func remove(_ path: String) {
            if let listing = opendir(path) {
                var names: [String] = []
                while let entry = readdir(listing) {
                    withUnsafePointer(to: &entry.pointee.d_name) {
                        $0.withMemoryRebound(to: CChar.self, capacity: 256) { names.append(String(cString: $0)) }
                    }
                }
                closedir(listing)
                for name in names where name != "." && name != ".." {
                    var status = stat()
                    lstat(path + "/" + name, &status)
                    if status.st_mode & S_IFMT == S_IFDIR {
                        remove(path + "/" + name)
                    } else {
                        unlink(path + "/" + name)
                    }
                }
            }
            rmdir(path)
        }
        remove(path)
    }

    func write(_ text: String, to name: String) {
        let descriptor = open(path + "/" + name, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
        #expect(descriptor >= 0)
        #expect(Glibc.write(descriptor, text, text.utf8.count) == text.utf8.count)
        close(descriptor)
    }
}
