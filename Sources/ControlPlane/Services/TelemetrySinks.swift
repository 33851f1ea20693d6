import Discovery
import EnvoyAPI
import GRPC
import Metrics
import Protobuf
import Synchronization

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

/// `envoy.service.load_stats.v3.LoadReportingService`: asks proxies for the load of all their clusters, and counts what
/// they report.
final class LoadReportSink: Service {
    /// How often proxies report.
    static let interval = Duration.seconds(10)

    private let places = StreamPlaces(limit: 20_000)
    fileprivate let reports = Counter(label: "martinet_load_reports_total")
    fileprivate let requests = Counter(label: "martinet_load_reported_requests_total")
    fileprivate let malformed = Counter(label: "martinet_telemetry_malformed_total", dimensions: [("kind", "load")])

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
                } else {
                    isAnswered = true
                    call.send(LoadReportSink.answer())
                }
            } catch {
                sink.malformed.increment()
                call.finish(GRPCStatus(.invalidArgument, "malformed load report: \(error)"))
            }
        }

        func halfClosed() { call.finish(.ok) }

        func ended() { sink.places.giveBack() }
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
