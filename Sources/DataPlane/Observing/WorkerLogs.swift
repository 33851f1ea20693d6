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
    fileprivate var scratch = FormatScratch()
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
                case .service(let service): (rule, .entries(queue(service.destination), service))
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
        let made = LogEntryQueue(service, worker) { [weak self] in
            self?.arm(for: $0)
        } ended: { [weak self] in
            self?.release()
        }
        entries.append(made)
        return made
    }

    /// Lets go of places that nothing writes to any more: loggers come and go with the configuration.
    func release() {
        for path in Array(lines.keys) where isKnownUniquelyReferenced(&lines[path]!) {
            lines.removeValue(forKey: path)?.flush()
        }
        for index in entries.indices.reversed() where isKnownUniquelyReferenced(&entries[index]) {
            entries[index].finish()
            guard entries[index].isIdle else { continue }
            droppedBefore += entries.remove(at: index).dropped
        }
        outputs.release()
    }

    /// Entries that no log service took.
    var droppedEntries: UInt64 { entries.reduce(droppedBefore) { $0 + $1.dropped } }
    /// Places that are written to.
    var placeCount: Int { lines.count + entries.count }

    fileprivate func log(_ record: AccessRecord, _ sinks: [AccessLogger.Sink]) {
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
            case .entries(let queue, let service):
                queue.append(LogEntries.encode(record, for: service), record.kind)
                arm(for: queue)
                continue
            }
            arm(at: worker.loop.now.advanced(by: Self.interval))
        }
    }

    private func arm(for queue: LogEntryQueue) {
        if let due = queue.due { arm(at: due) }
    }

    /// What waits longer is looked at on the way: the clock is rough, and the timer is one.
    private func arm(at moment: Instant) {
        let until = min(moment, worker.loop.now.advanced(by: Self.interval))
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
        for queue in entries {
            queue.flush()
            arm(for: queue)
        }
    }
}

/// What writes the records of a listener, connection manager or TCP proxy, on one worker.
final class AccessLogger {
    enum Place {
        case lines(LogLines, LogFormat)
        case entries(LogEntryQueue, LogService)
    }

    typealias Sink = (rule: AccessLogRule, place: Place)

    private let logs: WorkerLogs
    private let sinks: [Sink]

    fileprivate init(_ logs: WorkerLogs, _ sinks: [Sink]) {
        (self.logs, self.sinks) = (logs, sinks)
    }

    /// Whether nobody reads records: they need not be made.
    var isEmpty: Bool { sinks.isEmpty }

    func log(_ record: AccessRecord) {
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

    func append(_ record: AccessRecord, _ format: LogFormat, _ scratch: inout FormatScratch) {
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
