import CEnvoyAPI
import EnvoyAPI
import Forwarding
import HTTP
import Protobuf
import Reactor

/// The spans of one worker, on their way to those who keep them.
final class WorkerSpans {
    private unowned let worker: Worker
    let node: SpanNode
    private var queues: [SpanQueue] = []
    /// By how spans are sent.
    private var counts: [(form: TraceProvider.Form, SpanCounts)] = []

    init(_ worker: Worker) {
        self.worker = worker
        let arena = Arena()
        let message = try? arena.decode(Node.self, from: worker.node, types: envoyTypes).pointee
        node = SpanNode(
            id: message?.id.string ?? "", cluster: message?.cluster.string ?? "",
            zone: worker.locality?.zone ?? "")
    }

    /// Where the spans of a connection manager wait. Those with the same provider share it.
    func queue(_ provider: TraceProvider) -> SpanQueue {
        if let found = queues.first(where: { $0.provider == provider }) { return found }
        let counts: SpanCounts
        if let known = self.counts.first(where: { $0.form == provider.form }) {
            counts = known.1
        } else {
            counts = SpanCounts()
            self.counts.append((provider.form, counts))
        }
        let made = SpanQueue(provider, worker, node: node, counts)
        queues.append(made)
        return made
    }

    /// Lets go of queues that nobody adds to any more.
    func release() {
        for index in queues.indices.reversed() where isKnownUniquelyReferenced(&queues[index]) {
            queues[index].sendAll()
            if queues[index].isIdle { queues.remove(at: index) }
        }
    }

    /// Under Envoy's names.
    var statistics: [Statistic] {
        counts.flatMap { form, counts -> [Statistic] in
            let prefix = form == .zipkin ? "zipkin." : "opentelemetry."
            func count(_ name: String, _ value: UInt64) -> Statistic {
                Statistic(.proxy("tracing"), prefix + name, Int64(clamping: value))
            }
            var all = [
                count("spans_sent", counts.sent), count("spans_dropped", counts.dropped),
                count("timer_flushed", counts.timerFlushes),
            ]
            if form == .zipkin {
                all += [
                    count("reports_sent", counts.reports), count("reports_dropped", counts.refusedReports),
                    count("reports_failed", counts.failedReports),
                    count("reports_skipped_no_cluster", counts.homelessReports),
                ]
            }
            return all
        }
    }
}

final class SpanCounts {
    var sent: UInt64 = 0
    /// Nobody has taken them.
    var dropped: UInt64 = 0
    var timerFlushes: UInt64 = 0
    // Of messages.
    var reports: UInt64 = 0
    var refusedReports: UInt64 = 0
    var failedReports: UInt64 = 0
    var homelessReports: UInt64 = 0
}

/// Spans for one provider. They go when there are some, or have waited for long; what waits for a collector that does
/// not answer is bounded, and spans beyond that are dropped and counted.
final class SpanQueue {
    /// Spans that go at once. Source: Envoy, `tracing.opentelemetry.min_flush_spans`.
    static let batch = 5
    /// How long spans wait. Source: Envoy, `tracing.opentelemetry.flush_interval_ms`.
    static let interval = Duration.seconds(5)
    /// Bytes that may wait.
    static let limit = 1 << 20
    /// Requests that may be under way; while they are, spans wait and go with fewer of them.
    static let mostCalls = 4

    let provider: TraceProvider
    private let node: SpanNode
    private let counts: SpanCounts
    private unowned let worker: Worker
    private let head: HeaderList
    private var waiting: [[UInt8]] = []
    private var bytes = 0
    private var calls = 0
    private var timer: TimerID?

    init(_ provider: TraceProvider, _ worker: Worker, node: SpanNode, _ counts: SpanCounts) {
        (self.provider, self.worker, self.node, self.counts) = (provider, worker, node, counts)
        head = provider.head
    }

    /// Nothing waits, and nothing is under way.
    var isIdle: Bool { calls == 0 && waiting.isEmpty }

    func append(_ span: Span) {
        let encoded = provider.encode(span, node: node)
        guard waiting.count < provider.mostWaiting, bytes + encoded.count <= Self.limit else {
            counts.dropped += 1
            return
        }
        waiting.append(encoded)
        bytes += encoded.count
        if waiting.count >= Self.batch { send() }
        arm()
    }

    /// Sends what there is.
    func sendAll() { send() }

    private func arm() {
        guard timer == nil, !waiting.isEmpty else { return }
        timer = worker.loop.schedule(after: Self.interval) { [weak self] _ in
            guard let self else { return }
            timer = nil
            if !waiting.isEmpty { counts.timerFlushes += 1 }
            send()
            arm()
        }
    }

    private func send() {
        guard calls < Self.mostCalls, !waiting.isEmpty else { return }
        let message = provider.message(waiting)
        let count = UInt64(waiting.count)
        (waiting, bytes) = ([], 0)
        counts.sent += count
        calls += 1
        let isCall = provider.form == .openTelemetryCall
        WorkerCall.send(
            head, body: isCall ? GRPCFrame.framed(message) : message, to: worker.cluster(provider.cluster),
            within: provider.timeout, bodyLimit: 0, worker: worker
        ) { [weak self] outcome in
            self?.took(outcome, count)
        }
    }

    private func took(_ outcome: WorkerCall.Outcome, _ count: UInt64) {
        calls -= 1
        if hasTaken(outcome) {
            counts.reports += 1
        } else {
            counts.dropped += count
        }
        if waiting.count >= Self.batch { send() }
    }

    private func hasTaken(_ outcome: WorkerCall.Outcome) -> Bool {
        switch outcome {
        case .response(let head, _, let trailers):
            let isTaken =
                provider.form == .openTelemetryCall
                ? (trailers ?? head).value(of: "grpc-status", equals: "0")
                : head.withValue(of: ":status") { $0.first == UInt8(ascii: "2") } == true
            if !isTaken { counts.refusedReports += 1 }
            return isTaken
        case .noHost: counts.homelessReports += 1
        case .failed, .timedOut, .tooLong: counts.failedReports += 1
        }
        return false
    }
}
