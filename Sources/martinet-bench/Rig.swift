import CLinux
import Glibc

/// One push, seen from all clients. Nanoseconds, bytes.
struct PushFigures {
    /// Until half of the clients, 99 % and the last one had it.
    var median: Int
    var p99: Int
    var last: Int
    /// What the server used until all answers were read.
    var processorTime: Int
    /// To each client, all of HTTP/2 included.
    var bytes = 0
    /// From each client.
    var answerBytes = 0
    /// Responses and resources, all clients together.
    var responses = 0
    var resources = 0
}

/// A server on cpu 0, and its clients on cpu 1.
final class Rig {
    struct Setup {
        var variant = RequestBytes.Variant.delta
        var clusters = 100
        var certificate: TestCertificate?
        /// Clients at most.
        var capacity = 10_000
    }

    let setup: Setup
    let port: UInt16
    private(set) var server: ChildProcess
    let load: ChildProcess

    init(_ setup: Setup) throws {
        self.setup = setup
        port = try freePort()
        server = try Self.startServer(setup, port)
        _ = try server.reply()
        load = try Self.startLoad(setup, port)
    }

    static func startServer(_ setup: Setup, _ port: UInt16) throws -> ChildProcess {
        let files = setup.certificate.map { [$0.chain, $0.key] } ?? []
        return try ChildProcess(cpu: 0, ["role", "server", "\(port)", "\(setup.clusters)"] + files)
    }

    static func startLoad(_ setup: Setup, _ port: UInt16) throws -> ChildProcess {
        let trust = setup.certificate.map { [$0.chain] } ?? []
        return try ChildProcess(
            cpu: 1,
            ["role", "load", "\(port)", setup.variant.rawValue, "\(setup.clusters)", "\(setup.capacity)"] + trust)
    }

    func stop() {
        load.kill()
        server.kill()
    }

    /// - Returns: the load's words: `took` in nanoseconds, and what was received.
    func open(_ clients: Int) throws -> Reply { try load.ask("open \(clients)") }

    /// Changes one resource of a kind, and waits until all clients were sent the change.
    func push(_ kind: RequestBytes.Kind = .endpoints) throws -> PushFigures {
        _ = try load.ask("expect \(kind)")
        let pushed = try server.ask(kind == .endpoints ? "push" : "push \(kind)")
        let arrived = try load.reply()
        let start = try pushed["start"]
        return PushFigures(
            median: try arrived["median"] - start, p99: try arrived["p99"] - start, last: try arrived["last"] - start,
            processorTime: try server.ask("cpu")["cpu"] - pushed["cpu"], bytes: try arrived["bytes"],
            answerBytes: try arrived["answer"], responses: try arrived["responses"],
            resources: try arrived["resources"])
    }

    /// Kills the server, starts another one that serves the same, and lets all clients come back with what they have.
    func restart(_ clients: Int) throws -> Reply {
        server.kill()
        _ = try load.ask("close")
        server = try Self.startServer(setup, port)
        _ = try server.reply()
        return try load.ask("reopen \(clients)")
    }
}

/// The raw floor: see ``FloorRole``.
final class Floor {
    private let server: ChildProcess
    private let load: ChildProcess

    init(clients: Int) throws {
        let port = try freePort()
        server = try ChildProcess(cpu: 0, ["role", "floor-server", "\(port)"])
        _ = try server.reply()
        load = try ChildProcess(cpu: 1, ["role", "floor-client", "\(port)"])
        server.tell("open \(clients)")
        load.tell("open \(clients)")
        _ = try server.reply()
        _ = try load.reply()
    }

    func push(_ bytes: Int) throws -> PushFigures {
        _ = try load.ask("round \(bytes)")
        let pushed = try server.ask("round \(bytes)")
        let arrived = try load.reply()
        let start = try pushed["start"]
        return PushFigures(
            median: try arrived["median"] - start, p99: try arrived["p99"] - start, last: try arrived["last"] - start,
            processorTime: try pushed["cpu"])
    }

    func stop() {
        load.kill()
        server.kill()
    }
}

/// A certificate for `localhost` that is its own authority, in files that go with this object.
final class TestCertificate {
    private let directory: String
    var chain: String { directory + "/chain.pem" }
    var key: String { directory + "/key.pem" }

    init() throws {
        var template = Array("/tmp/martinet-bench-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw BenchFailure.system("mkdtemp") }
        directory = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
        let words = [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", chain,
        ]
        let process = try ChildProcess(cpu: nil, words, program: "/usr/bin/env")
        // Its output ends when it does.
        _ = try? process.reply(within: 20)
        guard access(chain, R_OK) == 0 else { throw BenchFailure("openssl made no certificate: is it installed?") }
    }

    deinit {
        for path in [chain, key] { unlink(path) }
        rmdir(directory)
    }
}

/// A TCP port of 127.0.0.1 that nobody listened on a moment ago.
func freePort() throws(BenchFailure) -> UInt16 {
    let descriptor = linux_socket(AF_INET)
    defer { close(descriptor) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let bound = withUnsafeMutablePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
            bind(descriptor, pointer, length) == 0 && getsockname(descriptor, pointer, &length) == 0
        }
    }
    guard bound else { throw .system("bind") }
    return UInt16(bigEndian: address.sin_port)
}
