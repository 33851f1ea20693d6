import CLinux
import Glibc
import TLS

/// One client: a connection with one ADS stream.
struct LoadStream {
    var descriptor: Int32 = -1
    var scanner = ResponseScanner()
    var engine: TLSEngine?
    /// Whether the connection stands and the opening bytes are sent.
    var isConnected = false
    /// What it has got so far, one bit for each kind.
    var kindsSeen: UInt8 = 0
    /// It has all that it came for.
    var isSynced = false
    /// When the awaited push arrived; 0 before.
    var arrivedAt = 0
}

/// Many clients on one thread: edge-triggered epoll, one receive buffer, no memory kept for an idle client but its
/// ``LoadStream``.
final class LoadStreams {
    let requests: RequestBytes
    private let port: UInt16
    private let tls: TLSSettings?
    private let epoll: Int32
    private let events = UnsafeMutablePointer<linux_event>.allocate(capacity: Int(LINUX_EVENTS))
    private let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 16)
    private var streams: UnsafeMutableBufferPointer<LoadStream>
    /// What a socket did not take, by client.
    private var unsent: [Int: [UInt8]] = [:]
    private var outgoing: [UInt8] = []
    private var ciphertext: [UInt8] = []
    /// The acknowledgement of each kind that was sent last: it fits all streams that got the same response. One for
    /// each kind, because responses of both kinds come in turns where a push brings both.
    private var acknowledgements: [(nonce: ShortText, bytes: [UInt8])?] = RequestBytes.Kind.allCases.map { _ in nil }
    /// What clients say that are being opened; nil for new ones.
    private var prepared: RequestBytes.Return?
    private var nodes = 0

    /// The standard input, which interrupts ``turn(milliseconds:)``.
    var commands: CommandLines?

    // What happened, counted since the last reset.
    var synced = 0
    var arrived = 0
    var responses = 0
    var resources = 0
    var bytesIn = 0
    var bytesOut = 0
    var ended = 0
    var firstByteAt = 0

    /// The messages that client 0 gets until it has what it came for, while they are wanted.
    var recorded: [UInt8] = []
    var isRecording = false

    init(port: UInt16, requests: RequestBytes, tls: TLSSettings?, capacity: Int) throws(BenchFailure) {
        self.port = port
        self.requests = requests
        self.tls = tls
        epoll = linux_epoll_open()
        guard epoll >= 0 else { throw BenchFailure("epoll: \(-epoll)") }
        streams = .allocate(capacity: capacity)
        streams.initialize(repeating: LoadStream())
    }

    func watchCommands(_ commands: CommandLines) {
        self.commands = commands
        _ = linux_epoll_add(epoll, 0, .max, 0)
    }

    // MARK: Opening and closing

    /// Connects a client that says what a new one says, or what one says that comes back.
    func connect(_ index: Int, returning prepared: RequestBytes.Return? = nil) throws(BenchFailure) {
        self.prepared = prepared
        streams[index] = LoadStream()
        streams[index].descriptor = try dial(index, receiveBuffer: nil)
        if let tls {
            do { streams[index].engine = try TLSEngine(tls) } catch { throw BenchFailure("TLS: \(error)") }
        }
        let result = linux_epoll_add(epoll, streams[index].descriptor, UInt64(index), 1)
        guard result >= 0 else { throw BenchFailure("epoll_ctl: \(-result)") }
    }

    /// Connects a client that sends all its requests and never reads. Plaintext only.
    func connectNeverReading(_ index: Int) throws(BenchFailure) {
        streams[index] = LoadStream()
        streams[index].descriptor = try dial(index, receiveBuffer: 4096)
        let bytes = requests.opening(node: nextNode()) + requests.endpointsSubscription
        var wait = pollfd(fd: streams[index].descriptor, events: Int16(POLLOUT), revents: 0)
        guard poll(&wait, 1, 5000) > 0 else { throw BenchFailure("a client cannot connect") }
        guard linux_send(streams[index].descriptor, bytes, bytes.count) == bytes.count else {
            throw BenchFailure("the requests of a client that never reads were not taken whole")
        }
    }

    private func dial(_ index: Int, receiveBuffer: Int32?) throws(BenchFailure) -> Int32 {
        let descriptor = linux_socket(AF_INET)
        guard descriptor >= 0 else { throw BenchFailure("socket: \(-descriptor); raise the limit of open files") }
        _ = linux_set_option(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, 1)
        if let receiveBuffer { _ = linux_set_option(descriptor, SOL_SOCKET, SO_RCVBUF, receiveBuffer) }
        // Many source addresses: one has some 28,000 ports, and used ones rest for a minute.
        let bindWithoutPort: Int32 = 24
        _ = linux_set_option(descriptor, Int32(IPPROTO_IP), bindWithoutPort, 1)
        var source = Self.loopback(0x7f00_0002 + UInt32(nodes / 8000 % 200), port: 0)
        var target = Self.loopback(0x7f00_0001, port: port)
        let length = socklen_t(MemoryLayout<sockaddr_in>.size)
        _ = linux_bind(descriptor, &source, length)
        let result = linux_connect(descriptor, &target, length)
        guard result >= 0 || result == -EINPROGRESS else {
            _ = linux_close(descriptor)
            throw BenchFailure("connect: \(String(cString: strerror(-result)))")
        }
        return descriptor
    }

    private static func loopback(_ address: UInt32, port: UInt16) -> sockaddr_in {
        var form = sockaddr_in()
        form.sin_family = sa_family_t(AF_INET)
        form.sin_port = port.bigEndian
        form.sin_addr.s_addr = address.bigEndian
        return form
    }

    func close(_ index: Int) {
        guard streams[index].descriptor >= 0 else { return }
        _ = linux_close(streams[index].descriptor)
        streams[index].descriptor = -1
        streams[index].engine = nil
        unsent[index] = nil
    }

    func hasEnded(_ index: Int) -> Bool { streams[index].descriptor < 0 }
    func hasResponse(_ index: Int) -> Bool { streams[index].kindsSeen != 0 }

    private func nextNode() -> String {
        nodes += 1
        return "node-\(nodes)"
    }

    // MARK: The loop

    /// Which response the clients wait for.
    private var expected = RequestBytes.Kind.endpoints

    func expectPush(of kind: RequestBytes.Kind) {
        expected = kind
        for index in streams.indices { streams[index].arrivedAt = 0 }
        resetCounts()
    }

    func resetCounts() {
        (synced, arrived, responses, resources, bytesIn, bytesOut) = (0, 0, 0, 0, 0, 0)
    }

    /// When the push arrived at each of the first `count` clients, in ascending order.
    func arrivals(_ count: Int) -> [Int] { streams[..<count].map(\.arrivedAt).sorted() }

    /// Handles what has come, and waits for it at most so long.
    func turn(milliseconds: Int32) {
        let count = linux_epoll_wait(epoll, events, Int32(LINUX_EVENTS), milliseconds)
        for position in 0..<max(0, Int(count)) {
            let event = events[position]
            guard event.label != .max else {
                commands?.read()
                continue
            }
            let index = Int(event.label)
            guard streams[index].descriptor >= 0 else { continue }
            if event.ready & UInt32(LINUX_WRITABLE) != 0 { becameWritable(index) }
            if event.ready & UInt32(LINUX_READABLE | LINUX_FAILED | LINUX_PEER_CLOSED) != 0 {
                receive(index)
            }
        }
    }

    private func becameWritable(_ index: Int) {
        if !streams[index].isConnected {
            streams[index].isConnected = true
            let node = nextNode()
            let bytes = prepared.map { requests.reopening(node: node, $0) } ?? requests.opening(node: node)
            if let engine = streams[index].engine {
                secured(index) { output throws(TLSError) in try engine.start(output: output) }
                pendingOpening[index] = bytes
            } else {
                bytes.withUnsafeBytes { transmit(index, $0) }
            }
        } else if let rest = unsent.removeValue(forKey: index) {
            rest.withUnsafeBytes { transmit(index, $0) }
        }
    }

    /// The first requests of clients whose TLS handshake is under way.
    private var pendingOpening: [Int: [UInt8]] = [:]

    private func receive(_ index: Int) {
        while streams[index].descriptor >= 0 {
            let count = linux_receive(streams[index].descriptor, scratch.baseAddress, scratch.count)
            if count == -Int(EAGAIN) { return }
            guard count > 0 else {
                ended += 1
                close(index)
                return
            }
            bytesIn += count
            let bytes = UnsafeRawBufferPointer(rebasing: scratch[..<count])
            outgoing.removeAll(keepingCapacity: true)
            if let engine = streams[index].engine {
                secured(index) { [self] output throws(TLSError) in
                    try engine.receive(bytes, plaintext: { take(index, $0) }, output: output)
                    if engine.isEstablished, let opening = pendingOpening.removeValue(forKey: index) {
                        outgoing += opening
                    }
                    if !outgoing.isEmpty { try engine.sendAll(outgoing, output) }
                }
            } else {
                take(index, bytes)
                if !outgoing.isEmpty { outgoing.withUnsafeBytes { transmit(index, $0) } }
            }
            if count < scratch.count { return }
        }
    }

    private func secured(
        _ index: Int, _ body: ((UnsafeRawBufferPointer) -> Void) throws(TLSError) -> Void
    ) {
        ciphertext.removeAll(keepingCapacity: true)
        do throws(TLSError) {
            try body { self.ciphertext.append(contentsOf: $0) }
        } catch {
            ended += 1
        }
        if !ciphertext.isEmpty { ciphertext.withUnsafeBytes { transmit(index, $0) } }
    }

    private func transmit(_ index: Int, _ bytes: UnsafeRawBufferPointer) {
        if !unsent.isEmpty, unsent[index] != nil {
            unsent[index]! += bytes
            return
        }
        let sent = max(0, linux_send(streams[index].descriptor, bytes.baseAddress, bytes.count))
        bytesOut += sent
        if sent < bytes.count { unsent[index] = Array(bytes[sent...]) }
    }

    // MARK: The protocol

    private func take(_ index: Int, _ bytes: UnsafeRawBufferPointer) {
        var rest = bytes
        while true {
            let event = streams[index].scanner.next(&rest) { part in
                if isRecording, index == 0 { recorded += part }
            }
            guard let event else { return }
            switch event {
            case .response: answer(index)
            case .ping(let payload):
                outgoing += RequestBytes.pingAnswer((0..<8).map { UInt8(payload >> (56 - 8 * $0) & 255) })
            case .pingAnswered: markSynced(index)
            case .ended: ended += 1
            }
        }
    }

    private func answer(_ index: Int) {
        if firstByteAt == 0 { firstByteAt = Clock.now }
        responses += 1
        resources += streams[index].scanner.resources
        guard let kind = streams[index].scanner.kind else { return }
        let nonce = streams[index].scanner.nonce
        if acknowledgements[kind.rawValue]?.nonce != nonce {
            let bytes = requests.acknowledgement(
                kind, nonce: nonce.bytes, version: streams[index].scanner.version.bytes)
            acknowledgements[kind.rawValue] = (nonce, bytes)
        }
        outgoing += acknowledgements[kind.rawValue]!.bytes
        let isFirst = streams[index].kindsSeen & 1 << kind.rawValue == 0 && !streams[index].isSynced
        streams[index].kindsSeen |= 1 << kind.rawValue
        switch kind {
        case .clusters: if isFirst { outgoing += requests.endpointsSubscription }
        case .endpoints: markSynced(index)
        }
        if kind == expected, !isFirst, streams[index].arrivedAt == 0 {
            streams[index].arrivedAt = Clock.now
            arrived += 1
        }
    }

    private func markSynced(_ index: Int) {
        guard !streams[index].isSynced else { return }
        streams[index].isSynced = true
        if index == 0 { isRecording = false }
        synced += 1
    }
}

extension TLSEngine {
    fileprivate func sendAll(_ bytes: [UInt8], _ output: (UnsafeRawBufferPointer) -> Void) throws(TLSError) {
        var failure: TLSError?
        bytes.withUnsafeBytes { buffer in
            do throws(TLSError) { try send(buffer, output: output) } catch { failure = error }
        }
        if let failure { throw failure }
    }
}
