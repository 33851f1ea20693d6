import EnvoyAPI
import Forwarding
import Foundation
import HTTP
import HTTP2
import Protobuf
import Synchronization
import Testing
import Time

@testable import DataPlane

/// Logs of real requests and connections.
@Suite struct AccessLogServingTests {
    private func path() throws -> String {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("logs-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        return folder.appendingPathComponent("access.log").path
    }

    private func file(_ path: String, _ format: String) -> String {
        """
        access_log:
        - name: file
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
            path: \(path)
            log_format: {text_format_source: {inline_string: "\(format)\\n"}}
        """
    }

    /// The lines that were written, once the workers have ended.
    private func lines(_ stage: Stage, _ path: String) throws -> [String] {
        stage.workers.stop()
        stage.workers.options.logs.close()
        return try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n").map(String.init)
    }

    @Test func eachRequestHasOneLineWhateverBecameOfIt() throws {
        let upstream = TestServer.echo()
        let path = try path()
        let routes = """
            - {match: {path: /teapot}, direct_response: {status: 418, body: {inline_string: short}}}
            - {match: {prefix: /web}, route: {cluster: web, prefix_rewrite: /site}, name: to-web}
            - {match: {prefix: /empty}, route: {cluster: empty}}
            """
        let format =
            "%REQ(:METHOD)% %PATH% %REQ(:PATH)% %PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% "
            + "%BYTES_RECEIVED% %ROUTE_NAME% %UPSTREAM_CLUSTER% %UPSTREAM_HOST%"
        let stage = try Stage(
            [try Resources.httpListener(routes: routes, manager: file(path, format))],
            [try Resources.cluster("web", ports: [upstream.port]), try Resources.cluster("empty", ports: [])])
        #expect(stage.get("/web/1")?.status == 200)
        #expect(stage.get("/teapot")?.status == 418)
        #expect(stage.get("/none")?.status == 404)
        #expect(stage.get("/empty")?.status == 503)
        let client = stage.connect()
        client.send("POST /web/2 HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello")
        #expect(client.message()?.status == 200)
        let smuggler = stage.connect()
        smuggler.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n")
        #expect(smuggler.message()?.status == 400)
        let host = "127.0.0.1:\(upstream.port)"
        #expect(
            try lines(stage, path) == [
                "GET /web/1 /site/1 HTTP/1.1 200 - via_upstream 0 to-web web \(host)",
                "GET /teapot /teapot HTTP/1.1 418 - direct_response 0 - - -",
                "GET /none /none HTTP/1.1 404 NR route_not_found 0 - - -",
                "GET /empty /empty HTTP/1.1 503 UH no_healthy_upstream 0 - empty -",
                "POST /web/2 /site/2 HTTP/1.1 200 - via_upstream 5 to-web web \(host)",
                "- - - HTTP/1.1 400 DPE http1.lengthAndEncoding 0 - - -",
            ])
    }

    @Test func connectionsHaveALineWhenTheyEnd() throws {
        let upstream = TestServer { wire, _ in
            _ = wire.read(5)
            wire.send("answer!")
        }
        let path = try path()
        let stage = try Stage(
            [
                try Resources.tcpListener(
                    cluster: "web",
                    tcp: file(
                        path,
                        "%PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %UPSTREAM_CLUSTER%"))
            ], [try Resources.cluster("web", ports: [upstream.port])])
        let client = stage.connect("tcp")
        client.send("hello")
        #expect(client.readToEnd() == "answer!")
        client.endOutput()
        #expect(try lines(stage, path) == ["- 0 - 5 7 web"])
    }

    @Test func entriesReachTheAccessLogServiceAsGRPC() throws {
        let received = Mutex<[[UInt8]]>([])
        let collector = Collector { message in received.withLock { $0.append(message) } }
        let log = """
            access_log:
            - name: service
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig
                common_config:
                  log_name: inbound
                  grpc_service: {envoy_grpc: {cluster_name: collector}}
                  buffer_size_bytes: 1
            """
        var options = Workers.Options()
        let arena = Arena()
        options.node = encode(arena.make(EnvoyAPI.Node.self) { $0.id = arena("me") })
        let stage = try Stage(
            [
                try Resources.httpListener(
                    routes: "- {match: {path: /teapot}, direct_response: {status: 418}}", manager: log)
            ], [try Resources.cluster("collector", ports: [collector.port], Resources.http2)], options: options)
        #expect(stage.get("/teapot")?.status == 418)
        for _ in 0..<500 where received.withLock({ $0.isEmpty }) { usleep(10_000) }
        let bytes = try #require(received.withLock { $0.first })
        let message = try arena.decode(StreamAccessLogsMessage.self, from: bytes, types: envoyTypes).pointee
        #expect(message.identifier.pointee.log_name.string == "inbound")
        #expect(message.identifier.pointee.node.pointee.id.string == "me")
        guard case .http_logs(let logs) = message.log_entries else {
            Issue.record("no entries")
            return
        }
        let entry = try #require(logs.pointee.log_entry_list.first { _ in true }).pointee
        #expect(entry.request.pointee.path.string == "/teapot")
        #expect(entry.response.pointee.response_code.pointee.value == 418)
    }
}

/// A gRPC service over HTTP/2 without TLS: hands on each message, and answers with status 0.
final class Collector: Sendable {
    let server: TestServer
    var port: UInt16 { server.port }

    init(_ take: @escaping @Sendable ([UInt8]) -> Void) {
        server = TestServer { wire, _ in
            let connection = HTTP2Connection(role: .server, now: Instant(nanoseconds: 1))
            var bodies: [HTTP2StreamID: [UInt8]] = [:]
            var output = [UInt8](repeating: 0, count: 16384)
            while true {
                var events: [HTTP2Event] = []
                while true {
                    let count = output.withUnsafeMutableBytes {
                        connection.produceOutput(into: $0, now: Instant(nanoseconds: 1), events: &events)
                    }
                    if count == 0 { break }
                    guard wire.send(Array(output[..<count])) else { return }
                }
                guard let bytes = wire.read(1) else { return }
                bytes.withUnsafeBytes { connection.receive($0, now: Instant(nanoseconds: 1), events: &events) }
                for event in events {
                    switch event {
                    case .data(let stream, let data):
                        bodies[stream, default: []] += data
                        connection.consume(data.count, on: stream)
                    case .endOfStream(let stream):
                        var body = bodies.removeValue(forKey: stream)?[...] ?? []
                        while body.count >= 5 {
                            let count = body.dropFirst().prefix(4).reduce(0) { $0 << 8 | Int($1) }
                            take(Array(body.dropFirst(5).prefix(count)))
                            body = body.dropFirst(5 + count)
                        }
                        connection.respond(
                            HeaderList([(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "0")]
                            ),
                            on: stream, endStream: true)
                    default: break
                    }
                }
            }
        }
    }
}
