import Foundation
import Testing

@testable import DataPlane

/// Authorization over gRPC, asked of a server of another make: grpcio.
@Suite struct GRPCJudgeTests {
    /// Lets `ann` pass and gives her a role; refuses others. The messages are written by hand, so that nothing of ours has
    /// a part in them. Prints its port.
    private static let server = """
        import grpc, sys
        from concurrent import futures
        def field(number, payload): return bytes([number << 3 | 2, len(payload)]) + payload
        def check(request, context):
            if b"x-user" in request and b"ann" in request:
                header = field(1, field(1, b"x-role") + field(2, b"admin"))
                return field(1, b"") + field(3, field(2, header))
            denied = field(1, bytes([8, 0x91, 3])) + field(3, b"no entry")
            return field(1, bytes([8, 7])) + field(2, denied)
        method = grpc.unary_unary_rpc_method_handler(check)
        handler = grpc.method_handlers_generic_handler("envoy.service.auth.v3.Authorization", {"Check": method})
        server = grpc.server(futures.ThreadPoolExecutor(max_workers=1))
        server.add_generic_rpc_handlers((handler,))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        print(port, flush=True)
        sys.stdin.read()
        """

    @Test func aServerOfGRPCDecides() throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent()
        let judge = Process()
        judge.executableURL = root.appendingPathComponent(".build/venv/bin/python3")
        judge.arguments = ["-c", Self.server]
        let (input, output) = (Pipe(), Pipe())
        (judge.standardInput, judge.standardOutput) = (input, output)
        try judge.run()
        // The end of its input ends it.
        defer {
            try? input.fileHandleForWriting.close()
            judge.waitUntilExit()
        }
        let line = String(decoding: output.fileHandleForReading.availableData, as: UTF8.self)
        let port = try #require(UInt16(line.trimmingCharacters(in: .whitespacesAndNewlines)))

        let upstream = TestServer.echo()
        let stage = try Stage(
            [
                try Resources.httpListener(
                    routes: "- {match: {prefix: /}, route: {cluster: web}}",
                    filters: """
                        - name: ext
                          typed_config:
                            "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
                            grpc_service: {envoy_grpc: {cluster_name: judge}, timeout: 5s}
                            transport_api_version: V3
                        """)
            ],
            [
                try Resources.cluster("web", ports: [upstream.port]),
                try Resources.cluster("judge", ports: [port], Resources.http2),
            ])
        let ann = try #require(stage.get("/a", ["x-user: ann"]))
        #expect(ann.status == 200 && ann.body.contains("x-role: admin"))
        let bob = try #require(stage.get("/b", ["x-user: bob"]))
        #expect(bob.status == 401 && bob.body == "no entry")
        #expect(upstream.requests.load(ordering: .relaxed) == 1)
    }
}
