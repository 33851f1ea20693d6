import EnvoyAPI
import Foundation
import Protobuf
import Testing

@testable import Forwarding

/// The real Envoy, as the judge of which host a key goes to. All hosts are addresses of 127.0.0.0/8; one server, which
/// says the address that it was called at, stands for all of them.
enum EnvoyHosts {
    private static func binary() throws -> String {
        var folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        while folder.path != "/" {
            let libraries = folder.path + "/.build/venv/lib"
            for version in (try? FileManager.default.contentsOfDirectory(atPath: libraries)) ?? [] {
                let path = "\(libraries)/\(version)/site-packages/envoy/_bin/envoy"
                if FileManager.default.isExecutableFile(atPath: path) { return path }
            }
            folder.deleteLastPathComponent()
        }
        struct Missing: Error, CustomStringConvertible {
            var description = "no Envoy under .build/venv: run `make setup`"
        }
        throw Missing()
    }

    struct Question: Codable {
        var cluster: String
        var key: String
        /// Under `envoy.lb`, all texts.
        var subset: [String: String] = [:]

        init(_ cluster: String, _ key: String, subset: [String: String] = [:]) {
            (self.cluster, self.key, self.subset) = (cluster, key, subset)
        }
    }

    /// - Parameters:
    ///   - clusters: as JSON or YAML; the port of every endpoint is 1, in place of which the server's is put.
    /// - Returns: for each question the last byte of the host's address, or the status where no host answered; and the
    ///   port of the server.
    static func answers(_ clusters: [String], _ questions: [Question]) throws -> (hosts: [Int], port: UInt16) {
        let directory = NSTemporaryDirectory() + "/hosts-" + UUID().uuidString.prefix(8)
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let arena = Arena()
        let texts = try clusters.map { text in
            let message = try arena.decodeYAML(Cluster.self, text, types: envoyTypes)
            return try Protobuf.text(
                of: DynamicMessage(message), TextStyle(.compactJSON, fieldNames: .snakeCase, showsUnknownTypes: true),
                types: envoyTypes)
        }
        try "[\(texts.joined(separator: ","))]".write(
            toFile: directory + "/clusters.json", atomically: true, encoding: .utf8)
        try JSONEncoder().encode(questions).write(to: URL(fileURLWithPath: directory + "/questions.json"))
        try script.write(toFile: directory + "/ask.py", atomically: true, encoding: .utf8)
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["python3", "ask.py", try binary()]
        process.currentDirectoryURL = URL(fileURLWithPath: directory)
        FileManager.default.createFile(atPath: directory + "/log", contents: nil)
        process.standardOutput = FileHandle(forWritingAtPath: directory + "/log")
        process.standardError = process.standardOutput
        process.standardInput = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        let log = try String(contentsOfFile: directory + "/log", encoding: .utf8)
        try #require(process.terminationStatus == 0, "\(log)")
        struct Answers: Codable {
            var hosts: [Int]
            var port: UInt16
        }
        let data = try Data(contentsOf: URL(fileURLWithPath: directory + "/answers.json"))
        let answers = try JSONDecoder().decode(Answers.self, from: data)
        return (answers.hosts, answers.port)
    }

    private static let script = """
        import http.client, json, socket, socketserver, subprocess, sys, threading, time

        class Host(socketserver.StreamRequestHandler):
            def handle(self):
                while True:
                    line = self.rfile.readline()
                    if not line:
                        return
                    while line not in (b"\\r\\n", b""):
                        line = self.rfile.readline()
                    address = self.connection.getsockname()[0].encode()
                    self.wfile.write(b"HTTP/1.1 200 OK\\r\\ncontent-length: %d\\r\\n\\r\\n%s" % (len(address), address))

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            request_queue_size = 256

        server = Server(("0.0.0.0", 0), Host)
        port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()

        clusters = json.loads(open("clusters.json").read())
        questions = json.load(open("questions.json"))

        def replace(value):
            if isinstance(value, dict):
                return {k: port if k == "port_value" else replace(v) for k, v in value.items()}
            return [replace(v) for v in value] if isinstance(value, list) else value

        routes, places = [], {}
        for q in questions:
            place = json.dumps([q["cluster"], sorted(q["subset"].items())])
            if place in places:
                continue
            places[place] = "/%d/" % len(places)
            action = {"cluster": q["cluster"], "hash_policy": [{"header": {"header_name": "x-key"}}]}
            if q["subset"]:
                action["metadata_match"] = {"filter_metadata": {"envoy.lb": q["subset"]}}
            routes.append({"match": {"prefix": places[place]}, "route": action})

        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            listen = s.getsockname()[1]
        manager = {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "x",
            "route_config": {"virtual_hosts": [{"name": "x", "domains": ["*"], "routes": routes}]},
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
        }
        config = {"static_resources": {
            "listeners": [{"name": "l", "address": {"socket_address": {"address": "127.0.0.1", "port_value": listen}},
                           "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}]}],
            "clusters": [replace(c) for c in clusters]}}
        json.dump(config, open("envoy.json", "w"))
        envoy = subprocess.Popen([sys.argv[1], "-c", "envoy.json", "--concurrency", "1", "--disable-hot-restart",
                                  "--log-level", "error"])
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    socket.create_connection(("127.0.0.1", listen), 1).close()
                    break
                except OSError:
                    if envoy.poll() is not None or time.monotonic() > deadline:
                        sys.exit("Envoy does not listen")
                    time.sleep(0.05)
            hosts = []
            connection = http.client.HTTPConnection("127.0.0.1", listen, timeout=20)
            for q in questions:
                place = places[json.dumps([q["cluster"], sorted(q["subset"].items())])]
                connection.request("GET", place, headers={"x-key": q["key"]})
                answer = connection.getresponse()
                body = answer.read().decode()
                hosts.append(int(body.split(".")[3]) if answer.status == 200 else answer.status)
            json.dump({"hosts": hosts, "port": port}, open("answers.json", "w"))
        finally:
            envoy.kill()
            envoy.wait()

        """
}
