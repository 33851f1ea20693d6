import GRPC
import HTTP2
import Time

/// A gRPC client and server in memory, their bytes cut where a seed says, on a clock that tests move.
final class GRPCPair {
    let client: GRPCClientConnection
    let server: GRPCServerConnection
    var now = Instant(nanoseconds: 0)
    private var generator: SeededGenerator
    private let splits: Bool

    private(set) var clientLog: [String] = []
    private(set) var serverLog: [String] = []
    private(set) var requests: [GRPCRequest] = []
    var serverMessages: [GRPCCallID: [[UInt8]]] = [:]
    var clientMessages: [GRPCCallID: [[UInt8]]] = [:]
    private(set) var responseMetadata: [GRPCCallID: GRPCMetadata] = [:]
    private(set) var trailers: [GRPCCallID: GRPCMetadata] = [:]
    private(set) var statuses: [GRPCCallID: GRPCStatus] = [:]
    private(set) var assembled = 0
    private(set) var slices = 0
    private(set) var unconsumed: [GRPCCallID: Int] = [:]
    var onServerEvent: (GRPCServerEvent) -> Void = { _ in }

    static let methods = GRPCMethods([
        GRPCMethod("/test.Echo/Unary"),
        GRPCMethod("/test.Echo/Stream", clientStreams: true, serverStreams: true),
    ])

    init(
        server serverLimits: GRPCLimits = GRPCLimits(), client clientLimits: GRPCLimits = GRPCLimits(),
        seed: UInt64 = 1, splits: Bool = false
    ) {
        server = GRPCServerConnection(methods: Self.methods, limits: serverLimits, now: now)
        client = GRPCClientConnection(authority: "test", limits: clientLimits, now: now)
        generator = SeededGenerator(seed: seed)
        self.splits = splits
    }

    func run() {
        var moved = true
        while moved {
            let there = toServer()
            let back = toClient()
            moved = there || back
        }
    }

    func toServer() -> Bool {
        var events = GRPCEvents<GRPCClientEvent>()
        let bytes = takeOutput { client.produceOutput(into: $0, now: now, events: &events) }
        note(events.list)
        forEachPart(of: bytes) { part in
            var events = GRPCEvents<GRPCServerEvent>()
            server.receive(part, now: now, events: &events)
            note(events.list)
        }
        return !bytes.isEmpty
    }

    func toClient() -> Bool {
        var events = GRPCEvents<GRPCServerEvent>()
        let bytes = takeOutput { server.produceOutput(into: $0, now: now, events: &events) }
        note(events.list)
        forEachPart(of: bytes) { part in
            var events = GRPCEvents<GRPCClientEvent>()
            client.receive(part, now: now, events: &events)
            note(events.list)
        }
        return !bytes.isEmpty
    }

    private func takeOutput(_ produce: (UnsafeMutableRawBufferPointer) -> Int) -> [UInt8] {
        let size = splits ? Int.random(in: 64...3000, using: &generator) : 64 * 1024
        return withUnsafeTemporaryAllocation(byteCount: size, alignment: 1) { Array($0[..<produce($0)]) }
    }

    private func forEachPart(of bytes: [UInt8], _ body: (UnsafeRawBufferPointer) -> Void) {
        bytes.withUnsafeBytes { bytes in
            var rest = UnsafeRawBufferPointer(bytes)
            while !rest.isEmpty {
                let count = splits ? Int.random(in: 1...min(rest.count, 200), using: &generator) : rest.count
                body(UnsafeRawBufferPointer(rebasing: rest[..<count]))
                rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            }
        }
    }

    func tick() {
        var serverEvents = GRPCEvents<GRPCServerEvent>()
        server.tick(now: now, events: &serverEvents)
        note(serverEvents.list)
        var clientEvents = GRPCEvents<GRPCClientEvent>()
        client.tick(now: now, events: &clientEvents)
        note(clientEvents.list)
    }

    func closeTransport() {
        var serverEvents = GRPCEvents<GRPCServerEvent>()
        server.transportClosed(events: &serverEvents)
        note(serverEvents.list)
        var clientEvents = GRPCEvents<GRPCClientEvent>()
        client.transportClosed("connection reset", events: &clientEvents)
        note(clientEvents.list)
    }

    func note(_ events: [GRPCServerEvent]) {
        for event in events {
            switch event {
            case .started(let call, let request):
                serverLog.append("started \(call) \(request.method.path)")
                requests.append(request)
            case .message(let call, let message):
                serverMessages[call, default: []].append(message.bytes)
                unconsumed[call, default: 0] += message.windowBytes
                if message.wasAssembled { assembled += 1 } else { slices += 1 }
            case .halfClosed(let call): serverLog.append("half closed \(call)")
            case .writable(let call): serverLog.append("writable \(call)")
            case .ended(let call, let end): serverLog.append("ended \(call) \(end)")
            case .refused(let call, let words): serverLog.append("refused \(call) \(words)")
            case .peerDrains: serverLog.append("peer drains")
            case .connectionFailed(let failure): serverLog.append("failed \(failure)")
            }
            onServerEvent(event)
        }
    }

    private func note(_ events: [GRPCClientEvent]) {
        for event in events {
            switch event {
            case .metadata(let call, let metadata):
                clientLog.append("metadata \(call)")
                responseMetadata[call] = metadata
            case .message(let call, let message): clientMessages[call, default: []].append(message.bytes)
            case .writable(let call): clientLog.append("writable \(call)")
            case .ended(let call, let status, let trailers):
                clientLog.append("ended \(call) \(status)")
                statuses[call] = status
                self.trailers[call] = trailers
            case .serverDrains(let words): clientLog.append("server drains \(words)")
            case .connectionFailed(let failure): clientLog.append("failed \(failure)")
            }
        }
    }

    /// Answers each message with itself, and the half-close with OK.
    func echo() {
        onServerEvent = { [unowned self] event in
            switch event {
            case .message(let call, let message): _ = server.send(GRPC.frame(message.bytes), on: call)
            case .halfClosed(let call): server.finish(call, .ok)
            default: break
            }
        }
    }

    func call(_ path: String = "/test.Echo/Stream", timeout: Duration? = nil) -> GRPCCallID? {
        client.start(path, timeout: timeout, now: now)
    }
}
