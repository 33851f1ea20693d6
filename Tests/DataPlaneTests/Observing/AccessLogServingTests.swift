import EnvoyAPI
import Forwarding
import Foundation
import Protobuf
import Testing

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

    // MARK: The access log service

    private func service(_ common: String, more: String = "") -> String {
        """
        access_log:
        - name: service
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig
            common_config: {log_name: inbound, grpc_service: {envoy_grpc: {cluster_name: collector}}, \(common)}
            \(more)
        """
    }

    private func teapots(_ collector: UInt16, _ manager: String) throws -> Stage {
        var options = Workers.Options()
        let arena = Arena()
        options.node = encode(arena.make(EnvoyAPI.Node.self) { $0.id = arena("me") })
        return try Stage(
            [
                try Resources.httpListener(
                    routes: "- {match: {prefix: /}, direct_response: {status: 418}}", manager: manager)
            ], [try Resources.cluster("collector", ports: [collector], Resources.http2)], options: options)
    }

    @Test func entriesOfALogGoInOneStreamThatSaysOnceWhoseTheyAre() throws {
        let collector = Collector()
        let stage = try teapots(collector.port, service("buffer_size_bytes: 1"))
        for number in 1...3 {
            #expect(stage.get("/\(number)")?.status == 418)
            #expect(collector.wait { $0.count == number })
        }
        let messages = collector.messages
        #expect(messages.map(\.paths) == [["/1"], ["/2"], ["/3"]])
        #expect(messages.map(\.name) == ["inbound of me", nil, nil])
        #expect(Set(messages.map { "\($0.connection) \($0.stream)" }).count == 1)
    }

    @Test func entriesWaitForTheIntervalAndGoTogether() throws {
        let collector = Collector()
        let stage = try teapots(collector.port, service("buffer_flush_interval: 0.2s"))
        for number in 1...4 { #expect(stage.get("/\(number)")?.status == 418) }
        #expect(collector.wait { $0.flatMap(\.paths).count == 4 })
        #expect(collector.messages.count < 4)
    }

    @Test func aStreamThatBreaksIsOpenedAgainAndWhatWaitedGoesThen() throws {
        let collector = Collector(endingAfter: 1)
        let stage = try teapots(collector.port, service("buffer_size_bytes: 1"))
        #expect(stage.get("/1")?.status == 418)
        #expect(collector.wait { $0.count == 1 } && collector.waitForEnd())
        // It is known here once the connection's end has come.
        usleep(50_000)
        for number in 2...3 { #expect(stage.get("/\(number)")?.status == 418) }
        #expect(collector.wait { $0.flatMap(\.paths).count == 3 })
        let messages = collector.messages
        #expect(messages.flatMap(\.paths) == ["/1", "/2", "/3"])
        #expect(messages.prefix(2).map(\.name) == ["inbound of me", "inbound of me"])
        #expect(messages[0].connection != messages[1].connection)
    }

    @Test func whatWaitsForAServiceIsBoundedAndLossesAreCounted() throws {
        let stage = try teapots(1, service("", more: "additional_request_headers_to_log: [x-long]"))
        let long = "x-long: " + String(repeating: "x", count: 50_000)
        for _ in 0..<24 { #expect(stage.get("/", [long])?.status == 418) }
        // 1 MiB is kept.
        #expect(stage.workers.ask { $0.logs.droppedEntries }.reduce(0, +) == 4)
    }
}

extension Collector.Message {
    /// Of the log and the node, where the message says them.
    fileprivate var name: String? {
        read { message in
            message.identifier.map { "\($0.pointee.log_name.string) of \($0.pointee.node.pointee.id.string)" }
        }
    }

    fileprivate var paths: [String] {
        read { message in
            guard case .http_logs(let logs) = message.log_entries else { return [] }
            return logs.pointee.log_entry_list.map { "\($0.pointee.request.pointee.path.string.prefix(9))" }
        } ?? []
    }

    private func read<Value>(_ body: (StreamAccessLogsMessage) -> Value?) -> Value? {
        let arena = Arena()
        let message = try? arena.decode(StreamAccessLogsMessage.self, from: bytes, types: envoyTypes)
        return message.flatMap { body($0.pointee) }
    }
}
