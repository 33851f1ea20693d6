import EnvoyAPI
import Forwarding
import HTTP
import Protobuf
import Reactor
import Time

/// The logs of one worker: lines and entries are gathered here and handed on once a second, or when there are many.
final class WorkerLogs {
    /// Bytes of lines that are handed on at once.
    static let batch = 32 << 10
    /// How long lines wait.
    static let interval = Duration.seconds(1)

    private unowned let worker: Worker
    private let outputs: LogOutputs
    fileprivate var scratch = LogScratch()
    private var lines: [String: LogLines] = [:]
    private var entries: [LogEntryQueue] = []
    /// Entries that queues which are gone have dropped.
    private var droppedBefore: UInt64 = 0
    private var timer: (id: TimerID, until: Instant)?

    init(_ worker: Worker, outputs: LogOutputs) {
        (self.worker, self.outputs) = (worker, outputs)
    }

    /// What writes the records of one place.
    func logger(_ rules: [AccessLogRule]) -> AccessLogger {
        AccessLogger(
            self,
            rules.map { rule in
                switch rule.target {
                case .file(let path, let format): (rule, .lines(lines(path), format))
                case .service(let service): (rule, .entries(queue(service)))
                }
            })
    }

    private func lines(_ path: String) -> LogLines {
        if let found = lines[path] { return found }
        let made = LogLines(outputs.output(path))
        lines[path] = made
        return made
    }

    private func queue(_ service: LogService) -> LogEntryQueue {
        if let found = entries.first(where: { $0.service == service }) { return found }
        let made = LogEntryQueue(service, worker)
        entries.append(made)
        return made
    }

    /// Lets go of places that nothing writes to any more: loggers come and go with the configuration.
    func release() {
        for path in Array(lines.keys) where isKnownUniquelyReferenced(&lines[path]!) {
            lines.removeValue(forKey: path)?.flush()
        }
        for index in entries.indices.reversed() where isKnownUniquelyReferenced(&entries[index]) {
            entries[index].sendAll()
            guard entries[index].isIdle else { continue }
            droppedBefore += entries.remove(at: index).dropped
        }
        outputs.release()
    }

    /// Entries that no log service took.
    var droppedEntries: UInt64 { entries.reduce(droppedBefore) { $0 + $1.dropped } }
    /// Places that are written to.
    var placeCount: Int { lines.count + entries.count }

    fileprivate func log(_ record: borrowing AccessRecord, _ sinks: [AccessLogger.Sink]) {
        scratch.now = .systemClock()
        var random: UInt64?
        for (rule, place) in sinks {
            if let filter = rule.filter {
                let number = random ?? worker.random.next()
                random = number
                guard filter.takes(record, random: number) else { continue }
            }
            switch place {
            case .lines(let lines, let format): lines.append(record, format, &scratch)
            case .entries(let queue):
                queue.append(record)
                arm(within: queue.service.interval)
                continue
            }
            arm(within: Self.interval)
        }
    }

    private func arm(within time: Duration) {
        let now = worker.loop.now
        // What waits longer is looked at on the way: the clock is rough, and the timer is one.
        let until = now.advanced(by: min(time, Self.interval))
        if let timer {
            guard until < timer.until else { return }
            worker.loop.cancelTimer(timer.id)
        }
        let id = worker.loop.schedule(at: until) { [self] _ in
            timer = nil
            flush()
        }
        timer = (id, until)
    }

    /// Hands on the lines that there are.
    func flushLines() {
        for (_, lines) in lines { lines.flush() }
    }

    private func flush() {
        flushLines()
        for queue in entries where !queue.flush(now: worker.loop.now) { arm(within: queue.service.interval) }
    }
}

/// What writes the records of a listener, connection manager or TCP proxy, on one worker.
final class AccessLogger {
    enum Place {
        case lines(LogLines, LogFormat)
        case entries(LogEntryQueue)
    }

    typealias Sink = (rule: AccessLogRule, place: Place)

    private let logs: WorkerLogs
    private let sinks: [Sink]

    fileprivate init(_ logs: WorkerLogs, _ sinks: [Sink]) {
        (self.logs, self.sinks) = (logs, sinks)
    }

    /// Whether nobody reads records: they need not be made.
    var isEmpty: Bool { sinks.isEmpty }

    func log(_ record: borrowing AccessRecord) {
        if !sinks.isEmpty { logs.log(record, sinks) }
    }
}

/// Lines for one output that have not been handed on.
final class LogLines {
    private let output: LogPlace
    private var bytes: [UInt8] = []
    private var count = 0

    init(_ output: LogPlace) {
        self.output = output
    }

    func append(_ record: borrowing AccessRecord, _ format: LogFormat, _ scratch: inout LogScratch) {
        if bytes.isEmpty { bytes.reserveCapacity(4096) }
        format.append(record, &scratch, to: &bytes)
        count += 1
        if bytes.count >= WorkerLogs.batch { flush() }
    }

    func flush() {
        guard count > 0 else { return }
        output.write(bytes, lines: count)
        (bytes, count) = ([], 0)
    }
}

/// Entries for one access log service. They go as calls of one or two messages each; what waits for a service that does
/// not answer is bounded, and entries beyond that are dropped and counted.
final class LogEntryQueue {
    /// Bytes that may wait.
    static let limit = 1 << 20
    /// Calls that may be under way.
    static let mostCalls = 4
    static let path = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"

    let service: LogService
    private unowned let worker: Worker
    private var requests: [[UInt8]] = []
    private var connections: [[UInt8]] = []
    private var bytes = 0
    private var calls = 0
    private var due: Instant?
    private(set) var dropped: UInt64 = 0

    init(_ service: LogService, _ worker: Worker) {
        (self.service, self.worker) = (service, worker)
    }

    func append(_ record: borrowing AccessRecord) {
        let entry = LogEntries.encode(record, for: service)
        guard bytes + entry.count <= Self.limit else {
            dropped += 1
            return
        }
        bytes += entry.count
        if record.kind == .request { requests.append(entry) } else { connections.append(entry) }
        if due == nil { due = worker.loop.now.advanced(by: service.interval) }
        if bytes >= service.batch { send() }
    }

    /// Nothing waits, and nothing is under way.
    var isIdle: Bool { calls == 0 && bytes == 0 }

    /// Sends what there is, due or not.
    func sendAll() { if bytes > 0 { send() } }

    /// Sends what is due.
    /// - Returns: whether nothing waits any more.
    func flush(now: Instant) -> Bool {
        guard let due else { return true }
        if due <= now { send() }
        return self.due == nil
    }

    private func send() {
        guard calls < Self.mostCalls, !requests.isEmpty || !connections.isEmpty else { return }
        var body: [UInt8] = []
        var identifier: [UInt8]? = LogEntries.identifier(node: worker.node, logName: service.logName)
        for (kind, entries) in [(AccessRecord.Kind.request, requests), (.connection, connections)]
        where !entries.isEmpty {
            let message = LogEntries.message(identifier: identifier, kind, entries)
            identifier = nil
            let count = UInt32(message.count)
            body += [0, UInt8(count >> 24), UInt8(count >> 16 & 255), UInt8(count >> 8 & 255), UInt8(count & 255)]
            body += message
        }
        let count = UInt64(requests.count + connections.count)
        (requests, connections, bytes, due) = ([], [], 0, nil)
        let head = HeaderList([
            (":method", "POST"), (":scheme", "http"),
            (":authority", service.authority.isEmpty ? service.cluster : service.authority), (":path", Self.path),
            ("te", "trailers"), ("content-type", "application/grpc"),
        ])
        calls += 1
        WorkerCall.send(
            head, body: body, to: worker.cluster(service.cluster), within: .seconds(10), bodyLimit: 1024, worker: worker
        ) { [weak self] outcome in
            guard let self else { return }
            calls -= 1
            if case .response(let head, _, let trailers) = outcome,
                (trailers ?? head).value(of: "grpc-status", equals: "0")
            {
                return
            }
            dropped += count
        }
    }
}
