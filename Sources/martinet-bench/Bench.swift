import Glibc

/// `martinet-bench`: measures what Martinet's discovery server costs, against a raw send floor of the same run.
@main
struct Bench {
    private static let usage = """
        usage: martinet-bench [--quick] [--json FILE] [--only SCENARIO] [--rounds N]
               martinet-bench mesh     from objects to snapshots
               martinet-bench identity [--quick] [--json FILE] [--only SCENARIO] [--rounds N]
          --quick      fewer clients and rounds, about a minute; the bars are those of the full run
          --json FILE  write every figure there too
          --only       start, delta, sotw, clusters, tls, never-read or churn;
                       of identity: issue, handshakes, rotation or storm
          --rounds N   rounds that count, for each figure; 9 if not given, of identity 3

        It exits with 1 when a bar does not hold.
        """

    static func main() {
        raiseFileLimit()
        let words = Array(CommandLine.arguments.dropFirst())
        do {
            if words.first == "role" {
                try play(Array(words.dropFirst()))
            } else if words == ["mesh"] {
                var mesh = try MeshTranslating()
                exit(try mesh.run() ? 0 : 1)
            } else if words.first == "identity" {
                exit(try measure(Array(words.dropFirst()), isIdentity: true) ? 0 : 1)
            } else {
                exit(try measure(words, isIdentity: false) ? 0 : 1)
            }
        } catch {
            if words.first == "role" {
                Reply("error " + "\(error)".replacingNewlines).say()
            } else {
                complain("error: \(error)")
            }
            exit(2)
        }
    }

    /// - Returns: whether all bars hold.
    private static func measure(_ words: [String], isIdentity: Bool) throws -> Bool {
        var (isQuick, json, only, rounds): (Bool, String?, String?, Int?) = (false, nil, nil, nil)
        var rest = words[...]
        while let word = rest.popFirst() {
            switch word {
            case "--quick": isQuick = true
            case "--json": json = rest.popFirst()
            case "--only": only = rest.popFirst()
            case "--rounds": rounds = rest.popFirst().flatMap { Int($0) }
            default:
                complain(usage)
                exit(2)
            }
        }
        let start = Clock.now
        let ledger: Ledger
        if isIdentity {
            print("Servers on cpu 0, clients on cpu 1, all over 127.0.0.1. Medians of rounds. Load now: \(try load())")
            var scenarios = IdentityScenarios(isQuick: isQuick, rounds: rounds)
            try scenarios.run(only: only)
            ledger = scenarios.ledger
        } else {
            print("Server on cpu 0, clients on cpu 1, all over 127.0.0.1. Medians of rounds after warm-up; the floor")
            print("(send() in a loop, answers read back) takes turns with the server. Load now: \(try load())")
            var scenarios = Scenarios(isQuick: isQuick, rounds: rounds)
            try scenarios.run(only: only)
            ledger = scenarios.ledger
        }
        print("\nBars\(isQuick ? " (a quick run: indications)" : "")\n\(ledger.table)")
        print("\nTook \((Clock.now - start) / 1_000_000_000) s. Load at the end: \(try load())")
        if let json { try write(ledger.json, to: json) }
        return ledger.bars.allSatisfy(\.isHeld)
    }

    private static func play(_ words: [String]) throws {
        func number(_ index: Int) throws -> Int {
            guard words.indices.contains(index), let number = Int(words[index]) else {
                throw BenchFailure("a number is missing in \(words)")
            }
            return number
        }
        func word(_ index: Int) throws -> String {
            guard words.indices.contains(index) else { throw BenchFailure("a word is missing in \(words)") }
            return words[index]
        }
        let port = UInt16(truncatingIfNeeded: try number(1))
        switch words[0] {
        case "server":
            let files = words.count > 4 ? (chain: words[3], key: words[4]) : nil
            var role = try ServerRole(port: port, clusters: try number(2), certificate: files)
            try role.run()
        case "load":
            var role = try LoadRole(
                port: port, variant: RequestBytes.Variant(rawValue: words[2]) ?? .delta, clusters: try number(3),
                trust: words.count > 5 ? words[5] : nil, capacity: try number(4))
            try role.run()
        case "floor-server": try FloorRole.serve(port: port)
        case "floor-client": try FloorRole.load(port: port)
        case "control-plane": try ControlPlaneRole(port: port, directory: try word(2)).run()
        case "proxies": try ProxiesRole(port: port, anchors: try word(2), token: try word(3)).run()
        case "tls-server":
            try HandshakeRole(port: port, chain: try word(2), key: try word(3), anchors: try word(4)).run()
        default: throw BenchFailure("there is no role \(words[0])")
        }
    }

    /// As many open files as this process may have.
    private static func raiseFileLimit() {
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        limit.rlim_cur = limit.rlim_max
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }

    private static func load() throws -> String {
        try readText("/proc/loadavg").split(separator: " ").prefix(2).joined(separator: ", ")
    }

    private static func write(_ text: String, to path: String) throws {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
        guard descriptor >= 0 else { throw BenchFailure.system(path) }
        defer { close(descriptor) }
        let bytes = Array(text.utf8)
        guard Glibc.write(descriptor, bytes, bytes.count) == bytes.count else { throw BenchFailure.system(path) }
    }

    private static func complain(_ text: String) {
        let bytes = Array((text + "\n").utf8)
        _ = Glibc.write(2, bytes, bytes.count)
    }
}

extension String {
    fileprivate var replacingNewlines: String { split(separator: "\n").joined(separator: "; ") }
}
