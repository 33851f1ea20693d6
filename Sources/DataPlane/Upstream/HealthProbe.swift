import Forwarding
import HTTP
import HTTP1
import HTTP2
import Reactor
import TLS
import Time

/// One active check of a host, on a connection of its own. The cluster's machine knows when it is too late.
class HealthProbe: SocketUser {
    fileprivate let probe: Probe
    fileprivate static let wholeBody = 1 << 20
    private let cluster: WorkerCluster
    private var isReported = false

    /// Makes a check; the cluster hears of its outcome.
    static func make(_ probe: Probe, _ cluster: WorkerCluster) {
        let worker = cluster.worker
        let user: HealthProbe
        switch probe.request {
        case .http(let head, let body, false, let limit): user = HTTP1Probe(probe, cluster, head, body, limit)
        case .http(let head, let body, true, let limit):
            user = HTTP2Probe(probe, cluster, head, body, limit, isGRPC: false)
        case .grpc(let head, let body): user = HTTP2Probe(probe, cluster, head, body, 1 << 16, isGRPC: true)
        case .tcp(let send): user = TCPProbe(probe, cluster, send)
        }
        var options = cluster.connectOptions
        let left = worker.loop.now.duration(to: probe.deadline)
        (options.timeout, options.handshakeTimeout) = (left, left)
        var tls: TLSSettings?
        switch cluster.security(at: probe.transport) {
        case .plaintext: break
        case .tls(let settings, _): tls = settings
        case .unusable: return worker.later { cluster.probed(.failed, probe) }
        }
        user.id = worker.loop.connect(
            to: SocketAddress(probe.address), tls: tls, names: cluster.names(of: probe.host, at: probe.transport),
            options: options, handler: SocketHandler(user: user))
        // A host that accepts and is silent must not keep the connection.
        worker.loop.setTimer(at: probe.deadline, for: user.id, token: 0)
    }

    fileprivate init(_ probe: Probe, _ cluster: WorkerCluster) {
        (self.probe, self.cluster) = (probe, cluster)
        super.init(cluster.worker, .none)
    }

    fileprivate func report(_ outcome: ProbeOutcome) {
        guard !isReported else { return }
        isReported = true
        cluster.probed(outcome, probe)
        loop.close(id)
    }

    override func timerFired(_ token: UInt64) { if token == 0 { report(.timedOut) } }
    override func peerEnded() { report(.failed) }

    override func closed(_ reason: CloseReason) {
        switch reason {
        case .connectTimedOut, .handshakeTimedOut: report(.timedOut)
        case .finished, .requested, .violation, .failed, .connectFailed, .handshakeBrokenOff, .tls, .outputLimit,
            .loopStopped:
            report(.failed)
        }
    }
}

private final class TCPProbe: HealthProbe {
    private let bytes: [UInt8]
    private var answer: [UInt8] = []

    init(_ probe: Probe, _ cluster: WorkerCluster, _ bytes: [UInt8]) {
        self.bytes = bytes
        super.init(probe, cluster)
    }

    override func established(_ peer: Peer) {
        loop.write(bytes, to: id)
        if probe.isAnswered(by: answer) { report(.tcp(received: answer)) }
    }

    override func received(_ bytes: UnsafeRawBufferPointer) {
        answer += bytes.prefix(max(0, 65_536 - answer.count))
        if probe.isAnswered(by: answer) { report(.tcp(received: answer)) }
    }
}

private final class HTTP1Probe: HealthProbe {
    private let head: HeaderList
    private let body: [UInt8]
    private let limit: Int
    private var receiver = HTTP1Receiver(role: .client)
    private var status = 0
    private var responseHead = HeaderList()
    private var responseBody: [UInt8] = []

    init(_ probe: Probe, _ cluster: WorkerCluster, _ head: HeaderList, _ body: [UInt8], _ limit: Int) {
        // 0 is all of it, which has a bound too.
        (self.head, self.body, self.limit) = (head, body, limit == 0 ? HealthProbe.wholeBody : limit)
        super.init(probe, cluster)
    }

    override func established(_ peer: Peer) {
        var bytes: [UInt8] = []
        do throws(HTTP1WriteError) {
            try HTTP1Writer.appendRequest(
                head, framing: body.isEmpty ? .none : .length(UInt64(body.count)), persistence: .close, to: &bytes)
        } catch {
            return report(.failed)
        }
        receiver.expectResponse(to: head.withValue(of: ":method") { HTTP1Method($0) } ?? .other)
        loop.write(bytes + body, to: id)
    }

    override func received(_ bytes: UnsafeRawBufferPointer) {
        var events: [HTTP1Event] = []
        _ = receiver.receive(bytes, events: &events)
        take(events)
    }

    override func peerEnded() {
        var events: [HTTP1Event] = []
        receiver.endOfInput(events: &events)
        take(events)
        super.peerEnded()
    }

    private func take(_ events: [HTTP1Event]) {
        for event in events {
            switch event {
            case .head(let head, let shape): (responseHead, status) = (head, shape.status)
            case .informational: break
            case .data(let bytes): responseBody += bytes.prefix(max(0, limit - responseBody.count))
            case .end: report(.http(status: status, responseHead, body: responseBody))
            case .failed: report(.failed)
            }
        }
    }
}

private final class HTTP2Probe: HealthProbe, HTTP2Transport {
    let connection: HTTP2Connection
    var isDirty = false
    var deadline: (at: Instant, timer: TimerID)?
    private let head: HeaderList
    private let body: [UInt8]
    private let limit: Int
    private let isGRPC: Bool
    private var responseHead = HeaderList()
    private var responseBody: [UInt8] = []

    init(_ probe: Probe, _ cluster: WorkerCluster, _ head: HeaderList, _ body: [UInt8], _ limit: Int, isGRPC: Bool) {
        (self.head, self.body, self.isGRPC) = (head, body, isGRPC)
        self.limit = limit == 0 ? HealthProbe.wholeBody : limit
        connection = HTTP2Connection(role: .client, now: cluster.worker.loop.now)
        super.init(probe, cluster)
    }

    override func established(_ peer: Peer) {
        guard let stream = connection.open(head, endStream: body.isEmpty, now: loop.now) else { return report(.failed) }
        if !body.isEmpty { _ = connection.send(body, on: stream, endStream: true, now: loop.now) }
        becameDirty()
    }

    override func received(_ bytes: UnsafeRawBufferPointer) { receive(bytes) }
    override func writable() { becameDirty() }
    override func timerFired(_ token: UInt64) { if token == 1 { tick() } else { super.timerFired(token) } }

    func take(_ event: HTTP2Event) {
        switch event {
        case .headers(_, let head, let ends):
            responseHead = head
            if ends { answer(head) }
        case .data(let stream, let bytes):
            responseBody += bytes.prefix(max(0, limit - responseBody.count))
            connection.consume(bytes.count, on: stream)
        case .trailers(_, let trailers): answer(trailers)
        case .endOfStream: answer(HeaderList())
        case .streamClosed, .streamLimited, .goAway, .connectionFailed: report(.failed)
        case .writable, .pingAcknowledged, .informational: break
        }
    }

    private func answer(_ trailers: HeaderList) {
        let status = responseHead.withValue(of: ":status") { Int(String(decoding: $0, as: UTF8.self)) ?? 0 } ?? 0
        guard isGRPC else { return report(.http(status: status, responseHead, body: responseBody)) }
        let code = trailers["grpc-status"].flatMap { Int($0) } ?? 2
        report(status == 200 ? .grpc(status: code, message: responseBody) : .failed)
    }
}
