import EnvoyAPI
import Foundation
import Protobuf
import Testing
import XDS

/// The real Envoy, as the judge of route configurations.
enum EnvoyPeer {
    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().path

    static func binary() throws -> String {
        let places = try FileManager.default.contentsOfDirectory(atPath: root + "/.build/venv/lib")
        let found = places.map { root + "/.build/venv/lib/\($0)/site-packages/envoy/_bin/envoy" }
            .first(where: FileManager.default.isExecutableFile)
        return try #require(found, "no Envoy under .build/venv: run `make setup`")
    }

    /// A question to Envoy: a request as a client writes it.
    struct Question: Codable {
        var method = "GET"
        var path = "/"
        var host: String
        var headers: [String: String] = [:]
    }

    struct Answer: Codable, Equatable {
        var status: Int
        var body: String
    }

    /// Fails the test if Envoy refuses any of them.
    static func expectAccepted(_ configurations: [XDS.Resource], sourceLocation: SourceLocation = #_sourceLocation)
        throws
    {
        let directory = try folder()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let path = directory + "/envoy.json"
        try bootstrap(configurations).write(toFile: path, atomically: true, encoding: .utf8)
        let (status, words) = try run(
            try binary(),
            ["--mode", "validate", "-c", path, "--log-level", "error", "--base-id-path", directory + "/id"],
            in: directory)
        #expect(status == 0, "\(words)", sourceLocation: sourceLocation)
    }

    /// What Envoy answers, with the configuration in force.
    /// - Parameter filters: HTTP filters as JSON that stand before the others.
    static func answers(
        _ configuration: XDS.Resource, behind filters: [String] = [], to questions: [Question]
    ) throws -> [Answer] {
        let directory = try folder()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        try bootstrap([configuration], behind: filters).write(
            toFile: directory + "/envoy.json", atomically: true, encoding: .utf8)
        try JSONEncoder().encode(questions).write(to: URL(fileURLWithPath: directory + "/questions.json"))
        try script.write(toFile: directory + "/ask.py", atomically: true, encoding: .utf8)
        let (status, words) = try run("/usr/bin/env", ["python3", "ask.py", try binary()], in: directory)
        try #require(status == 0, "\(words)")
        let data = try Data(contentsOf: URL(fileURLWithPath: directory + "/answers.json"))
        return try JSONDecoder().decode([Answer].self, from: data)
    }

    private static func folder() throws -> String {
        let path = NSTemporaryDirectory() + "/routes-" + UUID().uuidString.prefix(8)
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        return path
    }

    private static func run(_ program: String, _ arguments: [String], in directory: String) throws -> (Int32, String) {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = arguments
        process.currentDirectoryURL = URL(fileURLWithPath: directory)
        let log = directory + "/log"
        FileManager.default.createFile(atPath: log, contents: nil)
        process.standardOutput = FileHandle(forWritingAtPath: log)
        process.standardError = process.standardOutput
        process.standardInput = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        return (process.terminationStatus, try String(contentsOfFile: log, encoding: .utf8))
    }

    /// A listener for each configuration; the script puts a free port in place of the first one's 0.
    private static func bootstrap(_ configurations: [XDS.Resource], behind first: [String] = []) throws -> String {
        let listeners = try configurations.enumerated().map { index, resource in
            let arena = Arena()
            let message = try arena.decode(RouteConfiguration.self, from: resource.body)
            let style = TextStyle(.compactJSON, fieldNames: .snakeCase, showsUnknownTypes: true)
            let routes = try Protobuf.text(of: DynamicMessage(message), style, types: envoyTypes)
                .replacingOccurrences(of: #""value":"CAI=""#, with: #""update_frequency":2"#)
            func filter(_ name: String, _ type: String) -> String {
                #"{"name":"\#(name)","typed_config":{"@type":"type.googleapis.com/\#(type)"}}"#
            }
            let filters = [
                filter("envoy.filters.http.cors", "envoy.extensions.filters.http.cors.v3.Cors"),
                filter("envoy.filters.http.fault", "envoy.extensions.filters.http.fault.v3.HTTPFault"),
                filter("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router"),
            ]
            let manager = """
                {"@type":"type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix":"x","route_config":\(routes),"http_filters":[\((first + filters).joined(separator: ","))]}
                """
            return """
                {"name":"l\(index)","address":{"socket_address":{"address":"127.0.0.1","port_value":0}},
                "filter_chains":[{"filters":[{"name":"http","typed_config":\(manager)}]}]}
                """
        }
        return #"{"static_resources":{"listeners":[\#(listeners.joined(separator: ","))]}}"#
    }

    private static let script = """
        import http.client, json, socket, subprocess, sys, time
        config = json.load(open("envoy.json"))
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        config["static_resources"]["listeners"][0]["address"]["socket_address"]["port_value"] = port
        json.dump(config, open("envoy.json", "w"))
        envoy = subprocess.Popen([sys.argv[1], "-c", "envoy.json", "--concurrency", "1", "--disable-hot-restart",
                                  "--log-level", "error"])
        try:
            deadline = time.monotonic() + 40
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    if envoy.poll() is not None or time.monotonic() > deadline:
                        sys.exit("Envoy does not listen")
                    time.sleep(0.05)
            answers = []
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            for q in json.load(open("questions.json")):
                connection.putrequest(q["method"], q["path"], skip_host=True, skip_accept_encoding=True)
                connection.putheader("Host", q["host"])
                for name, value in q["headers"].items():
                    connection.putheader(name, value)
                connection.endheaders()
                answer = connection.getresponse()
                answers.append({"status": answer.status, "body": answer.read().decode()})
            json.dump(answers, open("answers.json", "w"))
        finally:
            envoy.kill()
            envoy.wait()

        """
}
