import Foundation
import Testing

/// A real Envoy with one route configuration, and upstreams that tell what came to them.
enum RouterPeer {
    struct Question: Codable {
        var method = "GET"
        var path = "/"
        var host: String
        /// Names and values; a name may be there twice.
        var headers: [[String]] = []
    }

    struct Answer: Codable {
        var status: Int
        /// Names in lower case and values, in order.
        var headers: [[String]]
        var body: String
    }

    /// What an upstream got: it is the body of its answer.
    struct Echo: Codable {
        var cluster: String
        var path: String
        var headers: [[String]]
    }

    static let clusters = ["c0", "c1", "c2"]
    /// The one of them that goes by hashes.
    static let hashing = "c2"

    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().path

    static func binary() throws -> String {
        let places = try FileManager.default.contentsOfDirectory(atPath: root + "/.build/venv/lib")
        let found = places.map { root + "/.build/venv/lib/\($0)/site-packages/envoy/_bin/envoy" }
            .first(where: FileManager.default.isExecutableFile)
        return try #require(found, "no Envoy under .build/venv: run `make setup`")
    }

    /// A `RouteConfiguration` as JSON, and what is asked of it.
    struct Table {
        var configuration: String
        var questions: [Question]
    }

    /// What Envoy answers, by the table.
    static func answers(_ tables: [Table]) throws -> [[Answer]] {
        let directory = NSTemporaryDirectory() + "/router-" + UUID().uuidString.prefix(8)
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        for (number, table) in tables.enumerated() {
            try table.configuration.write(
                toFile: directory + "/routes\(number).json", atomically: true, encoding: .utf8)
        }
        try JSONEncoder().encode(tables.map(\.questions))
            .write(to: URL(fileURLWithPath: directory + "/questions.json"))
        try script.write(toFile: directory + "/ask.py", atomically: true, encoding: .utf8)
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["python3", "ask.py", try binary()]
        process.currentDirectoryURL = URL(fileURLWithPath: directory)
        try "".write(toFile: directory + "/log", atomically: true, encoding: .utf8)
        process.standardOutput = FileHandle(forWritingAtPath: directory + "/log")
        process.standardError = process.standardOutput
        process.standardInput = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        let words = try String(contentsOfFile: directory + "/log", encoding: .utf8)
        try #require(process.terminationStatus == 0, "\(words.suffix(3_000))")
        let data = try Data(contentsOf: URL(fileURLWithPath: directory + "/answers.json"))
        return try JSONDecoder().decode([[Answer]].self, from: data)
    }

    private static let script = """
        import http.client, http.server, json, socket, subprocess, sys, threading, time

        class Echo(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # A head and a body that wait for each other's acknowledgement take 40 ms.
            wbufsize = -1
            def answer(self):
                self.rfile.read(int(self.headers.get("content-length", 0)))
                body = json.dumps({"cluster": self.server.cluster, "path": self.requestline.split(" ")[1],
                                   "headers": [[k.lower(), v] for k, v in self.headers.items()]}).encode()
                self.send_response(200)
                self.send_header("content-type", "text/json")
                self.send_header("r-a", "up")
                self.send_header("r-b", "up1")
                self.send_header("r-b", "up2")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            do_GET = do_POST = answer
            def log_message(self, *words):
                pass

        clusters = []
        for name in ["c0", "c1", "c2"]:
            server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
            server.cluster = name
            threading.Thread(target=server.serve_forever, daemon=True).start()
            clusters.append({"name": name, "type": "STATIC", "lb_policy": "RING_HASH" if name == "c2" else "RANDOM",
                             "load_assignment": {"cluster_name": name, "endpoints": [
                {"lb_endpoints": [{"endpoint": {"hostname": "host-of-" + name, "address": {"socket_address": {
                    "address": "127.0.0.1", "port_value": server.server_port}}}}]}]}})
        tables = json.load(open("questions.json"))
        sockets = [socket.socket() for _ in tables]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        ports = [s.getsockname()[1] for s in sockets]
        for s in sockets:
            s.close()
        listeners = []
        for number, port in enumerate(ports):
            manager = {"@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                       "stat_prefix": "x", "route_config": json.load(open(f"routes{number}.json")), "http_filters": [
                           {"name": "router", "typed_config": {
                               "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}
            listeners.append({"name": f"l{number}",
                              "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
                              "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}]})
        json.dump({"static_resources": {"listeners": listeners, "clusters": clusters}}, open("envoy.json", "w"))
        envoy = subprocess.Popen([sys.argv[1], "-c", "envoy.json", "--concurrency", "1", "--disable-hot-restart",
                                  "--log-level", "error"])
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    socket.create_connection(("127.0.0.1", ports[-1]), 1).close()
                    break
                except OSError:
                    if envoy.poll() is not None or time.monotonic() > deadline:
                        sys.exit("Envoy does not listen")
                    time.sleep(0.05)
            answers = []
            for port, questions in zip(ports, tables):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
                answers.append([])
                for q in questions:
                    connection.putrequest(q["method"], q["path"], skip_host=True, skip_accept_encoding=True)
                    connection.putheader("Host", q["host"])
                    for name, value in q["headers"]:
                        connection.putheader(name, value)
                    connection.endheaders()
                    answer = connection.getresponse()
                    answers[-1].append({"status": answer.status, "body": answer.read().decode(),
                                        "headers": [[k.lower(), v] for k, v in answer.getheaders()]})
                connection.close()
            json.dump(answers, open("answers.json", "w"))
        finally:
            envoy.kill()
            envoy.wait()

        """
}
