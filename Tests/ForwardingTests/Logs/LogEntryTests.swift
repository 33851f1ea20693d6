import EnvoyAPI
import Forwarding
import HTTP
import Protobuf
import Testing
import Time

struct LogEntryTests {
    private func service() throws -> LogService {
        let arena = Arena()
        let log = try arena.decodeYAML(
            AccessLog.self,
            """
            name: g
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig
              common_config:
                log_name: inbound
                grpc_service: {envoy_grpc: {cluster_name: martinet}}
              additional_request_headers_to_log: [X-A, none]
              additional_response_trailers_to_log: [grpc-status]
            """, types: envoyTypes)
        guard case .service(let service) = try AccessLogRule(encode(log)).target else { throw Missing() }
        return service
    }

    private struct Missing: Error {}

    @Test func anEntryTellsOfTheWholeRequest() throws {
        let record = LogRecords.request {
            $0.request.append("x-a", "1")
            $0.request.append("x-a", "2")
            $0.flags = [.upstreamRetryLimit, .unauthorized]
            $0.transportFailure = "no route"
        }
        let arena = Arena()
        let entry = try arena.decode(
            HTTPAccessLogEntry.self, from: LogEntries.encode(record, for: try service()), types: envoyTypes
        ).pointee
        #expect(entry.protocol_version == .HTTP11)
        let common = entry.common_properties.pointee
        #expect(common.start_time.pointee.seconds == 1_796_000_000 && common.start_time.pointee.nanos == 123_456_789)
        #expect(common.duration.pointee.nanos == 12_345_000)
        #expect(common.time_to_first_upstream_rx_byte.pointee.nanos == 8_000_000)
        #expect(common.time_to_last_upstream_rx_byte == nil)
        #expect(common.upstream_cluster.string == "outbound|80||web")
        #expect(common.upstream_transport_failure_reason.string == "no route")
        #expect(common.upstream_request_attempt_count == 2)
        #expect(common.access_log_type == .DownstreamEnd)
        guard case .socket_address(let upstream) = common.upstream_remote_address.pointee.address else {
            Issue.record("no address")
            return
        }
        #expect(upstream.pointee.address.string == "10.9.9.9")
        let flags = try #require(common.response_flags).pointee
        #expect(flags.upstream_retry_limit_exceeded != 0 && flags.no_healthy_upstream == 0)
        #expect(flags.unauthorized_details.pointee.reason == .EXTERNAL_SERVICE)
        let tls = try #require(common.tls_properties).pointee
        #expect(tls.tls_version == .TLSv1_3 && tls.tls_sni_hostname.string == "web.example")
        #expect(tls.peer_certificate_properties.pointee.subject_alt_name_list.count == 3)
        let request = entry.request.pointee
        #expect(request.request_method == .GET && request.path.string == "/new?b=2&a=1&c")
        #expect(request.original_path.string == "/old?q" && request.request_id.string == "id-1")
        #expect(request.request_body_bytes == 11)
        #expect(
            request.request_headers_list.map { "\($0.pointee.key.string)=\($0.pointee.value.string)" } == ["x-a=1,2"])
        let response = entry.response.pointee
        #expect(response.response_code.pointee.value == 200 && response.response_code_details.string == "via_upstream")
        #expect(response.response_body_bytes == 22)
        #expect(response.response_trailers_list.map { $0.pointee.value.string } == ["5"])
    }

    @Test func connectionsHaveEntriesOfTheirOwn() throws {
        let arena = Arena()
        let record = LogRecords.connection {
            ($0.bytesReceived, $0.bytesSent) = (1, 2)
            $0.flags = [.noRoute]
        }
        let entry = try arena.decode(
            TCPAccessLogEntry.self, from: LogEntries.encode(record, for: try service()), types: envoyTypes
        ).pointee
        #expect(entry.connection_properties.pointee.received_bytes == 1)
        #expect(entry.connection_properties.pointee.sent_bytes == 2)
        #expect(entry.common_properties.pointee.duration.pointee.seconds == 61)
        guard case .pipe(let pipe) = entry.common_properties.pointee.downstream_local_address.pointee.address else {
            Issue.record("no pipe")
            return
        }
        #expect(pipe.pointee.path.string == "/run/x")
    }

    @Test func messagesHoldTheEntriesAndOnceTheIdentifier() throws {
        let arena = Arena()
        let entries = [
            LogEntries.encode(LogRecords.request(), for: try service()),
            LogEntries.encode(LogRecords.request { $0.status = 404 }, for: try service()),
        ]
        let node = encode(arena.make(EnvoyAPI.Node.self) { $0.id = arena("n") })
        let bytes = LogEntries.message(
            identifier: LogEntries.identifier(node: node, logName: "inbound"), .request, entries)
        let message = try arena.decode(StreamAccessLogsMessage.self, from: bytes, types: envoyTypes).pointee
        #expect(message.identifier.pointee.log_name.string == "inbound")
        #expect(message.identifier.pointee.node.pointee.id.string == "n")
        guard case .http_logs(let logs) = message.log_entries else {
            Issue.record("no entries")
            return
        }
        #expect(
            logs.pointee.log_entry_list.map { $0.pointee.response.pointee.response_code.pointee.value } == [200, 404])
        let second = LogEntries.message(
            identifier: nil, .connection, [LogEntries.encode(LogRecords.connection(), for: try service())])
        let later = try arena.decode(StreamAccessLogsMessage.self, from: second, types: envoyTypes).pointee
        #expect(later.identifier == nil)
        guard case .tcp_logs(let tcp) = later.log_entries else {
            Issue.record("no entries")
            return
        }
        #expect(tcp.pointee.log_entry_list.count == 1)
    }
}
