import ControlPlane
import Discovery
import EnvoyAPI
import Glibc
import Time

/// What identities cost: certificates, handshakes, and what happens to all proxies at once.
struct IdentityScenarios {
    /// Fewer proxies and rounds.
    let isQuick: Bool
    private let rounds: Int
    private(set) var ledger = Ledger()

    /// - Parameter rounds: nil: three, or one of a quick run.
    init(isQuick: Bool, rounds: Int?) {
        self.isQuick = isQuick
        self.rounds = max(1, rounds ?? (isQuick ? 1 : 3))
    }

    mutating func run(only: String?) throws {
        let all: [(name: String, run: (inout IdentityScenarios) throws -> Void)] = [
            ("issue", { try $0.issue() }),
            ("handshakes", { try $0.handshakes() }),
            ("rotation", { try $0.rotation() }),
            ("storm", { try $0.storm() }),
        ]
        guard only == nil || all.contains(where: { $0.name == only }) else {
            throw BenchFailure("there is no scenario \(only ?? ""); there are \(all.map(\.name))")
        }
        for (name, scenario) in all where only == nil || only == name { try scenario(&self) }
    }

    private func title(_ words: String) {
        print("\n\(words)")
        fflush(nil)
    }

    private func say(_ words: String) {
        print("  \(words)")
        fflush(nil)
    }

    // MARK: Certificates and handshakes

    private mutating func issue() throws {
        title("certificates, ECDSA P-256, one thread; openssl speed takes turns")
        try Issuing(seconds: isQuick ? 1 : 2, rounds: isQuick ? 1 : max(3, rounds)).run(&ledger)
    }

    private mutating func handshakes() throws {
        title("mTLS handshakes, ECDSA P-256, a chain of two certificates each; TLS 1.3 unless it says otherwise")
        try Handshakes(seconds: isQuick ? 1 : 3, rounds: rounds).run(&ledger)
    }

    // MARK: All proxies

    /// A new root for all proxies.
    private mutating func rotation() throws {
        let count = isQuick ? 200 : 1000
        title("root rotation, \(count) proxies over TLS; a control plane with authority and journal")
        let rig = try IdentityRig()
        defer { rig.stop() }
        let before = try rig.server.processorTime(ofThread: "control-0")
        let opened = try rig.proxies.ask("open \(count)")
        let first = try rig.server.processorTime(ofThread: "control-0") - before
        say(
            "all have certificates after \(text(Double(try opened["took"]) / 1e6)) ms; the authority's thread took "
                + "\(text(Double(first) / 1e3 / Double(count))) us for each")
        var (times, costs, sampled, broken, uneven): ([Double], [Double], Int, Int, Int) = ([], [], 0, 0, 0)
        for _ in 0..<rounds {
            _ = try rig.proxies.ask("count \(max(1, count / 100))")
            let control = try rig.server.processorTime(ofThread: "control-0")
            let start = Clock.now
            try rig.rotateRoot()
            let end = Clock.now + 60_000_000_000
            while try rig.isRotating() {
                guard Clock.now < end else { throw BenchFailure("a rotation that has not ended after 60 s") }
                usleep(50_000)
            }
            let reported = Clock.now
            costs.append(Double(try rig.server.processorTime(ofThread: "control-0") - control) / 1e3 / Double(count))
            // A step more than there should be would come now.
            usleep(500_000)
            let counts = try rig.proxies.ask("counts")
            times.append(Double(max(reported, try counts["last"]) - start) / 1e9)
            sampled += try counts["sampled"]
            broken += try counts["broken"]
            uneven += abs(try counts["bundles-least"] - 2) + abs(try counts["bundles-most"] - 2)
            uneven += abs(try counts["certificates-least"] - 1) + abs(try counts["certificates-most"] - 1)
            uneven += try counts["failures"] + counts["refusals"] + counts["timeouts"]
        }
        say("\(list(times)) s; the authority's thread took \(text(median(costs))) us for each proxy")
        say("\(sampled) handshakes of two random proxies each, with what they had at that moment")
        ledger.note("rotation \(count): the authority's thread, each proxy", median(costs), "us")
        ledger.hold("root rotation, \(count) proxies, complete", median(times), atMost: 10, "s")
        ledger.hold("root rotation: handshakes that failed, of \(sampled)", Double(broken), atMost: 0, "")
        ledger.hold("root rotation: bundles and certificates beyond 2 and 1 each", Double(uneven), atMost: 0, "")
    }

    /// All proxies come back at once.
    private mutating func storm() throws {
        let count = isQuick ? 2_000 : 10_000
        title(
            "\(count) proxies with certificates of their own, over mutual TLS; "
                + "\(min(count, MeshProxies.mostUnderWay)) at a time are on their way")
        let rig = try IdentityRig()
        defer { rig.stop() }
        let opened = try rig.proxies.ask("open \(count)")
        say("all have certificates after \(text(Double(try opened["took"]) / 1e9)) s")
        _ = try rig.proxies.ask("show-certificates")
        // Now all connections are made with them, and have tickets.
        _ = try rig.proxies.ask("cut")
        var lost = 0.0
        for kind in ["connections cut", "control plane killed"] {
            var (times, costs, shares): ([Double], [Double], [Double]) = ([], [], [])
            for _ in 0..<rounds {
                // The closing of the connections before belongs to the round before.
                usleep(500_000)
                let reply: Reply
                if kind == "connections cut" {
                    let processorTime = try rig.server.processorTime()
                    reply = try rig.proxies.ask("cut")
                    costs.append(Double(try rig.server.processorTime() - processorTime) / 1e9)
                } else {
                    _ = try rig.proxies.ask("count")
                    rig.proxies.tell("await-return")
                    try rig.restart()
                    reply = try rig.proxies.reply()
                    costs.append(Double(try rig.server.processorTime()) / 1e9)
                }
                times.append(Double(try reply["took"]) / 1e9)
                shares.append(Double(try reply["resumed"]) / Double(max(1, try reply["handshakes"])) * 100)
                lost += Double(try reply["timeouts"] + reply["refusals"])
                if kind == "connections cut" { lost += Double(try reply["failures"]) }
            }
            say(
                "\(kind): the last has its certificate after \(list(times)) s; \(text(median(shares))) % "
                    + "resumed; the control plane took \(text(median(costs))) s of processor time")
            ledger.note("\(count) come back, \(kind): the last", median(times), "s")
            ledger.note("\(count) come back, \(kind): resumed", median(shares), "%")
            ledger.note("\(count) come back, \(kind): processor time", median(costs), "s")
        }
        let memory = Double(try rig.server.memory) / 1024 / 1024
        say(
            "resident \(text(memory)) MB; open files at most \(descriptorLimit()), of the control plane and of the load"
        )
        ledger.note("\(count) proxies over mutual TLS: resident", memory, "MB")
        ledger.hold("\(count) come back: timeouts and refusals", lost, atMost: 0, "")
    }

    private func list(_ figures: [Double]) -> String { figures.map { text($0) }.joined(separator: ", ") }

    private func descriptorLimit() -> Int {
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        return Int(clamping: limit.rlim_cur)
    }
}

/// A control plane on cpu 0, and proxies on cpu 1.
final class IdentityRig {
    private let directory = TemporaryFiles()
    private let port: UInt16
    private(set) var server: ChildProcess
    let proxies: ChildProcess

    init() throws {
        port = try freePort()
        server = try Self.start(port, directory.path)
        _ = try server.reply()
        let order = JoinTokenOrder(namespace: "shop", serviceAccount: "web", validity: .seconds(3600), uses: nil)
        let answer = try Self.call(ControlJoinTokens.create, order.encoded(), directory.path)
        guard let token = try CreatedJoinToken(decoding: answer)?.token else { throw BenchFailure("no token") }
        proxies = try ChildProcess(
            cpu: 1, ["role", "proxies", "\(port)", directory.path + "/ca/root-cert.pem", token])
        _ = try proxies.reply()
    }

    private static func start(_ port: UInt16, _ directory: String) throws -> ChildProcess {
        try ChildProcess(cpu: 0, ["role", "control-plane", "\(port)", directory])
    }

    private static func call(_ path: String, _ request: [UInt8], _ directory: String) throws -> [UInt8] {
        let server = ServerAddress(.unix(path: DataDirectory.controlSocket(in: directory)))
        return try UnaryCallClient.call(path, request, at: server)
    }

    func rotateRoot() throws {
        _ = try Self.call(ControlAuthority.rotate, RotationOrder(root: true).encoded(), directory.path)
    }

    func isRotating() throws -> Bool {
        let answer = try Self.call(ControlAuthority.status, AuthorityReport.request, directory.path)
        return try !AuthorityReport(decoding: answer).rotations.isEmpty
    }

    /// Kills the control plane and starts it again, on the same database.
    func restart() throws {
        server.kill()
        server = try Self.start(port, directory.path)
        _ = try server.reply()
    }

    func stop() {
        proxies.kill()
        server.kill()
    }
}
