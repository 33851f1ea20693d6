import Forwarding
import HTTP
import Time
import XDS

/// Entries of one worker for one log of an access log service. They go in one long stream that says once whose they are,
/// as batches: when they are many, or have waited. A stream that ends is opened again after a pause that grows; what
/// waits meanwhile is bounded, and entries beyond that are dropped and counted. What the connection has taken counts as
/// told, since the service says nothing of what it got.
/// Source: Envoy, `CommonGrpcAccessLogConfig`, `StreamAccessLogs`.
final class LogEntryQueue {
    /// Bytes that may wait.
    static let limit = 1 << 20
    /// How long a service may take to answer the end of a stream.
    static let patience = Duration.seconds(5)
    static let path = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"
    private static let backoff = Backoff(initial: .milliseconds(500), maximum: .seconds(30))

    let service: LogService
    private unowned let worker: Worker
    private let waits: (LogEntryQueue) -> Void
    private let ended: () -> Void
    private var requests: [[UInt8]] = []
    private var connections: [[UInt8]] = []
    private var bytes = 0
    private var stream: MessageStream?
    private var openedAt: Instant?
    private var isIdentified = false
    private var failures = 0
    private var reopensAt: Instant?
    /// The batch goes as soon as the stream takes it.
    private var isUrgent = false
    private var isFinishing = false
    /// When to look at it again; nil: when something happens.
    private(set) var due: Instant?
    private(set) var dropped: UInt64 = 0

    /// - Parameters:
    ///   - waits: told that `due` has changed without a call.
    ///   - ended: told that the last stream is over after `finish`.
    init(
        _ service: LogService, _ worker: Worker, waits: @escaping (LogEntryQueue) -> Void,
        ended: @escaping () -> Void
    ) {
        (self.service, self.worker, self.waits, self.ended) = (service, worker, waits, ended)
    }

    /// - Parameter entry: encoded.
    func append(_ entry: [UInt8], _ kind: AccessRecord.Kind) {
        guard bytes + entry.count <= Self.limit else {
            dropped += 1
            return
        }
        isFinishing = false
        bytes += entry.count
        switch kind {
        case .request: requests.append(entry)
        case .connection: connections.append(entry)
        }
        if bytes >= service.batch {
            send()
        } else if due == nil, !isUrgent {
            due = worker.loop.now.advanced(by: service.interval)
        }
    }

    /// Nothing waits, and nothing is under way.
    var isIdle: Bool { stream == nil && bytes == 0 }

    /// Sends what is due.
    func flush() {
        if let due, due <= worker.loop.now { send() }
    }

    /// Nobody logs here any more: what waits goes, and the stream ends.
    func finish() {
        isFinishing = true
        send()
    }

    private func send() {
        due = nil
        if stream?.isStale == true { endStream() }
        if bytes > 0 {
            isUrgent = true
            guard let stream = stream ?? open() else {
                due = reopensAt
                return
            }
            guard stream.isWritable else { return }
            stream.send(messages())
        }
        if isFinishing { stream?.finish(within: Self.patience) }
    }

    private func messages() -> [UInt8] {
        var identifier =
            isIdentified ? nil : LogEntries.identifier(node: worker.node, logName: service.logName)
        var framed: [UInt8] = []
        for (kind, entries) in [(AccessRecord.Kind.request, requests), (.connection, connections)]
        where !entries.isEmpty {
            framed += GRPCFrame.framed(LogEntries.message(identifier: identifier, kind, entries))
            identifier = nil
        }
        (requests, connections, bytes, isIdentified, isUrgent) = ([], [], 0, true, false)
        return framed
    }

    // MARK: The stream

    private func open() -> MessageStream? {
        let now = worker.loop.now
        if let reopensAt, now < reopensAt { return nil }
        guard let cluster = worker.cluster(service.cluster) else {
            failed()
            return nil
        }
        let head = HeaderList([
            (":method", "POST"), (":scheme", "http"),
            (":authority", service.authority.isEmpty ? service.cluster : service.authority), (":path", Self.path),
            ("te", "trailers"), ("content-type", "application/grpc"),
        ])
        let made = MessageStream(worker, cluster, head)
        made.hasRoom = { [weak self] in
            guard let self, isUrgent || isFinishing else { return }
            send()
        }
        made.hasEnded = { [weak self, unowned made] in self?.streamEnded(made) }
        (stream, openedAt, isIdentified) = (made, now, false)
        made.start()
        return made
    }

    /// The cluster is another one now.
    private func endStream() {
        let old = stream
        stream = nil
        old?.finish(within: Self.patience)
    }

    private func streamEnded(_ over: MessageStream) {
        guard over === stream else { return }
        stream = nil
        let lived = openedAt.map { $0.duration(to: worker.loop.now) } ?? .zero
        if over.wasOpen, lived >= Self.backoff.maximum { failures = 0 }
        failed()
        if bytes > 0 {
            due = reopensAt
            waits(self)
        } else if isFinishing {
            ended()
        }
    }

    private func failed() {
        failures += 1
        reopensAt = worker.loop.now.advanced(by: Self.backoff.wait(after: failures, using: &worker.random))
    }
}
