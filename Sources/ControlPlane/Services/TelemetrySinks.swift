import Discovery
import EnvoyAPI
import GRPC
import Metrics
import Protobuf
import Reactor
import Synchronization
import Time

/// How many streams of one kind are open at once: what a stream costs is bounded, and so is their number.
final class StreamPlaces: Sendable {
    private let limit: Int
    private let taken = Mutex(0)

    init(limit: Int) { self.limit = limit }

    /// - Returns: whether there was room.
    func take() -> Bool {
        taken.withLock { taken in
            guard taken < limit else { return false }
            taken += 1
            return true
        }
    }

    func giveBack() { taken.withLock { $0 -= 1 } }

    static func full(_ words: String) -> GRPCStatus {
        GRPCStatus(.resourceExhausted, "too many \(words) are open; try again later")
    }
}

/// What one message of telemetry may hold: proxies send some hundred entries at once.
private let telemetryLimits = DecodingLimits(depth: 32, elements: 200_000, memory: 64 << 20)

/// `envoy.service.accesslog.v3.AccessLogService`: takes the logs of proxies, and counts what comes. Who sends them has
/// proved nothing but that it reaches the port: proxies open these streams without their token.
final class AccessLogSink: Service {
    private let places = StreamPlaces(limit: 20_000)
    fileprivate let requests = Counter(label: "martinet_access_log_entries_total", dimensions: [("kind", "http")])
    fileprivate let connections = Counter(label: "martinet_access_log_entries_total", dimensions: [("kind", "tcp")])
    fileprivate let malformed = Counter(label: "martinet_telemetry_malformed_total", dimensions: [("kind", "logs")])

    var methods: [GRPCMethod] { [GRPCMethod(AccessLogService.streamAccessLogs, clientStreams: true)] }

    func open(_ call: ServiceCall) -> any ServiceCallHandler {
        guard places.take() else { return RefusedCall(call, StreamPlaces.full("streams of access logs")) }
        return Stream(self, call)
    }

    private final class Stream: ServiceCallHandler {
        private let sink: AccessLogSink
        private let call: ServiceCall

        init(_ sink: AccessLogSink, _ call: ServiceCall) { (self.sink, self.call) = (sink, call) }

        func received(_ message: UnsafeRawBufferPointer) {
            let arena = Arena()
            do throws(ProtobufError) {
                let message = try arena.decode(
                    StreamAccessLogsMessage.self, from: message, limits: telemetryLimits
                ).pointee
                switch message.log_entries {
                case .http_logs(let logs): sink.requests.increment(by: logs.pointee.n_log_entry)
                case .tcp_logs(let logs): sink.connections.increment(by: logs.pointee.n_log_entry)
                case nil: break
                }
            } catch {
                sink.malformed.increment()
                call.finish(GRPCStatus(.invalidArgument, "malformed log entries: \(error)"))
            }
        }

        func halfClosed() {
            let arena = Arena()
            call.reply(encode(arena.make(StreamAccessLogsResponse.self)))
        }

        func ended() { sink.places.giveBack() }
    }
}

/// `envoy.service.load_stats.v3.LoadReportingService`: asks proxies for the load of all their clusters, counts what they
/// report, and keeps it for whoever judges by it.
final class LoadReportSink: Service {
    /// How often proxies report.
    static let interval = Duration.seconds(10)

    private let places = StreamPlaces(limit: 20_000)
    fileprivate let ledger: LoadLedger
    fileprivate let reports = Counter(label: "martinet_load_reports_total")
    fileprivate let requests = Counter(label: "martinet_load_reported_requests_total")
    fileprivate let malformed = Counter(label: "martinet_telemetry_malformed_total", dimensions: [("kind", "load")])

    init(_ ledger: LoadLedger) { self.ledger = ledger }

    var methods: [GRPCMethod] {
        [GRPCMethod(LoadReportingService.streamLoadStats, clientStreams: true, serverStreams: true)]
    }

    func open(_ call: ServiceCall) -> any ServiceCallHandler {
        guard places.take() else { return RefusedCall(call, StreamPlaces.full("streams of load reports")) }
        return Stream(self, call)
    }

    private final class Stream: ServiceCallHandler {
        private let sink: LoadReportSink
        private let call: ServiceCall
        private var isAnswered = false
        /// The first request says it.
        private var node = ""

        init(_ sink: LoadReportSink, _ call: ServiceCall) { (self.sink, self.call) = (sink, call) }

        func received(_ message: UnsafeRawBufferPointer) {
            let arena = Arena()
            do throws(ProtobufError) {
                let message = try arena.decode(LoadStatsRequest.self, from: message, limits: telemetryLimits)
                    .pointee
                if isAnswered {
                    sink.reports.increment()
                    let issued = message.cluster_stats_list.reduce(UInt64(0)) { sum, cluster in
                        cluster.pointee.upstream_locality_stats_list.reduce(sum) {
                            $0 &+ $1.pointee.total_issued_requests
                        }
                    }
                    sink.requests.increment(by: Int64(clamping: issued))
                    let report = LoadLedger.Report(message, at: Loop.readClock())
                    if !node.isEmpty, !report.clusters.isEmpty { sink.ledger.note(report, of: node) }
                } else {
                    (isAnswered, node) = (true, message.node?.pointee.id.string ?? "")
                    call.send(LoadReportSink.answer())
                }
            } catch {
                sink.malformed.increment()
                call.finish(GRPCStatus(.invalidArgument, "malformed load report: \(error)"))
            }
        }

        func halfClosed() { call.finish(.ok) }

        func ended() {
            sink.places.giveBack()
            sink.ledger.forget(node)
        }
    }

    /// What a proxy is told once.
    static func answer() -> [UInt8] {
        let arena = Arena()
        return encode(
            arena.make(LoadStatsResponse.self) {
                $0.set(send_all_clusters: true)
                $0.load_reporting_interval = arena.duration(interval)
                $0.set(report_endpoint_granularity: true)
            })
    }
}

extension LoadLedger.Report {
    /// - Parameter now: when it came.
    init(_ message: LoadStatsRequest, at now: Instant) {
        // Each cluster says how long its numbers took; they are of one report.
        var longest = Duration.zero
        clusters = message.cluster_stats_list.map { cluster in
            if let interval = cluster.pointee.load_report_interval?.pointee {
                longest = max(longest, .seconds(interval.seconds) + .nanoseconds(Int64(interval.nanos)))
            }
            var load = LoadLedger.Load()
            for locality in cluster.pointee.upstream_locality_stats_list {
                load += LoadLedger.Load(
                    successes: locality.pointee.total_successful_requests,
                    errors: locality.pointee.total_error_requests)
            }
            return (cluster.pointee.cluster_name.string, load)
        }
        let length = min(max(longest, .zero), .seconds(3_600))
        time = now.advanced(by: .zero - length)..<now
    }
}
