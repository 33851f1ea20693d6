import EnvoyAPI
import Foundation
import HTTP
import Protobuf
import Testing
import Time

@testable import Forwarding

/// A real Envoy with a listener per case: the filters under test before a route that answers `ok` and tells what the
/// request looks like behind them.
enum PolicyPeer {
    struct Case: Codable {
        /// Each an `HttpFilter`, JSON.
        var filters: [String]
        /// `typed_per_filter_config` of the route, JSON.
        var route = "{}"
        /// Further fields of the connection manager, JSON.
        var manager = "{}"
        /// Whether the route leads to an upstream, which answers `ok`, instead of answering so itself.
        var isForwarded = false
        var questions: [Question]
    }

    struct Question: Codable {
        var method = "GET"
        var path = "/"
        var host = "web"
        /// Names and values; a name may be there twice.
        var headers: [[String]] = []
    }

    struct Answer: Codable, Equatable {
        var status: Int
        var body: String
        /// Those that say something here.
        var headers: [String: String]
    }

    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().path

    private static func binary() throws -> String {
        let places = try FileManager.default.contentsOfDirectory(atPath: root + "/.build/venv/lib")
        let found = places.map { root + "/.build/venv/lib/\($0)/site-packages/envoy/_bin/envoy" }
            .first(where: FileManager.default.isExecutableFile)
        return try #require(found, "no Envoy under .build/venv: run `make setup`")
    }

    static func answers(_ cases: [Case]) throws -> [[Answer]] {
        let directory = NSTemporaryDirectory() + "/policies-" + UUID().uuidString.prefix(8)
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        try JSONEncoder().encode(cases).write(to: URL(fileURLWithPath: directory + "/cases.json"))
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

    /// What ours answers.
    static func ours(_ one: Case) throws -> [Answer] {
        let arena = Arena()
        let filters = try one.filters.map { text in
            let message = try arena.decodeJSON(HttpFilter.self, text, types: envoyTypes).pointee
            guard case .typed_config(let any) = message.config_type else { throw CancellationError() }
            return ExtensionSetting(message.name.string, any.pointee, isDisabled: message.disabled != 0)
        }
        let route = try arena.decodeJSON(
            EnvoyAPI.Route.self, #"{"typed_per_filter_config": \#(one.route)}"#, types: envoyTypes)
        let settings = try route.pointee.typed_per_filter_config_list.map { entry in
            guard let any = entry.pointee.value else { throw CancellationError() }
            return (name: entry.pointee.key.string, setting: try FilterSetting(any.pointee, in: arena))
        }
        let chain = try HTTPFilterChain(filters).applying(
            FilterSettings.none.adding(settings), isForwarded: one.isForwarded)
        let manager = try arena.decodeJSON(HttpConnectionManager.self, one.manager, types: envoyTypes).pointee
        let paths = PathNormalisation(
            normalises: manager.normalize_path?.pointee.value == 1, mergesSlashes: manager.merge_slashes != 0,
            escapedSlashes: manager.path_with_escaped_slashes_action == .UNESCAPE_AND_FORWARD ? .forward : .keep)
        return one.questions.map { answer($0, chain, paths, isForwarded: one.isForwarded) }
    }

    private static func answer(
        _ question: Question, _ chain: [HTTPFilter], _ paths: PathNormalisation, isForwarded: Bool
    ) -> Answer {
        let given = question.headers.map { ($0[0].lowercased(), $0[1]) }
        let last = given.last { $0.0 == "x-forwarded-for" }?.1.split(separator: ",").last
        let remote = last.map { address($0.filter { $0 != " " }) } ?? address("127.0.0.1")
        let connection = ConnectionFacts(
            source: address("127.0.0.1", 40_000), destination: address("127.0.0.1", 30_000))
        var facts = request(
            question.method, question.path, host: question.host, given, connection: connection, remote: remote)
        switch Array(question.path.utf8).withUnsafeBytes({ paths.apply(to: $0) }) {
        case .unchanged: break
        case .changed(let path): path.withUnsafeBytes { facts.head.set(":path", value: $0) }
        case .rejected, .redirect: return Answer(status: 400, body: "", headers: [:])
        }
        var dice = SeededDice(seed: 1)
        var response = HeaderList()
        for filter in chain {
            switch filter {
            case .accessControl(let control):
                guard let verdict = control?.decide(facts), !verdict.isAllowed else { break }
                return Answer(status: 403, body: AccessControl.refusal, headers: [:])
            case .tokens(let tokens, let setting):
                var keys = TokenKeys(tokens, now: Instant(nanoseconds: 0))
                let now = Timestamp(seconds: Int64(Date().timeIntervalSince1970))
                switch tokens.decide(facts, route: setting, keys: &keys, now: Instant(nanoseconds: 0), date: now) {
                case .allowed(let changes): changes.apply(to: &facts)
                case .denied(let denial):
                    return Answer(
                        status: Int(denial.status), body: denial.body,
                        headers: denial.challenge.map { ["www-authenticate": $0] } ?? [:])
                case .waits: return Answer(status: 0, body: "waits", headers: [:])
                }
            case .fault(let fault):
                guard case .http(let status) = fault.injection(for: facts.head, upstream: nil, random: &dice)?.abort
                else { break }
                // Routes to upstreams add their fields to answers of filters, too.
                return Answer(
                    status: Int(status), body: Fault.abortBody, headers: isForwarded ? echo(facts, response) : [:])
            case .crossOrigin(let policy):
                switch policy?.decide(facts.head, random: &dice) {
                case .allowed(let origin)?: policy?.apply(to: &response, origin: origin)
                case .answered(let head)?: return Answer(status: 200, body: "", headers: shown(head))
                case .passes?, nil: break
                }
            case .headerMutation(let mutations):
                for mutation in mutations {
                    mutation.applyToRequest(&facts.head) { preconditionFailure("constant values need no facts") }
                }
            case .fixedMetadata(let fixed): fixed.apply(to: &facts.metadata)
            case .localRateLimit, .externalAuthorization, .statefulSession, .bodyLimit, .grpcWeb, .grpcStatistics:
                break
            }
        }
        return Answer(status: 200, body: "ok", headers: echo(facts, response))
    }

    /// What the route's fields tell of the request.
    private static func echo(_ facts: RequestFacts, _ response: HeaderList) -> [String: String] {
        func text(_ name: String) -> String {
            var values: [String] = []
            for field in facts.head.fields where field.name == name { values.append(field.value) }
            return values.first ?? ""
        }
        var headers = shown(response)
        for name in ["authorization", "x-user", "x-payload"] { headers["echo-" + name] = "[\(text(name))]" }
        headers["echo-path"] = "[\(text(":path"))]"
        let subject = facts.metadata.value(TokenAuthentication.filterName, at: ["claims", "sub"])
        if case .string(let name) = subject { headers["echo-sub"] = "[\(name)]" } else { headers["echo-sub"] = "[]" }
        return headers
    }

    private static func shown(_ head: HeaderList) -> [String: String] {
        var headers: [String: String] = [:]
        for field in head.fields where field.name.hasPrefix("access-control") { headers[field.name] = field.value }
        return headers
    }

    private static let script = """
        import http.client, http.server, json, socket, subprocess, sys, threading, time
        cases = json.load(open("cases.json"))
        sockets = [socket.socket() for _ in cases]
        for s in sockets: s.bind(("127.0.0.1", 0))
        ports = [s.getsockname()[1] for s in sockets]
        for s in sockets: s.close()
        X = "type.googleapis.com/envoy.extensions.filters."
        def echo(name, value): return {"header": {"key": "echo-" + name, "value": "[" + value + "]"}}
        class Upstream(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            def do_GET(self):
                self.send_response(200)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"ok")
            do_OPTIONS = do_POST = do_PUT = do_GET
            def log_message(self, *words): pass
        upstream = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
        threading.Thread(target=upstream.serve_forever, daemon=True).start()
        cluster = {"name": "up", "connect_timeout": "5s", "load_assignment": {"cluster_name": "up", "endpoints": [
            {"lb_endpoints": [{"endpoint": {"address": {"socket_address": {
                "address": "127.0.0.1", "port_value": upstream.server_address[1]}}}}]}]}}
        listeners = []
        for case, port in zip(cases, ports):
            action = {"route": {"cluster": "up"}} if case["isForwarded"] else {
                "direct_response": {"status": 200, "body": {"inline_string": "ok"}}}
            manager = {"@type": X + "network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "x",
                "http_filters": [json.loads(f) for f in case["filters"]] + [
                    {"name": "router", "typed_config": {"@type": X + "http.router.v3.Router"}}],
                "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [{
                    "match": {"prefix": "/"}, "typed_per_filter_config": json.loads(case["route"]), **action}],
                    "response_headers_to_add": [echo("path", "%REQ(:PATH)%"), echo("authorization", "%REQ(authorization)%"),
                        echo("x-user", "%REQ(x-user)%"), echo("x-payload", "%REQ(x-payload)%"),
                        echo("sub", "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:claims:sub)%")]}]}}
            manager.update(json.loads(case["manager"]))
            listeners.append({"name": "l%d" % port,
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
                "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}]})
        json.dump({"static_resources": {"listeners": listeners, "clusters": [cluster]}}, open("envoy.json", "w"))
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
            everything = []
            for case, port in zip(cases, ports):
                answers = []
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
                for q in case["questions"]:
                    connection.putrequest(q["method"], q["path"], skip_host=True, skip_accept_encoding=True)
                    connection.putheader("Host", q["host"])
                    for name, value in q["headers"]:
                        connection.putheader(name, value)
                    connection.endheaders()
                    answer = connection.getresponse()
                    told = {k.lower(): v for k, v in answer.getheaders() if k.lower().startswith(
                        ("echo-", "access-control", "www-authenticate"))}
                    answers.append({"status": answer.status, "body": answer.read().decode(), "headers": told})
                    if answer.will_close: connection.close()
                everything.append(answers)
            json.dump(everything, open("answers.json", "w"))
        finally:
            envoy.kill()
            envoy.wait()

        """
}
